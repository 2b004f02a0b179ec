//! One statement while it runs: what is counted until its outcome.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::model::{
    Action, Facts, Handle, Kind, Outcome, OutcomeStatus, Param, Reference, RoleChange, SqlText, Timestamp,
};

use super::cut;
use super::message::{ErrorFields, Name};
use super::names::{Portal, Prepared};

/// A statement that was permitted and is being answered.
#[derive(Debug)]
pub(super) struct Running {
    reference: Reference,
    /// Whether it is recorded, or was handed over to be.
    handed: bool,
    started: Option<Timestamp>,
    first_row: Option<Timestamp>,
    rows: u64,
    affected: Option<u64>,
    tags: Vec<String>,
    sqlstate: Option<String>,
    /// How it failed, if it did.
    failure: Option<OutcomeStatus>,
    /// Whether a time limit of ours had the database cancel it.
    limit_reached: bool,
    /// Whether it is a `FunctionCall`, which has one value for an answer.
    call: bool,
    /// Whether the database said how it ended: a `ReadyForQuery` before that answers something else.
    answered: bool,
    /// What it does to the session that later statements are read by.
    pub(super) changes: Changes,
    /// Bytes from the client.
    pub(super) bytes_in: u64,
    /// Bytes to the client.
    pub(super) bytes_out: u64,
}

/// What a statement changes that the reading of later ones hangs on.
#[derive(Debug, Clone)]
pub struct Changes {
    /// How text is read, or who the session is.
    pub(super) reading: bool,
    /// Which prepared statements there are, and so what their names stand for.
    pub(super) names: Renames,
    /// Which portals there are: a cursor of SQL is one.
    pub(super) portals: Renames,
    /// What the one name will stand for, and whether that outlives the transaction.
    pub(super) gives: Option<(Arc<Prepared>, bool)>,
    /// Which role the session takes.
    pub(super) role: RoleChange,
}

/// What a statement does to the names of prepared statements, or of portals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Renames {
    /// Nothing that is known of.
    No,
    /// Perhaps something; the command tags will say.
    Perhaps,
    /// `PREPARE`, `DEALLOCATE`, `DECLARE` or `CLOSE` of this name; nothing if it is not only one.
    One(Option<Name>),
}

impl Changes {
    /// What an allowed statement changes. `read` is what its text says by itself, `facts` what it does with whatever its
    /// handles stand for.
    pub fn of(facts: &Facts, read: &Facts, text: &SqlText) -> Self {
        let only = match facts.handles.as_slice() {
            [only] if facts.statement_count == 1 => Some(only),
            _ => None,
        };
        let any = |is: fn(&Handle) -> bool| facts.handles.iter().any(is);
        let names = match (facts.kind, only) {
            (Kind::Prepare, Some(Handle::Prepare(name, _) | Handle::Deallocate(Some(name)))) => Renames::one(name),
            // `DISCARD` is a command of the session's.
            (Kind::Several | Kind::Unparsed | Kind::Session, _) => Renames::Perhaps,
            _ if any(|handle| matches!(handle, Handle::Prepare(..) | Handle::Deallocate(_))) => Renames::One(None),
            _ => Renames::No,
        };
        let portals = match (facts.kind, only) {
            (Kind::Cursor, Some(Handle::Declare { name, .. } | Handle::Close(Some(name)))) => Renames::one(name),
            (Kind::Several | Kind::Unparsed, _) => Renames::Perhaps,
            _ if any(|handle| matches!(handle, Handle::Declare { .. } | Handle::Close(_))) => Renames::One(None),
            _ => Renames::No,
        };
        let reading = facts.effects.iter().any(|effect| effect.action == Action::SetUnsafe);
        let gives = only.and_then(|handle| given(handle, read, text));
        Self { reading, names, portals, gives, role: RoleChange::No }
    }

    /// The same, and this of the session's role.
    #[must_use]
    pub fn with_role(self, role: RoleChange) -> Self {
        Self { role, ..self }
    }

    /// Whether it changes the role when it is answered. What is not seen counts from when it is asked.
    pub(super) fn takes_role(&self) -> bool {
        matches!(self.role, RoleChange::Take { .. } | RoleChange::Authorize { .. })
    }

    /// Whether it changes anything whose answer has to be waited for.
    pub(super) fn any(&self) -> bool {
        self.reading || self.names != Renames::No || self.portals != Renames::No || self.takes_role()
    }
}

impl Renames {
    fn one(name: &str) -> Self {
        Self::One(Some(Name::copy_from_slice(name.as_bytes())))
    }
}

/// What a name of SQL stands for, and whether it outlives the transaction.
fn given(handle: &Handle, read: &Facts, text: &SqlText) -> Option<(Arc<Prepared>, bool)> {
    let (name, kind, held) = match handle {
        Handle::Prepare(name, kind) => (name, *kind, false),
        Handle::Declare { name, kind, held } => (name, *kind, *held),
        Handle::Execute(_) | Handle::Deallocate(_) | Handle::Fetch(_) | Handle::Close(_) => return None,
    };
    let prepared = Prepared {
        name: Name::copy_from_slice(name.as_bytes()),
        // A slice would keep the whole read buffer alive.
        text: SqlText::new(Bytes::copy_from_slice(text.bytes())),
        facts: Arc::new(Facts { kind, handles: Vec::new(), ..read.clone() }),
        types: Vec::new(),
        described: OnceLock::new(),
        kept: OnceLock::new(),
    };
    Some((Arc::new(prepared), held))
}

/// Command tags kept of one message: a message of many statements has as many, and one line of an outcome is for people.
const MAX_TAGS: usize = 100;

impl Running {
    pub(super) fn new(reference: Reference, bytes_in: usize, changes: Changes) -> Self {
        Self {
            reference,
            call: false,
            answered: false,
            changes,
            handed: false,
            started: None,
            first_row: None,
            rows: 0,
            affected: None,
            tags: Vec::new(),
            sqlstate: None,
            failure: None,
            limit_reached: false,
            bytes_in: bytes_in as u64,
            bytes_out: 0,
        }
    }

    pub(super) fn of_a_call(self) -> Self {
        Self { call: true, ..self }
    }

    /// Whether a value may answer it, and none has.
    pub(super) fn awaits_value(&self) -> bool {
        self.call && !self.answered
    }

    pub(super) fn reference(&self) -> Reference {
        self.reference
    }

    pub(super) fn is(&self, reference: Reference) -> bool {
        self.reference == reference
    }

    /// It is about to be recorded; false if it was before.
    pub(super) fn hand_over(&mut self) -> bool {
        !std::mem::replace(&mut self.handed, true)
    }

    /// Whether it is recorded, or may be.
    pub(super) fn is_handed_over(&self) -> bool {
        self.handed
    }

    /// Whether it is recorded, and on its way to the database.
    pub(super) fn has_started(&self) -> bool {
        self.started.is_some()
    }

    /// Starts the clock; false if it runs already.
    pub(super) fn start(&mut self, now: Timestamp) -> bool {
        let fresh = self.started.is_none();
        self.started.get_or_insert(now);
        fresh
    }

    /// A row, or a piece of COPY data.
    pub(super) fn row(&mut self, counts: bool, now: Timestamp) {
        self.first_row.get_or_insert(now);
        self.rows += u64::from(counts);
    }

    /// A command tag: `SELECT 3`, `INSERT 0 1`, `COPY 5`.
    pub(super) fn tag(&mut self, tag: &str) {
        self.answered = true;
        let verb = tag.split(' ').next().unwrap_or_default();
        let count: Option<u64> = tag.rsplit(' ').next().and_then(|count| count.parse().ok());
        if let Some(count) = count {
            match verb {
                "INSERT" | "UPDATE" | "DELETE" | "MERGE" => *self.affected.get_or_insert(0) += count,
                // COPY TO has shown COPY data already, COPY FROM has not.
                "COPY" if self.first_row.is_some() => self.rows += count,
                "COPY" => *self.affected.get_or_insert(0) += count,
                _ => {}
            }
        }
        if self.tags.len() < MAX_TAGS {
            self.tags.push(tag.to_owned());
        }
    }

    /// There was nothing to do, or not all of it yet.
    pub(super) fn nothing(&mut self) {
        self.answered = true;
    }

    /// Whether the database said how it ended.
    pub(super) fn answered(&self) -> bool {
        self.answered
    }

    /// The database reported an error; says how it ended thereby.
    pub(super) fn fail(&mut self, error: &ErrorFields) -> OutcomeStatus {
        self.answered = true;
        self.sqlstate = error.sqlstate.clone().or_else(|| Some("XX000".to_owned()));
        *self.failure.insert(cut::status(error, self.limit_reached))
    }

    /// How it failed, if it did.
    pub(super) fn failure(&self) -> Option<OutcomeStatus> {
        self.failure
    }

    /// A time limit of ours has the database cancel it.
    pub(super) fn limit_reached(&mut self) {
        self.limit_reached = true;
    }

    /// Something else ended it, which has this code, if any.
    pub(super) fn cut(mut self, status: OutcomeStatus, sqlstate: Option<&str>, now: Timestamp) -> Outcome {
        self.sqlstate = sqlstate.map(str::to_owned);
        let out_of_time = self.limit_reached && status != OutcomeStatus::Skipped;
        let status = if out_of_time { OutcomeStatus::Timeout } else { status };
        self.end(status, now)
    }

    /// It ended.
    pub(super) fn end(mut self, status: OutcomeStatus, now: Timestamp) -> Outcome {
        let command_tag = match self.tags.len() {
            0 | 1 => self.tags.pop(),
            _ => Some(self.tags.join("; ")),
        };
        let since = |moment: Timestamp| self.started.map(|started| moment.micros_since(started));
        Outcome {
            reference: self.reference,
            time: now,
            status,
            first_row_us: self.first_row.and_then(since),
            total_us: since(now),
            sqlstate: self.sqlstate,
            command_tag,
            rows_returned: self.rows,
            rows_affected: self.affected,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            transaction_after: None,
        }
    }
}

impl Portal {
    /// The values with their types as far as they are known.
    pub(super) fn params(&self) -> Vec<Param> {
        self.values
            .iter()
            .enumerate()
            .map(|(at, (format, value))| Param {
                type_oid: self.statement.type_of(at),
                format: *format,
                value: value.clone(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(kind: Kind, count: u32, handles: &[Handle]) -> Facts {
        Facts { kind, statement_count: count, effects: Vec::new(), handles: handles.to_vec(), ..Facts::unparsed("") }
    }

    #[test]
    fn a_statement_gives_a_name_only_if_it_is_all_that_the_text_does() {
        let text = SqlText::from("PREPARE p AS DELETE FROM t");
        let of = |facts: &Facts| Changes::of(facts, facts, &text);
        let prepare = Handle::Prepare("p".to_owned(), Kind::Delete);
        let one = of(&facts(Kind::Prepare, 1, std::slice::from_ref(&prepare)));
        assert_eq!((one.names, one.portals), (Renames::One(Some(Name::from("p"))), Renames::No));
        let (given, held) = one.gives.unwrap();
        assert_eq!((given.facts.kind, given.facts.handles.len(), held), (Kind::Delete, 0, false));
        assert_eq!(given.text, text);
        let two = of(&facts(Kind::Prepare, 2, &[prepare, Handle::Deallocate(None)]));
        assert!(two.gives.is_none() && two.names == Renames::One(None));
        let executed = [Handle::Execute("q".to_owned()), Handle::Deallocate(Some("p".to_owned()))];
        assert_eq!(of(&facts(Kind::Prepare, 1, &executed)).names, Renames::One(None), "by way of another name");
        assert_eq!(of(&facts(Kind::Prepare, 1, &executed[..1])).names, Renames::No);
        assert_eq!(of(&facts(Kind::Several, 2, &[])).names, Renames::Perhaps);
    }
}
