//! Statements that PostgreSQL's grammar reads and `sqlparser` does not: judged by that grammar alone.
//!
//! Promises: a statement is read here only if each of its nodes is on a list of nodes whose effects are known; every
//! table in it counts as read, wherever it stands and whatever common table expression has its name; a condition is
//! believed only for the table that a statement changes; all columns of a table count as touched. Commands, and what they
//! name otherwise than as a relation, are in `utility`.

use std::collections::{BTreeSet, HashSet};
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::objects::{object, parts, tagged};
use super::second::{self, alone_in_c, called};
use super::statement::Read;
use super::strings::Meant;
use super::utility;
use super::walk::{NotUnderstood, Result, Walk};
use crate::model::{Action, Effect, Kind, Object, ObjectKind};

pub(super) const NOT_ALONE: NotUnderstood = NotUnderstood("not in the parser's grammar");

/// The nodes of queries and of changes of rows; those of commands stand in `utility`. Not on it, and so not understood:
/// JSON constructors of newer servers, `PREPARE`, `EXECUTE`, `DO`.
const KNOWN: &[&str] = &[
    // Statements, and what they are made of.
    "SelectStmt InsertStmt UpdateStmt DeleteStmt MergeStmt CopyStmt ExplainStmt DefElem CommonTableExpr MergeWhenClause",
    "LockingClause ResTarget MultiAssignRef IndexElem SetToDefault GroupingSet SortBy WindowDef List",
    // What stands in FROM.
    "RangeVar RangeSubselect RangeFunction RangeTableSample RangeTableFunc RangeTableFuncCol JoinExpr ColumnDef",
    // Expressions.
    "AExpr AConst AStar AIndices AIndirection AArrayExpr BoolExpr BooleanTest NullTest CaseExpr CaseWhen CoalesceExpr",
    "CollateClause ColumnRef CurrentOfExpr FuncCall GroupingFunc MinMaxExpr NamedArgExpr ParamRef RowExpr SubLink",
    "SqlvalueFunction TypeCast TypeName XmlExpr XmlSerialize",
    // Values.
    "String Integer Float Boolean BitString Ival Fval Boolval Sval Bsval",
];

/// Statements whose relations are read, whatever else is done to them.
const QUERIES: &str = "SelectStmt InsertStmt UpdateStmt DeleteStmt MergeStmt CopyStmt TableLikeClause";

const READ: &[Action] = &[Action::Select];
const DEFINE: &[Action] = &[Action::Ddl];
const DEFINE_AND_FILL: &[Action] = &[Action::Ddl, Action::Insert];

fn is_known(tag: &str) -> bool {
    static ALL: LazyLock<HashSet<&str>> = LazyLock::new(|| {
        KNOWN.iter().chain([&utility::NODES]).flat_map(|tags| tags.split_ascii_whitespace()).collect()
    });
    ALL.contains(tag) || utility::meaning(tag).is_some()
}

/// Reads one statement.
pub(super) fn read(statement: &str, walk: &mut Walk) -> Result<Read> {
    let parsed = alone_in_c(|| pg_query::parse(statement, 0)).map_err(second::problem)?;
    let [only] = parsed.protobuf.stmts.as_slice() else { return Err(NOT_ALONE) };
    let Ok(tree) = serde_json::to_value(&only.stmt) else { return Err(NOT_ALONE) };
    let (tag, fields) = tree.get("node").and_then(tagged).ok_or(NOT_ALONE)?;
    let read = outermost(tag, fields).ok_or(refused(tag))?;
    let is_function = matches!(tag, "CreateFunctionStmt" | "AlterFunctionStmt");
    let mut gathered = Gathered {
        walk,
        is_function,
        noted: BTreeSet::new(),
        has_lock: false,
        copies: false,
        of_cursors: Vec::new(),
        fields: BTreeSet::new(),
    };
    gathered.tree(&tree)?;
    gathered.finish();
    Ok(read)
}

/// The kind, and the condition of the outermost statement itself.
fn outermost(tag: &str, fields: &Value) -> Option<Read> {
    let has_where = fields.get("where_clause").map(|clause| !clause.is_null());
    let (kind, has_where) = match tag {
        "SelectStmt" => (Kind::Select, has_where),
        "UpdateStmt" => (Kind::Update, has_where),
        "DeleteStmt" => (Kind::Delete, has_where),
        "InsertStmt" => (Kind::Insert, None),
        "MergeStmt" => (Kind::Merge, None),
        "CopyStmt" => (Kind::Copy, None),
        "ExplainStmt" => {
            let (tag, fields) = fields.get("query")?.get("node").and_then(tagged)?;
            (Kind::Explain, outermost(tag, fields)?.has_where)
        }
        command => (utility::meaning(command)?.0, None),
    };
    Some(Read { kind, has_where })
}

#[derive(Debug)]
pub(super) struct Gathered<'w> {
    pub(super) walk: &'w mut Walk,
    /// Whether the statement makes or alters a function.
    pub(super) is_function: bool,
    /// What is done to what.
    noted: BTreeSet<Effect>,
    has_lock: bool,
    /// Whether the rows of a query go out by COPY.
    copies: bool,
    /// Changes of the row that a cursor stands on.
    of_cursors: Vec<Effect>,
    /// Names behind a point: columns, or functions of a row (`o.touch` is `touch(o)`).
    fields: BTreeSet<String>,
}

/// A place in the tree, and what is done to a relation that stands there.
type Place<'v> = (&'v Value, &'static [Action]);

impl Gathered<'_> {
    /// Meets every node. They are kept on a list, not on the stack.
    fn tree(&mut self, tree: &Value) -> Result {
        let mut rest: Vec<Place<'_>> = vec![(tree, READ)];
        while let Some((value, does)) = rest.pop() {
            match value {
                Value::Array(values) => rest.extend(values.iter().map(|value| (value, does))),
                Value::Object(fields) => {
                    self.node(fields, does)?;
                    rest.extend(fields.iter().map(|(key, value)| (value, does_in(fields, key, does))));
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        Ok(())
    }

    /// A node by its tag (a key in capitals, where any node may stand) and by its fields (where only one kind may).
    fn node(&mut self, fields: &Map<String, Value>, does: &[Action]) -> Result {
        for (key, value) in fields {
            if is_tag(key) {
                if !is_known(key) {
                    return Err(refused(key));
                }
                self.tagged(key, value)?;
                if utility::meaning(key).is_some() {
                    self.command(key, value)?;
                }
            }
        }
        // Operators, where nothing else can stand.
        for operator in ["oper_name", "use_op"].iter().filter_map(|key| fields.get(*key)) {
            is_in_sight(operator)?;
        }
        if let Some(table) = table(fields) {
            does.iter().for_each(|action| self.note(*action, table.clone()));
        }
        if fields.contains_key("jumble_args") {
            self.setting(fields)?;
        }
        if fields.get("pct_type") == Some(&Value::Bool(true)) {
            // The type of a table's column.
            let name = parts(fields.get("names").ok_or(NOT_ALONE)?)?;
            let [table @ .., _] = name.as_slice() else { return Err(NOT_ALONE) };
            self.note(Action::Select, object(ObjectKind::Table, table)?);
        }
        if fields.contains_key("agg_star") {
            self.function_call(fields)?;
        }
        Ok(())
    }

    fn tagged(&mut self, tag: &str, fields: &Value) -> Result {
        match tag {
            "InsertStmt" | "UpdateStmt" | "DeleteStmt" | "MergeStmt" => self.change(tag, fields)?,
            "CopyStmt" => self.copy(fields)?,
            "LockingClause" => self.has_lock = true,
            "AExpr" => is_in_sight(fields.get("name").ok_or(NOT_ALONE)?)?,
            "ColumnRef" => {
                let behind = fields.get("fields").and_then(Value::as_array).into_iter().flatten().skip(1);
                self.fields.extend(behind.filter_map(text).map(str::to_owned));
            }
            "AIndirection" => {
                let behind = fields.get("indirection").and_then(Value::as_array).into_iter().flatten();
                self.fields.extend(behind.filter_map(text).map(str::to_owned));
            }
            "TypeCast" => {
                let names = fields.pointer("/type_name/names").and_then(Value::as_array);
                if names.and_then(|names| names.last()).and_then(text) == Some("regclass") {
                    let is_array = fields.pointer("/type_name/array_bounds/0").is_some();
                    let arg = fields.get("arg").unwrap_or(&Value::Null);
                    self.walk.table_meant(&if is_array { Meant::Unknown } else { meant(arg) }, "regclass");
                }
            }
            "DefElem" => self.sequence_option(fields)?,
            "CreateOpClassItem" if fields.get("itemtype").and_then(Value::as_i64) == Some(FUNCTION_OF_CLASS) => {
                // None if it is dropped by its number.
                if let name @ [_, ..] = parts(fields.get("name").unwrap_or(&Value::Null))?.as_slice() {
                    self.call(object(ObjectKind::Function, name)?);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The column that a sequence belongs to, and the sequence of a column.
    fn sequence_option(&mut self, option: &Value) -> Result {
        let arg = option.get("arg").unwrap_or(&Value::Null);
        match option.get("defname").and_then(Value::as_str) {
            Some("owned_by") => match parts(arg)?.as_slice() {
                // NONE
                [_] => {}
                [table @ .., _] => self.note(Action::Ddl, object(ObjectKind::Table, table)?),
                [] => return Err(NOT_ALONE),
            },
            Some("sequence_name") => self.note(Action::Ddl, object(ObjectKind::Table, &parts(arg)?)?),
            _ => {}
        }
        Ok(())
    }

    /// A change of rows.
    fn change(&mut self, tag: &str, fields: &Value) -> Result {
        let is_there = |key: &str| fields.get(key).is_some_and(|field| !field.is_null());
        let actions: &[Action] = match tag {
            "InsertStmt" if is_there("on_conflict_clause") => &[Action::Insert, Action::Update],
            "InsertStmt" => &[Action::Insert],
            "UpdateStmt" => &[Action::Update],
            "DeleteStmt" => &[Action::Delete],
            _ => &[Action::Insert, Action::Update, Action::Delete],
        };
        let target = fields.get("relation").and_then(Value::as_object).and_then(table).ok_or(NOT_ALONE)?;
        if target.name == "pg_settings" {
            // A setting that is changed through its view is changed all the same.
            self.walk.note_plain(Action::SetUnsafe);
        }
        let of_cursor = fields.pointer("/where_clause/node/CurrentOfExpr").is_some();
        for action in actions {
            let effect = Effect { action: *action, object: Some(target.clone()), has_where: is_there("where_clause") };
            if of_cursor {
                self.of_cursors.push(effect.clone());
            }
            self.noted.insert(effect);
        }
        Ok(())
    }

    /// `COPY`: rows out are also read, rows in are also added; files and programs are the server's own. Its condition
    /// chooses among rows of a file.
    fn copy(&mut self, fields: &Value) -> Result {
        let is_from = fields.get("is_from").and_then(Value::as_bool).ok_or(NOT_ALONE)?;
        if fields.get("filename").and_then(Value::as_str) != Some("")
            || fields.get("is_program").and_then(Value::as_bool) != Some(false)
        {
            self.walk.note_plain(Action::Admin);
        }
        match fields.get("relation").and_then(Value::as_object) {
            Some(relation) => {
                let target = table(relation).ok_or(NOT_ALONE)?;
                let actions: &[Action] = if is_from { &[Action::Insert, Action::CopyIn] } else { &[Action::CopyOut] };
                actions.iter().for_each(|action| self.note(*action, target.clone()));
            }
            None if is_from => return Err(NOT_ALONE),
            None => self.copies = true,
        }
        Ok(())
    }

    fn function_call(&mut self, fields: &Map<String, Value>) -> Result {
        /// The grammar makes such calls out of its own words (`EXTRACT`, `AT TIME ZONE`).
        const OWN_WORDS: i64 = 4;
        let function = object(ObjectKind::Function, &parts(fields.get("funcname").ok_or(NOT_ALONE)?)?)?;
        let args = fields.get("args").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        self.walk.named_by_call(&function, args.len(), &|at| args.get(at).map(meant));
        self.call(function.clone());
        if fields.get("funcformat").and_then(Value::as_i64) != Some(OWN_WORDS) {
            self.walk.name_function(&function);
        }
        Ok(())
    }

    /// A function that is called, now or by the server later on.
    pub(super) fn call(&mut self, function: Object) {
        called(function, &mut self.walk.effects, &mut self.walk.functions);
    }

    pub(super) fn note(&mut self, action: Action, object: Object) {
        self.noted.insert(Effect { action, object: Some(object), has_where: false });
    }

    /// Hands over what was found: with every table locked if any may be, and copied out if any is.
    fn finish(self) {
        let Self { walk, is_function: _, mut noted, has_lock, copies, of_cursors, fields } = self;
        let read: Vec<_> = noted.iter().filter(|effect| effect.action == Action::Select).cloned().collect();
        for (applies, action) in [(has_lock, Action::Update), (copies, Action::CopyOut)] {
            if applies {
                noted.extend(read.iter().map(|read| Effect { action, ..read.clone() }));
            }
        }
        for effect in &noted {
            // Which columns belong to which table is not looked at here.
            walk.columns.all_of(effect);
            walk.columns.fields_of(effect, &fields);
        }
        // The one row that the cursor stands on.
        of_cursors.iter().for_each(|effect| walk.columns.of_cursor(effect));
        walk.effects.extend(noted);
    }
}

/// What is done to relations in a field of a node.
fn does_in(fields: &Map<String, Value>, key: &str, does: &'static [Action]) -> &'static [Action] {
    /// Materialised views are filled by what defines them.
    const MATERIALISED_VIEW: i64 = pg_query::protobuf::ObjectType::ObjectMatview as i64;
    match key {
        "into_clause" => DEFINE_AND_FILL,
        "into" if fields.get("objtype").and_then(Value::as_i64) == Some(MATERIALISED_VIEW) => DEFINE,
        "into" => DEFINE_AND_FILL,
        tag if !is_tag(tag) => does,
        tag if QUERIES.split(' ').any(|query| query == tag) => READ,
        tag => utility::meaning(tag).map_or(does, |(_, does)| does),
    }
}

/// Why a node is not on the list.
fn refused(tag: &str) -> NotUnderstood {
    match tag {
        "DoStmt" => NotUnderstood("DO: its text runs at once, and not only SQL can stand there"),
        "ExecuteStmt" => NotUnderstood("EXECUTE: what was prepared is not in this text"),
        _ => NOT_ALONE,
    }
}

/// `OPCLASS_ITEM_FUNCTION`
const FUNCTION_OF_CLASS: i64 = 2;

fn is_tag(key: &str) -> bool {
    key.starts_with(|first: char| first.is_ascii_uppercase())
}

/// `OPERATOR(schema.+)` names an operator, and with it a function, outside of `pg_catalog`.
fn is_in_sight(operator: &Value) -> Result {
    match parts(operator)?.as_slice() {
        [] | [_] | ["pg_catalog", _] => Ok(()),
        _ => Err(NotUnderstood("an operator of a schema")),
    }
}

/// What stands where the name of a table or a setting is taken.
fn meant(node: &Value) -> Meant<'_> {
    let mut node = node;
    loop {
        match node.get("node").and_then(tagged) {
            Some(("TypeCast", cast)) => node = cast.get("arg").unwrap_or(&Value::Null),
            Some(("ColumnRef", _)) => return Meant::Column,
            Some(("AConst", value)) => {
                let text = value.pointer("/val/Sval/sval").and_then(Value::as_str);
                return text.map_or(Meant::Unknown, Meant::Text);
            }
            _ => return Meant::Unknown,
        }
    }
}

/// The table that a node names, if it is one that does.
fn table(fields: &Map<String, Value>) -> Option<Object> {
    fields.get("relpersistence")?;
    let part = |key: &str| fields.get(key).and_then(Value::as_str);
    Some(second::object(ObjectKind::Table, part("schemaname")?, part("relname")?))
}

/// The characters of a part of a name.
fn text(part: &Value) -> Option<&str> {
    part.get("node")?.get("String")?.get("sval")?.as_str()
}
