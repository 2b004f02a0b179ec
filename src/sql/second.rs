//! The second reader: PostgreSQL's own grammar, in C, through `pg_query`.
//!
//! Promises: it adds to what the first reader found and takes nothing away; what it refuses is refused; its own words,
//! which quote the statement, go nowhere; one call at a time, within the limits below, on the stack of `pool`.
//!
//! # Why this binding
//!
//! | | `pg_query` 18.1.0 | `pg_raw_parse` 0.1.0 |
//! | --- | --- | --- |
//! | grammar | PostgreSQL 18.6 | PostgreSQL 18.4 |
//! | what it gives | [`pg_query::summary`]: relations, functions and kinds, gathered in C; the whole tree by `parse` | the tree in C's memory, by pointers |
//! | price | summary 5 µs, split 4 µs, tree 27 µs (a release build) | 3.6 µs, and the walk |
//! | utility statements | read | its `walk` panics on them (`BEGIN`, `COPY`, `GRANT`, `EXPLAIN`) |
//! | too deep | an error, measured against the thread's own stack and 2 MB, as the server does | no such measure |
//! | build | a C compiler and libclang | the same |
//! | who | pganalyze, whose libpg_query it is | one proxy's own need |
//!
//! `summary` is taken for every text and `parse` only where the first reader failed (see `alone`; 38,875 statements of
//! PostgreSQL's own take that way in one of twelve) or something is altered:
//! its tree comes through Protocol Buffers and is refused at some 50 members of a chain, so it cannot be what every text
//! must pass. `summary` knows neither the source of a `MERGE` nor what `LIKE`, `INHERITS` and `ALTER INDEX` name, and hides
//! common table expressions more broadly than the server; it is a second pair of eyes, not the only one, and nothing is
//! subtracted by it. A text of an older server that the grammar of 18 no longer has is refused.
//!
//! # What it fails at, and how
//!
//! Every deep text that was tried ends in an error of C's, never in an overflow: a chain of operators, `UNION` or `JOIN`
//! at 2,100 members in an unoptimised build ("stack depth limit exceeded"), `NOT`, `CASE` and signs at some thousands
//! ("memory exhausted"). Optimised, it takes chains of 20,000, which is more than `MAX_TOKENS` lets pass; PostgreSQL 15
//! itself took 4,000 additions and not 6,000.
//!
//! # Standard error
//!
//! While it parses, libpg_query points the process's standard error to a pipe and back, to catch its own warnings. Two
//! calls at once could leave it pointing to a closed pipe for good; hence one at a time. The log has a descriptor of
//! its own (see `telemetry`), so it loses nothing.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use pg_query::protobuf::summary_result::Context;
use pg_query::{Error, NodeEnum, SummaryResult};

use super::builtins;
use super::guard::Token;
use super::walk::{NotUnderstood, Result};
use crate::model::{Action, Effect, Object, ObjectKind};

/// How deep brackets may be nested. The first reader refuses at 50 levels; C takes thousands, and need not.
const MAX_BRACKETS: i32 = 200;

const TOO_DEEP: NotUnderstood = NotUnderstood("nested or chained too deeply for PostgreSQL's grammar");
const NOT_POSTGRESQL: NotUnderstood = NotUnderstood("not in PostgreSQL's grammar");

/// What the second reader found in a text.
#[derive(Debug)]
pub(super) struct Second<'a> {
    /// The statements as it cuts them.
    pub(super) statements: Vec<&'a str>,
    summary: SummaryResult,
    /// What `ALTER INDEX` names, which the summary leaves out.
    altered: Vec<Object>,
}

/// Reads a text that the guard let pass.
pub(super) fn read<'a>(text: &'a str, tokens: &[Token<'_>]) -> Result<Second<'a>> {
    let mut depth = 0;
    for token in tokens {
        depth += i32::from(token.is_mark("(") || token.is_mark("["));
        depth -= i32::from(token.is_mark(")") || token.is_mark("]"));
        if depth > MAX_BRACKETS {
            return Err(TOO_DEEP);
        }
    }
    let (statements, summary) = alone_in_c(|| (pg_query::split_with_parser(text), pg_query::summary(text, 0, -1)));
    let summary = summary.map_err(problem)?;
    let has_alter = summary.statement_types.iter().any(|kind| kind == "AlterTableStmt");
    let altered = if has_alter { altered(text) } else { Vec::new() };
    Ok(Second { statements: statements.map_err(problem)?, summary, altered })
}

/// What the statements of the sort of `ALTER TABLE` name; nothing of a text whose tree is refused.
fn altered(text: &str) -> Vec<Object> {
    let tree = alone_in_c(|| pg_query::parse(text, 0)).map(|parsed| parsed.protobuf.stmts).unwrap_or_default();
    let nodes = tree.into_iter().filter_map(|statement| statement.stmt?.node);
    let relations = nodes.filter_map(|node| match node {
        NodeEnum::AlterTableStmt(alter) => alter.relation,
        _ => None,
    });
    relations.map(|relation| object(ObjectKind::Table, &relation.schemaname, &relation.relname)).collect()
}

/// Calls libpg_query while nobody else does.
pub(super) fn alone_in_c<T>(call: impl FnOnce() -> T) -> T {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    call()
}

/// C's sentence quotes the statement, so only what it is about is kept.
#[expect(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
pub(super) fn problem(error: Error) -> NotUnderstood {
    match &error {
        Error::Parse(words) | Error::Split(words)
            if ["stack depth", "memory exhausted", "nested too deeply"].iter().any(|deep| words.contains(deep)) =>
        {
            TOO_DEEP
        }
        Error::Decode(_) => TOO_DEEP,
        _ => NOT_POSTGRESQL,
    }
}

impl Second<'_> {
    /// Adds what the first reader did not name.
    pub(super) fn add_to(&self, effects: &mut BTreeSet<Effect>, functions: &mut BTreeSet<String>) {
        for table in &self.summary.tables {
            let object = object(ObjectKind::Table, &table.schema_name, &table.table_name);
            self.add(&object, table.context, effects);
        }
        for index in &self.altered {
            self.add(index, Context::Ddl, effects);
        }
        for function in &self.summary.functions {
            let schema = function.schema_name.as_deref().unwrap_or_default();
            let object = object(ObjectKind::Function, schema, &function.function_name);
            match function.context {
                Context::Call => called(object, effects, functions),
                _ => self.add(&object, Context::Ddl, effects),
            }
        }
    }

    fn add(&self, object: &Object, context: Context, effects: &mut BTreeSet<Effect>) {
        // By look-up, not by search: a text may name thousands of tables.
        let is_known = self.answers(context).iter().any(|action| {
            [true, false].iter().any(|has_where| {
                let answer = Effect { action: *action, object: Some(object.clone()), has_where: *has_where };
                effects.contains(&answer)
            })
        });
        if !is_known {
            effects.extend(self.at_worst(context).into_iter().map(|action| Effect {
                action,
                object: Some(object.clone()),
                has_where: false,
            }));
        }
    }

    fn has(&self, kinds: &[&str]) -> bool {
        self.summary.statement_types.iter().any(|kind| kinds.contains(&kind.as_str()))
    }

    /// Actions of the first reader that say what the context says.
    fn answers(&self, context: Context) -> &'static [Action] {
        match context {
            // A COPY is listed as a read in both directions.
            Context::Select if self.has(&["CopyStmt"]) => &[Action::Select, Action::CopyIn],
            Context::Select => &[Action::Select],
            Context::Dml => &[Action::Insert, Action::Update, Action::Delete],
            Context::Ddl if self.has(&["TruncateStmt"]) => &[Action::Ddl, Action::Dcl, Action::Admin, Action::Delete],
            Context::Ddl => &[Action::Ddl, Action::Dcl, Action::Admin],
            Context::None | Context::Call => &[],
        }
    }

    /// What the context could mean at worst, by the kinds of statement that are in the text.
    fn at_worst(&self, context: Context) -> Vec<Action> {
        let any = &[Action::Insert, Action::Update, Action::Delete];
        let mut actions = Vec::new();
        let mut when = |kinds: &[&str], meant: &[Action]| {
            if self.has(kinds) {
                actions.extend_from_slice(meant);
            }
        };
        match context {
            Context::Select => {
                when(&["CopyStmt"], &[Action::CopyOut, Action::CopyIn, Action::Insert]);
                actions.push(Action::Select);
            }
            Context::Dml => {
                when(&["InsertStmt"], &[Action::Insert]);
                when(&["UpdateStmt"], &[Action::Update]);
                when(&["DeleteStmt"], &[Action::Delete]);
                when(&["MergeStmt"], any);
                if actions.is_empty() {
                    actions.extend_from_slice(any);
                }
            }
            Context::Ddl => {
                when(&["TruncateStmt"], &[Action::Delete]);
                when(&["LockStmt", "VacuumStmt", "RefreshMatViewStmt"], &[Action::Admin]);
                when(&["GrantStmt"], &[Action::Dcl]);
                actions.push(Action::Ddl);
            }
            Context::None | Context::Call => {
                actions.extend_from_slice(any);
                actions.extend([Action::Select, Action::Ddl]);
            }
        }
        actions
    }
}

/// An object as C names it: folded and cut as the server does, an absent schema as nothing.
pub(super) fn object(kind: ObjectKind, schema: &str, name: &str) -> Object {
    Object { kind, schema: (!schema.is_empty()).then(|| schema.to_owned()), name: name.to_owned() }
}

/// A call that the first reader may not have named. One that only computes is no effect; the grammar makes such calls
/// out of its own words (`EXTRACT`, `AT TIME ZONE`), so they are not named either.
pub(super) fn called(function: Object, effects: &mut BTreeSet<Effect>, functions: &mut BTreeSet<String>) {
    let name = match &function.schema {
        Some(schema) => format!("{schema}.{}", function.name),
        None => function.name.clone(),
    };
    if functions.contains(&name) || builtins::is_harmless(function.schema.as_deref(), &function.name) {
        return;
    }
    functions.insert(name);
    if function.name == "set_config" {
        // Which setting is not known here.
        effects.insert(Effect { action: Action::SetUnsafe, object: None, has_where: false });
    }
    effects.insert(Effect { action: Action::Call, object: Some(function), has_where: false });
}
