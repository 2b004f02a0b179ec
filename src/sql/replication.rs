//! Commands of a connection for replication, which are no SQL (PostgreSQL, chapter "Streaming Replication Protocol").
//!
//! Promises: what lets somebody follow the changes of one database is told from what gives out the files of the whole
//! server, whatever the command is spelt like: only texts that begin with one of a few known ways of speaking of a logical
//! slot are the former, and everything else that begins with a command's word is the latter. A text that begins otherwise
//! is SQL, as it is for the server, which looks at the first word too.
//!
//! Rejected: the whole grammar, options included. It differs from version to version, and no option makes more of a command
//! than it is; what a version does not know it refuses.

use crate::model::{Action, Effect, Facts, Kind, Replication, SqlText};

/// Commands that say something about the server or take away what holds it up, and give out no data.
const ABOUT: &[&str] = &["IDENTIFY_SYSTEM", "READ_REPLICATION_SLOT", "DROP_REPLICATION_SLOT", "ALTER_REPLICATION_SLOT"];
/// Commands that speak of a logical slot or of a physical one.
const EITHER: &[&str] = &["CREATE_REPLICATION_SLOT", "START_REPLICATION"];
/// Commands that give out or take in what concerns all databases of the server.
const OF_ALL: &[&str] = &["BASE_BACKUP", "TIMELINE_HISTORY", "UPLOAD_MANIFEST"];

/// What opening a connection for replication does.
pub fn replicating(what: Replication) -> Facts {
    of(match what {
        Replication::Database => Action::Replicate,
        Replication::Server => Action::CopyServer,
    })
}

/// What a command of such a connection does, if the text is one: it begins with the word of one.
pub fn replication_command(text: &SqlText) -> Option<Facts> {
    let mut words = text.bytes().split(|byte| is_blank(*byte)).filter(|word| !word.is_empty());
    let first = words.next()?;
    // What may stand right behind a word and is none of it.
    let end = first.iter().position(|byte| !is_plain(*byte)).unwrap_or(first.len());
    let command = first.get(..end)?.to_ascii_uppercase();
    let is = |commands: &[&str]| commands.iter().any(|known| known.as_bytes() == command);
    let action = if is(ABOUT) {
        Action::Replicate
    } else if is(EITHER) {
        let is_logical = end == first.len() && speaks_of_logical(&command, words);
        if is_logical { Action::Replicate } else { Action::CopyServer }
    } else if is(OF_ALL) {
        Action::CopyServer
    } else {
        return None;
    };
    Some(of(action))
}

fn of(action: Action) -> Facts {
    let effects = vec![Effect { action, object: None, has_where: false }];
    Facts { kind: Kind::Replication, statement_count: 1, effects, problem: None, ..Facts::unparsed("") }
}

/// Whether the words behind the command are `SLOT name LOGICAL`, or `name [TEMPORARY] LOGICAL`.
fn speaks_of_logical<'t>(command: &[u8], words: impl Iterator<Item = &'t [u8]>) -> bool {
    let is = |word: &[u8], wanted: &str| word.eq_ignore_ascii_case(wanted.as_bytes());
    let begin: Vec<&[u8]> = words.take(3).collect();
    match begin.as_slice() {
        [slot, name, logical] if command == b"START_REPLICATION" => {
            is(slot, "SLOT") && is_name(name) && is(logical, "LOGICAL")
        }
        [name, logical, _plugin] if is(logical, "LOGICAL") => command != b"START_REPLICATION" && is_name(name),
        [name, temporary, logical] => {
            command != b"START_REPLICATION" && is_name(name) && is(temporary, "TEMPORARY") && is(logical, "LOGICAL")
        }
        _ => false,
    }
}

/// A slot's name: lower-case letters, digits and underscores, perhaps quoted.
fn is_name(word: &[u8]) -> bool {
    let bare = word.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(word);
    !bare.is_empty() && bare.iter().all(|byte| is_plain(*byte))
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// What the server's reader of commands skips, in any of its versions.
fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == b'\x0b'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(text: &str) -> Option<Action> {
        replication_command(&SqlText::from(text)).map(|facts| facts.effects[0].action)
    }

    #[test]
    fn following_one_database_is_told_from_copying_the_server() {
        for text in [
            "IDENTIFY_SYSTEM",
            "identify_system;",
            "CREATE_REPLICATION_SLOT s LOGICAL pgoutput",
            "CREATE_REPLICATION_SLOT \"s\" TEMPORARY LOGICAL pgoutput (SNAPSHOT 'nothing')",
            "\n START_REPLICATION\tSLOT s_1 LOGICAL 0/0 (proto_version '1', publication_names '\"p\"')",
            "DROP_REPLICATION_SLOT s WAIT",
            "READ_REPLICATION_SLOT s",
        ] {
            assert_eq!(action(text), Some(Action::Replicate), "{text}");
        }
        for text in [
            "BASE_BACKUP",
            "BASE_BACKUP(LABEL 'x')",
            "base_backup LABEL 'SLOT s LOGICAL'",
            "TIMELINE_HISTORY 2",
            "UPLOAD_MANIFEST",
            "CREATE_REPLICATION_SLOT s PHYSICAL",
            "CREATE_REPLICATION_SLOT logical PHYSICAL",
            "CREATE_REPLICATION_SLOT s TEMPORARY PHYSICAL LOGICAL",
            "CREATE_REPLICATION_SLOT s",
            "START_REPLICATION 0/0",
            "START_REPLICATION SLOT s 0/0",
            "START_REPLICATION SLOT s PHYSICAL 0/0",
            "START_REPLICATION SLOT logical 0/0 TIMELINE 1",
            "START_REPLICATION PHYSICAL 0/0 SLOT s LOGICAL",
            "START_REPLICATION/**/SLOT s LOGICAL 0/0",
            "START_REPLICATION SLOT \"s\"\"PHYSICAL 0/0 \" LOGICAL",
            "START_REPLICATION;",
        ] {
            assert_eq!(action(text), Some(Action::CopyServer), "{text}");
        }
    }

    #[test]
    fn what_begins_otherwise_is_sql() {
        for text in ["", " ", "SELECT 1", "/* */ BASE_BACKUP", "SHOW work_mem", "BASE_BACKUPS", "\"BASE_BACKUP\""] {
            assert_eq!(action(text), None, "{text}");
        }
    }
}
