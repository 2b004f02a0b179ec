//! One look at a database's catalog, through the target's own login.
//!
//! Promise: it keeps nobody's lock waiting for longer than the server takes to write down one view, and waits for nobody's.
//! The server locks a view and its tables to say what it is: were all asked for in one transaction, a `DROP … CASCADE` could
//! meet our locks in the other order, and the server would end one of the two to get the other on. What cannot be read
//! because it is locked stays what it was at the look before; if it was nothing, it is not understood.
//!
//! Rejected: the rule's own tree and the dependencies, which take no lock (they do not say which condition ties which
//! table), and one question for all views with a longer wait (the deadlock has the same two parts).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::asking::{Blind, LIMIT, MAX_ANSWER, answer, ask, begin, close, open, rows, send};
use super::questions;
use crate::gateway::Target;
use crate::gateway::upstream::Upstream;
use crate::model::{
    Action, Catalog, Effect, Facts, Object, ObjectKind, Relation, Routine, RoutineTraits, SqlText, Touch,
};
use crate::sql::{self, Dialect};
use crate::wire::postgres::answers::{NoAnswer, Row};

/// Looks at a database; `before`: what it was at the look before.
pub(super) async fn look(target: &Target, database: &str, before: Option<Arc<Catalog>>) -> Result<Catalog, Blind> {
    tokio::time::timeout(LIMIT, ask_all(target, database, before)).await.unwrap_or(Err(Blind::TooSlow))
}

async fn ask_all(target: &Target, database: &str, before: Option<Arc<Catalog>>) -> Result<Catalog, Blind> {
    let mut upstream = open(target, database, "hansard catalog").await?;
    let path = begin(&mut upstream).await?;
    let role = rows::<1>(ask(&mut upstream, questions::ROLE).await?).next().map(|[role]| role).unwrap_or_default();
    let mut seen = Seen { path, role, ..Seen::default() };
    let mut views = Vec::new();
    for (question, rows) in [
        (questions::RELATIONS, &mut seen.relations),
        (questions::VIEWS, &mut views),
        (questions::PARENTS, &mut seen.parents),
        (questions::RULES, &mut seen.rules),
        (questions::FOREIGN, &mut seen.foreign),
        (questions::ROUTINES, &mut seen.routines),
        (questions::OPERATORS, &mut seen.operators),
        (questions::CASTS, &mut seen.casts),
        (questions::DOMAINS, &mut seen.domains),
    ] {
        *rows = ask(&mut upstream, question).await?;
    }
    seen.views = definitions(&mut upstream, views).await?;
    close(upstream).await;
    tokio::task::spawn_blocking(move || seen.understood(before.as_deref())).await.map_err(|_| Blind::Stopping)
}

/// Definitions that are asked for at a time: a database that is far away is not waited for once for each view.
const AT_A_TIME: usize = 64;

/// The definitions of views, one transaction each; nothing of one that is locked or gone.
async fn definitions(upstream: &mut Upstream, views: Vec<Row>) -> Result<Vec<(Name, Option<String>)>, Blind> {
    ask(upstream, questions::LET_GO).await?;
    let known = |[schema, name, number]: [String; 3]| Some(((schema, name), number.parse().ok()?));
    let views: Vec<(Name, u32)> = rows(views).filter_map(known).collect();
    let mut definitions = Vec::with_capacity(views.len());
    let mut left = MAX_ANSWER;
    for some in views.chunks(AT_A_TIME) {
        let asked: Vec<String> = some.iter().map(|(_, number)| questions::definition(*number)).collect();
        send(upstream, &asked).await?;
        for (view, _) in some {
            let definition = match answer(upstream).await {
                Ok(answer) => answer.into_iter().flatten().next().flatten(),
                Err(Blind::Answer(NoAnswer::Refused(sqlstate))) => {
                    tracing::debug!(view = ?view, sqlstate, "a view's definition was not read");
                    None
                }
                Err(error) => return Err(error),
            };
            left = left.checked_sub(definition.as_ref().map_or(0, String::len)).ok_or(NoAnswer::TooLong(MAX_ANSWER))?;
            definitions.push((view.clone(), definition));
        }
    }
    Ok(definitions)
}

/// Answers, as they came.
#[derive(Debug, Default)]
struct Seen {
    path: Vec<String>,
    role: String,
    relations: Vec<Row>,
    views: Vec<(Name, Option<String>)>,
    parents: Vec<Row>,
    rules: Vec<Row>,
    foreign: Vec<Row>,
    routines: Vec<Row>,
    operators: Vec<Row>,
    casts: Vec<Row>,
    domains: Vec<Row>,
}

impl Seen {
    /// Reads the definitions, so it may take a while.
    fn understood(self, before: Option<&Catalog>) -> Catalog {
        let mut catalog = Catalog { path: self.path, role: self.role, ..Catalog::default() };
        for [schema, name, columns] in rows(self.relations) {
            let columns = serde_json::from_str(&columns).unwrap_or_default();
            let relation = Relation { columns, ..Relation::default() };
            catalog.relations.entry(name).or_default().insert(schema, relation);
        }
        for ((schema, name), definition) in self.views {
            let known = || before.and_then(|before| before.relation(&schema, &name)).map(|view| view.reaches.clone());
            let reaches = match definition {
                Some(definition) => reaches(&read(&definition)),
                None => known().filter(|known| !known.is_empty()).unwrap_or_else(not_understood),
            };
            at(&mut catalog, &schema, &name).reaches = reaches;
        }
        for [schema, name, remote_schema, remote] in rows(self.foreign) {
            let object = object(ObjectKind::Table, remote_schema, remote);
            let effect = Effect { action: Action::Select, object: Some(object), has_where: false };
            at(&mut catalog, &schema, &name).reaches.push((effect, Touch::EVERYTHING));
        }
        for [schema, name, changed_schema, changed] in rows(self.rules) {
            at(&mut catalog, &schema, &name).changed_by_rules.push((changed_schema, changed));
        }
        for ((schema, name), shared) in sharing(self.parents) {
            at(&mut catalog, &schema, &name).shares_rows_with = shared;
        }
        for [schema, name, of_extension, languages, is_volatile, is_security_definer, numbers] in rows(self.routines) {
            let traits = RoutineTraits {
                // Sorted by the server, which gives names as JSON because any letter may stand in one.
                languages: serde_json::from_str(&languages).unwrap_or_default(),
                is_volatile: is_volatile == "t",
                is_security_definer: is_security_definer == "t",
            };
            let numbers: Vec<u32> = serde_json::from_str(&numbers).unwrap_or_default();
            let named = numbers.into_iter().map(|number| (number, (schema.clone(), name.clone())));
            catalog.routines_by_number.extend(named);
            let routine = Routine { schema, of_extension: of_extension == "t", traits };
            catalog.routines.entry(name).or_default().push(routine);
        }
        for [operator, schema, name] in rows(self.operators) {
            catalog.operators.entry(operator).or_default().push(object(ObjectKind::Function, schema, name));
        }
        for [of_type, schema, name] in rows(self.casts) {
            catalog.conversions.entry(of_type).or_default().push(object(ObjectKind::Function, schema, name));
        }
        for [domain, condition] in rows(self.domains) {
            let condition = condition.trim_start_matches("CHECK ").trim_end_matches(" NOT VALID");
            let facts = read(&format!("SELECT {condition}"));
            let called = facts.effects.into_iter().filter(|effect| effect.action == Action::Call);
            catalog.conversions.entry(domain).or_default().extend(called.filter_map(|effect| effect.object));
        }
        catalog
    }
}

fn reaches(facts: &Facts) -> Vec<(Effect, Touch)> {
    facts.effects.iter().enumerate().map(|(at, effect)| (effect.clone(), facts.touch(at).clone())).collect()
}

fn not_understood() -> Vec<(Effect, Touch)> {
    vec![(Effect { action: Action::Unparsed, object: None, has_where: false }, Touch::EVERYTHING)]
}

fn at<'a>(catalog: &'a mut Catalog, schema: &str, name: &str) -> &'a mut Relation {
    catalog.relations.entry(name.to_owned()).or_default().entry(schema.to_owned()).or_default()
}

fn object(kind: ObjectKind, schema: String, name: String) -> Object {
    Object { kind, schema: Some(schema), name }
}

/// What a definition does. The path was the server's own schema alone, so a name without schema is of that.
fn read(definition: &str) -> Facts {
    let mut facts = sql::read(&SqlText::from(definition), Dialect::PostgreSql);
    for object in facts.effects.iter_mut().filter_map(|effect| effect.object.as_mut()) {
        if matches!(object.kind, ObjectKind::Table | ObjectKind::Function) && object.schema.is_none() {
            object.schema = Some("pg_catalog".to_owned());
        }
    }
    facts
}

type Name = (String, String);

/// Each table with all that are above and below it.
fn sharing(parents: Vec<Row>) -> HashMap<Name, Vec<Name>> {
    let (mut above, mut below): (HashMap<Name, Vec<Name>>, HashMap<Name, Vec<Name>>) = Default::default();
    for [schema, name, parent_schema, parent] in rows(parents) {
        let (child, parent) = ((schema, name), (parent_schema, parent));
        above.entry(child.clone()).or_default().push(parent.clone());
        below.entry(parent).or_default().push(child);
    }
    let all: HashSet<&Name> = above.keys().chain(below.keys()).collect();
    let closed = |start: &Name, next: &HashMap<Name, Vec<Name>>| {
        let (mut found, mut rest) = (Vec::new(), vec![start]);
        let mut met = HashSet::from([start]);
        while let Some(table) = rest.pop() {
            for table in next.get(table).into_iter().flatten().filter(|table| met.insert(table)) {
                found.push(table.clone());
                rest.push(table);
            }
        }
        found
    };
    let with_sharers = |table: &Name| {
        // Those above first: they are few, and the list may be cut.
        let mut shared = closed(table, &above);
        shared.extend(closed(table, &below));
        (table.clone(), shared)
    };
    all.into_iter().map(with_sharers).collect()
}
