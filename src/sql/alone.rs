//! Queries that PostgreSQL's grammar reads and `sqlparser` does not: judged by that grammar alone.
//!
//! Promises: a statement is read here only if each of its nodes is on a list of nodes whose effects are known; every
//! table in it counts as read, wherever it stands and whatever common table expression has its name; a condition is
//! believed only for the table that a statement changes. What is not a query, a change of rows or a `COPY` of a table is
//! not read here.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::second::{self, alone_in_c, called};
use super::statement::Read;
use super::walk::{NotUnderstood, Result, Walk};
use crate::model::{Action, Effect, Kind, Object, ObjectKind};

const NOT_ALONE: NotUnderstood = NotUnderstood("not in the parser's grammar");

/// The nodes of queries and of changes of rows, except those that create (`INTO`) or name operators of a schema, which
/// are looked at one by one. Not on it, and so not understood: JSON constructors of newer servers, every command.
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

/// Reads one statement.
pub(super) fn read(statement: &str, walk: &mut Walk) -> Result<Read> {
    let parsed = alone_in_c(|| pg_query::parse(statement, 0)).map_err(second::problem)?;
    let [only] = parsed.protobuf.stmts.as_slice() else { return Err(NOT_ALONE) };
    let Ok(tree) = serde_json::to_value(&only.stmt) else { return Err(NOT_ALONE) };
    let read = outermost(&tree).ok_or(NOT_ALONE)?;
    let mut gathered = Gathered::default();
    gathered.tree(&tree)?;
    gathered.hand_over(walk);
    Ok(read)
}

/// The kind, and the condition of the outermost statement itself.
fn outermost(tree: &Value) -> Option<Read> {
    let (tag, fields) = tree.get("node")?.as_object()?.iter().next()?;
    let has_where = fields.get("where_clause").map(|clause| !clause.is_null());
    let (kind, has_where) = match tag.as_str() {
        "SelectStmt" => (Kind::Select, has_where),
        "UpdateStmt" => (Kind::Update, has_where),
        "DeleteStmt" => (Kind::Delete, has_where),
        "InsertStmt" => (Kind::Insert, None),
        "MergeStmt" => (Kind::Merge, None),
        "CopyStmt" => (Kind::Copy, None),
        "ExplainStmt" => (Kind::Explain, outermost(fields.get("query")?)?.has_where),
        _ => return None,
    };
    Some(Read { kind, has_where })
}

#[derive(Debug, Default)]
struct Gathered {
    effects: BTreeSet<Effect>,
    functions: BTreeSet<String>,
    has_lock: bool,
    /// Changes of the row that a cursor stands on.
    of_cursors: Vec<Effect>,
}

impl Gathered {
    /// Meets every node. They are kept on a list, not on the stack.
    fn tree(&mut self, tree: &Value) -> Result {
        let mut rest = vec![tree];
        while let Some(value) = rest.pop() {
            match value {
                Value::Array(values) => rest.extend(values),
                Value::Object(fields) => {
                    self.node(fields)?;
                    rest.extend(fields.values());
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        Ok(())
    }

    /// A node by its tag (a key in capitals, where any node may stand) and by its fields (where only one kind may).
    fn node(&mut self, fields: &Map<String, Value>) -> Result {
        for (key, value) in fields {
            if key.starts_with(|first: char| first.is_ascii_uppercase()) {
                if !KNOWN.iter().any(|tags| tags.split(' ').any(|tag| tag == key)) {
                    return Err(NOT_ALONE);
                }
                self.tagged(key, value)?;
            }
        }
        let creates = fields.get("into_clause").is_some_and(|into| !into.is_null());
        let qualifies = |key: &str| fields.get(key).and_then(Value::as_array).is_some_and(|parts| parts.len() > 1);
        if creates || qualifies("oper_name") || qualifies("use_op") {
            return Err(NOT_ALONE);
        }
        if let Some(table) = table(fields) {
            self.note(Action::Select, table, false);
        }
        if let Some(name) = fields.get("funcname") {
            let parts: Vec<&str> = name.as_array().into_iter().flatten().filter_map(text).collect();
            let function = match parts.as_slice() {
                [name] => second::object(ObjectKind::Function, "", name),
                [schema, name] | [_, schema, name] => second::object(ObjectKind::Function, schema, name),
                _ => return Err(NOT_ALONE),
            };
            called(function, &mut self.effects, &mut self.functions);
        }
        Ok(())
    }

    fn tagged(&mut self, tag: &str, fields: &Value) -> Result {
        let is_there = |key: &str| fields.get(key).is_some_and(|field| !field.is_null());
        let is = |key: &str, value: &Value| fields.get(key) == Some(value);
        let actions: &[Action] = match tag {
            "InsertStmt" if is_there("on_conflict_clause") => &[Action::Insert, Action::Update],
            "InsertStmt" => &[Action::Insert],
            "UpdateStmt" => &[Action::Update],
            "DeleteStmt" => &[Action::Delete],
            "MergeStmt" => &[Action::Insert, Action::Update, Action::Delete],
            "CopyStmt"
                if is_there("query") || !is("filename", &Value::from("")) || !is("is_program", &Value::from(false)) =>
            {
                // Files and programs are the server's own; and the rows of a query go out, each table's.
                return Err(NOT_ALONE);
            }
            "CopyStmt" if is("is_from", &Value::from(false)) => &[Action::CopyOut],
            "CopyStmt" => &[Action::Insert, Action::CopyIn],
            "LockingClause" => {
                self.has_lock = true;
                return Ok(());
            }
            "AExpr" if fields.get("name").and_then(Value::as_array).is_none_or(|parts| parts.len() != 1) => {
                return Err(NOT_ALONE);
            }
            _ => return Ok(()),
        };
        let target = fields.get("relation").and_then(Value::as_object).and_then(table).ok_or(NOT_ALONE)?;
        if target.name == "pg_settings" {
            // A setting that is changed through its view is changed all the same.
            self.effects.insert(Effect { action: Action::SetUnsafe, object: None, has_where: false });
        }
        let of_cursor = fields.pointer("/where_clause/node/CurrentOfExpr").is_some();
        for action in actions {
            if of_cursor {
                self.of_cursors.push(Effect { action: *action, object: Some(target.clone()), has_where: true });
            }
            // The condition of a COPY chooses among rows of a file.
            self.note(*action, target.clone(), is_there("where_clause") && tag != "CopyStmt");
        }
        Ok(())
    }

    fn note(&mut self, action: Action, object: Object, has_where: bool) {
        self.effects.insert(Effect { action, object: Some(object), has_where });
    }

    /// What was found, with every table locked if any may be.
    fn hand_over(self, walk: &mut Walk) {
        let Self { effects, functions, has_lock, of_cursors } = self;
        for effect in of_cursors {
            // The one row that the cursor stands on; which of its columns are touched is not looked at here.
            walk.columns.all_of(&effect);
            walk.columns.of_cursor(&effect);
        }
        if has_lock {
            let read = effects.iter().filter(|effect| effect.action == Action::Select);
            walk.effects.extend(read.map(|read| Effect { action: Action::Update, ..read.clone() }));
        }
        walk.effects.extend(effects);
        walk.functions.extend(functions);
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
