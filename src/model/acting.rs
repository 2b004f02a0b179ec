//! Who a session acts as at its database: beside the person, whom the token named.

use serde::{Deserialize, Serialize};

/// Who a session acted as at one moment, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Acting {
    /// The database's `session_user`, as it reported it.
    pub session_user: Option<String>,
    /// The role that it had taken by `SET ROLE`; `none` if it acted as the session's user.
    pub role: Option<String>,
}

/// What a text does to the role of its session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RoleChange {
    /// Nothing.
    #[default]
    No,
    /// `SET ROLE`.
    Take {
        /// The role; nothing for the one that the session began with.
        role: Option<String>,
        /// `SET LOCAL`: until the transaction ends.
        local: bool,
    },
    /// `SET SESSION AUTHORIZATION`, which takes no role.
    Authorize {
        /// Whether it is the user that the session began with: servers differ in whether the role is that of the beginning, too.
        initial: bool,
        /// `SET LOCAL`.
        local: bool,
    },
    /// Perhaps something that the text does not show.
    Unseen,
}
