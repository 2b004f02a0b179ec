//! Settings, transactions, maintenance and rights: statements about the session and the server.

use sqlparser::ast::{
    AlterRoleOperation, CreateRole, DiscardObject, Expr, GrantObjects, ObjectName, Reset, ResetConfig, Set,
    SetConfigValue, Statement, TransactionAccessMode, TransactionMode,
};

use super::expr::text_of;
use super::names;
use super::walk::{NotUnderstood, Result, Walk};
use crate::model::{Action, Kind, Object, ObjectKind};

/// Whether setting this may end that the session is read-only.
pub(super) fn lifts_read_only(name: &str, value: Option<&str>) -> bool {
    matches!(name, "transaction_read_only" | "default_transaction_read_only") && !value.is_some_and(is_on)
}

/// What the server takes for `on`.
fn is_on(value: &str) -> bool {
    ["on", "true", "yes", "1", "t", "y", "tr", "tru", "ye"].iter().any(|on| value.eq_ignore_ascii_case(on))
}

/// Whether a setting changes how text is read or who the session is. Values that leave both as they must be are safe.
pub(super) fn is_unsafe(name: &str, value: Option<&str>) -> bool {
    let value = value.map(str::to_ascii_lowercase);
    let is = |words: &[&str]| value.as_deref().is_some_and(|value| words.contains(&value));
    match name {
        "role" | "session_authorization" | "backslash_quote" => true,
        "standard_conforming_strings" => !value.as_deref().is_some_and(is_on),
        "client_encoding" | "names" => !is(&["utf8", "utf-8", "unicode"]),
        _ => false,
    }
}

impl Walk {
    /// Statements about the session, the server and rights; `None` if it is another one.
    pub(super) fn command(&mut self, statement: &Statement) -> Result<Option<Kind>> {
        let kind = match statement {
            Statement::Set(set) => self.set_statement(set).map(|()| Kind::Session)?,
            Statement::Reset(reset) => {
                match &reset.reset {
                    Reset::ALL => self.every_setting(),
                    Reset::SessionAuthorization => self.set("session_authorization", None),
                    Reset::ConfigurationParameter(name) => self.reset(name)?,
                }
                Kind::Session
            }
            Statement::ShowVariable { variable } => {
                let name: Vec<_> = variable.iter().map(|part| part.value.to_ascii_lowercase()).collect();
                let object = Object { kind: ObjectKind::Setting, schema: None, name: name.join(".") };
                self.note(Action::Session, object, false);
                Kind::Session
            }
            Statement::Discard { object_type: DiscardObject::ALL } => {
                self.every_setting();
                self.session(Kind::Session)
            }
            Statement::Discard { .. } => self.session(Kind::Session),
            Statement::StartTransaction {
                statements, exception: None, has_end_keyword: false, modifier: None, ..
            } if statements.is_empty() => self.session(Kind::Transaction),
            Statement::Commit { modifier: None, .. } | Statement::Rollback { .. } => self.session(Kind::Transaction),
            Statement::Savepoint { .. } | Statement::ReleaseSavepoint { .. } => self.session(Kind::Transaction),
            Statement::Analyze(analyze) if analyze.partitions.is_none() => {
                self.maintain(analyze.table_name.as_ref())?
            }
            Statement::Vacuum(vacuum) => self.maintain(vacuum.table_name.as_ref())?,
            Statement::RefreshMaterializedView(refresh) => self.maintain(Some(&refresh.name))?,
            Statement::Lock(lock) => {
                lock.tables.iter().try_for_each(|target| self.table(Action::Admin, &target.name, false))?;
                Kind::Admin
            }
            Statement::LISTEN { .. } | Statement::NOTIFY { .. } => self.maintain(None)?,
            Statement::Grant(grant) => self.rights(grant.objects.as_ref())?,
            Statement::Revoke(revoke) => self.rights(revoke.objects.as_ref())?,
            Statement::GrantRole(grant) => self.roles(grant.roles.iter()),
            Statement::RevokeRole(revoke) => self.roles(revoke.roles.iter()),
            Statement::AlterDefaultPrivileges(_) => self.rights(None)?,
            Statement::CreateRole(create) => {
                for name in &create.names {
                    self.note(Action::Dcl, names::object(ObjectKind::Role, name)?, false);
                }
                // Those that it becomes a member of, and those that become members of it.
                let CreateRole { in_role, in_group, role, user, admin, .. } = create;
                self.roles([in_role, in_group, role, user, admin].into_iter().flatten())
            }
            Statement::AlterRole { name, operation } => {
                self.note(Action::Dcl, names::plain(ObjectKind::Role, name), false);
                self.role_setting(operation)?;
                Kind::Dcl
            }
            _ => return Ok(None),
        };
        Ok(Some(kind))
    }

    fn set_statement(&mut self, set: &Set) -> Result {
        match set {
            Set::SingleAssignment { scope: _, hivevar: false, variable, values } => {
                self.exprs(values)?;
                let value = match values.as_slice() {
                    [only] => word_of(only),
                    _ => None,
                };
                self.set(&names::setting(variable)?, value);
            }
            Set::SetRole { .. } => self.set("role", None),
            Set::SetSessionAuthorization(_) => self.set("session_authorization", None),
            Set::SetTimeZone { local: _, value } => {
                self.expr(value)?;
                self.set("timezone", None);
            }
            Set::SetNames { charset_name, collation_name: None } => {
                self.set("client_encoding", Some(&charset_name.value))
            }
            Set::SetTransaction { modes, snapshot: _, session } => {
                self.note_plain(Action::Session);
                modes.iter().for_each(|mode| self.transaction_mode(mode, *session));
            }
            _ => return Err(NotUnderstood("a SET of another database")),
        }
        Ok(())
    }

    /// `RESET ALL`, `DISCARD ALL`: every setting, under a name that none has.
    fn every_setting(&mut self) {
        self.set("all", None);
    }

    /// A mode is a setting: of this transaction, or of all that follow.
    fn transaction_mode(&mut self, mode: &TransactionMode, is_for_session: bool) {
        let (name, value) = match mode {
            TransactionMode::AccessMode(TransactionAccessMode::ReadOnly) => ("transaction_read_only", Some("on")),
            TransactionMode::AccessMode(TransactionAccessMode::ReadWrite) => ("transaction_read_only", None),
            TransactionMode::IsolationLevel(_) => ("transaction_isolation", None),
        };
        let prefix = if is_for_session { "default_" } else { "" };
        self.set(&format!("{prefix}{name}"), value);
    }

    /// Back to the value the session began with, which the recorder saw; the role it began with is not known to it.
    pub(super) fn reset(&mut self, name: &ObjectName) -> Result {
        let name = names::setting(name)?;
        match name.as_str() {
            // A transaction has no value that it began with: servers before 16 reset it to reading and writing.
            "role" | "session_authorization" | "transaction_read_only" => self.set(&name, None),
            _ => self.note(Action::Session, Object { kind: ObjectKind::Setting, schema: None, name }, false),
        }
        Ok(())
    }

    fn maintain(&mut self, table: Option<&ObjectName>) -> Result<Kind> {
        match table {
            Some(table) => self.table(Action::Admin, table, false)?,
            None => self.note_plain(Action::Admin),
        }
        Ok(Kind::Admin)
    }

    fn roles<'a>(&mut self, roles: impl Iterator<Item = &'a sqlparser::ast::Ident>) -> Kind {
        roles.for_each(|role| self.note(Action::Dcl, names::plain(ObjectKind::Role, role), false));
        Kind::Dcl
    }

    fn rights(&mut self, objects: Option<&GrantObjects>) -> Result<Kind> {
        let (kind, names) = match objects {
            Some(GrantObjects::Tables(names) | GrantObjects::Sequences(names) | GrantObjects::Views(names)) => {
                (ObjectKind::Table, names)
            }
            Some(GrantObjects::Schemas(names)) => (ObjectKind::Schema, names),
            Some(GrantObjects::Databases(names)) => (ObjectKind::Database, names),
            Some(
                GrantObjects::AllTablesInSchema { schemas }
                | GrantObjects::AllSequencesInSchema { schemas }
                | GrantObjects::AllFunctionsInSchema { schemas }
                | GrantObjects::AllProceduresInSchema { schemas }
                | GrantObjects::AllRoutinesInSchema { schemas },
            ) => (ObjectKind::Schema, schemas),
            Some(
                GrantObjects::Functions(functions)
                | GrantObjects::Procedures(functions)
                | GrantObjects::Routines(functions),
            ) => {
                for function in functions {
                    self.note(Action::Dcl, names::object(ObjectKind::Function, &function.name)?, false);
                }
                return Ok(Kind::Dcl);
            }
            // Membership of roles, default rights and objects without a kind of their own: the right to grant at all.
            Some(_) | None => {
                self.note_plain(Action::Dcl);
                return Ok(Kind::Dcl);
            }
        };
        for name in names {
            self.note(Action::Dcl, names::object(kind, name)?, false);
        }
        Ok(Kind::Dcl)
    }

    /// `ALTER ROLE r SET x`: takes hold in a later session, where nobody would see it being set.
    fn role_setting(&mut self, operation: &AlterRoleOperation) -> Result {
        match operation {
            AlterRoleOperation::Set { config_name, config_value, .. } => {
                let value = match config_value {
                    SetConfigValue::Value(value) => {
                        self.expr(value)?;
                        word_of(value)
                    }
                    SetConfigValue::Default | SetConfigValue::FromCurrent => None,
                };
                self.set(&names::setting(config_name)?, value);
            }
            AlterRoleOperation::Reset { config_name: ResetConfig::ConfigName(name), .. } => self.reset(name)?,
            AlterRoleOperation::Reset { config_name: ResetConfig::ALL, .. } => self.every_setting(),
            AlterRoleOperation::RenameRole { role_name: other }
            | AlterRoleOperation::AddMember { member_name: other }
            | AlterRoleOperation::DropMember { member_name: other } => {
                self.note(Action::Dcl, names::plain(ObjectKind::Role, other), false);
            }
            AlterRoleOperation::WithOptions { .. } => {}
        }
        Ok(())
    }
}

/// The word or string that an expression is.
fn word_of(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Identifier(name) => Some(&name.value),
        Expr::Value(value) => text_of(&value.value),
        _ => None,
    }
}
