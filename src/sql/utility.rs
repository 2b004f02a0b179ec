//! Commands that PostgreSQL's grammar reads: what each does beside what it does to the relations in it.
//!
//! Promises: a command has its row in [`COMMANDS`] or is not understood; each relation in a command has the command's
//! actions, wherever it stands, and one in a query of the command is read (`alone` meets them all); what is named in any
//! other form is named here. Where the first reader reads the same command, both give the same effects
//! (`utility_tests`).
//!
//! Not here, and so not understood: `DO`, whose text runs at once and is in a language that nobody reads; `PREPARE` and
//! `EXECUTE`, which have a registry of their own. Bodies of functions that are text are judged by nobody but the database;
//! those in SQL (`BEGIN ATOMIC`) are walked like any query.
//!
//! # Why a table over the tree, and not one arm per type of statement
//!
//! A `match` over the structures of `pg_query` with every field spelled out would make a new field an error of the
//! compiler. It would also be some 1,500 lines, of which nearly all say "walk on". Here the walk meets every field
//! without being told, and the table says only what a field means that is no relation, function or query: what is
//! forgotten in it is a name too few and never a table or a call too few.

use std::collections::HashMap;
use std::sync::LazyLock;

use pg_query::protobuf::ObjectType;
use serde_json::Value;

use super::alone::{Gathered, NOT_ALONE};
use super::objects::{self, addressed, parts, sort};
use super::second;
use super::walk::Result;
use crate::model::{Action, Kind, ObjectKind};

/// What a command is, and what it does to each relation in it that is not in a query.
type Meaning = (Kind, &'static [Action]);

const DDL: &[Action] = &[Action::Ddl];

/// Rows of a published table stream to whoever subscribes.
const PUBLISH: &[Action] = &[Action::Ddl, Action::Select, Action::CopyOut];

/// Every command that is understood.
const COMMANDS: &[(Kind, &[Action], &str)] = &[
    // What relations are and what belongs to them.
    (
        Kind::Ddl,
        DDL,
        "CreateStmt CreateForeignTableStmt CreateTableAsStmt ViewStmt IndexStmt CreateSeqStmt CreateStatsStmt",
    ),
    (Kind::Ddl, DDL, "AlterTableStmt AlterSeqStmt AlterStatsStmt AlterTableMoveAllStmt RuleStmt CreateTrigStmt"),
    (Kind::Ddl, DDL, "CreatePolicyStmt AlterPolicyStmt ImportForeignSchemaStmt"),
    // What has any sort.
    (Kind::Ddl, DDL, "DropStmt CommentStmt RenameStmt AlterObjectSchemaStmt AlterObjectDependsStmt AlterOwnerStmt"),
    (Kind::Ddl, DDL, "DefineStmt CreateSchemaStmt CreateExtensionStmt AlterExtensionStmt AlterExtensionContentsStmt"),
    // Functions, and what calls them.
    (Kind::Ddl, DDL, "CreateFunctionStmt AlterFunctionStmt CreateEventTrigStmt AlterEventTrigStmt CreatePlangStmt"),
    (Kind::Ddl, DDL, "CreateCastStmt CreateTransformStmt CreateConversionStmt CreateAmStmt AlterOperatorStmt"),
    (Kind::Ddl, DDL, "CreateOpClassStmt CreateOpFamilyStmt AlterOpFamilyStmt"),
    // Types and text search.
    (Kind::Ddl, &[], "CompositeTypeStmt"),
    (Kind::Ddl, DDL, "CreateEnumStmt CreateRangeStmt CreateDomainStmt AlterEnumStmt AlterTypeStmt AlterDomainStmt"),
    (Kind::Ddl, DDL, "AlterCollationStmt AlterTsdictionaryStmt AlterTsconfigurationStmt"),
    // Databases, files and other servers.
    (Kind::Ddl, DDL, "CreatedbStmt DropdbStmt AlterDatabaseStmt AlterDatabaseRefreshCollStmt AlterDatabaseSetStmt"),
    (Kind::Ddl, DDL, "CreateTableSpaceStmt DropTableSpaceStmt AlterTableSpaceOptionsStmt CreateFdwStmt AlterFdwStmt"),
    (Kind::Ddl, DDL, "CreateForeignServerStmt AlterForeignServerStmt CreateSubscriptionStmt AlterSubscriptionStmt"),
    (Kind::Ddl, DDL, "DropSubscriptionStmt"),
    (Kind::Ddl, PUBLISH, "CreatePublicationStmt AlterPublicationStmt"),
    // Rights and roles.
    (Kind::Dcl, &[Action::Dcl], "GrantStmt GrantRoleStmt AlterDefaultPrivilegesStmt SecLabelStmt"),
    (Kind::Dcl, &[Action::Dcl], "CreateRoleStmt AlterRoleStmt AlterRoleSetStmt DropRoleStmt"),
    (Kind::Dcl, &[Action::Dcl], "DropOwnedStmt ReassignOwnedStmt"),
    (Kind::Dcl, &[Action::Dcl], "CreateUserMappingStmt AlterUserMappingStmt DropUserMappingStmt"),
    // The server and the session. SET CONSTRAINTS names constraints in the form of relations.
    (Kind::Truncate, &[Action::Delete], "TruncateStmt"),
    (Kind::Admin, &[Action::Admin], "ClusterStmt ReindexStmt VacuumStmt LockStmt RefreshMatViewStmt CheckPointStmt"),
    (Kind::Admin, &[Action::Admin], "LoadStmt AlterSystemStmt ListenStmt NotifyStmt"),
    (Kind::Session, &[], "VariableSetStmt VariableShowStmt DiscardStmt ConstraintsSetStmt UnlistenStmt"),
    (Kind::Transaction, &[], "TransactionStmt"),
    (Kind::Cursor, &[], "DeclareCursorStmt FetchStmt ClosePortalStmt"),
    (Kind::Call, &[], "CallStmt"),
];

/// Nodes that only commands have.
pub(super) const NODES: &str = "AccessPriv AlterTableCmd AtalterConstraint Constraint CreateOpClassItem \
    FunctionParameter ObjectWithArgs PartitionBoundSpec PartitionCmd PartitionElem PartitionRangeDatum PartitionSpec \
    PublicationObjSpec PublicationTable ReplicaIdentityStmt ReturnStmt RoleSpec StatsElem TableLikeClause \
    TriggerTransition VacuumRelation";

/// What a command is; nothing if it is not understood.
pub(super) fn meaning(tag: &str) -> Option<Meaning> {
    static ALL: LazyLock<HashMap<&str, Meaning>> = LazyLock::new(|| {
        let rows = COMMANDS.iter().flat_map(|(kind, does, tags)| tags.split(' ').map(|tag| (tag, (*kind, *does))));
        rows.collect()
    });
    ALL.get(tag).copied()
}

/// What a command does that has no object of its own.
const PLAIN: &[(Action, &str)] = &[
    // Files and programs of the server, other servers, and what everybody in it shares.
    (
        Action::Admin,
        "CreateForeignTableStmt ImportForeignSchemaStmt CreateFdwStmt AlterFdwStmt CreateForeignServerStmt",
    ),
    (Action::Admin, "AlterForeignServerStmt CreateSubscriptionStmt AlterSubscriptionStmt DropSubscriptionStmt"),
    (Action::Admin, "CreatePublicationStmt AlterPublicationStmt AlterTableMoveAllStmt LoadStmt AlterSystemStmt"),
    (Action::Admin, "CreateTableSpaceStmt DropTableSpaceStmt AlterTableSpaceOptionsStmt"),
    (Action::Admin, "CheckPointStmt ListenStmt NotifyStmt"),
    // Whatever a role owns, and every table of a tablespace.
    (Action::Ddl, "DropOwnedStmt ReassignOwnedStmt AlterTableMoveAllStmt"),
    (Action::Dcl, "AlterDefaultPrivilegesStmt"),
    (Action::Session, "TransactionStmt DeclareCursorStmt FetchStmt ClosePortalStmt ConstraintsSetStmt DiscardStmt"),
];

/// The fields by which commands name what they define, alter and drop.
const DEFINED: &[(ObjectKind, &str, &str)] = &[
    (ObjectKind::Function, "funcname", "CreateFunctionStmt"),
    (ObjectKind::Function, "func", "AlterFunctionStmt"),
    (ObjectKind::Other, "type_name", "CreateEnumStmt CreateRangeStmt AlterEnumStmt AlterTypeStmt AlterDomainStmt"),
    (ObjectKind::Other, "type_name", "CreateTransformStmt"),
    (ObjectKind::Other, "sourcetype", "CreateCastStmt"),
    (ObjectKind::Other, "targettype", "CreateCastStmt"),
    (ObjectKind::Other, "domainname", "CreateDomainStmt"),
    (ObjectKind::Other, "opclassname", "CreateOpClassStmt"),
    (ObjectKind::Other, "opfamilyname", "CreateOpClassStmt CreateOpFamilyStmt AlterOpFamilyStmt"),
    (ObjectKind::Other, "opername", "AlterOperatorStmt"),
    (ObjectKind::Other, "defnames", "CreateStatsStmt AlterStatsStmt"),
    (ObjectKind::Other, "collname", "AlterCollationStmt"),
    (ObjectKind::Other, "conversion_name", "CreateConversionStmt"),
    (ObjectKind::Other, "dictname", "AlterTsdictionaryStmt"),
    (ObjectKind::Other, "cfgname", "AlterTsconfigurationStmt"),
    (ObjectKind::Other, "extname", "CreateExtensionStmt AlterExtensionStmt AlterExtensionContentsStmt"),
    (ObjectKind::Other, "extname", "AlterObjectDependsStmt"),
    (ObjectKind::Other, "fdwname", "CreateFdwStmt AlterFdwStmt CreateForeignServerStmt"),
    (ObjectKind::Other, "servername", "CreateForeignServerStmt AlterForeignServerStmt CreateForeignTableStmt"),
    (ObjectKind::Other, "servername", "CreateUserMappingStmt AlterUserMappingStmt DropUserMappingStmt"),
    (ObjectKind::Other, "server_name", "ImportForeignSchemaStmt"),
    (ObjectKind::Other, "amname", "CreateAmStmt"),
    (ObjectKind::Other, "trigname", "CreateEventTrigStmt AlterEventTrigStmt"),
    (ObjectKind::Other, "plname", "CreatePlangStmt"),
    (ObjectKind::Other, "tablespacename", "CreateTableSpaceStmt DropTableSpaceStmt AlterTableSpaceOptionsStmt"),
    (ObjectKind::Other, "pubname", "CreatePublicationStmt AlterPublicationStmt"),
    (ObjectKind::Other, "subname", "CreateSubscriptionStmt AlterSubscriptionStmt DropSubscriptionStmt"),
    (ObjectKind::Schema, "local_schema", "ImportForeignSchemaStmt"),
    (ObjectKind::Schema, "newschema", "AlterObjectSchemaStmt"),
    (ObjectKind::Database, "dbname", "CreatedbStmt DropdbStmt AlterDatabaseStmt AlterDatabaseRefreshCollStmt"),
    (ObjectKind::Database, "dbname", "AlterDatabaseSetStmt"),
];

/// The fields by which commands name functions that the server will call.
const CALLED: &[(&str, &str)] = &[
    ("funcname", "CreateTrigStmt CreateEventTrigStmt"),
    ("handler_name", "CreateAmStmt"),
    ("plhandler", "CreatePlangStmt"),
    ("plinline", "CreatePlangStmt"),
    ("plvalidator", "CreatePlangStmt"),
    ("func_name", "CreateConversionStmt"),
    ("func", "CreateCastStmt"),
    ("fromsql", "CreateTransformStmt"),
    ("tosql", "CreateTransformStmt"),
];

/// The lists of options in which a value may be the name of a function that the server will call.
const CALLED_IN: &[(&str, &str)] = &[
    ("definition", "DefineStmt"),
    ("params", "CreateRangeStmt"),
    ("options", "AlterTypeStmt AlterOperatorStmt CreateFunctionStmt"),
    ("actions", "AlterFunctionStmt"),
    ("func_options", "CreateFdwStmt AlterFdwStmt"),
];

/// Options in those lists whose value is none: types, operators, words and constants. Any other option's value is a
/// function.
const NO_FUNCTION: &str = "basetype stype stype1 sspace mstype msspace initcond initcond1 minitcond sortop parallel \
    hypothetical finalfunc_extra mfinalfunc_extra finalfunc_modify mfinalfunc_modify \
    leftarg rightarg commutator negator hashes merges sort1 sort2 ltcmp gtcmp \
    like element category alignment storage delimiter collatable default internallength passedbyvalue preferred \
    subtype subtype_opclass collation multirange_type_name \
    as language transform window volatility strict security leakproof set cost rows";

/// Whether what is defined by a list of options is made of functions. Options of a dictionary are the dictionary's own.
fn has_functions(sort: ObjectType) -> bool {
    use ObjectType as Sort;
    !matches!(sort, Sort::ObjectCollation | Sort::ObjectTsdictionary | Sort::ObjectTsconfiguration)
}

fn is_one_of(words: &str, word: &str) -> bool {
    words.split_ascii_whitespace().any(|known| known == word)
}

impl Gathered<'_> {
    /// What a command does beside what it does to relations and queries in it.
    pub(super) fn command(&mut self, tag: &str, fields: &Value) -> Result {
        PLAIN.iter().filter(|(_, tags)| is_one_of(tags, tag)).for_each(|(action, _)| self.walk.note_plain(*action));
        for (kind, key, _) in DEFINED.iter().filter(|(_, _, tags)| is_one_of(tags, tag)) {
            self.named(Action::Ddl, *kind, field(fields, key))?;
        }
        for (key, _) in CALLED.iter().filter(|(_, tags)| is_one_of(tags, tag)) {
            self.will_call(field(fields, key))?;
        }
        for (key, _) in CALLED_IN.iter().filter(|(_, tags)| is_one_of(tags, tag)) {
            if tag != "DefineStmt" || has_functions(sort(fields, "kind")?) {
                self.options_call(list(fields, key))?;
            }
        }
        match tag {
            "DefineStmt" => self.define(fields),
            "CreateFunctionStmt" => self.function(fields),
            "CompositeTypeStmt" => self.relation_as(ObjectKind::Other, field(fields, "typevar")),
            "AlterTableStmt" => self.alter_table(fields),
            "RenameStmt" => self.rename(fields),
            "CreateSchemaStmt" => self.schema(fields),
            "ImportForeignSchemaStmt" => self.import(fields),
            "DropStmt" => {
                let sort = sort(fields, "remove_type")?;
                list(fields, "objects").iter().try_for_each(|object| self.addressed(Action::Ddl, sort, object))
            }
            "CommentStmt" => self.addressed(Action::Ddl, sort(fields, "objtype")?, field(fields, "object")),
            "SecLabelStmt" => self.addressed(Action::Dcl, sort(fields, "objtype")?, field(fields, "object")),
            "AlterExtensionContentsStmt" => {
                self.addressed(Action::Ddl, sort(fields, "objtype")?, field(fields, "object"))
            }
            "AlterObjectSchemaStmt" | "AlterObjectDependsStmt" | "AlterOwnerStmt" => self.altered(fields),
            "CreatedbStmt" => self.template(fields),
            "CreatePublicationStmt" | "AlterPublicationStmt" => self.publish(fields),
            _ if self.of_roles(tag, fields)? => Ok(()),
            _ => self.of_session(tag, fields),
        }
    }

    /// Notes an action on what is named, if anything is.
    pub(super) fn named(&mut self, action: Action, kind: ObjectKind, name: &Value) -> Result {
        match parts(name)?.as_slice() {
            [] => Ok(()),
            parts => {
                self.note(action, objects::object(kind, parts)?);
                Ok(())
            }
        }
    }

    fn addressed(&mut self, action: Action, sort: ObjectType, named: &Value) -> Result {
        // Roles are managed, not defined.
        let action = if sort == ObjectType::ObjectRole { Action::Dcl } else { action };
        addressed(sort, named)?.into_iter().for_each(|object| self.note(action, object));
        Ok(())
    }

    fn will_call(&mut self, name: &Value) -> Result {
        match parts(name)?.as_slice() {
            [] => Ok(()),
            parts => {
                self.call(objects::object(ObjectKind::Function, parts)?);
                Ok(())
            }
        }
    }

    /// Functions that are named as values of options.
    fn options_call(&mut self, options: &[Value]) -> Result {
        for option in options.iter().filter_map(|option| option.pointer("/node/DefElem")) {
            let name = field(option, "defname").as_str().unwrap_or_default();
            let value = field(option, "arg");
            let is_name = value.get("node").and_then(objects::tagged);
            let is_name = is_name.is_some_and(|(tag, _)| matches!(tag, "String" | "List" | "TypeName"));
            if is_name && !is_one_of(NO_FUNCTION, name) {
                self.will_call(value)?;
            }
        }
        Ok(())
    }

    /// Aggregates, operators, types, text search and collations.
    fn define(&mut self, fields: &Value) -> Result {
        let kind = match sort(fields, "kind")? {
            ObjectType::ObjectAggregate => ObjectKind::Function,
            _ => ObjectKind::Other,
        };
        self.named(Action::Ddl, kind, field(fields, "defnames"))
    }

    /// Code of the server's own machine is more than a function's.
    fn function(&mut self, fields: &Value) -> Result {
        let language = option(list(fields, "options"), "language").map(parts).transpose()?.unwrap_or_default();
        if language.iter().any(|language| is_one_of("c internal", &language.to_ascii_lowercase())) {
            self.walk.note_plain(Action::Admin);
        }
        Ok(())
    }

    /// Indexes and composite types are altered as if they were tables. Options of a foreign table say what of which other
    /// server it stands for.
    fn alter_table(&mut self, fields: &Value) -> Result {
        let of_another_server = |command: &Value| {
            let subtype = command.pointer("/node/AlterTableCmd/subtype").and_then(Value::as_i64);
            let subtype = subtype.and_then(|subtype| i32::try_from(subtype).ok());
            use pg_query::protobuf::AlterTableType as Type;
            subtype.is_none_or(|subtype| {
                matches!(
                    Type::try_from(subtype),
                    Ok(Type::AtGenericOptions | Type::AtAlterColumnGenericOptions) | Err(_)
                )
            })
        };
        if list(fields, "cmds").iter().any(of_another_server) {
            self.walk.note_plain(Action::Admin);
        }
        match sort(fields, "objtype")? {
            ObjectType::ObjectIndex | ObjectType::ObjectType => {
                self.relation_as(ObjectKind::Other, field(fields, "relation"))
            }
            _ => Ok(()),
        }
    }

    /// Both names: under the new one it is found from now on.
    fn rename(&mut self, fields: &Value) -> Result {
        let sort = sort(fields, "rename_type")?;
        let (old, new) = (field(fields, "subname"), field(fields, "newname"));
        let relation = field(fields, "relation");
        match sort {
            // The server renames a table by ALTER INDEX, too.
            ObjectType::ObjectTable
            | ObjectType::ObjectView
            | ObjectType::ObjectMatview
            | ObjectType::ObjectSequence
            | ObjectType::ObjectForeignTable
            | ObjectType::ObjectIndex => {
                if sort == ObjectType::ObjectIndex {
                    self.relation_as(ObjectKind::Other, relation)?;
                }
                let schema = relation.get("schemaname").and_then(Value::as_str).ok_or(NOT_ALONE)?;
                let new = new.as_str().ok_or(NOT_ALONE)?;
                self.note(Action::Ddl, second::object(ObjectKind::Table, schema, new));
            }
            ObjectType::ObjectAttribute => self.relation_as(ObjectKind::Other, relation)?,
            ObjectType::ObjectColumn
            | ObjectType::ObjectTabconstraint
            | ObjectType::ObjectTrigger
            | ObjectType::ObjectRule
            | ObjectType::ObjectPolicy => {
                if relation.is_null() {
                    return Err(NOT_ALONE);
                }
            }
            ObjectType::ObjectRole
            | ObjectType::ObjectSchema
            | ObjectType::ObjectDatabase
            | ObjectType::ObjectTablespace => {
                let (action, kind) = match sort {
                    ObjectType::ObjectRole => (Action::Dcl, ObjectKind::Role),
                    ObjectType::ObjectSchema => (Action::Ddl, ObjectKind::Schema),
                    ObjectType::ObjectDatabase => (Action::Ddl, ObjectKind::Database),
                    _ => (Action::Ddl, ObjectKind::Other),
                };
                self.named(action, kind, old)?;
                self.named(action, kind, new)?;
            }
            // `ALTER DOMAIN d RENAME CONSTRAINT …`: the domain is the object.
            ObjectType::ObjectDomconstraint => self.named(Action::Ddl, ObjectKind::Other, field(fields, "object"))?,
            _ => self.addressed(Action::Ddl, sort, field(fields, "object"))?,
        }
        Ok(())
    }

    /// `ALTER … SET SCHEMA`, `OWNER TO`, `DEPENDS ON EXTENSION`: of a relation, which was met, or of another object.
    fn altered(&mut self, fields: &Value) -> Result {
        let (sort, relation) = (sort(fields, "object_type")?, field(fields, "relation"));
        match sort {
            _ if relation.is_null() => self.addressed(Action::Ddl, sort, field(fields, "object")),
            ObjectType::ObjectIndex => self.relation_as(ObjectKind::Other, relation),
            _ => Ok(()),
        }
    }

    /// What is created together with a schema is created in it, though its name says nothing of that.
    fn schema(&mut self, fields: &Value) -> Result {
        let name = match field(fields, "schemaname").as_str() {
            Some("") | None => fields.pointer("/authrole/rolename").and_then(Value::as_str).unwrap_or_default(),
            Some(name) => name,
        };
        if name.is_empty() {
            // `AUTHORIZATION CURRENT_USER`
            self.walk.note_plain(Action::Ddl);
        } else {
            self.note(Action::Ddl, second::object(ObjectKind::Schema, "", name));
        }
        let elements = list(fields, "schema_elts").iter();
        for (tag, element) in elements.filter_map(|element| element.get("node").and_then(objects::tagged)) {
            let own = ["relation", "view", "sequence"].iter().filter_map(|key| element.get(*key));
            let granted = list(element, "objects").iter().filter_map(|object| object.pointer("/node/RangeVar"));
            let action = if tag == "GrantStmt" { Action::Dcl } else { Action::Ddl };
            for relation in own.chain(granted) {
                let part = |key: &str| relation.get(key).and_then(Value::as_str).unwrap_or_default();
                if part("schemaname").is_empty() && !part("relname").is_empty() {
                    self.note(action, second::object(ObjectKind::Table, name, part("relname")));
                }
            }
        }
        Ok(())
    }

    /// Tables are made here under their names there.
    fn import(&mut self, fields: &Value) -> Result {
        let schema = field(fields, "local_schema").as_str().ok_or(NOT_ALONE)?;
        for table in list(fields, "table_list") {
            let name = table.pointer("/node/RangeVar/relname").and_then(Value::as_str).ok_or(NOT_ALONE)?;
            self.note(Action::Ddl, second::object(ObjectKind::Table, schema, name));
        }
        Ok(())
    }

    /// Every table of a schema, or of the database, under a name that none has; single ones were met as relations.
    fn publish(&mut self, fields: &Value) -> Result {
        if field(fields, "for_all_tables") == &Value::Bool(true) {
            self.publish_all_of("");
        }
        for published in list(fields, "pubobjects") {
            let published = published.pointer("/node/PublicationObjSpec").ok_or(NOT_ALONE)?;
            if field(published, "pubtable").is_null() {
                let schema = field(published, "name").as_str().ok_or(NOT_ALONE)?;
                self.publish_all_of(schema);
                if !schema.is_empty() {
                    self.note(Action::Ddl, second::object(ObjectKind::Schema, "", schema));
                }
            }
        }
        Ok(())
    }

    fn publish_all_of(&mut self, schema: &str) {
        for action in [Action::Select, Action::CopyOut] {
            self.note(action, second::object(ObjectKind::Table, schema, "*"));
        }
    }

    /// A database is made as the copy of another.
    fn template(&mut self, fields: &Value) -> Result {
        match option(list(fields, "options"), "template") {
            Some(template) => self.named(Action::Ddl, ObjectKind::Database, template),
            None => Ok(()),
        }
    }

    /// A relation that is none: an index, or a type.
    fn relation_as(&mut self, kind: ObjectKind, relation: &Value) -> Result {
        let part = |key: &str| relation.get(key).and_then(Value::as_str).ok_or(NOT_ALONE);
        self.note(Action::Ddl, second::object(kind, part("schemaname")?, part("relname")?));
        Ok(())
    }
}

/// A field of a node; null if it is not there.
pub(super) fn field<'v>(fields: &'v Value, key: &str) -> &'v Value {
    fields.get(key).unwrap_or(&Value::Null)
}

/// The values of a field that is a list.
pub(super) fn list<'v>(fields: &'v Value, key: &str) -> &'v [Value] {
    fields.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The number that a field is.
pub(super) fn number(fields: &Value, key: &str) -> Option<i64> {
    fields.get(key).and_then(Value::as_i64)
}

/// The value of an option, if it is there.
pub(super) fn option<'v>(options: &'v [Value], name: &str) -> Option<&'v Value> {
    let mut options = options.iter().filter_map(|option| option.pointer("/node/DefElem"));
    options.find(|option| field(option, "defname") == name).map(|option| field(option, "arg"))
}
