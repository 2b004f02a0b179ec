//! The seam between the journal and the disk: everything the journal asks of one, and the folder that usually answers.
//!
//! The journal is only as good as what happens when a disk fails, so a disk that fails on demand can take the folder's
//! place (`tests/support/disk.rs`).

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

/// A folder of files. Names are single path components.
pub trait Disk: Send + Sync + fmt::Debug {
    /// The names of all files.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file that is there, to read and write.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Makes a file of `length` bytes, all zero and all allocated: writing into it later needs no more room.
    ///
    /// # Errors
    ///
    /// What the system says; nothing of that name is left then.
    fn create(&self, name: &str, length: u64) -> io::Result<Box<dyn DiskFile>>;

    /// Gives a file another name; one of that name is replaced.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Puts the names that were made, changed and removed on stable storage.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn sync(&self) -> io::Result<()>;
}

/// An open file. It may be written while it is flushed; what is written meanwhile counts as not flushed.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Writes all bytes at an offset; beyond the end the file grows.
    ///
    /// # Errors
    ///
    /// What the system says; any part may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Reads what is there at an offset, up to the buffer's length; 0 at the end.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Puts what was written on stable storage (`fdatasync`).
    ///
    /// # Errors
    ///
    /// What the system says; after that, nothing since the last success may be relied upon.
    fn flush(&self) -> io::Result<()>;

    /// Its length in bytes.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn length(&self) -> io::Result<u64>;
}

/// A real folder.
#[derive(Debug, Clone)]
pub struct FolderDisk(PathBuf);

impl FolderDisk {
    /// The folder at a path; it must be there before anything is asked.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }
}

/// Statements and their values are in it: for nobody but the owner.
const FILE_MODE: u32 = 0o600;
/// Bytes written at a time when a file is filled.
const FILL: usize = 1 << 20;

impl Disk for FolderDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.0)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        names.filter_map(Result::transpose).collect()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.0.join(name))?;
        Ok(Box::new(FolderFile(file)))
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Box<dyn DiskFile>> {
        let path = self.0.join(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(FILE_MODE);
        let file = options.open(&path)?;
        let filled = fill(&file, length).and_then(|()| file.sync_all());
        if let Err(error) = filled {
            // Half a file is of no use, and its room is needed.
            fs::remove_file(&path)
                .or_else(|gone| if gone.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(gone) })?;
            return Err(error);
        }
        Ok(Box::new(FolderFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

/// Zeros, really written: extents that are only reserved would be converted by the first write, and that is metadata.
fn fill(file: &File, length: u64) -> io::Result<()> {
    let zeros = vec![0_u8; FILL];
    let mut offset = 0;
    while offset < length {
        let part = usize::try_from(length - offset).unwrap_or(FILL).min(FILL);
        file.write_all_at(zeros.get(..part).unwrap_or_default(), offset)?;
        offset += part as u64;
    }
    Ok(())
}

#[derive(Debug)]
struct FolderFile(File);

impl DiskFile for FolderFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn flush(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        self.0.metadata().map(|meta| meta.len())
    }
}
