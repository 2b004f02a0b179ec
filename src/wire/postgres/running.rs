//! One statement while it runs: what is counted until its outcome.

use crate::model::{Action, Facts, Kind, Outcome, OutcomeStatus, Param, Reference, SqlText, Timestamp};

use super::message::Name;
use super::names::Portal;

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// How text is read, or who the session is.
    pub(super) reading: bool,
    /// Which prepared statements there are, and so what their names stand for.
    pub(super) names: Renames,
    /// Which portals there are: a cursor of SQL is one.
    pub(super) portals: Renames,
}

/// What a statement does to the names of prepared statements, or of portals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Renames {
    /// Nothing that is known of.
    No,
    /// Perhaps something; the command tags will say.
    Perhaps,
    /// `PREPARE`, `DEALLOCATE` or `DECLARE` of this name; nothing if the name was not found in the text.
    One(Option<Name>),
}

impl Changes {
    /// What an allowed statement changes.
    pub fn of(facts: &Facts, text: &SqlText) -> Self {
        let one = || Renames::One(named(text).filter(|_| facts.statement_count == 1));
        let names = match facts.kind {
            Kind::Prepare => one(),
            // `DISCARD` is a command of the session's.
            Kind::Several | Kind::Unparsed | Kind::Session => Renames::Perhaps,
            _ => Renames::No,
        };
        let portals = match facts.kind {
            Kind::Cursor if declares(text) || facts.statement_count > 1 => one(),
            Kind::Several | Kind::Unparsed => Renames::Perhaps,
            _ => Renames::No,
        };
        Self { reading: facts.effects.iter().any(|effect| effect.action == Action::SetUnsafe), names, portals }
    }

    /// Whether it changes anything.
    pub(super) fn any(&self) -> bool {
        self.reading || self.names != Renames::No || self.portals != Renames::No
    }
}

/// Whether a text on cursors is not plainly one that uses or closes them.
fn declares(text: &SqlText) -> bool {
    let verb = text.text().and_then(|text| text.split_ascii_whitespace().next());
    !verb.is_some_and(|verb| ["fetch", "move", "close"].iter().any(|word| verb.eq_ignore_ascii_case(word)))
}

/// The name in `PREPARE name …`, `DEALLOCATE [PREPARE] name` and `DECLARE name …`, folded as the server folds it. Nothing for any text that
/// is not as plain as that, and for `DEALLOCATE ALL`, whose tag says so.
fn named(text: &SqlText) -> Option<Name> {
    let text = text.text()?.trim_matches(|letter: char| letter.is_ascii_whitespace() || letter == ';');
    let mut words = text.split_ascii_whitespace();
    let verb = words.next()?;
    let mut word = words.next()?;
    if verb.eq_ignore_ascii_case("deallocate") && word.eq_ignore_ascii_case("prepare") {
        word = words.next().unwrap_or(word);
    } else if !["prepare", "deallocate", "declare"].iter().any(|known| verb.eq_ignore_ascii_case(known)) {
        return None;
    }
    let word = word.split('(').next()?;
    let plain = |word: &str| word.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    match word.strip_prefix('"').and_then(|word| word.strip_suffix('"')) {
        Some(quoted) if !quoted.contains('"') => Some(Name::copy_from_slice(quoted.as_bytes())),
        None if plain(word) && !word.eq_ignore_ascii_case("all") => Some(word.to_ascii_lowercase().into()),
        _ => None,
    }
}

/// The SQLSTATE of a statement that was cancelled (`query_canceled`).
const CANCELLED: &str = "57014";
/// Command tags kept of one message: a message of many statements has as many, and one line of an outcome is for people.
const MAX_TAGS: usize = 100;

impl Running {
    pub(super) fn new(reference: Reference, bytes_in: usize, changes: Changes) -> Self {
        Self {
            reference,
            answered: false,
            changes,
            handed: false,
            started: None,
            first_row: None,
            rows: 0,
            affected: None,
            tags: Vec::new(),
            sqlstate: None,
            bytes_in: bytes_in as u64,
            bytes_out: 0,
        }
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

    /// The database reported an error.
    pub(super) fn fail(&mut self, sqlstate: Option<String>) {
        self.answered = true;
        self.sqlstate = sqlstate.or_else(|| Some("XX000".to_owned()));
    }

    pub(super) fn failed(&self) -> bool {
        self.sqlstate.is_some()
    }

    /// What kind of failure it was.
    pub(super) fn failure(&self) -> OutcomeStatus {
        if self.sqlstate.as_deref() == Some(CANCELLED) { OutcomeStatus::Cancelled } else { OutcomeStatus::Error }
    }

    /// It ended.
    pub(super) fn end(self, status: OutcomeStatus, now: Timestamp) -> Outcome {
        let since = |moment: Timestamp| self.started.map(|started| moment.micros_since(started));
        Outcome {
            reference: self.reference,
            time: now,
            status,
            first_row_us: self.first_row.and_then(since),
            total_us: since(now),
            sqlstate: self.sqlstate,
            command_tag: (!self.tags.is_empty()).then(|| self.tags.join("; ")),
            rows_returned: self.rows,
            rows_affected: self.affected,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
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

    #[test]
    fn a_name_is_taken_from_plain_texts_and_from_no_other() {
        for (text, name) in [
            ("DEALLOCATE a1", Some("a1")),
            ("deallocate prepare \"A-1\" ;", Some("A-1")),
            ("PREPARE P(int) AS SELECT $1", Some("p")),
            ("prepare prepare as select 1", Some("prepare")),
            ("deallocate prepare", Some("prepare")),
            ("deallocate all", None),
            ("deallocate/**/a", None),
            ("deallocate a;", Some("a")),
            ("deallocate a--x", None),
            ("deallocate U&\"a\"", None),
            ("deallocate \"a\"\"b\"", None),
            ("declare C cursor for select 1", Some("c")),
            ("select 1", None),
        ] {
            assert_eq!(named(&SqlText::from(text)), name.map(Name::from), "{text}");
        }
        let several = Facts { kind: Kind::Prepare, statement_count: 2, ..Facts::unparsed("") };
        let changes = Changes::of(&several, &SqlText::from("deallocate x ; deallocate a"));
        assert_eq!(changes.names, Renames::One(None));
    }
}
