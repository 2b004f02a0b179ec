//! A folder as archive. `object_store` reads it; writing is done here, because 0.13 does not flush: a name whose bytes
//! were lost with the power would contradict every retry.
//!
//! An object is written beside its name as `name#1`, flushed, linked to its name (which fails if the name is taken) and
//! the folders flushed. Readers skip `#` and digits; what a crash leaves under such a name can be deleted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use object_store::local::LocalFileSystem;

use super::StoreError;

/// Leftovers and other writers of the same name, before something else must be wrong.
const STAGING_NAMES: u32 = 1_000;

/// The folder, made if it is not there, and its real path.
pub(super) fn open(folder: &Path) -> Result<(LocalFileSystem, PathBuf), StoreError> {
    let away = |cause: String| StoreError::Away { doing: "open", name: folder.display().to_string(), cause };
    make_folder(folder).map_err(|error| away(error.to_string()))?;
    let real = fs::canonicalize(folder).map_err(|error| away(error.to_string()))?;
    let objects = LocalFileSystem::new_with_prefix(&real).map_err(|error| away(error.to_string()))?;
    Ok((objects, real))
}

/// Runs `work` on a file's path where blocking is allowed.
pub(super) async fn blocking<T: Send + 'static>(
    name: &str,
    file: PathBuf,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    let away = |cause: String| StoreError::Away { doing: "store", name: name.to_owned(), cause };
    match tokio::task::spawn_blocking(move || work(&file)).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) if error.kind() == ErrorKind::PermissionDenied => {
            Err(StoreError::Refused { doing: "store", name: name.to_owned(), cause: error.to_string() })
        }
        Ok(Err(error)) => Err(away(error.to_string())),
        Err(error) => Err(away(error.to_string())),
    }
}

/// Makes the file with these bytes, durably; `false` if the name is taken.
pub(super) fn create(file: &Path, bytes: &[u8]) -> io::Result<bool> {
    if file.try_exists()? {
        return Ok(false);
    }
    let folder = file.parent().ok_or(ErrorKind::InvalidInput)?;
    make_folder(folder)?;
    let (mut staged, staging) = stage(file)?;
    let linked = staged.write_all(bytes).and_then(|()| staged.sync_all()).and_then(|()| fs::hard_link(&staging, file));
    let removed = fs::remove_file(&staging);
    match linked {
        Ok(()) => {
            removed?;
            sync_folder(folder)?;
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Flushes a file that is there, and its name.
pub(super) fn sync(file: &Path) -> io::Result<()> {
    File::open(file)?.sync_all()?;
    file.parent().map_or(Ok(()), sync_folder)
}

fn stage(file: &Path) -> io::Result<(File, PathBuf)> {
    for number in 1..=STAGING_NAMES {
        let mut name = file.as_os_str().to_owned();
        name.push(format!("#{number}"));
        match OpenOptions::new().write(true).create_new(true).open(&name) {
            Ok(staged) => return Ok((staged, name.into())),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(ErrorKind::AlreadyExists, format!("{STAGING_NAMES} leftovers of unfinished writes")))
}

/// Makes a folder and those above it, durably.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().unwrap_or(Path::new("/"));
    make_folder(above)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        Err(error) if !folder.is_dir() => Err(error),
        _ => sync_folder(above),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
