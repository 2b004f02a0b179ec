//! Files that hold secrets of ours: there whole or not at all, and readable by nobody else.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The mode of a secret's file, and what must not be set in it.
const PRIVATE: u32 = 0o600;
const OTHERS: u32 = 0o077;
/// The mode of a folder that is made for it.
const FOLDER: u32 = 0o700;
const PUBLIC: u32 = 0o644;

/// A file of ours cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// It cannot be read or written.
    #[error("the file {} failed: {source}", path.display())]
    Failed {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others can read it.
    #[error("{} can be read by others (mode {mode:o}): have what it holds replaced, or set its mode to 600", path.display())]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

/// What the file holds; nothing if there is none. Bytes that are no text count as a failure to read.
pub(super) fn read(path: &Path) -> Result<Option<String>, PrivateFileError> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path)(error)),
        Ok(metadata) => {
            let mode = metadata.permissions().mode() & 0o777;
            if mode & OTHERS != 0 {
                return Err(PrivateFileError::Exposed { path: path.to_owned(), mode });
            }
        }
    }
    read_public(path)
}

/// The same of a file that others may read.
pub(super) fn read_public(path: &Path) -> Result<Option<String>, PrivateFileError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path)(error)),
    }
}

/// Makes or replaces the file and its folder, durably.
pub(super) fn write(path: &Path, text: &str) -> Result<(), PrivateFileError> {
    put(path, text, PRIVATE)
}

/// The same of a file that others may read.
pub(super) fn write_public(path: &Path, text: &str) -> Result<(), PrivateFileError> {
    put(path, text, PUBLIC)
}

/// Gives a file another name, durably; one of that name is replaced.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), PrivateFileError> {
    std::fs::rename(from, to).and_then(|()| sync_folder(to)).map_err(failed(to))
}

/// Makes the folder, with those above it, for its owner alone; one that is there stays as it is.
pub(super) fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER).create(path)
}

/// Writes beside and renames, so that a file is there whole or not at all, and never with another mode.
fn put(path: &Path, text: &str, mode: u32) -> Result<(), PrivateFileError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let written = || -> io::Result<()> {
        if let Some(parent) = path.parent() {
            folder(parent)?;
        }
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        sync_folder(path)
    };
    written().map_err(failed(path))
}

fn sync_folder(of: &Path) -> io::Result<()> {
    of.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> PrivateFileError {
    let path = path.to_owned();
    |source| PrivateFileError::Failed { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_written_for_its_owner_alone_and_not_read_where_others_can() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/key.pem");
        assert!(read(&path).unwrap().is_none());
        write(&path, "one").unwrap();
        write(&path, "two").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("two"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o604)).unwrap();
        let exposed = read(&path).unwrap_err();
        assert!(exposed.to_string().contains("mode 604"), "{exposed}");
        assert_eq!(read_public(&path).unwrap().as_deref(), Some("two"));
        let other = dir.path().join("deep/other.pem");
        rename(&path, &other).unwrap();
        assert!(read(&path).unwrap().is_none() && read_public(&other).unwrap().is_some());
    }
}
