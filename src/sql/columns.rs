//! Which columns of which table a statement touches, as far as its text shows.
//!
//! Promises: a column that the statement names is among those of every table that it could belong to; where a table's
//! columns cannot be told by the text (a star, the table's own name as a value, `NATURAL`, columns renamed by an alias, a
//! name that nothing in sight has), all of them count.
//!
//! A query has a level: the tables of its FROM, under the names that it calls them, and the columns that its expressions
//! name. A column without a table's name may be one of any table in sight, its own level's and those around it, because
//! only the catalog knows better. A sub-query in a FROM does not see its neighbours.
//!
//! Rejected: the columns of a whole statement for each of its tables (every join with a star somewhere would touch
//! everything of everything), and the tree of the second reader (its decoding fails at some fifty members of a chain).

use std::collections::{BTreeMap, BTreeSet};

use sqlparser::ast::{Ident, ObjectName, TableAlias};

use super::names;
use super::walk::Result;
use crate::model::{Action, Effect, Object, Touch};

/// The most pairs of a named column and a table in sight that are looked at in one level. Above it all columns count:
/// statements of people and tools stay below a thousand, and a text made to be slow must not be.
const MAX_PAIRS: usize = 50_000;

/// What a level calls a table, and what is done with it there.
#[derive(Debug, Default)]
struct Source {
    /// The names by which columns may be qualified; the table's own name too where an alias hides it, to be on the safe
    /// side.
    names: Vec<String>,
    /// The schema, if it was written.
    schema: Option<String>,
    /// The effects that have what is touched; none for what is no table.
    effects: Vec<Effect>,
}

/// A column, or more, that an expression names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    /// `c`
    Column(String),
    /// `t.c`
    Of(String, String),
    /// `s.t.c`
    OfTable(String, String, String),
    /// `*`
    Star,
    /// `t.*`
    StarOf(Option<String>, String),
    /// Something that says nothing of which columns.
    Anything,
}

/// The tables in sight and what is named of them.
#[derive(Debug, Default)]
struct Level {
    sources: Vec<Source>,
    named: Vec<(Named, bool)>,
}

/// What all levels of a statement touch.
#[derive(Debug, Default)]
pub(super) struct Columns {
    levels: Vec<Level>,
    in_condition: bool,
    touched: BTreeMap<Effect, Gathered>,
    /// Effects that touch what others touch.
    same: Vec<(Effect, Effect)>,
}

#[derive(Debug, Default, Clone)]
struct Gathered {
    columns: BTreeSet<String>,
    conditions: BTreeSet<String>,
    all: bool,
    /// Whether each place with this effect ties its rows to a value; unknown until one said so.
    binds: Option<bool>,
    /// Whether the statement is known to have this effect: what is named of a table that is changed is noted for every
    /// change that there can be.
    is_declared: bool,
}

impl Gathered {
    fn touch(&self) -> Touch {
        Touch {
            columns: self.columns.iter().cloned().collect(),
            all_columns: self.all,
            columns_are_all: false,
            routine: None,
            where_columns: self.conditions.iter().cloned().collect(),
            where_binds: self.binds == Some(true),
            reached: false,
        }
    }
}

impl Columns {
    /// A query begins.
    pub(super) fn open(&mut self) {
        self.levels.push(Level::default());
    }

    /// A query ends: what it named is looked up.
    pub(super) fn close(&mut self) {
        let Some(level) = self.levels.last_mut() else { return };
        let named = std::mem::take(&mut level.named);
        let in_sight: usize = self.levels.iter().map(|level| level.sources.len()).sum();
        if named.len().saturating_mul(in_sight) > MAX_PAIRS {
            self.touch_all_in_sight();
        } else {
            named.into_iter().for_each(|(named, in_condition)| self.look_up(&named, in_condition));
        }
        self.levels.pop();
    }

    /// Takes the tables of the innermost level out of sight; to be given back to [`Self::show`].
    pub(super) fn hide(&mut self) -> Hidden {
        Hidden(self.levels.last_mut().map(|level| std::mem::take(&mut level.sources)).unwrap_or_default())
    }

    /// Puts them back.
    pub(super) fn show(&mut self, hidden: Hidden) {
        if let Some(level) = self.levels.last_mut() {
            level.sources.splice(0..0, hidden.0);
        }
    }

    /// Whether what is named from now on stands in a condition; gives what was so before.
    pub(super) fn condition(&mut self, is_one: bool) -> bool {
        std::mem::replace(&mut self.in_condition, is_one)
    }

    /// A table comes into sight.
    pub(super) fn table(&mut self, object: &Object, alias: Option<&TableAlias>, effects: Vec<Effect>) {
        effects.iter().for_each(|effect| self.of(effect, &[]));
        let renames = alias.is_some_and(|alias| !alias.columns.is_empty());
        let mut names = vec![object.name.clone()];
        names.extend(alias.map(|alias| names::fold(&alias.name)));
        let source = Source { names, schema: object.schema.clone(), effects };
        if renames {
            self.touch(&source.effects, |touch| touch.all = true);
        }
        self.push(source);
    }

    /// The table that the statement changes comes into sight, for whatever the statement does to it.
    pub(super) fn changed(&mut self, object: &Object, alias: Option<String>) {
        let mut names = vec![object.name.clone()];
        names.extend(alias);
        let effects = any_change(object);
        self.push(Source { names, schema: object.schema.clone(), effects });
    }

    /// Something comes into sight whose columns are no table's: a sub-query, a function, a common table expression.
    pub(super) fn other(&mut self, name: Option<String>) {
        self.push(Source { names: name.into_iter().collect(), ..Source::default() });
    }

    /// A join in brackets has a name of its own for all that came into sight since `from`.
    pub(super) fn group(&mut self, from: usize, alias: Option<&TableAlias>) {
        let (Some(alias), Some(level)) = (alias, self.levels.last()) else { return };
        let effects: Vec<Effect> =
            level.sources.iter().skip(from).flat_map(|source| source.effects.iter().cloned()).collect();
        if !alias.columns.is_empty() {
            self.touch(&effects, |touch| touch.all = true);
        }
        self.push(Source { names: vec![names::fold(&alias.name)], schema: None, effects });
    }

    /// How many are in sight at the innermost level.
    pub(super) fn in_sight(&self) -> usize {
        self.levels.last().map_or(0, |level| level.sources.len())
    }

    fn push(&mut self, source: Source) {
        if let Some(level) = self.levels.last_mut() {
            level.sources.push(source);
        }
    }

    /// A column, in as many parts as were written.
    pub(super) fn column(&mut self, parts: &[Ident]) {
        let part = names::fold;
        self.name(match parts {
            [column] => Named::Column(part(column)),
            [table, column] => Named::Of(part(table), part(column)),
            [schema, table, column] | [_, schema, table, column] => {
                Named::OfTable(part(schema), part(table), part(column))
            }
            _ => Named::Anything,
        });
    }

    /// `*`
    pub(super) fn star(&mut self) {
        self.name(Named::Star);
    }

    /// `t.*`
    pub(super) fn star_of(&mut self, name: &ObjectName) -> Result {
        let parts = names::idents(name)?;
        self.name(match parts.as_slice() {
            [table] => Named::StarOf(None, names::fold(table)),
            [schema, table] | [_, schema, table] => Named::StarOf(Some(names::fold(schema)), names::fold(table)),
            _ => Named::Anything,
        });
        Ok(())
    }

    /// All columns of all tables in sight.
    pub(super) fn anything(&mut self) {
        self.name(Named::Anything);
    }

    fn name(&mut self, named: Named) {
        let in_condition = self.in_condition;
        // Outside of any query there is no table whose column it could be.
        if let Some(level) = self.levels.last_mut() {
            level.named.push((named, in_condition));
        }
    }

    /// Says that the statement has an effect, which touches these columns beside those that are named of its table.
    pub(super) fn of(&mut self, effect: &Effect, columns: &[&Ident]) {
        self.declare(effect).columns.extend(columns.iter().map(|column| names::fold(column)));
    }

    /// The same for names as they are, whatever they name.
    pub(super) fn fields_of(&mut self, effect: &Effect, fields: &BTreeSet<String>) {
        self.declare(effect).columns.extend(fields.iter().cloned());
    }

    /// Says that the statement has an effect, which touches every column.
    pub(super) fn all_of(&mut self, effect: &Effect) {
        self.declare(effect).all = true;
    }

    fn declare(&mut self, effect: &Effect) -> &mut Gathered {
        let touch = self.touched.entry(effect.clone()).or_default();
        touch.is_declared = true;
        touch
    }

    /// Says that a row lock touches what the read of its rows touches.
    pub(super) fn same(&mut self, effect: Effect, other: Effect) {
        self.same.push((effect, other));
    }

    /// Says whether what has an effect ties its rows to a value.
    pub(super) fn binds(&mut self, effect: &Effect, binds: bool) {
        let touch = self.declare(effect);
        touch.binds = Some(touch.binds.unwrap_or(true) && binds);
    }

    /// Says that the rows are those that a cursor stands on, whatever else was said.
    pub(super) fn of_cursor(&mut self, effect: &Effect) {
        self.declare(effect).binds = Some(true);
    }

    /// What an effect touches; nothing is known if nobody said that the statement has it.
    pub(super) fn touch_of(&self, effect: &Effect) -> Option<Touch> {
        let own = self.touched.get(effect).filter(|touch| touch.is_declared).map(Gathered::touch);
        let others = self.same.iter().filter(|(same, _)| same == effect).map(|(_, other)| {
            let other = self.touched.get(other).filter(|touch| touch.is_declared);
            // Nothing is changed, so there is nothing to tie.
            Touch { where_binds: true, ..other.map_or(Touch::EVERYTHING, Gathered::touch) }
        });
        own.into_iter().chain(others).reduce(Touch::and)
    }

    fn touch(&mut self, effects: &[Effect], mut change: impl FnMut(&mut Gathered)) {
        for effect in effects {
            change(self.touched.entry(effect.clone()).or_default());
        }
    }

    fn touch_all_in_sight(&mut self) {
        let effects: Vec<Effect> = self.sources().flat_map(|source| source.effects.iter().cloned()).collect();
        self.touch(&effects, |touch| touch.all = true);
    }

    /// Innermost first.
    fn sources(&self) -> impl Iterator<Item = &Source> {
        self.levels.iter().rev().flat_map(|level| &level.sources)
    }

    fn look_up(&mut self, named: &Named, in_condition: bool) {
        match named {
            Named::Anything => self.touch_all_in_sight(),
            Named::Star => {
                let own = self.levels.last().map(|level| level.sources.as_slice()).unwrap_or_default();
                let effects: Vec<Effect> = own.iter().flat_map(|source| source.effects.iter().cloned()).collect();
                self.touch(&effects, |touch| touch.all = true);
            }
            Named::Column(column) => {
                // A table's name as a value is its whole row.
                let whole = self.called(None, column).unwrap_or_default();
                self.touch(&whole, |touch| touch.all = true);
                self.anywhere(column, in_condition);
            }
            Named::Of(table, column) => match self.called(None, table) {
                Some(effects) => self.columns_of(&effects, column, in_condition),
                // A field of a column: which table has that column is not known.
                None => {
                    self.anywhere(table, in_condition);
                    self.anywhere(column, in_condition);
                }
            },
            Named::OfTable(schema, table, column) => match self.called(Some(schema), table) {
                Some(effects) => self.columns_of(&effects, column, in_condition),
                None => self.touch_all_in_sight(),
            },
            Named::StarOf(schema, table) => match self.called(schema.as_deref(), table) {
                Some(effects) => self.touch(&effects, |touch| touch.all = true),
                None => self.touch_all_in_sight(),
            },
        }
    }

    fn anywhere(&mut self, column: &str, in_condition: bool) {
        let effects: Vec<Effect> = self.sources().flat_map(|source| source.effects.iter().cloned()).collect();
        self.columns_of(&effects, column, in_condition);
    }

    fn columns_of(&mut self, effects: &[Effect], column: &str, in_condition: bool) {
        self.touch(effects, |touch| {
            touch.columns.insert(column.to_owned());
            if in_condition {
                touch.conditions.insert(column.to_owned());
            }
        });
    }

    /// The effects of what the innermost level that knows the name calls by it.
    fn called(&self, schema: Option<&str>, name: &str) -> Option<Vec<Effect>> {
        let is_called = |source: &&Source| {
            let same_schema = match (schema, source.schema.as_deref()) {
                (Some(wanted), Some(written)) => wanted == written,
                _ => true,
            };
            same_schema && source.names.iter().any(|known| known == name)
        };
        self.levels.iter().rev().find_map(|level| {
            let mut found = level.sources.iter().filter(is_called).peekable();
            found.peek()?;
            Some(found.flat_map(|source| source.effects.iter().cloned()).collect())
        })
    }
}

/// Tables out of sight.
#[derive(Debug)]
pub(super) struct Hidden(Vec<Source>);

/// Every effect that a statement may have on the table that it changes; those that it has not are nobody's.
fn any_change(object: &Object) -> Vec<Effect> {
    let actions = [Action::Select, Action::Insert, Action::Update, Action::Delete];
    let both = |action| [true, false].map(|has_where| Effect { action, object: Some(object.clone()), has_where });
    actions.into_iter().flat_map(both).collect()
}
