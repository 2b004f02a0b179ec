//! Which role a session acts as, followed by what its statements did.
//!
//! The database reports the session's user (`session_authorization`) and never the role, so that is followed: `SET ROLE`
//! holds once it was answered, goes back to what was before when its transaction is undone, and `SET LOCAL` ends with the
//! transaction. Promises: a role that is given is the one that the statements of the client made; where that cannot be known
//! (a function that was called may set anything, a savepoint was rolled back to, several statements in one message) there is
//! none until the next `SET ROLE` by itself. What triggers and functions do that no statement names is not seen.

use std::sync::Arc;

use crate::model::{Acting, RoleChange};

/// No role was taken, in the server's own word.
const NONE: &str = "none";

/// A role, if it is known.
type Role = Option<Arc<str>>;

/// The role of one session.
#[derive(Debug, Default)]
pub(super) struct Roles {
    user: Option<String>,
    /// With which the session began.
    initial: Role,
    /// What holds beyond the transaction, if that is committed.
    session: Role,
    /// What holds in this transaction only.
    local: Option<Role>,
    /// What held before the transaction that changed it.
    before: Option<Role>,
    /// Since the last `ReadyForQuery`: a `ROLLBACK` was answered, an error came.
    undone: bool,
    failed: bool,
    shown: Arc<Acting>,
}

impl Roles {
    /// The role that a session of this login begins with, if that is known.
    pub(super) fn began_with(&mut self, role: Option<&str>) {
        self.initial = role.map(Arc::from);
        self.session.clone_from(&self.initial);
        self.show();
    }

    /// The database reported the session's user.
    pub(super) fn user(&mut self, name: &str) {
        self.user = Some(name.to_owned());
        self.show();
    }

    /// Who the session acts as.
    pub(super) fn acting(&self) -> &Arc<Acting> {
        &self.shown
    }

    fn show(&mut self) {
        let role = self.local.as_ref().unwrap_or(&self.session).as_deref();
        if self.shown.role.as_deref() != role || self.shown.session_user != self.user {
            self.shown = Arc::new(Acting { session_user: self.user.clone(), role: role.map(str::to_owned) });
        }
    }

    /// A statement was answered that changes this.
    pub(super) fn change(&mut self, change: &RoleChange) {
        let (role, local) = match change {
            RoleChange::No => return,
            RoleChange::Unseen => return self.lose(),
            RoleChange::Take { role: Some(role), local } => (Some(Arc::from(role.as_str())), *local),
            RoleChange::Take { role: None, local } => (self.initial.clone(), *local),
            RoleChange::Authorize { initial: true, local } => {
                (self.initial.clone().filter(|role| **role == *NONE), *local)
            }
            RoleChange::Authorize { initial: false, local } => (Some(Arc::from(NONE)), *local),
        };
        if self.undone {
            // Whether it is of the same transaction is not known.
            return self.lose();
        }
        self.before.get_or_insert_with(|| self.session.clone());
        if local {
            self.local = Some(role);
        } else {
            (self.session, self.local) = (role, None);
        }
        self.show();
    }

    /// Whatever comes of the transaction, it is not known any more.
    pub(super) fn lose(&mut self) {
        (self.session, self.local, self.before) = (None, None, Some(None));
        self.show();
    }

    /// A command was completed.
    pub(super) fn completed(&mut self, tag: &str) {
        match tag {
            "COMMIT" if self.before.is_some() => {
                (self.local, self.before) = (None, None);
                self.show();
            }
            "ROLLBACK" => self.undone = self.before.is_some(),
            _ => {}
        }
    }

    /// An error came.
    pub(super) fn failed(&mut self) {
        self.failed = true;
    }

    /// The database is through with a batch, and this is its transaction state.
    pub(super) fn ready(&mut self, status: char) {
        let (undone, failed) = (std::mem::take(&mut self.undone), std::mem::take(&mut self.failed));
        let Some(before) = &self.before else { return };
        match status {
            'T' if !undone && !failed => return,
            'T' | 'E' if undone && failed => return self.lose(),
            // A savepoint, perhaps; the whole transaction may still be undone to what was before.
            'T' | 'E' => (self.session, self.local) = (None, None),
            _ => {
                if undone || failed {
                    self.session = before.clone();
                }
                (self.local, self.before) = (None, None);
            }
        }
        self.show();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles() -> Roles {
        let mut roles = Roles::default();
        roles.user("app");
        roles.began_with(Some(NONE));
        roles
    }

    fn set(role: &str, local: bool) -> RoleChange {
        RoleChange::Take { role: Some(role.to_owned()), local }
    }

    fn is(roles: &Roles) -> Option<&str> {
        roles.acting().role.as_deref()
    }

    #[test]
    fn a_role_holds_from_its_answer_on_and_is_undone_with_its_transaction() {
        let mut roles = roles();
        assert_eq!((is(&roles), roles.acting().session_user.as_deref()), (Some("none"), Some("app")));
        roles.change(&set("clerk", false));
        roles.ready('I');
        assert_eq!(is(&roles), Some("clerk"));
        roles.change(&set("boss", false));
        assert_eq!(is(&roles), Some("boss"));
        roles.ready('T');
        roles.change(&set("guest", true));
        roles.ready('T');
        assert_eq!(is(&roles), Some("guest"), "in its transaction");
        roles.completed("ROLLBACK");
        roles.ready('I');
        assert_eq!(is(&roles), Some("clerk"));
        roles.change(&set("guest", true));
        roles.ready('T');
        roles.completed("COMMIT");
        roles.ready('I');
        assert_eq!(is(&roles), Some("clerk"), "what was local is gone");
        roles.change(&set("boss", false));
        roles.ready('T');
        roles.failed();
        roles.ready('E');
        assert_eq!(is(&roles), None, "to which savepoint it goes back is not known");
        roles.completed("ROLLBACK");
        roles.ready('I');
        assert_eq!(is(&roles), Some("clerk"));
        roles.change(&RoleChange::Take { role: None, local: false });
        roles.ready('I');
        assert_eq!(is(&roles), Some("none"));
    }

    #[test]
    fn a_batch_that_fails_undoes_what_it_did_by_itself_and_not_what_it_committed() {
        let mut roles = roles();
        roles.change(&set("clerk", false));
        roles.failed();
        roles.ready('I');
        assert_eq!(is(&roles), Some("none"));
        roles.change(&set("clerk", false));
        roles.completed("COMMIT");
        roles.failed();
        roles.ready('I');
        assert_eq!(is(&roles), Some("clerk"));
    }

    #[test]
    fn what_is_not_seen_makes_it_unknown_until_a_role_is_taken_by_itself() {
        let mut roles = roles();
        roles.change(&set("clerk", false));
        roles.change(&RoleChange::Unseen);
        roles.completed("ROLLBACK");
        roles.ready('I');
        assert_eq!(is(&roles), None);
        roles.change(&set("clerk", false));
        roles.ready('I');
        assert_eq!(is(&roles), Some("clerk"));
        // A savepoint that is rolled back to.
        roles.change(&set("boss", false));
        roles.completed("ROLLBACK");
        roles.ready('T');
        assert_eq!(is(&roles), None);
        roles.completed("ROLLBACK");
        roles.ready('I');
        assert_eq!(is(&roles), Some("clerk"));
        // What follows a rollback in the same batch.
        roles.change(&set("boss", false));
        roles.completed("ROLLBACK");
        roles.change(&set("guest", false));
        roles.ready('I');
        assert_eq!(is(&roles), None);
    }

    #[test]
    fn another_user_has_no_role_and_the_first_one_has_the_first_role_where_that_is_none() {
        let mut roles = roles();
        roles.change(&set("clerk", false));
        roles.change(&RoleChange::Authorize { initial: false, local: false });
        assert_eq!(is(&roles), Some("none"));
        roles.began_with(Some("clerk"));
        roles.change(&RoleChange::Authorize { initial: true, local: false });
        assert_eq!(is(&roles), None, "servers differ");
    }
}
