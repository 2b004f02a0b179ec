//! Definitions: what they define, alter and drop, and what they read on the way.
//!
//! Tables that a definition ties itself to (REFERENCES, INHERITS, PARTITION OF) are altered by it, so they count as
//! defined too. Bodies of functions are strings: what they do is judged by nobody but the database.

use sqlparser::ast::{
    AlterColumnOperation, AlterFunction, AlterFunctionAction, AlterFunctionOperation, AlterIndexOperation, AlterSchema,
    AlterSchemaOperation, AlterTable, AlterTableOperation, AlterView, AlterViewOperation, ColumnDef, ColumnOption,
    CommentObject, CreateFunction, CreateFunctionBody, CreateIndex, CreateTable, CreateTableLikeKind, CreateTrigger,
    CreateView, Expr, ForValues, FunctionDesc, IndexColumn, ObjectName, ObjectType, OperateFunctionArg,
    PartitionBoundValue, RenameTableNameKind, ResetConfig, SchemaName, SequenceOptions, SqlOption, Statement,
    TableConstraint, UserDefinedTypeRepresentation, Value,
};

use super::walk::{NotUnderstood, Result, Walk};
use super::{Dialect, names};
use crate::model::{Action, Kind, Object, ObjectKind};

pub(super) const NOT_READ: NotUnderstood = NotUnderstood("a definition of this sort");

impl Walk {
    /// A definition. One that is not listed is not understood.
    pub(super) fn definition(&mut self, statement: &Statement) -> Result<Kind> {
        match statement {
            Statement::CreateTable(create) => self.create_table(create)?,
            Statement::CreateView(create) => self.create_view(create)?,
            Statement::CreateIndex(create) => self.create_index(create)?,
            Statement::CreateFunction(create) => self.create_function(create)?,
            Statement::CreateTrigger(create) => self.create_trigger(create)?,
            Statement::CreateSchema { schema_name, clone: None, default_collate_spec: None, .. } => match schema_name {
                SchemaName::Simple(name) | SchemaName::NamedAuthorization(name, _) => {
                    self.ddl(ObjectKind::Schema, name)?
                }
                SchemaName::UnnamedAuthorization(role) => {
                    self.note(Action::Ddl, names::plain(ObjectKind::Schema, role), false);
                }
            },
            Statement::CreateSequence { name, sequence_options, .. } => {
                self.ddl(ObjectKind::Table, name)?;
                self.sequence(sequence_options)?;
            }
            Statement::CreateDatabase { db_name, clone: None, .. } => self.ddl(ObjectKind::Database, db_name)?,
            Statement::CreateExtension(create) => {
                self.note(Action::Ddl, names::plain(ObjectKind::Other, &create.name), false);
            }
            Statement::DropExtension(drop) => {
                for name in &drop.names {
                    self.note(Action::Ddl, names::plain(ObjectKind::Other, name), false);
                }
            }
            // Types of other forms are made of functions, which the second reader names.
            Statement::CreateType {
                name,
                representation:
                    None
                    | Some(UserDefinedTypeRepresentation::Composite { .. } | UserDefinedTypeRepresentation::Enum { .. }),
            } => self.ddl(ObjectKind::Other, name)?,
            Statement::CreateDomain(create) => {
                self.ddl(ObjectKind::Other, &create.name)?;
                self.maybe(create.default.as_ref())?;
                self.constraints(&create.constraints)?;
            }
            Statement::DropDomain(drop) => self.ddl(ObjectKind::Other, &drop.name)?,
            Statement::AlterType(alter) => self.ddl(ObjectKind::Other, &alter.name)?,
            Statement::AlterIndex { name, operation: AlterIndexOperation::RenameIndex { index_name } } => {
                // The server renames a table by this, too.
                self.ddl(ObjectKind::Other, name)?;
                self.renamed(name, index_name)?;
            }
            Statement::AlterSchema(alter) => self.alter_schema(alter)?,
            Statement::AlterTable(alter) => self.alter_table(alter)?,
            Statement::AlterView(alter) => self.alter_view(alter)?,
            Statement::AlterFunction(alter) => self.alter_function(alter)?,
            Statement::CreatePolicy(create) => {
                self.ddl(ObjectKind::Table, &create.table_name)?;
                self.maybe(create.using.as_ref())?;
                self.maybe(create.with_check.as_ref())?;
            }
            Statement::DropPolicy(drop) => self.ddl(ObjectKind::Table, &drop.table_name)?,
            Statement::AlterTrigger(alter) => self.ddl(ObjectKind::Table, &alter.table_name)?,
            Statement::DropRule(drop) => self.ddl(ObjectKind::Table, &drop.table_name)?,
            Statement::DropTrigger(drop) => match &drop.table_name {
                Some(table) => self.ddl(ObjectKind::Table, table)?,
                None => return Err(NOT_READ),
            },
            Statement::DropFunction(drop) => self.functions(&drop.func_desc)?,
            Statement::DropProcedure { proc_desc, .. } => self.functions(proc_desc)?,
            Statement::Drop { object_type, names, table, .. } => return self.drop(*object_type, names, table.as_ref()),
            Statement::Comment { object_type, object_name, .. } => self.comment(object_type, object_name)?,
            _ => return Err(NOT_READ),
        }
        Ok(Kind::Ddl)
    }

    fn alter_schema(&mut self, alter: &AlterSchema) -> Result {
        self.ddl(ObjectKind::Schema, &alter.name)?;
        alter.operations.iter().try_for_each(|operation| match operation {
            AlterSchemaOperation::Rename { name } => self.ddl(ObjectKind::Schema, name),
            _ => Ok(()),
        })
    }

    fn alter_view(&mut self, alter: &AlterView) -> Result {
        self.ddl(ObjectKind::Table, &alter.name)?;
        match &alter.operation {
            AlterViewOperation::As { query, .. } => self.query(query),
            AlterViewOperation::AlterColumn { op, .. } => self.alter_column(op),
            AlterViewOperation::SetOptions { options } => self.sql_options(options),
            AlterViewOperation::RenameTo { new_name } => self.renamed(&alter.name, new_name),
            AlterViewOperation::SetSchema { schema_name } => self.ddl(ObjectKind::Schema, schema_name),
            _ => Ok(()),
        }
    }

    fn create_table(&mut self, create: &CreateTable) -> Result {
        let other = create.clone.is_some() || create.version.is_some() || create.order_by.is_some();
        if other || create.primary_key.is_some() || create.cluster_by.is_some() || create.distkey.is_some() {
            return Err(NOT_READ);
        }
        self.ddl(ObjectKind::Table, &create.name)?;
        self.columns(&create.columns)?;
        self.constraints(&create.constraints)?;
        self.options(&create.table_options)?;
        if let Some(CreateTableLikeKind::Parenthesized(like) | CreateTableLikeKind::Plain(like)) = &create.like {
            self.table(Action::Select, &like.name, false)?;
        }
        for parent in create.inherits.iter().flatten().chain(&create.partition_of) {
            self.ddl(ObjectKind::Table, parent)?;
        }
        self.for_values(create.for_values.as_ref())?;
        self.maybe(create.partition_by.as_deref())?;
        match &create.query {
            Some(query) => {
                self.table(Action::Insert, &create.name, false)?;
                self.query(query)
            }
            None => Ok(()),
        }
    }

    fn for_values(&mut self, values: Option<&ForValues>) -> Result {
        match values {
            None | Some(ForValues::Default | ForValues::With { .. }) => Ok(()),
            Some(ForValues::In(exprs)) => self.exprs(exprs),
            Some(ForValues::From { from, to }) => from.iter().chain(to).try_for_each(|bound| match bound {
                PartitionBoundValue::Expr(expr) => self.expr(expr),
                PartitionBoundValue::MinValue | PartitionBoundValue::MaxValue => Ok(()),
            }),
        }
    }

    fn columns(&mut self, columns: &[ColumnDef]) -> Result {
        for ColumnDef { name, data_type, options } in columns {
            if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("like") {
                // A table that this one is made like: the parser takes it for a column with that name.
                return Err(NOT_READ);
            }
            self.data_type(data_type)?;
            options.iter().try_for_each(|option| self.column_option(&option.option))?;
        }
        Ok(())
    }

    fn column_option(&mut self, option: &ColumnOption) -> Result {
        match option {
            ColumnOption::Null | ColumnOption::NotNull | ColumnOption::Collation(_) | ColumnOption::Comment(_) => {
                Ok(())
            }
            ColumnOption::PrimaryKey(_) | ColumnOption::Unique(_) => Ok(()),
            ColumnOption::Default(expr) => self.expr(expr),
            ColumnOption::Check(check) => self.expr(&check.expr),
            ColumnOption::ForeignKey(key) => self.ddl(ObjectKind::Table, &key.foreign_table),
            ColumnOption::Generated { sequence_options, generation_expr, .. } => {
                self.sequence(sequence_options.as_deref().unwrap_or_default())?;
                self.maybe(generation_expr.as_ref())
            }
            ColumnOption::DialectSpecific(_) | ColumnOption::CharacterSet(_) | ColumnOption::Identity(_)
                if self.dialect != Dialect::PostgreSql =>
            {
                Ok(())
            }
            ColumnOption::OnUpdate(expr) if self.dialect == Dialect::MySql => self.expr(expr),
            _ => Err(NOT_READ),
        }
    }

    fn constraints(&mut self, constraints: &[TableConstraint]) -> Result {
        for constraint in constraints {
            match constraint {
                TableConstraint::Unique(unique) => self.index_columns(&unique.columns)?,
                TableConstraint::PrimaryKey(key) => self.index_columns(&key.columns)?,
                TableConstraint::ForeignKey(key) => self.ddl(ObjectKind::Table, &key.foreign_table)?,
                TableConstraint::Check(check) => self.expr(&check.expr)?,
                TableConstraint::PrimaryKeyUsingIndex(_) | TableConstraint::UniqueUsingIndex(_) => {}
                TableConstraint::Exclude(exclude) => {
                    exclude
                        .elements
                        .iter()
                        .try_for_each(|element| self.index_columns(std::slice::from_ref(&element.column)))?;
                    self.maybe(exclude.where_clause.as_deref())?;
                }
                TableConstraint::Index(index) if self.dialect == Dialect::MySql => {
                    self.index_columns(&index.columns)?
                }
                TableConstraint::FulltextOrSpatial(index) if self.dialect == Dialect::MySql => {
                    self.index_columns(&index.columns)?;
                }
                TableConstraint::Index(_) | TableConstraint::FulltextOrSpatial(_) => return Err(NOT_READ),
            }
        }
        Ok(())
    }

    fn index_columns(&mut self, columns: &[IndexColumn]) -> Result {
        columns.iter().try_for_each(|column| self.ordered(std::slice::from_ref(&column.column)))
    }

    fn sequence(&mut self, options: &[SequenceOptions]) -> Result {
        options.iter().try_for_each(|option| match option {
            SequenceOptions::IncrementBy(expr, _) | SequenceOptions::StartWith(expr, _) => self.expr(expr),
            SequenceOptions::MinValue(expr) | SequenceOptions::MaxValue(expr) => self.maybe(expr.as_ref()),
            SequenceOptions::Cache(expr) => self.expr(expr),
            SequenceOptions::OwnedBy(Some(column)) => self.column_of_table(column),
            SequenceOptions::DataType(_) | SequenceOptions::Cycle(_) | SequenceOptions::OwnedBy(None) => Ok(()),
        })
    }

    /// Options in parentheses.
    pub(super) fn sql_options(&mut self, options: &[SqlOption]) -> Result {
        options.iter().try_for_each(|option| match option {
            option if self.dialect == Dialect::MySql => self.option_of_mysql(option),
            SqlOption::KeyValue { key: _, value } => self.expr(value),
            SqlOption::Ident(_) => Ok(()),
            _ => Err(NOT_READ),
        })
    }

    fn create_view(&mut self, create: &CreateView) -> Result {
        if create.to.is_some() {
            return Err(NOT_READ);
        }
        self.ddl(ObjectKind::Table, &create.name)?;
        self.options(&create.options)?;
        self.query(&create.query)
    }

    fn create_index(&mut self, create: &CreateIndex) -> Result {
        if !create.alter_options.is_empty() {
            return Err(NOT_READ);
        }
        self.ddl(ObjectKind::Table, &create.table_name)?;
        self.index_columns(&create.columns)?;
        self.exprs(&create.with)?;
        self.maybe(create.predicate.as_ref())
    }

    fn create_function(&mut self, create: &CreateFunction) -> Result {
        self.ddl(ObjectKind::Function, &create.name)?;
        self.function_args(create.args.as_deref().unwrap_or_default())?;
        for parameter in &create.set_params {
            self.set(&names::setting(&parameter.name)?, None);
        }
        if let Some(language) = &create.language
            && ["c", "internal"].iter().any(|own| language.value.eq_ignore_ascii_case(own))
        {
            // Code of the server's own machine is more than a function's.
            self.note_plain(Action::Admin);
        }
        let is_text = |expr: &Expr| {
            let text = |value: &Value| matches!(value, Value::SingleQuotedString(_) | Value::DollarQuotedString(_));
            matches!(expr, Expr::Value(value) if text(&value.value))
        };
        match &create.function_body {
            None => Ok(()),
            Some(CreateFunctionBody::AsBeforeOptions { body, link_symbol: None }) if is_text(body) => Ok(()),
            Some(CreateFunctionBody::AsAfterOptions(body)) if is_text(body) => Ok(()),
            Some(CreateFunctionBody::Return(expr)) => self.expr(expr),
            Some(_) => Err(NOT_READ),
        }
    }

    fn function_args(&mut self, args: &[OperateFunctionArg]) -> Result {
        args.iter().try_for_each(|arg| self.maybe(arg.default_expr.as_ref()))
    }

    /// A relation that has another name from now on, in the same schema.
    fn renamed(&mut self, from: &ObjectName, to: &ObjectName) -> Result {
        let from = names::object(ObjectKind::Table, from)?;
        let to = names::object(ObjectKind::Table, to)?;
        self.note(Action::Ddl, Object { schema: from.schema.clone(), ..to }, false);
        self.note(Action::Ddl, from, false);
        Ok(())
    }

    /// The table of a column.
    fn column_of_table(&mut self, name: &ObjectName) -> Result {
        let parts = names::idents(name)?;
        let [table @ .., _] = parts.as_slice() else { return Err(NOT_READ) };
        if table.is_empty() {
            return Err(NOT_READ);
        }
        self.note(Action::Ddl, names::object_of(ObjectKind::Table, table)?, false);
        Ok(())
    }

    /// What the function does, or as whom, may become another thing by a setting.
    fn alter_function(&mut self, alter: &AlterFunction) -> Result {
        self.functions(std::slice::from_ref(&alter.function))?;
        match &alter.operation {
            AlterFunctionOperation::RenameTo { .. } | AlterFunctionOperation::OwnerTo(_) => Ok(()),
            AlterFunctionOperation::SetSchema { schema_name } => self.ddl(ObjectKind::Schema, schema_name),
            AlterFunctionOperation::DependsOnExtension { extension_name, .. } => {
                self.ddl(ObjectKind::Other, extension_name)
            }
            AlterFunctionOperation::Actions { actions, restrict: _ } => {
                for action in actions {
                    match action {
                        AlterFunctionAction::Set(parameter) => self.set(&names::setting(&parameter.name)?, None),
                        AlterFunctionAction::Reset(ResetConfig::ConfigName(name)) => self.reset(name)?,
                        AlterFunctionAction::Reset(ResetConfig::ALL) => self.set("all", None),
                        AlterFunctionAction::Support(function) => {
                            self.call(names::object(ObjectKind::Function, function)?);
                        }
                        AlterFunctionAction::Cost(expr) | AlterFunctionAction::Rows(expr) => self.expr(expr)?,
                        AlterFunctionAction::CalledOnNull(_)
                        | AlterFunctionAction::Behavior(_)
                        | AlterFunctionAction::Leakproof(_)
                        | AlterFunctionAction::Security { .. }
                        | AlterFunctionAction::Parallel(_) => {}
                    }
                }
                Ok(())
            }
        }
    }

    fn functions(&mut self, functions: &[FunctionDesc]) -> Result {
        functions.iter().try_for_each(|function| self.ddl(ObjectKind::Function, &function.name))
    }

    fn create_trigger(&mut self, create: &CreateTrigger) -> Result {
        if create.statements.is_some() {
            return Err(NOT_READ);
        }
        self.ddl(ObjectKind::Table, &create.table_name)?;
        self.maybe(create.condition.as_ref())?;
        if let Some(table) = &create.referenced_table_name {
            self.ddl(ObjectKind::Table, table)?;
        }
        if let Some(body) = &create.exec_body {
            self.call(names::object(ObjectKind::Function, &body.func_desc.name)?);
        }
        Ok(())
    }

    fn alter_table(&mut self, alter: &AlterTable) -> Result {
        if alter.location.is_some() || alter.on_cluster.is_some() {
            return Err(NOT_READ);
        }
        self.ddl(ObjectKind::Table, &alter.name)?;
        for operation in &alter.operations {
            if let AlterTableOperation::RenameTable {
                table_name: RenameTableNameKind::To(name) | RenameTableNameKind::As(name),
            } = operation
            {
                self.renamed(&alter.name, name)?;
            }
            self.alter_operation(operation)?;
        }
        Ok(())
    }

    fn alter_operation(&mut self, operation: &AlterTableOperation) -> Result {
        use AlterTableOperation as Op;
        match operation {
            Op::AddConstraint { constraint, .. } => self.constraints(std::slice::from_ref(constraint)),
            Op::AddColumn { column_def, .. } => self.columns(std::slice::from_ref(column_def)),
            Op::AlterColumn { op, .. } => self.alter_column(op),
            Op::AttachPartitionOf { partition, for_values } => {
                self.ddl(ObjectKind::Table, partition)?;
                self.for_values(Some(for_values))
            }
            Op::DetachPartitionOf { partition: table, .. } | Op::Inherit { parent: table } => {
                self.ddl(ObjectKind::Table, table)
            }
            Op::NoInherit { parent } => self.ddl(ObjectKind::Table, parent),
            Op::SetOptionsParens { options } => self.sql_options(options),
            Op::RenameTable { table_name: RenameTableNameKind::To(to) | RenameTableNameKind::As(to) }
                if self.dialect != Dialect::PostgreSql =>
            {
                self.ddl(ObjectKind::Table, to)
            }
            Op::DropConstraint { .. } | Op::DropColumn { .. } | Op::RenameColumn { .. } | Op::RenameTable { .. } => {
                Ok(())
            }
            Op::RenameConstraint { .. } | Op::OwnerTo { .. } | Op::ValidateConstraint { .. } => Ok(()),
            Op::ReplicaIdentity { .. } | Op::SetLogged | Op::SetUnlogged | Op::ResetOptions { .. } => Ok(()),
            Op::EnableRowLevelSecurity | Op::DisableRowLevelSecurity => Ok(()),
            Op::ForceRowLevelSecurity | Op::NoForceRowLevelSecurity => Ok(()),
            Op::EnableTrigger { .. } | Op::DisableTrigger { .. } | Op::EnableAlwaysTrigger { .. } => Ok(()),
            Op::EnableRule { .. } | Op::DisableRule { .. } | Op::EnableAlwaysRule { .. } => Ok(()),
            _ => Err(NOT_READ),
        }
    }

    fn alter_column(&mut self, operation: &AlterColumnOperation) -> Result {
        match operation {
            AlterColumnOperation::SetNotNull
            | AlterColumnOperation::DropNotNull
            | AlterColumnOperation::DropDefault => Ok(()),
            AlterColumnOperation::SetDefault { value } => self.expr(value),
            AlterColumnOperation::SetDataType { data_type, using, had_set: _ } => {
                self.data_type(data_type)?;
                self.maybe(using.as_ref())
            }
            AlterColumnOperation::AddGenerated { sequence_options, .. } => {
                self.sequence(sequence_options.as_deref().unwrap_or_default())
            }
            AlterColumnOperation::GenericOptions { .. } => Err(NOT_READ),
        }
    }

    fn drop(&mut self, what: ObjectType, names: &[ObjectName], table: Option<&ObjectName>) -> Result<Kind> {
        let kind = match what {
            ObjectType::Table | ObjectType::ForeignTable | ObjectType::View => ObjectKind::Table,
            ObjectType::MaterializedView | ObjectType::Sequence => ObjectKind::Table,
            ObjectType::Schema => ObjectKind::Schema,
            ObjectType::Database => ObjectKind::Database,
            ObjectType::Index | ObjectType::Type | ObjectType::Collation => ObjectKind::Other,
            ObjectType::Role | ObjectType::User | ObjectType::Group => {
                for name in names {
                    self.note(Action::Dcl, names::object(ObjectKind::Role, name)?, false);
                }
                return Ok(Kind::Dcl);
            }
            ObjectType::Stage | ObjectType::Stream | ObjectType::Warehouse => return Err(NOT_READ),
        };
        match table {
            None => {}
            Some(table) if self.dialect != Dialect::PostgreSql => self.ddl(ObjectKind::Table, table)?,
            Some(_) => return Err(NOT_READ),
        }
        names.iter().try_for_each(|name| self.ddl(kind, name))?;
        Ok(Kind::Ddl)
    }

    fn comment(&mut self, what: &CommentObject, name: &ObjectName) -> Result {
        let kind = match what {
            CommentObject::Table | CommentObject::View | CommentObject::MaterializedView => ObjectKind::Table,
            CommentObject::ForeignTable | CommentObject::Sequence => ObjectKind::Table,
            CommentObject::Schema => ObjectKind::Schema,
            CommentObject::Database => ObjectKind::Database,
            CommentObject::Function | CommentObject::Procedure => ObjectKind::Function,
            CommentObject::Role | CommentObject::User => {
                // Roles are managed, not defined.
                self.note(Action::Dcl, names::object(ObjectKind::Role, name)?, false);
                return Ok(());
            }
            CommentObject::Column => return self.column_of_table(name),
            CommentObject::Collation | CommentObject::Domain | CommentObject::Extension => ObjectKind::Other,
            CommentObject::Index | CommentObject::Type => ObjectKind::Other,
        };
        self.ddl(kind, name)
    }
}
