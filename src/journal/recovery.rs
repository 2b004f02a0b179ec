//! What a start finds: one holder, the files in order, and what is damaged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::disk::Disk;
use super::frame::{self, Key};
use super::salt::Salt;
use super::scan::{Found, Scan};
use super::{Journal, JournalError};
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

/// Bytes that should hold entries and do not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file's name, without its salt.
    pub file: String,
    /// The offset in bytes at which it starts.
    pub offset: u64,
    /// How many entries are missing for certain: those between two that are there. None for a damaged end, behind which
    /// there may have been entries that nobody was told were recorded, or that were.
    pub missing: u64,
    /// How many statements may be missing at most: of a damaged end, as many as fit into what was written behind it
    /// (files are used again, so that may be what an earlier use left there), or into what was cut off the file.
    pub at_most: u64,
}

/// A file that holds entries.
#[derive(Debug, Clone)]
pub(super) struct HeldFile {
    /// What it is bound to; its name says it.
    pub(super) key: Key,
    /// Bytes of it that hold entries.
    pub(super) bytes: u64,
}

/// What the writer starts from.
pub(super) struct Recovered {
    /// First entry → file, of every file that holds entries.
    pub(super) files: BTreeMap<EntrySeq, HeldFile>,
    /// Files that hold nothing and can be used again.
    pub(super) spares: Vec<String>,
    /// Bytes that hold entries.
    pub(super) used: u64,
    /// The last entry found.
    pub(super) last: EntrySeq,
    /// What was damaged.
    pub(super) damage: Vec<Damage>,
    /// Missing entries: the first that is missing → the next that is there.
    pub(super) gaps: BTreeMap<EntrySeq, EntrySeq>,
    /// First entries of files before whose name entries of the file before stopped counting.
    enders: BTreeSet<EntrySeq>,
}

/// Nobody but the owner.
const FOLDER_MODE: u32 = 0o700;
const SUFFIX: &str = ".hj";
const PREFIX: &str = "journal-";
const SPARE: &str = "spare-";

/// The name of the file with this key.
pub(super) fn name_of(key: &Key) -> String {
    let mut name = told(key.first);
    if let Some(salt) = &key.salt {
        name.push('-');
        salt.print(&mut name);
    }
    name.push_str(SUFFIX);
    name
}

/// The part of a file's name that may be told to others.
fn told(first: EntrySeq) -> String {
    format!("{PREFIX}{:020}", first.0)
}

/// The name of a spare file.
pub(super) fn spare_name(number: u64) -> String {
    format!("{SPARE}{number:020}{SUFFIX}")
}

fn key_of(name: &str) -> Option<Key> {
    let inner = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let (first, salt) = match inner.split_once('-') {
        Some((first, salt)) => (first, Some(Salt::read(salt)?)),
        None => (inner, None),
    };
    let first = first.parse().ok().map(EntrySeq).filter(|first| first.0 <= frame::MAX_SEQ)?;
    // A name that is written in another way is not the one by which the file would be opened.
    Some(Key { first, salt }).filter(|key| name_of(key) == name)
}

/// The files that hold entries, by their first entry. Of two with the same the one of version 1 is left from before: its
/// flush failed, or its name only ended the file before it, and the other has taken its place.
fn held(disk: &dyn Disk, names: &[String]) -> Result<BTreeMap<EntrySeq, HeldFile>, JournalError> {
    let mut files = BTreeMap::new();
    let mut keys: Vec<Key> = names.iter().filter_map(|name| key_of(name)).collect();
    keys.sort_by_key(|key| (key.first, key.salt.is_some()));
    for key in keys {
        match files.insert(key.first, HeldFile { key, bytes: 0 }) {
            Some(HeldFile { key: replaced @ Key { salt: None, .. }, .. }) => {
                disk.remove(&name_of(&replaced)).map_err(JournalError::disk("remove a file that was replaced"))?;
            }
            // The writer never makes this; whoever copied a file there knows which one counts.
            Some(_) => return Err(JournalError::TwoFiles { first: key.first }),
            None => {}
        }
    }
    Ok(files)
}

/// Reads all files through. `file_bytes` is how long files are made.
pub(super) fn recover(disk: &dyn Disk, file_bytes: u64) -> Result<Recovered, JournalError> {
    let names = disk.list().map_err(JournalError::disk("list its directory"))?;
    let files = held(disk, &names)?;
    let spares = names.into_iter().filter(|name| name.starts_with(SPARE) && name.ends_with(SUFFIX)).collect();
    let before_all = files.keys().next().map_or(EntrySeq(0), |first| EntrySeq(first.0.saturating_sub(1)));
    let (damage, gaps, enders) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
    let mut recovered = Recovered { spares, used: 0, last: before_all, damage, gaps, enders, files };
    let firsts: Vec<EntrySeq> = recovered.files.keys().copied().collect();
    for (at, first) in firsts.iter().enumerate() {
        recovered.read(disk, file_bytes, (*first, firsts.get(at + 1).copied()))?;
    }
    // A file without entries is of no use: its name may be wanted, its room is. But for one whose name alone says that
    // entries of the file before it do not count: without it the next start would find them again. The file of the first
    // entry that is written takes its place.
    let (last, enders) = (recovered.last, &recovered.enders);
    let of_no_use = |first: &EntrySeq, _: &mut HeldFile| *first > last && !enders.contains(first);
    for (_, file) in recovered.files.extract_if(.., of_no_use) {
        disk.remove(&name_of(&file.key)).map_err(JournalError::disk("remove an empty file"))?;
    }
    disk.sync().map_err(JournalError::disk("flush its directory"))?;
    Ok(recovered)
}

impl Recovered {
    /// Reads one file. What `follower`, the first entry of the next file, starts with does not count here: it was written
    /// there again because its flush failed here.
    fn read(
        &mut self,
        disk: &dyn Disk,
        file_bytes: u64,
        (first, follower): (EntrySeq, Option<EntrySeq>),
    ) -> Result<(), JournalError> {
        let key = self.files.get(&first).map_or(Key { first, salt: None }, |file| file.key);
        let trouble = || JournalError::disk("read a file");
        let (file, name) = (disk.open(&name_of(&key)).map_err(trouble())?, told(first));
        // Entries between files are missing too: a file was lost or cut as a whole.
        self.missing_before(first, &name, 0);
        let (mut scan, header_intact) = Scan::begin(file, key).map_err(trouble())?;
        let (mut file_end, mut damaged_at) = (0, None);
        let counts = |seq: EntrySeq| follower.is_none_or(|follower| seq < follower);
        loop {
            match scan.next().map_err(trouble())? {
                Found::Frame { seq, end, .. } if seq > self.last && counts(seq) => {
                    if let Some(offset) = damaged_at.take() {
                        self.missing_before(seq, &name, offset);
                    }
                    self.last = seq;
                    file_end = end;
                }
                Found::Frame { seq, .. } => self.enders.extend(follower.filter(|_| !counts(seq))),
                // An end with another number would be that of a write before the last one; the frames tell.
                Found::End { next, .. } if next.0 == self.last.0 + 1 => break,
                Found::End { next, .. } if !counts(next) => {
                    self.enders.extend(follower);
                    break;
                }
                Found::End { at, .. } | Found::Nothing { at } => {
                    damaged_at.get_or_insert(at);
                    if !scan.resume().map_err(trouble())? {
                        break;
                    }
                }
            }
        }
        self.used += file_end;
        if !header_intact && file_end > 0 {
            self.damage.push(Damage { file: name.clone(), offset: 0, missing: 0, at_most: 0 });
        }
        // Where a file follows, what it starts with tells whether anything is missing here.
        if let Some(offset) = damaged_at.filter(|_| follower.is_none() && (header_intact || file_end > 0)) {
            let (written, length) = scan.written_from(offset).map_err(trouble())?;
            // A file that is shorter than files are made had more behind its end.
            let lost = if length < file_bytes { file_bytes.saturating_sub(offset) } else { written };
            let at_most = lost.div_ceil(frame::LEAST_STATEMENT as u64);
            self.damage.push(Damage { file: name.clone(), offset, missing: 0, at_most });
        }
        if let Some(held) = self.files.get_mut(&first) {
            held.bytes = file_end;
        }
        Ok(())
    }

    fn missing_before(&mut self, seq: EntrySeq, name: &str, offset: u64) {
        let missing = seq.0.saturating_sub(self.last.0 + 1);
        if missing > 0 {
            self.gaps.insert(EntrySeq(self.last.0 + 1), seq);
            self.damage.push(Damage { file: name.to_owned(), offset, missing, at_most: missing });
            self.last = EntrySeq(seq.0 - 1);
        }
    }
}

/// What it holds, and the salts in its names, are for the recorder alone. A folder that is there stays as it is: whoever
/// made it may have had a reason.
fn make_folder(dir: &Path) -> io::Result<()> {
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(FOLDER_MODE).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// One process for each directory: an advisory lock that the system gives up with the process.
pub(super) fn take_lock(dir: &Path) -> Result<File, JournalError> {
    make_folder(dir).map_err(JournalError::disk("make its directory"))?;
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
