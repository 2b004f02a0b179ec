//! Names in every spelling that the server may take them for: in lower case, as written, in another database.

use std::collections::{BTreeMap, BTreeSet};

use super::unquoted;
use crate::model::{Action, Effect, Facts, Object, ObjectKind, Touch};
use crate::sql::Dialect;
use crate::sql::guard::{Kind as Cut, Token};

/// The most ways in which one text may write one name. People use one or two; more would multiply what rules are asked.
const MAX_SPELLINGS: usize = 4;

/// What texts write.
#[derive(Default)]
struct Written {
    /// By name in lower case: the other spellings.
    spellings: BTreeMap<String, BTreeSet<String>>,
    /// Names in three parts and more: of schema and name, what stands before them.
    qualified: BTreeMap<(String, String), BTreeSet<String>>,
    /// Whether a name in quotes looks like a variable's.
    quotes_variable: bool,
}

/// The facts with an effect for each way to take a name.
pub(super) fn spelled(facts: Facts, texts: &[Vec<Token<'_>>], dialect: Dialect) -> Facts {
    let mut written = Written::default();
    texts.iter().for_each(|tokens| written.add(tokens));
    let mut all: BTreeMap<Effect, Touch> = BTreeMap::new();
    let mut add = |effect: Effect, touch: Touch| {
        let known = all.remove(&effect);
        all.insert(effect, known.map_or(touch.clone(), |known| known.and(touch)));
    };
    let mut too_many = false;
    for (at, effect) in facts.effects.iter().enumerate() {
        let touch = facts.touch(at).clone();
        let Some(object) = effect.object.as_ref() else {
            add(effect.clone(), touch);
            continue;
        };
        if dialect == Dialect::TSql && object.name.starts_with('@') && !written.quotes_variable {
            // A table in a variable: the batch's own, and gone with it.
            continue;
        }
        let ways = written.ways(object, dialect);
        too_many |= ways.is_none();
        for object in ways.unwrap_or_else(|| vec![object.clone()]) {
            add(Effect { object: Some(object), ..effect.clone() }, touch.clone());
        }
    }
    let mut facts = facts;
    if too_many {
        let unparsed = Facts::unparsed("one name in many spellings");
        add(Effect { action: Action::Unparsed, object: None, has_where: false }, Touch::EVERYTHING);
        (facts.kind, facts.problem) = (unparsed.kind, unparsed.problem);
    }
    (facts.effects, facts.touched) = all.into_iter().unzip();
    facts
}

impl Written {
    fn add(&mut self, tokens: &[Token<'_>]) {
        let mut chain: Vec<String> = Vec::new();
        let mut after_name = false;
        for token in tokens {
            match token.kind {
                Cut::Word | Cut::Quoted => {
                    let name = if token.kind == Cut::Quoted { unquoted(token.text) } else { token.text.to_owned() };
                    let lower = name.to_ascii_lowercase();
                    if after_name {
                        chain.clear();
                    }
                    chain.push(lower.clone());
                    after_name = true;
                    self.qualifies(&chain);
                    self.quotes_variable |= token.kind == Cut::Quoted && name.starts_with('@');
                    if lower != name {
                        self.spellings.entry(lower).or_default().insert(name);
                    }
                }
                _ if token.is_mark(".") && !chain.is_empty() => {
                    if !after_name {
                        chain.push(String::new());
                    }
                    after_name = false;
                }
                _ => {
                    chain.clear();
                    after_name = false;
                }
            }
        }
    }

    fn qualifies(&mut self, chain: &[String]) {
        if let [before @ .., schema, name] = chain
            && let Some(database) = before.last()
        {
            let of = self.qualified.entry((schema.clone(), name.clone())).or_default();
            of.insert(format!("{database}.{schema}"));
        }
    }

    /// Every object that a name may mean; nothing if there are too many.
    fn ways(&self, object: &Object, dialect: Dialect) -> Option<Vec<Object>> {
        let mut schemas: Vec<Option<String>> = match object.schema.as_deref() {
            // `db..t`: the schema was left out.
            Some("") => vec![None],
            schema => vec![schema.map(str::to_owned)],
        };
        if let (Dialect::TSql, Some(schema)) = (dialect, &object.schema) {
            let elsewhere = self.qualified.get(&(schema.clone(), object.name.clone()));
            schemas.extend(elsewhere.into_iter().flatten().cloned().map(Some));
        }
        if !matches!(object.kind, ObjectKind::Table | ObjectKind::Schema | ObjectKind::Database) {
            return Some(schemas.into_iter().map(|schema| Object { schema, ..object.clone() }).collect());
        }
        if dialect == Dialect::MySql && object.schema.as_deref() == Some("information_schema") {
            // The one schema whose names are the same in any case on every server.
            return Some(vec![object.clone()]);
        }
        let spelled = |name: &str| match self.spellings.get(name) {
            Some(others) if others.len() >= MAX_SPELLINGS => None,
            others => Some(std::iter::once(name.to_owned()).chain(others.into_iter().flatten().cloned())),
        };
        let mut ways = Vec::new();
        for schema in schemas {
            let spellings: Vec<Option<String>> = match &schema {
                Some(schema) => spelled(schema)?.map(Some).collect(),
                None => vec![None],
            };
            for schema in spellings {
                ways.extend(spelled(&object.name)?.map(|name| Object {
                    kind: object.kind,
                    schema: schema.clone(),
                    name,
                }));
            }
        }
        Some(ways)
    }
}
