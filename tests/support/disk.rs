//! A disk that fails on demand, and that can lose its power: what was flushed stays, of the rest any part may.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use hansard::journal::disk::{Disk, DiskFile};

/// Bytes that a disk writes as one: a write is torn between such pieces only.
const SECTOR: usize = 512;

/// What goes wrong from now on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// Writes fail with this error number.
    pub(crate) write: Option<i32>,
    /// Before a write fails, this much of it is written.
    pub(crate) written_before: usize,
    /// Flushes fail with this error number.
    pub(crate) flush: Option<i32>,
    /// No file can be made, with this error number.
    pub(crate) create: Option<i32>,
    /// Flushes wait.
    pub(crate) stuck: bool,
}

#[derive(Debug, Default)]
struct File {
    /// What a read finds.
    content: Vec<u8>,
    /// What is on stable storage.
    stable: Vec<u8>,
    /// Written since the last flush: offset and bytes.
    pending: Vec<(usize, Vec<u8>)>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<u64, File>,
    names: BTreeMap<String, u64>,
    stable_names: BTreeMap<String, u64>,
    next: u64,
    faults: Faults,
    flushes: u64,
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

/// The disk. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct FaultyDisk(Arc<Inner>);

impl FaultyDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    /// From now on this goes wrong.
    pub(crate) fn fail(&self, faults: Faults) {
        self.state().faults = faults;
        self.0.changed.notify_all();
    }

    /// How many flushes went well.
    pub(crate) fn flushes(&self) -> u64 {
        self.state().flushes
    }

    /// The disk as the next process finds it after this one was killed now: all that was written is there.
    pub(crate) fn after_kill(&self) -> Self {
        let state = self.state();
        let whole =
            |file: &File| File { content: file.content.clone(), stable: file.content.clone(), pending: Vec::new() };
        let files = state.files.iter().map(|(id, file)| (*id, whole(file))).collect();
        let (names, next) = (state.names.clone(), state.next);
        let back = State { files, stable_names: names.clone(), names, next, ..State::default() };
        Self(Arc::new(Inner { state: Mutex::new(back), changed: Condvar::new() }))
    }

    /// The disk as it comes back after its power was lost now. `chance` gives one bit at a time for each sector that was
    /// not flushed, and says whether it had reached the disk all the same.
    pub(crate) fn after_power_loss(&self, mut chance: impl FnMut() -> bool) -> Self {
        let state = self.state();
        let mut back = State { names: state.stable_names.clone(), next: state.next, ..State::default() };
        back.stable_names.clone_from(&back.names);
        for (name, id) in &state.files {
            let mut content = id.stable.clone();
            for (offset, bytes) in &id.pending {
                for (at, sector) in bytes.chunks(SECTOR).enumerate() {
                    if chance() {
                        put(&mut content, offset + at * SECTOR, sector);
                    }
                }
            }
            back.files.insert(*name, File { stable: content.clone(), content, pending: Vec::new() });
        }
        Self(Arc::new(Inner { state: Mutex::new(back), changed: Condvar::new() }))
    }
}

fn put(to: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if to.len() < end {
        to.resize(end, 0);
    }
    to[offset..end].copy_from_slice(bytes);
}

fn refused(errno: Option<i32>) -> io::Result<()> {
    errno.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
}

fn gone() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl Disk for FaultyDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let id = *self.state().names.get(name).ok_or_else(gone)?;
        Ok(Box::new(OpenFile { disk: self.clone(), id }))
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        refused(state.faults.create)?;
        let id = state.next;
        state.next += 1;
        let zeros = vec![0; usize::try_from(length).unwrap()];
        state.files.insert(id, File { content: zeros.clone(), stable: zeros, pending: Vec::new() });
        state.names.insert(name.to_owned(), id);
        Ok(Box::new(OpenFile { disk: self.clone(), id }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        refused(state.faults.write)?;
        let id = state.names.remove(from).ok_or_else(gone)?;
        state.names.insert(to.to_owned(), id);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        refused(state.faults.write)?;
        state.names.remove(name).map(drop).ok_or_else(gone)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        refused(state.faults.flush)?;
        state.stable_names = state.names.clone();
        Ok(())
    }
}

#[derive(Debug)]
struct OpenFile {
    disk: FaultyDisk,
    id: u64,
}

impl DiskFile for OpenFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let fault = state.faults.write;
        let written = if fault.is_some() { state.faults.written_before.min(bytes.len()) } else { bytes.len() };
        let file = state.files.get_mut(&self.id).ok_or_else(gone)?;
        let offset = usize::try_from(offset).unwrap();
        put(&mut file.content, offset, &bytes[..written]);
        file.pending.push((offset, bytes[..written].to_vec()));
        refused(fault)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.state();
        let file = state.files.get(&self.id).ok_or_else(gone)?;
        let rest = usize::try_from(offset).ok().and_then(|offset| file.content.get(offset..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        while state.faults.stuck {
            state = self.disk.0.changed.wait(state).unwrap();
        }
        // The page cache may lie after a failed flush: what was not written is not pending any more.
        let fault = state.faults.flush;
        state.flushes += u64::from(fault.is_none());
        let file = state.files.get_mut(&self.id).ok_or_else(gone)?;
        let pending = std::mem::take(&mut file.pending);
        refused(fault)?;
        for (offset, bytes) in pending {
            put(&mut file.stable, offset, &bytes);
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        let state = self.disk.state();
        state.files.get(&self.id).map(|file| file.content.len() as u64).ok_or_else(gone)
    }
}
