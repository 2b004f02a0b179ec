//! Who watches the watchers: a read of the archive by the recorder's own configuration is put on record.
//!
//! The reader leaves a note in `reads/` of the journal's folder, on stable storage, before it reads; the recorder makes an
//! event of it and removes the note: at once if it runs, else at its next start. So a read needs no recorder that runs,
//! and a recorder no second door. A crash between the two steps can put one read on record twice, never not at all.
//!
//! Rejected: a socket to the recorder (nothing could be read while it is down, which is when people want to read); an
//! object in the archive (the reader would need to write there).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::system::SystemClock;
use crate::model::{Clock, EventDetails, NodeName, RecorderEvent, RecorderEventKind, Timestamp};

const FOLDER: &str = "reads";
const NOTE: &str = "json";
/// Notes are for the recorder alone.
const MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// A question comes by the command line, which the system bounds far below.
const MAX_NOTE: u64 = 4 << 20;
/// Notes taken at a time: the rest waits a second.
const MOST_AT_ONCE: usize = 64;

/// One read, as it is noted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    time: Timestamp,
    operator: String,
    command: String,
    question: String,
}

/// A note that was found: where it is, and the event that it becomes.
#[derive(Debug)]
pub(super) struct Noted {
    pub(super) path: PathBuf,
    pub(super) event: RecorderEvent,
}

impl Noted {
    /// Removes the note: it is on record.
    pub(super) fn settle(&self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

/// Puts a read on record, before it happens. `journal` is the journal's folder.
///
/// # Errors
///
/// What the system says; then nothing must be read.
pub(super) fn note(journal: &Path, command: &str, question: &str) -> io::Result<()> {
    let read = Read {
        time: SystemClock.now(),
        operator: operator(),
        command: command.to_owned(),
        question: question.to_owned(),
    };
    let folder = prepare(journal)?;
    let stem = format!("{}-{}", read.time.0, std::process::id());
    let (beside, path) = (folder.join(format!("{stem}.new")), folder.join(format!("{stem}.{NOTE}")));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&beside)?;
    give(&beside, journal)?;
    file.write_all(&serde_json::to_vec(&read)?)?;
    file.sync_all()?;
    fs::rename(&beside, &path)?;
    File::open(&folder)?.sync_all()?;
    File::open(journal)?.sync_all()
}

/// The folder of the notes, made if it is not there. It is the recorder's, whoever makes it.
pub(super) fn prepare(journal: &Path) -> io::Result<PathBuf> {
    let folder = journal.join(FOLDER);
    match DirBuilder::new().mode(FOLDER_MODE).create(&folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
        Ok(()) => give(&folder, journal)?,
    }
    Ok(folder)
}

/// Gives a file to whoever owns the journal: root may read while the recorder runs as somebody else, who must be able to
/// read and remove what root left.
fn give(path: &Path, journal: &Path) -> io::Result<()> {
    let (ours, owner) = (fs::metadata(path)?, fs::metadata(journal)?);
    if (ours.uid(), ours.gid()) == (owner.uid(), owner.gid()) {
        return Ok(());
    }
    chown(path, Some(owner.uid()), Some(owner.gid()))
}

/// The notes that wait in the journal's folder, the oldest first; not all of them, if they are many.
///
/// # Errors
///
/// The folder is there and cannot be read.
pub(super) fn waiting(journal: &Path, node: &NodeName) -> io::Result<Vec<Noted>> {
    let folder = journal.join(FOLDER);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == NOTE));
    paths.sort();
    paths.truncate(MOST_AT_ONCE);
    paths.into_iter().map(|path| Ok(Noted { event: event(&path, node)?, path })).collect()
}

fn event(path: &Path, node: &NodeName) -> io::Result<RecorderEvent> {
    let kind = RecorderEventKind::ArchiveRead;
    let long = fs::metadata(path)?.len() > MAX_NOTE;
    let read = if long { None } else { serde_json::from_slice::<Read>(&fs::read(path)?).ok() };
    let Some(read) = read else {
        // Whoever wrote it read, or wants it to seem so; either is worth a row.
        let detail = "a note of a read that cannot be understood".to_owned();
        return Ok(RecorderEvent::new(SystemClock.now(), node.clone(), kind, detail));
    };
    let detail = format!("hansard {}", read.command);
    let more = EventDetails { operator: Some(read.operator), question: Some(read.question), ..EventDetails::default() };
    Ok(RecorderEvent::new(read.time, node.clone(), kind, detail).with(more))
}

/// Who runs this process, as the operating system knows them: the user, and the one who had signed in if that is another.
fn operator() -> String {
    let user = rustix::process::getuid().as_raw();
    let signed_in = fs::read_to_string("/proc/self/loginuid").ok().and_then(|text| text.trim().parse().ok());
    match signed_in {
        // The largest number says that nobody had.
        Some(login) if login != user && login != u32::MAX => format!("{}, signed in as {}", named(user), named(login)),
        _ => named(user),
    }
}

fn named(number: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(number)).then_some(name)
    });
    name.map_or_else(|| format!("uid {number}"), |name| format!("{name} (uid {number})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeName {
        NodeName::new("node-1").unwrap()
    }

    #[test]
    fn a_read_is_noted_whole_and_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        assert!(waiting(dir.path(), &node()).unwrap().is_empty());
        let question = "SELECT '\u{1b}[2J' -- ü\n";
        note(dir.path(), "query", question).unwrap();
        let found = waiting(dir.path(), &node()).unwrap();
        assert_eq!(fs::metadata(&found[0].path).unwrap().mode() & 0o777, 0o600);
        let event = &found[0].event;
        assert_eq!((event.kind, event.detail.as_str()), (RecorderEventKind::ArchiveRead, "hansard query"));
        assert_eq!(event.more.question.as_deref(), Some(question));
        let user = rustix::process::getuid().as_raw();
        assert!(event.more.operator.as_ref().unwrap().contains(&format!("uid {user}")));
        found[0].settle().unwrap();
        assert!(waiting(dir.path(), &node()).unwrap().is_empty());
    }

    #[test]
    fn a_note_that_nobody_can_read_is_a_row_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(FOLDER)).unwrap();
        fs::write(dir.path().join("reads/1-1.json"), "{").unwrap();
        fs::write(dir.path().join("reads/1-2.new"), "{").unwrap();
        let found = waiting(dir.path(), &node()).unwrap();
        assert_eq!(found.len(), 1, "one that is being written is left alone");
        assert!(found[0].event.detail.contains("cannot be understood"));
    }
}
