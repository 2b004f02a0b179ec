//! Facts + catalog → facts: which schema a name means, and what an object reaches.
//!
//! Promises: nothing that the text's own facts say is taken away but columns that the catalog knows to be another table's
//! of the same statement; a name that the catalog does not have stays as it was written, and whoever judges it assumes
//! the worst, and where the catalog could not be read at all, a statement that names something is not understood; what a
//! view reads, what a foreign table stands for, whose rows a partition shares, what rules of a table
//! change and which functions stand behind operators, conversions and attributes are effects as if the text named them.
//!
//! What is reached and not named is marked as such ([`Touch::reached`]): rules that forbid hold for it, and it needs no
//! permission of its own if it is a table, because a view is there to let somebody see what the tables under it do not.
//!
//! What stays out of sight: bodies of functions and triggers, which are judged by the functions' names; what the server
//! calls by itself for types, indexes and row security; cascades of foreign keys. A table with more than
//! 200 partitions is judged by its own name and by as many of them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::builtins;
use crate::model::{Action, Catalog, Effect, Facts, Kind, Object, ObjectKind, RoutineTraits, Touch};

/// The most tables that share rows with one that are judged beside it. Each costs a question to the rules.
const MAX_SHARED: usize = 200;

/// The most effects that are followed; above it a statement has more than rules judge anyhow.
const MAX_FOLLOWED: usize = 4_000;

/// What a statement does in a database of which this is known. `path_is_known`: whether the session still has the search
/// path that it began with.
pub fn resolve(facts: &Facts, catalog: &Catalog, path_is_known: bool) -> Facts {
    let mut way = Way { catalog, path_is_known, found: BTreeMap::new(), rest: VecDeque::new() };
    let elsewhere = way.columns_of(facts);
    for (at, effect) in facts.effects.iter().enumerate() {
        way.start(effect, facts.touch(at), &elsewhere);
    }
    way.functions(facts);
    way.follow();
    let (effects, touched) = way.found.into_iter().unzip();
    Facts { effects, touched, ..facts.clone() }
}

/// What facts say where the catalog could not be read.
const IN_THE_DARK: &str = "the database's catalog could not be read, so nobody knows what its names mean";

/// What a statement does in a database of which nothing is known. A view may read anything, and the function behind a
/// name or an operator may be anybody's; so what names anything but the server's own catalog is not understood.
pub fn in_the_dark(facts: &Facts) -> Facts {
    let is_known = |object: &Object| {
        let schema = object.schema.as_deref();
        let is_catalog = schema.is_some_and(|schema| ["pg_catalog", "information_schema"].contains(&schema));
        !matches!(object.kind, ObjectKind::Table | ObjectKind::Function) || is_catalog
    };
    // The values of settings are words, whatever they look like.
    let has_no_expression = matches!(facts.kind, Kind::Session | Kind::Transaction)
        || facts.functions.iter().all(|name| name.starts_with("pg_catalog."))
            && facts.operators.is_empty()
            && facts.conversions.is_empty();
    if has_no_expression && facts.effects.iter().filter_map(|effect| effect.object.as_ref()).all(is_known) {
        return facts.clone();
    }
    let touched = (0..facts.effects.len()).map(|at| facts.touch(at).clone());
    let mut found: BTreeMap<Effect, Touch> = facts.effects.iter().cloned().zip(touched).collect();
    found.insert(Effect { action: Action::Unparsed, object: None, has_where: false }, Touch::EVERYTHING);
    let (effects, touched) = found.into_iter().unzip();
    let problem = facts.problem.clone().or_else(|| Some(IN_THE_DARK.to_owned()));
    Facts { kind: Kind::Unparsed, effects, touched, problem, ..facts.clone() }
}

/// Texts whose resolved facts a session remembers; an application has some dozens.
const MAX_REMEMBERED: usize = 1_024;

/// What texts do in one database, each resolved once for each catalog.
#[derive(Debug, Default)]
pub struct Resolver {
    /// By which catalog and path what is remembered was resolved.
    by: Option<(Arc<Catalog>, bool)>,
    /// By where the text's own facts lie; they are kept beside what was made of them, so that nothing else comes to lie
    /// there.
    remembered: HashMap<usize, (Arc<Facts>, Arc<Facts>)>,
}

impl Resolver {
    /// The catalog that was used last.
    pub fn catalog(&self) -> Option<Arc<Catalog>> {
        self.by.as_ref().map(|(by, _)| Arc::clone(by))
    }

    /// What a statement does, as [`resolve`] says.
    pub fn resolved(&mut self, facts: &Arc<Facts>, catalog: &Arc<Catalog>, path_is_known: bool) -> Arc<Facts> {
        let same = |(by, path): &(Arc<Catalog>, bool)| Arc::ptr_eq(by, catalog) && *path == path_is_known;
        if !self.by.as_ref().is_some_and(same) || self.remembered.len() >= MAX_REMEMBERED {
            self.by = Some((Arc::clone(catalog), path_is_known));
            self.remembered.clear();
        }
        let key = Arc::as_ptr(facts).addr();
        if let Some((_, resolved)) = self.remembered.get(&key) {
            return Arc::clone(resolved);
        }
        let resolved = Arc::new(resolve(facts, catalog, path_is_known));
        if !resolved.are_large() {
            self.remembered.insert(key, (Arc::clone(facts), Arc::clone(&resolved)));
        }
        resolved
    }
}

struct Way<'a> {
    catalog: &'a Catalog,
    path_is_known: bool,
    found: BTreeMap<Effect, Touch>,
    /// Effects whose reach was not looked at yet.
    rest: VecDeque<(Effect, Touch)>,
}

impl Way<'_> {
    /// Every column of every relation that the statement names.
    fn columns_of(&self, facts: &Facts) -> BTreeSet<String> {
        let objects = facts.effects.iter().filter_map(|effect| effect.object.as_ref());
        let relations = objects.filter(|object| object.kind == ObjectKind::Table).flat_map(|object| {
            let schemas = self.schemas(object);
            schemas.into_iter().filter_map(|schema| self.catalog.relation(&schema, &object.name))
        });
        relations.flat_map(|relation| relation.columns.iter().cloned()).collect()
    }

    fn schemas(&self, object: &Object) -> Vec<String> {
        match (&object.schema, object.kind) {
            (Some(schema), _) => vec![schema.clone()],
            (None, ObjectKind::Table) => self.owned(self.catalog.schemas_of(&object.name, self.path_is_known)),
            (None, ObjectKind::Function) => {
                let all = self.catalog.routine_schemas(&object.name, self.path_is_known);
                all.map(|(schema, _)| schema.to_owned()).collect()
            }
            (None, _) => Vec::new(),
        }
    }

    fn owned(&self, schemas: Vec<&str>) -> Vec<String> {
        schemas.into_iter().map(str::to_owned).collect()
    }

    /// An effect of the text, in each schema that its object may be in.
    fn start(&mut self, effect: &Effect, touch: &Touch, elsewhere: &BTreeSet<String>) {
        let Some(object) = &effect.object else { return self.add(effect.clone(), touch.clone()) };
        let schemas = self.schemas(object);
        if schemas.is_empty() {
            return self.add(effect.clone(), touch.clone());
        }
        for schema in schemas {
            let object = Object { schema: Some(schema), ..object.clone() };
            let mut touch = self.own_columns(&object, touch, elsewhere);
            touch.routine = self.traits_of(&object);
            self.add(Effect { object: Some(object), ..effect.clone() }, touch);
        }
    }

    /// With all columns that are known, where all may be touched, and without those that only another table of the
    /// statement has. A column that none is known to have stays: it
    /// may be newer than the catalog. If a function has its name, it is the function's result: `o.touch` is `touch(o)`.
    fn own_columns(&mut self, object: &Object, touch: &Touch, elsewhere: &BTreeSet<String>) -> Touch {
        let relation = object.schema.as_ref().and_then(|schema| self.catalog.relation(schema, &object.name));
        let Some(relation) = relation.filter(|_| object.kind == ObjectKind::Table) else { return touch.clone() };
        let is_own = |column: &String| relation.columns.contains(column);
        let mut attributes = Vec::new();
        for column in touch.columns.iter().filter(|column| !is_own(column)) {
            let schemas = self.catalog.routine_schemas(column, self.path_is_known);
            attributes.extend(schemas.map(|(schema, _)| function(schema, column)));
        }
        attributes.into_iter().for_each(|function| self.call(function));
        let kept = |columns: &[String]| -> Vec<String> {
            columns.iter().filter(|column| is_own(column) || !elsewhere.contains(*column)).cloned().collect()
        };
        let mut columns = kept(&touch.columns);
        if touch.all_columns {
            columns.extend(relation.columns.iter().cloned());
            columns.sort_unstable();
            columns.dedup();
        }
        let (columns_are_all, where_columns) = (touch.all_columns, kept(&touch.where_columns));
        Touch { columns, columns_are_all, where_columns, ..touch.clone() }
    }

    /// Functions that the text names as built-in ones and that somebody else made too, and those that it does not name.
    fn functions(&mut self, facts: &Facts) {
        let catalog = self.catalog;
        for name in facts.functions.iter().filter(|name| !name.contains('.')) {
            for (schema, of_extension) in catalog.routine_schemas(name, self.path_is_known) {
                // Extensions overload `max` and `replace` for their own types.
                if !(of_extension && builtins::is_harmless(None, name)) {
                    self.call(function(schema, name));
                }
            }
        }
        let behind_operators = facts.operators.iter().filter_map(|operator| catalog.operators.get(operator));
        let behind_types = facts.conversions.iter().filter_map(|name| catalog.conversions.get(name));
        behind_operators.chain(behind_types).flatten().for_each(|function| self.call(function.clone()));
    }

    fn call(&mut self, function: Object) {
        let touch = Touch { routine: self.traits_of(&function), ..Touch::EVERYTHING };
        let effect = Effect { action: Action::Call, object: Some(function), has_where: false };
        self.add(effect, touch);
    }

    fn traits_of(&self, object: &Object) -> Option<RoutineTraits> {
        let schema = object.schema.as_ref().filter(|_| object.kind == ObjectKind::Function)?;
        self.catalog.traits_of(schema, &object.name).cloned()
    }

    fn add(&mut self, effect: Effect, touch: Touch) {
        match self.found.get_mut(&effect) {
            Some(known) => {
                // What is touched more than before is touched more at what it reaches, too.
                let both = known.clone().and(touch);
                if both != *known {
                    *known = both.clone();
                    self.rest.push_back((effect, both));
                }
            }
            None => {
                self.found.insert(effect.clone(), touch.clone());
                self.rest.push_back((effect, touch));
            }
        }
    }

    fn follow(&mut self) {
        let mut followed = 0;
        while let Some((effect, touch)) = self.rest.pop_front() {
            followed += 1;
            if followed > MAX_FOLLOWED {
                // Too much to be understood.
                let unparsed = Effect { action: Action::Unparsed, object: None, has_where: false };
                self.found.insert(unparsed, Touch::EVERYTHING);
                return;
            }
            self.reach(&effect, &touch);
        }
    }

    fn reach(&mut self, effect: &Effect, touch: &Touch) {
        let Some(object) = effect.object.as_ref().filter(|object| object.kind == ObjectKind::Table) else { return };
        let catalog = self.catalog;
        let relation = object.schema.as_ref().and_then(|schema| catalog.relation(schema, &object.name));
        let Some(relation) = relation else { return };
        let changes = matches!(effect.action, Action::Insert | Action::Update | Action::Delete | Action::CopyIn);
        if !changes && !matches!(effect.action, Action::Select | Action::CopyOut) {
            return;
        }
        for (reached, of_it) in &relation.reaches {
            let routine = reached.object.as_ref().and_then(|object| self.traits_of(object));
            let of_it = Touch { reached: true, routine, ..of_it.clone() };
            self.add(reached.clone(), of_it.clone());
            if changes && reached.action == Action::Select {
                // A view that passes changes on passes them to a table that it reads.
                let touch = Touch { where_binds: touch.where_binds, ..of_it };
                self.add(Effect { action: effect.action, has_where: effect.has_where, ..reached.clone() }, touch);
            }
        }
        for (schema, name) in relation.shares_rows_with.iter().take(MAX_SHARED) {
            // One step: a child's parent is judged, and not the parent's other children.
            let other = Effect { object: Some(table(schema, name)), ..effect.clone() };
            let touch = Touch { reached: true, ..touch.clone() };
            let known = self.found.remove(&other);
            let touch = known.map_or_else(|| touch.clone(), |known| known.and(touch.clone()));
            self.found.insert(other, touch);
        }
        if changes {
            for (schema, name) in &relation.changed_by_rules {
                for action in [Action::Select, Action::Insert, Action::Update, Action::Delete] {
                    let object = Some(table(schema, name));
                    self.add(Effect { action, object, has_where: false }, Touch { reached: true, ..Touch::EVERYTHING });
                }
            }
        }
    }
}

fn table(schema: &str, name: &str) -> Object {
    Object { kind: ObjectKind::Table, schema: Some(schema.to_owned()), name: name.to_owned() }
}

fn function(schema: &str, name: &str) -> Object {
    Object { kind: ObjectKind::Function, schema: Some(schema.to_owned()), name: name.to_owned() }
}
