//! Open files: what the connections need, against what the system allows.
//!
//! Promises: the soft limit is raised to the hard one, because nobody sets it for us; what the hard limit does not allow is
//! not promised to clients, so that a connection that is accepted can also be served and the journal never lacks a file.
//!
//! Where the hard limit does not suffice, fewer connections are taken, and the log says so. Rejected: not to start, because
//! fewer clients than somebody hoped for is better than none, and what is over the limit reads why; but where not even one
//! connection has room, it is an error.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Of each connection: to the client and to the database.
const EACH: u64 = 2;
/// Everything else: the journal's files, what is being shipped, the issuer, looks at catalogs, requests to cancel, clients that
/// are told that all places are taken.
const OTHERS: u64 = 256;

/// How many connections there can be of those that are wanted.
///
/// # Errors
///
/// There can be none.
pub(super) fn connections(wanted: usize) -> Result<usize, String> {
    let allowed = raised();
    let room = room(wanted, allowed)?;
    if room < wanted {
        let needed = needed(wanted);
        tracing::warn!(
            wanted,
            room,
            allowed,
            needed,
            "limits.connections is lowered: the system allows fewer open files"
        );
    }
    Ok(room)
}

/// Open files that are allowed once the soft limit is raised; nothing if any number is.
fn raised() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files cannot be raised");
            limit.current
        }
    }
}

fn needed(connections: usize) -> u64 {
    (connections as u64).saturating_mul(EACH).saturating_add(OTHERS)
}

fn room(wanted: usize, allowed: Option<u64>) -> Result<usize, String> {
    let Some(allowed) = allowed else { return Ok(wanted) };
    let room = allowed.saturating_sub(OTHERS) / EACH;
    let room = usize::try_from(room).unwrap_or(usize::MAX).min(wanted);
    if room == 0 {
        let least = needed(1);
        return Err(format!("the system allows {allowed} open files (ulimit -n); at least {least} are needed"));
    }
    Ok(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_connections_are_taken_as_have_room_beside_all_else() {
        assert_eq!(room(2_000, None), Ok(2_000));
        assert_eq!(room(2_000, Some(needed(2_000))), Ok(2_000));
        assert_eq!(room(2_000, Some(needed(2_000) - 1)), Ok(1_999));
        assert_eq!(room(2_000, Some(1_024)), Ok(384));
        assert_eq!(room(1, Some(258)), Ok(1));
        assert!(room(2_000, Some(257)).unwrap_err().contains("257 open files"));
        assert!(room(1, Some(0)).is_err());
    }
}
