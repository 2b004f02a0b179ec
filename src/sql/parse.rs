//! One text: the guard, its statements one by one by the first reader, the second reader, and the facts of them all
//! together.

use std::collections::BTreeSet;

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token as ParserToken, TokenWithSpan, Tokenizer};

use super::columns::Columns;
use super::command::Rewritten;
use super::guard::{self, Kind as Cut, Token};
use super::statement::Read;
use super::walk::{NotUnderstood, Result, Walk};
use super::{MAX_STATEMENTS, alone, command, ddl, fingerprint::fingerprint, second, shape, spoken, statement};
use crate::model::{Action, Effect, Facts, Handle, Kind, Touch};

/// The first reader cannot read it, from its beginning or from some place on. This leaves the word to the second reader.
const NOT_IN_GRAMMAR: NotUnderstood = NotUnderstood("not in the parser's grammar");
const STOPPED: NotUnderstood = NotUnderstood("the parser stopped before its end");

/// It took a word for the end of the statement. What comes then is what an attack hides, and never what a tool writes:
/// the two readers cut it differently, and that is refused.
const ENDED: NotUnderstood = NotUnderstood("the parser took a word for the statement's end");

/// A query stands where the first reader has none. In a definition that may be a word of its own (`FOR SELECT`), which
/// the second reader knows.
const ODD_QUERY: NotUnderstood = NotUnderstood("a query in a place that was not understood");

/// What facts say of a text of which only one reader could read each statement.
const READ_BY_ONE: &str = "one of two readers could not read it; judged by PostgreSQL's own grammar alone";

/// Which statement a name stands for is not in the text; see [`super::by_handle`].
const EXECUTES: NotUnderstood = NotUnderstood("it executes a statement that hansard did not see being prepared");

/// The facts of a text. To be called on a deep stack: the parsed trees are dropped in here.
pub(super) fn facts(text: &str) -> Facts {
    let tokens = match guard::tokens(text) {
        Ok(tokens) => tokens,
        Err(refused) => return Facts::unparsed(refused.to_string()),
    };
    let fingerprint = Some(fingerprint(&tokens));
    let statements = guard::statements(&tokens);
    if statements.len() > MAX_STATEMENTS {
        return Facts { fingerprint, ..Facts::unparsed(format!("more than {MAX_STATEMENTS} statements")) };
    }
    let second = second::read(text, &tokens).and_then(|second| match second.statements.len() == statements.len() {
        false => Err(NotUnderstood("two readers count its statements differently")),
        true if !statements.iter().zip(&second.statements).all(|(tokens, part)| guard::stand_in(tokens, part)) => {
            Err(NotUnderstood("two readers cut its statements differently"))
        }
        true => Ok(second),
    });
    let mut first: Vec<_> = statements.into_iter().map(one).collect();
    let mut by_one = false;
    if let Ok(second) = &second {
        for ((read, walk), statement) in first.iter_mut().zip(&second.statements) {
            let Err(problem) = read else { continue };
            let Some(may_be) = left_to_the_grammar(*problem) else { continue };
            let mut alone = Walk::default();
            match alone::read(statement, &mut alone) {
                Ok(found) if may_be(found.kind) => {
                    (*read, *walk) = (Ok(found), alone);
                    by_one = true;
                }
                Ok(_) => {}
                Err(problem) => *read = Err(problem),
            }
        }
    }
    let reads_literals = first.iter().any(|(_, walk)| walk.reads_literals);
    let mut facts = together(first, second.map(Some));
    facts.by_shape = is_read_and_written(&facts) && !reads_literals && shape::is_plain(&tokens);
    if by_one && facts.problem.is_none() {
        facts.problem = Some(READ_BY_ONE.to_owned());
        facts.by_shape = false;
    }
    Facts { fingerprint, operators: spoken::operators(&tokens), conversions: spoken::conversions(&tokens), ..facts }
}

/// Whether the text does nothing but read and write rows, and both readers understood it. In everything else literals may
/// be names, options or texts that are run.
fn is_read_and_written(facts: &Facts) -> bool {
    let rows = matches!(facts.kind, Kind::Select | Kind::Insert | Kind::Update | Kind::Delete);
    rows && facts.problem.is_none() && facts.handles.is_empty()
}

/// Whether the second reader has the word on what the first one failed at so, and on which kinds. What the first one reads
/// as something else is understood differently by the two and stays refused.
fn left_to_the_grammar(problem: NotUnderstood) -> Option<fn(Kind) -> bool> {
    match problem {
        NOT_IN_GRAMMAR | STOPPED => Some(|_| true),
        ddl::NOT_READ | statement::ODD_OPTIONS | ODD_QUERY => {
            Some(|kind| matches!(kind, Kind::Ddl | Kind::Dcl | Kind::Admin))
        }
        _ => None,
    }
}

/// One statement: by our own hand if it is one of the simple ones, else by the parser.
fn one(tokens: &[Token<'_>]) -> (Result<Read>, Walk) {
    let mut walk = Walk::default();
    let read = match command::read(tokens, &mut walk) {
        Some(kind) => Ok(Read { kind, has_where: None }),
        None => parsed(tokens, &mut walk),
    };
    (read, walk)
}

fn parsed(tokens: &[Token<'_>], walk: &mut Walk) -> Result<Read> {
    if tokens.iter().any(Token::is_unicode_escaped) {
        // The parser does not decode it.
        return Err(NOT_IN_GRAMMAR);
    }
    let dialect = PostgreSqlDialect {};
    let Rewritten { line, words, selects, of_cursor } = command::rewritten(tokens);
    let selects = tokens.iter().filter(|token| token.is_word("select")).count() + selects;
    let cut = Tokenizer::new(&dialect, &line).tokenize_with_location().map_err(|_| NOT_IN_GRAMMAR)?;
    if !cut_alike(tokens, words, &cut) {
        return Err(NotUnderstood("the parser cuts it differently"));
    }
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(cut);
    let tree = parser.parse_statement().map_err(|error| match error {
        ParserError::RecursionLimitExceeded => NotUnderstood("nested too deeply for the parser"),
        ParserError::TokenizerError(_) | ParserError::ParserError(_) => NOT_IN_GRAMMAR,
    })?;
    match &parser.peek_token_ref().token {
        ParserToken::EOF => {}
        ParserToken::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("end") => {
            return Err(ENDED);
        }
        _ => return Err(STOPPED),
    }
    let read = statement::walk(walk, &tree)?;
    if of_cursor {
        walk.tied_by_a_cursor();
    }
    // The net under the walk: a query that it did not meet is a query that nobody judged. Privileges named SELECT are
    // not queries.
    if read.kind != Kind::Dcl && walk.selects < selects {
        return Err(ODD_QUERY);
    }
    Ok(read)
}

/// Whether the parser's lexer found as many words, strings and semicolons as the guard. Operators may be cut apart
/// differently; they hold no text.
fn cut_alike(tokens: &[Token<'_>], (more, fewer): (usize, usize), cut: &[TokenWithSpan]) -> bool {
    let (mut words, mut texts, mut semicolons) = (0, 0, 0);
    for token in cut {
        match &token.token {
            ParserToken::CopyData { .. } => return false,
            ParserToken::Word(_) => words += 1,
            ParserToken::SemiColon => semicolons += 1,
            ParserToken::SingleQuotedString(_)
            | ParserToken::DollarQuotedString(_)
            | ParserToken::EscapedStringLiteral(_)
            | ParserToken::NationalStringLiteral(_)
            | ParserToken::SingleQuotedByteStringLiteral(_)
            | ParserToken::HexStringLiteral(_) => texts += 1,
            _ => {}
        }
    }
    let count = |wanted: &dyn Fn(&Token<'_>) -> bool| tokens.iter().filter(|token| wanted(token)).count();
    words + fewer == more + count(&|token| matches!(token.kind, Cut::Word | Cut::Quoted))
        && texts == count(&|token| token.kind == Cut::Text)
        && semicolons == count(&|token| token.is_mark(";"))
}

/// All statements of a text as one: what either reader found in them, where there are two.
pub(super) fn together(statements: Vec<(Result<Read>, Walk)>, second: Result<Option<second::Second<'_>>>) -> Facts {
    let mut facts = Facts {
        kind: Kind::Empty,
        statement_count: u32::try_from(statements.len()).unwrap_or(u32::MAX),
        effects: Vec::new(),
        functions: Vec::new(),
        has_where: None,
        fingerprint: None,
        problem: None,
        touched: Vec::new(),
        has_limit: false,
        operators: Vec::new(),
        conversions: Vec::new(),
        handles: Vec::new(),
        executes: None,
        lifts_read_only: false,
        by_shape: false,
    };
    let (mut effects, mut functions) = (BTreeSet::new(), BTreeSet::new());
    let (mut reads, mut problems) = (Vec::new(), Vec::new());
    let (mut columns, mut limits) = (Vec::new(), Vec::new());
    let mut handles = Vec::new();
    for (read, walk) in statements {
        match read {
            Ok(read) => {
                reads.push(read);
                effects.extend(walk.effects);
                functions.extend(walk.functions);
                columns.push(walk.columns);
                limits.push(walk.has_limit);
                handles.extend(walk.handles);
                facts.lifts_read_only |= walk.lifts_read_only;
            }
            Err(problem) => problems.push(problem),
        }
    }
    match second {
        Ok(Some(second)) => second.add_to(&mut effects, &mut functions),
        Ok(None) => {}
        Err(problem) => problems.push(problem),
    }
    facts.handles = to_be_found(handles);
    let executes = facts.handles.iter().any(|handle| matches!(handle, Handle::Execute(_)));
    let is_all_else_understood = problems.is_empty();
    if executes {
        problems.push(EXECUTES);
    }
    if let Some(NotUnderstood(problem)) = problems.first() {
        facts.problem = Some((*problem).to_owned());
        effects.insert(Effect { action: Action::Unparsed, object: None, has_where: false });
    }
    facts.touched = effects.iter().map(|effect| touch_of(effect, &columns)).collect();
    facts.effects = effects.into_iter().collect();
    facts.functions = functions.into_iter().collect();
    facts.has_limit = !limits.is_empty() && limits.into_iter().all(|has_limit| has_limit);
    if let [first, rest @ ..] = reads.as_slice()
        && is_all_else_understood
    {
        facts.kind = if rest.iter().all(|read| read.kind == first.kind) { first.kind } else { Kind::Several };
        let wheres: Vec<bool> = reads.iter().filter_map(|read| read.has_where).collect();
        facts.has_where = (!wheres.is_empty()).then(|| wheres.iter().all(|has_where| *has_where));
        facts.executes = executes.then_some(facts.kind);
    }
    if facts.problem.is_some() {
        facts.kind = Kind::Unparsed;
    }
    facts
}

/// Without the executions of what the text itself prepared before: its effects are the text's own.
fn to_be_found(handles: Vec<Handle>) -> Vec<Handle> {
    let mut prepared = BTreeSet::new();
    let mut to_be_found = Vec::new();
    for handle in handles {
        match &handle {
            Handle::Execute(name) if prepared.contains(name) => continue,
            Handle::Prepare(name, _) => drop(prepared.insert(name.clone())),
            _ => {}
        }
        to_be_found.push(handle);
    }
    to_be_found
}

/// What an effect touches in whichever statements have it; everything if none of them says what.
fn touch_of(effect: &Effect, statements: &[Columns]) -> Touch {
    let mut found = statements.iter().filter_map(|columns| columns.touch_of(effect));
    let Some(first) = found.next() else { return Touch::EVERYTHING };
    found.fold(first, Touch::and)
}
