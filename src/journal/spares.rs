//! Files that are ready before they are needed: filled with zeros ahead, or freed and used again.
//!
//! The last one is kept for closings. When the disk is full, no other can be made: statements are refused, and what had
//! begun can still be ended.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};

use super::disk::{Disk, DiskFile};
use super::recovery::spare_name;

/// Files kept ready: one to go on with while the next is made, and one for closings.
const READY: usize = 2;

/// The files that are ready.
#[derive(Debug)]
pub(super) struct Spares {
    disk: Arc<dyn Disk>,
    file_bytes: u64,
    ready: Vec<String>,
    /// The number of the next name.
    number: u64,
    /// The name of the file that is being made, once it is.
    making: Option<Receiver<io::Result<String>>>,
}

impl Spares {
    /// Those that were found, and as many more as are missing, made behind the scenes.
    pub(super) fn new(disk: Arc<dyn Disk>, file_bytes: u64, found: Vec<String>) -> Self {
        let number = found.len() as u64;
        let mut spares = Self { disk, file_bytes, ready: Vec::new(), number, making: None };
        for name in found {
            // One of another size, left by other settings or a start that was cut short, is made anew.
            let fits = spares.disk.open(&name).and_then(|file| file.length()).is_ok_and(|length| length == file_bytes);
            if fits && spares.ready.len() < READY {
                spares.ready.push(name);
            } else if let Err(error) = spares.disk.remove(&name) {
                tracing::warn!(%error, name, "an unfit spare journal file could not be removed");
            }
        }
        spares.make_more();
        spares
    }

    /// A file of this name, ready to be written from its start. The last spare is for closings only.
    pub(super) fn take(&mut self, name: &str, closings: bool) -> io::Result<Box<dyn DiskFile>> {
        self.collect();
        let least = if closings { 1 } else { READY };
        if self.ready.len() < least {
            let made = self.disk.create(name, self.file_bytes);
            if made.is_ok() || self.ready.is_empty() || !closings {
                return made;
            }
        }
        let Some(spare) = self.ready.pop() else { return self.disk.create(name, self.file_bytes) };
        if let Err(error) = self.disk.rename(&spare, name) {
            self.ready.push(spare);
            return Err(error);
        }
        self.make_more();
        self.disk.open(name)
    }

    /// A file that is not needed any more: kept if there is need, else removed.
    pub(super) fn give(&mut self, name: &str) -> io::Result<()> {
        self.collect();
        // One that has grown beyond the usual size gives its room back.
        let usual = self.disk.open(name).and_then(|file| file.length()).is_ok_and(|length| length == self.file_bytes);
        if !usual || self.ready.len() >= READY {
            return self.disk.remove(name);
        }
        let spare = self.next_name();
        self.disk.rename(name, &spare)?;
        self.ready.push(spare);
        Ok(())
    }

    fn next_name(&mut self) -> String {
        loop {
            let name = spare_name(self.number);
            self.number += 1;
            if !self.ready.contains(&name) {
                return name;
            }
        }
    }

    fn collect(&mut self) {
        let Some(making) = &self.making else { return };
        match making.try_recv() {
            Ok(Ok(name)) => {
                self.making = None;
                self.ready.push(name);
                self.make_more();
            }
            Ok(Err(error)) => {
                self.making = None;
                tracing::warn!(%error, "no journal file could be made ready");
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => self.making = None,
        }
    }

    fn make_more(&mut self) {
        if self.making.is_some() || self.ready.len() >= READY {
            return;
        }
        let (disk, file_bytes, name) = (Arc::clone(&self.disk), self.file_bytes, self.next_name());
        let (made, making) = mpsc::channel();
        let thread = std::thread::Builder::new().name("journal-spare".to_owned()).spawn(move || {
            let result = disk.create(&name, file_bytes).map(|_file| name);
            // If the journal was closed meanwhile, the next start finds the file.
            made.send(result).ok();
        });
        match thread {
            Ok(_) => self.making = Some(making),
            Err(error) => tracing::warn!(%error, "no thread could be started to make a journal file ready"),
        }
    }
}
