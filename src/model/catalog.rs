//! What a database's own catalog says of its objects: a look at one moment.
//!
//! Promises: plain values, and look-ups that cost no search. What is not in here was not there when somebody looked; it
//! is for the asker to assume the worst of it.

use std::collections::{HashMap, HashSet};

use super::facts::{Effect, Object, RoutineTraits, Touch};

/// A table, view, materialised view, foreign table or sequence.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Relation {
    /// Its columns, in order.
    pub columns: Vec<String>,
    /// What reading it does elsewhere: a view's definition, the remote table of a foreign one.
    pub reaches: Vec<(Effect, Touch)>,
    /// Tables whose rows are also rows of this one (partitions, children), and whose rows these are also, on all levels.
    pub shares_rows_with: Vec<(String, String)>,
    /// Tables that its rules change or read when its rows are changed.
    pub changed_by_rules: Vec<(String, String)>,
}

/// Functions and procedures of one name in one schema, which is not the server's own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Routine {
    /// The schema.
    pub schema: String,
    /// Whether they came with an extension.
    pub of_extension: bool,
    /// What they are.
    pub traits: RoutineTraits,
}

/// What was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Relations by name, then by schema.
    pub relations: HashMap<String, HashMap<String, Relation>>,
    /// Functions and procedures that are not the server's own, by name.
    pub routines: HashMap<String, Vec<Routine>>,
    /// Schema and name of each of them, by its number.
    pub routines_by_number: HashMap<u32, (String, String)>,
    /// Functions behind operators that neither the server nor an extension brought, by the operator.
    pub operators: HashMap<String, Vec<Object>>,
    /// Functions that a conversion into a type runs, by the type's name: of casts, and of conditions of domains.
    pub conversions: HashMap<String, Vec<Object>>,
    /// The search path that a session begins with, the server's own schema in its place in it.
    pub path: Vec<String>,
    /// The role that a session begins with, `none` if it takes none; empty if that was not told.
    pub role: String,
}

impl Catalog {
    /// A relation by its full name.
    pub fn relation(&self, schema: &str, name: &str) -> Option<&Relation> {
        self.relations.get(name)?.get(schema)
    }

    /// The schemas in which a relation's name without schema may be: the first of the path that has it, or where the
    /// path is not known all that have it. Nothing if none has.
    pub fn schemas_of(&self, name: &str, path_is_known: bool) -> Vec<&str> {
        let Some(by_schema) = self.relations.get(name) else { return Vec::new() };
        if path_is_known {
            let first = self.path.iter().find(|schema| by_schema.contains_key(*schema));
            return first.map(String::as_str).into_iter().collect();
        }
        let mut all: Vec<&str> = by_schema.keys().map(String::as_str).collect();
        all.sort_unstable();
        all
    }

    /// What functions of a name in a schema are.
    pub fn traits_of(&self, schema: &str, name: &str) -> Option<&RoutineTraits> {
        let routine = self.routines.get(name)?.iter().find(|routine| routine.schema == schema)?;
        Some(&routine.traits)
    }

    /// The schemas whose function a name without schema may mean. Which one it is hangs on its arguments, so all of the
    /// path count. The flag: whether it came with an extension.
    pub fn routine_schemas(&self, name: &str, path_is_known: bool) -> impl Iterator<Item = (&str, bool)> {
        let all = self.routines.get(name).map(Vec::as_slice).unwrap_or_default();
        let path: HashSet<&str> = self.path.iter().map(String::as_str).collect();
        all.iter()
            .map(|routine| (routine.schema.as_str(), routine.of_extension))
            .filter(move |(schema, _)| !path_is_known || path.contains(schema))
    }
}
