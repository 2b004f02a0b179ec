//! Commands on rights, roles, settings and transactions, and other commands of the session, in PostgreSQL's tree.
//!
//! Promises: those of `utility`, of which this is a part; a role without a name of its own is the right to manage roles at
//! all; a setting is judged as the first reader judges it (`session`).

use pg_query::protobuf::{ObjectType, TransactionStmtKind, VariableSetKind};
use serde_json::{Map, Value};

use super::alone::{Gathered, NOT_ALONE};
use super::objects::{self, parts, sort};
use super::second;
use super::utility::{field, list, number};
use super::walk::Result;
use crate::model::{Action, Object, ObjectKind};

impl Gathered<'_> {
    /// Rights and roles; whether it is such a command.
    pub(super) fn of_roles(&mut self, tag: &str, fields: &Value) -> Result<bool> {
        match tag {
            "GrantStmt" => self.grant(fields)?,
            "GrantRoleStmt" => {
                for granted in list(fields, "granted_roles") {
                    let name = granted.pointer("/node/AccessPriv/priv_name").unwrap_or(&Value::Null);
                    self.named(Action::Dcl, ObjectKind::Role, name)?;
                }
            }
            "CreateRoleStmt" => {
                self.named(Action::Dcl, ObjectKind::Role, field(fields, "role"))?;
                self.members(fields);
            }
            "AlterRoleStmt" => {
                self.role(field(fields, "role"));
                self.members(fields);
            }
            "AlterRoleSetStmt" => self.role(field(fields, "role")),
            "CreateUserMappingStmt" | "AlterUserMappingStmt" | "DropUserMappingStmt" => {
                self.role(field(fields, "user"))
            }
            "DropRoleStmt" | "DropOwnedStmt" => self.roles(list(fields, "roles")),
            "ReassignOwnedStmt" => {
                self.roles(list(fields, "roles"));
                self.role(field(fields, "newrole"));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(super) fn of_session(&mut self, tag: &str, fields: &Value) -> Result {
        match tag {
            "VacuumStmt" if list(fields, "rels").is_empty() => self.walk.note_plain(Action::Admin),
            // A schema, a database or all of it.
            "ReindexStmt" | "ClusterStmt" if field(fields, "relation").is_null() => {
                self.walk.note_plain(Action::Admin);
            }
            // It may stand between what clients send and what is read.
            "CreateConversionStmt" if field(fields, "def") == &Value::Bool(true) => {
                self.walk.note_plain(Action::SetUnsafe);
            }
            "TransactionStmt" => self.transaction(fields)?,
            "DiscardStmt" if number(fields, "target") == Some(1) => self.walk.set("all", None),
            "ConstraintsSetStmt" => self.walk.set("constraints", None),
            "UnlistenStmt" => self.walk.set("listen", None),
            "VariableShowStmt" => {
                let name = field(fields, "name").as_str().ok_or(NOT_ALONE)?.to_ascii_lowercase();
                self.note(Action::Session, Object { kind: ObjectKind::Setting, schema: None, name });
            }
            "CallStmt" => {
                let name = parts(fields.pointer("/funccall/funcname").ok_or(NOT_ALONE)?)?;
                self.note(Action::Call, objects::object(ObjectKind::Function, &name)?);
            }
            _ => {}
        }
        Ok(())
    }

    fn grant(&mut self, fields: &Value) -> Result {
        const OBJECT: i64 = 1;
        const ALL_IN_SCHEMA: i64 = 2;
        let objects = list(fields, "objects");
        let kind = match (number(fields, "targtype"), sort(fields, "objtype")?) {
            (Some(ALL_IN_SCHEMA), _) => ObjectKind::Schema,
            // They were met as relations.
            (Some(OBJECT), ObjectType::ObjectTable | ObjectType::ObjectSequence) => return Ok(()),
            (Some(OBJECT), ObjectType::ObjectFunction | ObjectType::ObjectProcedure | ObjectType::ObjectRoutine) => {
                ObjectKind::Function
            }
            (Some(OBJECT), ObjectType::ObjectSchema) => ObjectKind::Schema,
            (Some(OBJECT), ObjectType::ObjectDatabase) => ObjectKind::Database,
            // Objects without a kind of their own: the right to grant at all.
            _ => {
                self.walk.note_plain(Action::Dcl);
                return Ok(());
            }
        };
        objects.iter().try_for_each(|object| self.named(Action::Dcl, kind, object))
    }

    /// Roles that become members, or that one becomes a member of.
    fn members(&mut self, fields: &Value) {
        for option in list(fields, "options").iter().filter_map(|option| option.pointer("/node/DefElem/arg")) {
            self.roles(option.pointer("/node/List/items").and_then(Value::as_array).map_or(&[], Vec::as_slice));
        }
    }

    fn roles(&mut self, roles: &[Value]) {
        roles.iter().for_each(|role| self.role(role.pointer("/node/RoleSpec").unwrap_or(&Value::Null)));
    }

    /// A role; the right to manage roles at all if it is none with a name (`CURRENT_USER`, `ALL`).
    fn role(&mut self, role: &Value) {
        match role.get("rolename").and_then(Value::as_str) {
            Some(name) if !name.is_empty() => {
                self.note(Action::Dcl, second::object(ObjectKind::Role, "", name));
            }
            _ => self.walk.note_plain(Action::Dcl),
        }
    }

    fn transaction(&mut self, fields: &Value) -> Result {
        use TransactionStmtKind as Does;
        let kind = number(fields, "kind").and_then(|kind| i32::try_from(kind).ok()).ok_or(NOT_ALONE)?;
        match Does::try_from(kind) {
            Ok(Does::TransStmtPrepare | Does::TransStmtCommitPrepared | Does::TransStmtRollbackPrepared) => {
                // It outlives the session, and may be another one's.
                self.walk.note_plain(Action::Admin);
            }
            Ok(Does::Undefined) | Err(_) => return Err(NOT_ALONE),
            Ok(_) => {}
        }
        // READ WRITE lifts what holds the session back; READ ONLY only holds it. Of several, the last one counts.
        let options = list(fields, "options").iter().filter_map(|option| option.pointer("/node/DefElem"));
        let mut accesses = options.filter(|option| field(option, "defname") == "transaction_read_only");
        let lifts =
            |option: &Value| option.pointer("/arg/node/AConst/val/Ival/ival").and_then(Value::as_i64) != Some(1);
        if accesses.any(lifts) {
            self.walk.set("transaction_read_only", None);
        }
        Ok(())
    }

    /// `SET`, `RESET`, and the settings of functions, roles and databases.
    pub(super) fn setting(&mut self, fields: &Map<String, Value>) -> Result {
        use VariableSetKind as Way;
        let name = fields.get("name").and_then(Value::as_str).ok_or(NOT_ALONE)?.to_ascii_lowercase();
        let way = fields.get("kind").and_then(Value::as_i64).and_then(|way| i32::try_from(way).ok());
        let args = fields.get("args").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        match way.and_then(|way| Way::try_from(way).ok()).ok_or(NOT_ALONE)? {
            // A function's setting is set whenever it is called; which value is good is not looked at.
            Way::VarSetValue | Way::VarSetDefault | Way::VarSetCurrent if self.is_function => {
                self.walk.set(&name, None);
            }
            Way::VarSetValue => {
                let value = match args {
                    [only] => only.pointer("/node/AConst/val/Sval/sval").and_then(Value::as_str),
                    _ => None,
                };
                self.walk.set(&name, value);
            }
            Way::VarSetDefault => self.walk.set(&name, Some("default")),
            Way::VarSetCurrent => self.walk.set(&name, None),
            Way::VarReset if ["role", "session_authorization", "transaction_read_only"].contains(&name.as_str()) => {
                self.walk.set(&name, None);
            }
            // Back to the value the session began with, which the recorder saw.
            Way::VarReset => self.note(Action::Session, Object { kind: ObjectKind::Setting, schema: None, name }),
            Way::VarResetAll => self.walk.set("all", None),
            Way::VarSetMulti => {
                self.walk.note_plain(Action::Session);
                let prefix = match name.as_str() {
                    "transaction" => "",
                    "session characteristics" => "default_",
                    "transaction snapshot" => return Ok(()),
                    _ => return Err(NOT_ALONE),
                };
                let modes = args.iter().map(|mode| mode.pointer("/node/DefElem/defname").and_then(Value::as_str));
                for mode in modes {
                    self.walk.set(&format!("{prefix}{}", mode.ok_or(NOT_ALONE)?), None);
                }
            }
            Way::Undefined => return Err(NOT_ALONE),
        }
        Ok(())
    }
}
