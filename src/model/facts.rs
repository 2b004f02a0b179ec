//! What was understood of a statement. *Not understood* is one of the values.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Generates an enum of words together with its `as_str`, so that a word is written once.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name { $($(#[$doc])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// Every value, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word in columns, rules and messages.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

words! {
    /// The kind of a statement, by its outermost node.
    Kind {
        /// A query, also `TABLE` and `VALUES`.
        Select = "select",
        /// `INSERT`.
        Insert = "insert",
        /// `UPDATE`.
        Update = "update",
        /// `DELETE`.
        Delete = "delete",
        /// `MERGE`.
        Merge = "merge",
        /// `TRUNCATE`.
        Truncate = "truncate",
        /// `COPY`.
        Copy = "copy",
        /// Anything that defines, alters or drops an object.
        Ddl = "ddl",
        /// `GRANT`, `REVOKE` and role management.
        Dcl = "dcl",
        /// `CALL`, `DO`.
        Call = "call",
        /// `EXPLAIN`.
        Explain = "explain",
        /// `SET`, `RESET`, `SHOW`, `DISCARD`.
        Session = "session",
        /// `BEGIN`, `COMMIT`, `ROLLBACK`, `SAVEPOINT`.
        Transaction = "transaction",
        /// `PREPARE`, `EXECUTE`, `DEALLOCATE` as SQL.
        Prepare = "prepare",
        /// Cursors: `DECLARE`, `FETCH`, `MOVE`, `CLOSE`.
        Cursor = "cursor",
        /// Maintenance: `VACUUM`, `ANALYZE`, `LOCK`, `LISTEN`, `NOTIFY` and their like.
        Admin = "admin",
        /// A command of a connection for replication, which is no SQL.
        Replication = "replication",
        /// Several statements of different kinds in one message.
        Several = "several",
        /// Nothing but white space and comments.
        Empty = "empty",
        /// Not understood.
        Unparsed = "unparsed",
    }
}

words! {
    /// What an effect does.
    Action {
        /// Whether a person may use a target and a database as a database user.
        Connect = "connect",
        /// Reads rows.
        Select = "select",
        /// Adds rows.
        Insert = "insert",
        /// Changes rows.
        Update = "update",
        /// Removes rows, also all of them by `TRUNCATE`.
        Delete = "delete",
        /// Defines, alters or drops an object.
        Ddl = "ddl",
        /// Grants, revokes, manages roles.
        Dcl = "dcl",
        /// Calls a function or procedure.
        Call = "call",
        /// Streams rows out by `COPY … TO`.
        CopyOut = "copy_out",
        /// Streams rows in by `COPY … FROM`.
        CopyIn = "copy_in",
        /// Changes the session or the transaction.
        Session = "session",
        /// Changes how text is read or who the session is at the database.
        SetUnsafe = "set_unsafe",
        /// Maintenance and server control.
        Admin = "admin",
        /// Follows the changes of one database, decoded, on a connection for replication.
        Replicate = "replicate",
        /// Copies files and log of the whole server, all its databases, on a connection for replication.
        CopyServer = "copy_server",
        /// Could not be understood.
        Unparsed = "unparsed",
    }
}

words! {
    /// What an effect is done to.
    ObjectKind {
        /// A table, view, materialised view, sequence or foreign table.
        Table = "table",
        /// A function or procedure.
        Function = "function",
        /// A schema.
        Schema = "schema",
        /// The database itself.
        Database = "database",
        /// A role.
        Role = "role",
        /// A setting.
        Setting = "setting",
        /// Anything else that has a name.
        Other = "other",
    }
}

/// A named thing in a database, folded as the server folds it. A schema that was neither written nor told by the
/// database's catalog is absent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Object {
    /// What it is.
    pub kind: ObjectKind,
    /// The schema, if it is known.
    pub schema: Option<String>,
    /// The name.
    pub name: String,
}

/// One action on one object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Effect {
    /// What is done.
    pub action: Action,
    /// To what; absent where the action has no object of its own (`session`, `unparsed`).
    pub object: Option<Object>,
    /// For `select`, `update`, `delete`: whether the statement that does it has a WHERE.
    pub has_where: bool,
}

/// What the catalog says of a function or procedure: of all that have its name together, because which of them is called
/// hangs on its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct RoutineTraits {
    /// The languages that they are written in, sorted, each once.
    pub languages: Vec<String>,
    /// Whether one of them is declared to change something. A declaration, not a proof.
    pub is_volatile: bool,
    /// Whether one of them runs with its owner's rights.
    pub is_security_definer: bool,
}

impl RoutineTraits {
    /// Of two that may be meant.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        self.languages.extend(other.languages);
        self.languages.sort_unstable();
        self.languages.dedup();
        Self {
            languages: self.languages,
            is_volatile: self.is_volatile || other.is_volatile,
            is_security_definer: self.is_security_definer || other.is_security_definer,
        }
    }
}

/// What an effect touches of its table: beside the effect, because rules ask for it and records do not hold it yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Touch {
    /// Columns that the statement names and that may be this table's, read or written, sorted, each once.
    pub columns: Vec<String>,
    /// Whether others may be touched as well: a star, a whole row, no list of columns where all are meant, or a place
    /// whose columns the text does not show.
    pub all_columns: bool,
    /// Whether [`Self::columns`] are all that the catalog knows of the table, where all are touched.
    pub columns_are_all: bool,
    /// Those named in the statement's condition.
    pub where_columns: Vec<String>,
    /// Whether the condition ties the rows of this table to a value: on every path to them a column of it is compared
    /// with a constant or a parameter. Against accidents, not against intent: `id > 0` ties too.
    pub where_binds: bool,
    /// Of a call: what the catalog says of the function; nothing if it does not say.
    pub routine: Option<RoutineTraits>,
    /// Whether the statement does it through another object that it names (a view, a partition, a rule of a table) and
    /// does not name this one itself.
    pub reached: bool,
}

impl Touch {
    /// What is not known touches everything and is tied by nothing.
    pub const EVERYTHING: Self = Self {
        columns: Vec::new(),
        all_columns: true,
        columns_are_all: false,
        where_columns: Vec::new(),
        where_binds: false,
        routine: None,
        reached: false,
    };

    /// What two statements touch together; tied only if both tie.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let union = |one: Vec<String>, other: Vec<String>| {
            let all: BTreeSet<String> = one.into_iter().chain(other).collect();
            all.into_iter().collect()
        };
        let all_columns = self.all_columns || other.all_columns;
        let knows = |touch: &Self| touch.columns_are_all || !touch.all_columns;
        Self {
            columns_are_all: all_columns && knows(&self) && knows(&other),
            columns: union(self.columns, other.columns),
            all_columns,
            where_columns: union(self.where_columns, other.where_columns),
            where_binds: self.where_binds && other.where_binds,
            routine: match (self.routine, other.routine) {
                (Some(one), Some(other)) => Some(one.or(other)),
                (one, other) => one.or(other),
            },
            reached: self.reached && other.reached,
        }
    }
}

/// What a text does with a handle: a name under which the session keeps a prepared statement or a cursor. Names are folded
/// as the server folds them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Handle {
    /// `PREPARE name AS` a statement of this kind.
    Prepare(String, Kind),
    /// `EXECUTE name`.
    Execute(String),
    /// `DEALLOCATE name`; nothing for all of them.
    Deallocate(Option<String>),
    /// `DECLARE name CURSOR FOR` a query of this kind.
    Declare {
        /// The cursor's name.
        name: String,
        /// What it reads, or does with `RETURNING`.
        kind: Kind,
        /// `WITH HOLD`: it outlives its transaction.
        held: bool,
    },
    /// `FETCH` from or `MOVE` in a cursor; nothing if its name was not found in the text.
    Fetch(Option<String>),
    /// `CLOSE name`; nothing for all of them.
    Close(Option<String>),
}

/// What was understood of a statement. The same text always gives the same facts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Facts {
    /// The kind.
    pub kind: Kind,
    /// How many SQL statements the text holds.
    pub statement_count: u32,
    /// Every action on every object, sorted, each once.
    pub effects: Vec<Effect>,
    /// Every function named, folded, with its schema if written, sorted, each once.
    pub functions: Vec<String>,
    /// Whether a WHERE is there, for kinds that can have one.
    pub has_where: Option<bool>,
    /// SHA-256 of the normalised text in hexadecimal; the same for texts that differ in literals and blanks only.
    pub fingerprint: Option<String>,
    /// Why it was not understood, in words that hold nothing of the statement. With another kind than `unparsed`: that
    /// one of two readers did not understand it and the other one's reading is what counts.
    pub problem: Option<String>,
    /// What each of [`Self::effects`] touches, in their order; not in journals and records, and empty in facts that come
    /// from there. See [`Self::touch`].
    #[serde(skip)]
    pub touched: Vec<Touch>,
    /// Whether the outermost query says how many rows it gives at most; `false` in facts that come from a record.
    #[serde(skip)]
    pub has_limit: bool,
    /// Operators of the text, sorted, each once; empty in facts that come from a record. The catalog may know a function
    /// behind one.
    #[serde(skip)]
    pub operators: Vec<String>,
    /// Names of types that values may be converted to, as those.
    #[serde(skip)]
    pub conversions: Vec<String>,
    /// What each statement does with handles, in the order of the text; empty in facts that come from a record.
    #[serde(skip)]
    pub handles: Vec<Handle>,
    /// Set if nothing but the statements behind [`Handle::Execute`] is missing: the kind that the text has once they are
    /// known. Until then it is `unparsed`.
    #[serde(skip)]
    pub executes: Option<Kind>,
    /// Whether it may end that a session is read-only: it sets one of the settings that make it so, and not to more of it.
    #[serde(skip)]
    pub lifts_read_only: bool,
    /// Whether every text has these facts that differs from this one in plain literals only: none was looked at.
    #[serde(skip)]
    pub by_shape: bool,
}

impl Facts {
    /// The facts of a text that was not understood: one effect, `unparsed`.
    pub fn unparsed(problem: impl Into<String>) -> Self {
        Self {
            kind: Kind::Unparsed,
            statement_count: 0,
            effects: vec![Effect { action: Action::Unparsed, object: None, has_where: false }],
            functions: Vec::new(),
            has_where: None,
            fingerprint: None,
            problem: Some(problem.into()),
            touched: Vec::new(),
            has_limit: false,
            operators: Vec::new(),
            conversions: Vec::new(),
            handles: Vec::new(),
            executes: None,
            lifts_read_only: false,
            by_shape: false,
        }
    }

    /// What the statement is for, as far as its effects tell: `introspection` if all that it reads is what the database says
    /// of itself. What the server's catalog holds of people's data, secrets or doings is none of that.
    pub fn tag(&self) -> Option<&'static str> {
        const TELLING: &[&str] = &[
            "pg_authid",
            "pg_file_settings",
            "pg_hba_file_rules",
            "pg_largeobject",
            "pg_shadow",
            "pg_stat_activity",
            "pg_statistic",
            "pg_statistic_ext_data",
            "pg_stats",
            "pg_stats_ext",
            "pg_stats_ext_exprs",
            "pg_subscription",
            "pg_user_mapping",
            "pg_user_mappings",
        ];
        const OF_ITSELF: &[&str] = &[
            "current_catalog",
            "current_database",
            "current_role",
            "current_schema",
            "current_schemas",
            "current_user",
            "session_user",
            "user",
            "version",
        ];
        let reads_catalog = |effect: &Effect| {
            let table = effect.object.as_ref().filter(|object| object.kind == ObjectKind::Table);
            effect.action == Action::Select
                && table.is_some_and(|table| {
                    let schema = table.schema.as_deref().unwrap_or_default();
                    ["pg_catalog", "information_schema"].contains(&schema) && !TELLING.contains(&table.name.as_str())
                })
        };
        let asks_itself = |name: &String| OF_ITSELF.contains(&name.strip_prefix("pg_catalog.").unwrap_or(name));
        let is_introspection = match self.effects.as_slice() {
            [] => self.kind == Kind::Select && !self.functions.is_empty() && self.functions.iter().all(asks_itself),
            effects => effects.iter().all(reads_catalog),
        };
        is_introspection.then_some("introspection")
    }

    /// Whether these facts hold so many names that they are not worth remembering: a thousand of the largest would be
    /// hundreds of megabytes, and statements that are sent again and again name some dozens.
    pub fn are_large(&self) -> bool {
        const MANY_NAMES: usize = 500;
        self.names() > MANY_NAMES
    }

    /// How many names these facts hold: what they take in memory, within a factor that the length of a name bounds.
    fn names(&self) -> usize {
        let touched = self.touched.iter().map(|touch| touch.columns.len() + touch.where_columns.len()).sum::<usize>();
        self.effects.len()
            + self.functions.len()
            + self.operators.len()
            + self.conversions.len()
            + self.handles.len()
            + touched
    }

    /// What the effect at this place of [`Self::effects`] touches; everything if nothing is known of it.
    pub fn touch(&self, at: usize) -> &Touch {
        const UNKNOWN: &Touch = &Touch::EVERYTHING;
        self.touched.get(at).unwrap_or(UNKNOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_asks_of_the_database_itself_is_introspection_and_nothing_else_is() {
        let read = |action, schema: &str, name: &str| Effect {
            action,
            object: Some(Object { kind: ObjectKind::Table, schema: Some(schema.to_owned()), name: name.to_owned() }),
            has_where: true,
        };
        let class = read(Action::Select, "pg_catalog", "pg_class");
        let tagged = |effects: &[Effect], functions: &[&str]| {
            let functions = functions.iter().map(|name| (*name).to_owned()).collect();
            Facts { kind: Kind::Select, effects: effects.to_vec(), functions, ..Facts::unparsed("") }.tag()
        };
        let columns = read(Action::Select, "information_schema", "columns");
        assert_eq!(tagged(&[class.clone(), columns], &["pg_get_expr"]), Some("introspection"));
        assert_eq!(tagged(&[], &["version", "pg_catalog.current_schema"]), Some("introspection"));
        assert_eq!(tagged(&[], &[]), None, "SELECT 1");
        assert_eq!(tagged(&[], &["version", "now"]), None);
        assert_eq!(tagged(&[class.clone(), read(Action::Select, "clinic", "patients")], &[]), None);
        assert_eq!(tagged(&[class, read(Action::Select, "pg_catalog", "pg_stats")], &[]), None, "it holds values");
        assert_eq!(tagged(&[read(Action::Update, "pg_catalog", "pg_class")], &[]), None);
        assert_eq!(Facts::unparsed("x").tag(), None);
    }
}
