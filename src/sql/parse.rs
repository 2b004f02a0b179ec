//! One text: the guard, its statements one by one, and the facts of them all together.

use std::collections::BTreeSet;

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token as ParserToken, Tokenizer};

use super::guard::{self, Token};
use super::statement::Read;
use super::walk::{NotUnderstood, Result, Walk};
use super::{MAX_STATEMENTS, command, fingerprint::fingerprint, statement};
use crate::model::{Action, Effect, Facts, Kind};

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
    Facts { fingerprint, ..together(statements.into_iter().map(one).collect()) }
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
    let dialect = PostgreSqlDialect {};
    let rewritten = command::as_query(tokens);
    let selects = tokens.iter().filter(|token| token.is_word("select")).count() + usize::from(rewritten.is_some());
    let line = rewritten.unwrap_or_else(|| guard::canonical(tokens));
    let cut = Tokenizer::new(&dialect, &line)
        .tokenize_with_location()
        .map_err(|_| NotUnderstood("not in the parser's grammar"))?;
    let alien = |token: &ParserToken| matches!(token, ParserToken::CopyData { .. } | ParserToken::SemiColon);
    if tokens.iter().all(|token| !token.is_mark(";")) && cut.iter().any(|token| alien(&token.token)) {
        return Err(NotUnderstood("the parser cuts it differently"));
    }
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(cut);
    let tree = parser.parse_statement().map_err(|_| NotUnderstood("not in the parser's grammar"))?;
    if parser.peek_token_ref().token != ParserToken::EOF {
        return Err(NotUnderstood("the parser stopped before its end"));
    }
    let read = statement::walk(walk, &tree)?;
    // The net under the walk: a query that it did not meet is a query that nobody judged. Privileges named SELECT are
    // not queries.
    if read.kind != Kind::Dcl && walk.selects < selects {
        return Err(NotUnderstood("a query in a place that was not understood"));
    }
    Ok(read)
}

/// All statements of a text as one.
fn together(statements: Vec<(Result<Read>, Walk)>) -> Facts {
    let mut facts = Facts {
        kind: Kind::Empty,
        statement_count: u32::try_from(statements.len()).unwrap_or(u32::MAX),
        effects: Vec::new(),
        functions: Vec::new(),
        has_where: None,
        fingerprint: None,
        problem: None,
    };
    let (mut effects, mut functions) = (BTreeSet::new(), BTreeSet::new());
    let mut reads = Vec::new();
    for (read, walk) in statements {
        match read {
            Ok(read) => {
                reads.push(read);
                effects.extend(walk.effects);
                functions.extend(walk.functions);
            }
            Err(NotUnderstood(problem)) => {
                facts.problem.get_or_insert_with(|| problem.to_owned());
                effects.insert(Effect { action: Action::Unparsed, object: None, has_where: false });
            }
        }
    }
    facts.effects = effects.into_iter().collect();
    facts.functions = functions.into_iter().collect();
    if facts.problem.is_some() {
        facts.kind = Kind::Unparsed;
    } else if let [first, rest @ ..] = reads.as_slice() {
        facts.kind = if rest.iter().all(|read| read.kind == first.kind) { first.kind } else { Kind::Several };
        let wheres: Vec<bool> = reads.iter().filter_map(|read| read.has_where).collect();
        facts.has_where = (!wheres.is_empty()).then(|| wheres.iter().all(|has_where| *has_where));
    }
    facts
}
