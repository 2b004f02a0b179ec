//! What was understood of a statement. *Not understood* is one of the values.

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

/// A named thing in a database, folded as the server folds it. A schema that was not written is absent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Object {
    /// What it is.
    pub kind: ObjectKind,
    /// The schema, if it was written.
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
        }
    }
}
