//! What a start finds: one holder, the files in order, and where the last run was cut off.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::frame::{self, FILE_HEADER_LEN, FRAME_HEADER_LEN, FRAME_TRAILER_LEN, Header};
use super::{Journal, JournalError, Settings};
use crate::model::EntrySeq;

/// The journal as it was opened.
#[derive(Debug)]
pub struct Opened {
    /// The journal, ready to record.
    pub journal: Journal,
    /// What was found damaged; recorded by the caller as an event.
    pub damage: Vec<Damage>,
    /// The last entry of the last run; 0 for a new journal.
    pub last: EntrySeq,
}

/// Bytes that are no entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file's name.
    pub file: String,
    /// The offset in bytes at which it starts.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// The entries that are missing because of it; none for a torn tail that was never confirmed.
    pub missing: u64,
}

/// What the writer starts from.
pub(super) struct Recovered {
    /// The lock; held as long as it is open.
    pub(super) lock: File,
    /// First entry → path.
    pub(super) files: BTreeMap<EntrySeq, PathBuf>,
    /// Bytes of all files.
    pub(super) used: u64,
    /// The last entry found.
    pub(super) last: EntrySeq,
    /// What was damaged.
    pub(super) damage: Vec<Damage>,
    /// The first entries of files before which confirmed entries are missing.
    pub(super) gaps: Vec<EntrySeq>,
}

const SUFFIX: &str = ".hj";
const PREFIX: &str = "journal-";

/// The path of the file that starts at `first`.
pub(super) fn path_of(dir: &Path, first: EntrySeq) -> PathBuf {
    dir.join(format!("{PREFIX}{:020}{SUFFIX}", first.0))
}

/// Flushes a directory, so that names made or removed in it stay so.
pub(super) fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

pub(super) fn recover(settings: &Settings) -> Result<Recovered, JournalError> {
    fs::create_dir_all(&settings.dir).map_err(JournalError::disk("make its directory"))?;
    let lock = take_lock(&settings.dir)?;
    let mut files = list(&settings.dir).map_err(JournalError::disk("list its directory"))?;
    let mut damage = Vec::new();
    let mut gaps = Vec::new();
    let mut last = files.keys().next().map_or(EntrySeq(0), |first| EntrySeq(first.0.saturating_sub(1)));
    let firsts: Vec<EntrySeq> = files.keys().copied().collect();
    for (at, first) in firsts.iter().enumerate() {
        let Some(path) = files.get(first).cloned() else { continue };
        let next_first = firsts.get(at + 1).copied();
        let scan = scan(&path, *first).map_err(JournalError::disk("read a file"))?;
        // What a later file starts with does not count in an earlier one: its flush had failed.
        let found = next_first.map_or(scan.last, |next| scan.last.min(EntrySeq(next.0.saturating_sub(1))));
        let missing = next_first.map_or(0, |next| next.0.saturating_sub(found.0 + 1));
        let torn = scan.length.saturating_sub(scan.good);
        if missing > 0 || (next_first.is_none() && torn > 0) {
            let file = path.file_name().map(|name| name.display().to_string()).unwrap_or_default();
            damage.push(Damage { file, offset: scan.good, bytes: torn, missing });
        }
        if missing > 0 {
            gaps.extend(next_first);
        }
        if next_first.is_none() {
            last = found;
            cut(&path, &scan).map_err(JournalError::disk("cut a damaged tail"))?;
            if scan.good < FILE_HEADER_LEN as u64 {
                files.remove(first);
                fs::remove_file(&path).map_err(JournalError::disk("remove an empty file"))?;
            }
        }
    }
    sync_dir(&settings.dir).map_err(JournalError::disk("flush its directory"))?;
    let used = files.values().filter_map(|path| fs::metadata(path).ok()).map(|meta| meta.len()).sum();
    Ok(Recovered { lock, files, used, last, damage, gaps })
}

/// One process for each directory: an advisory lock that the system gives up with the process.
fn take_lock(dir: &Path) -> Result<File, JournalError> {
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join("lock"))
        .map_err(JournalError::disk("open its lock"))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut holder = String::new();
        let known = lock.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
        let holder = if known { format!("pid {}", holder.trim()) } else { "pid not known".to_owned() };
        return Err(JournalError::Held { dir: dir.to_owned(), holder });
    }
    let pid = std::process::id().to_string();
    lock.set_len(0)
        .and_then(|()| lock.seek(SeekFrom::Start(0)))
        .and_then(|_| lock.write_all(pid.as_bytes()))
        .map_err(JournalError::disk("write its lock"))?;
    Ok(lock)
}

fn list(dir: &Path) -> std::io::Result<BTreeMap<EntrySeq, PathBuf>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let first = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok());
        if let Some(first) = first {
            files.insert(EntrySeq(first), path);
        }
    }
    Ok(files)
}

/// What a file holds from its start on without a flaw.
struct Scan {
    /// The last entry.
    last: EntrySeq,
    /// The length in bytes up to the end of it.
    good: u64,
    /// The file's length in bytes.
    length: u64,
}

fn scan(path: &Path, first: EntrySeq) -> std::io::Result<Scan> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut scan = Scan { last: EntrySeq(first.0.saturating_sub(1)), good: 0, length };
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut header = [0_u8; FILE_HEADER_LEN];
    if length < FILE_HEADER_LEN as u64 {
        return Ok(scan);
    }
    reader.read_exact(&mut header)?;
    if !frame::is_file_header(&header) {
        return Ok(scan);
    }
    scan.good = FILE_HEADER_LEN as u64;
    let mut payload = Vec::new();
    while length - scan.good >= (FRAME_HEADER_LEN + FRAME_TRAILER_LEN) as u64 {
        let mut bytes = [0_u8; FRAME_HEADER_LEN];
        reader.read_exact(&mut bytes)?;
        let Some(header) = Header::read(bytes) else { break };
        if header.seq.0 != scan.last.0 + 1 || header.frame_len() > length - scan.good {
            break;
        }
        payload.resize(header.length, 0);
        reader.read_exact(&mut payload)?;
        let mut crc = [0_u8; FRAME_TRAILER_LEN];
        reader.read_exact(&mut crc)?;
        if !header.matches(&payload, crc) {
            break;
        }
        scan.last = header.seq;
        scan.good += header.frame_len();
    }
    Ok(scan)
}

fn cut(path: &Path, scan: &Scan) -> std::io::Result<()> {
    if scan.good == scan.length {
        return Ok(());
    }
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(scan.good)?;
    file.sync_all()
}
