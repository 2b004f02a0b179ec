//! The demo's own folder: nothing of ours is outside, nothing of others inside, and one demo at a time.

use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::DemoError;
use super::program::Owner;

/// Says that the folder is ours to empty; locked while a demo runs.
const MARKER: &str = ".hansard-demo";
const MARKER_TEXT: &str = "This folder belongs to `hansard demo`, which empties it at each start.\n";
/// Says where the database is, if it cannot be in the folder.
const ELSEWHERE: &str = "database-folder";
/// How the names of such folders begin.
const ELSEWHERE_PREFIX: &str = "hansard-demo-";

/// The folder, held.
#[derive(Debug)]
pub(super) struct Home {
    path: PathBuf,
    _held: File,
}

impl Home {
    /// Takes `asked`, else the folder for such things of this user.
    ///
    /// # Errors
    ///
    /// It is somebody else's, in use, or cannot be made.
    pub(super) fn take(asked: Option<&Path>) -> Result<Self, DemoError> {
        let path = match asked {
            Some(path) => std::path::absolute(path).map_err(failed(path))?,
            None => usual().ok_or(DemoError::NoHome)?,
        };
        fs::create_dir_all(&path).map_err(failed(&path))?;
        let path = fs::canonicalize(&path).map_err(failed(&path))?;
        if !path.to_str().is_some_and(|text| text.chars().all(writable)) {
            return Err(DemoError::Unwritable { path });
        }
        let marker = path.join(MARKER);
        let ours = fs::symlink_metadata(&marker).is_ok_and(|found| found.is_file());
        let empty = fs::read_dir(&path).map_err(failed(&path))?.next().is_none();
        if !ours && !empty {
            return Err(DemoError::NotOurs { path });
        }
        let mut held =
            OpenOptions::new().append(true).create(true).mode(0o600).open(&marker).map_err(failed(&marker))?;
        if flock(&held, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(DemoError::InUse { path });
        }
        if empty {
            held.write_all(MARKER_TEXT.as_bytes()).map_err(failed(&marker))?;
            fs::set_permissions(&path, Permissions::from_mode(0o700)).map_err(failed(&path))?;
        }
        Ok(Self { path, _held: held })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes everything in it but the marker, and the database if it is elsewhere. No server runs there any more.
    ///
    /// # Errors
    ///
    /// Something cannot be removed.
    pub(super) fn clear(&self) -> Result<(), DemoError> {
        self.clear_elsewhere()?;
        for entry in fs::read_dir(&self.path).map_err(failed(&self.path))? {
            let entry = entry.map_err(failed(&self.path))?;
            if entry.file_name() != MARKER {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// The folder of the database, if there is one from an earlier run.
    pub(super) fn database(&self) -> Option<PathBuf> {
        self.elsewhere().or_else(|| Some(self.path.join("database")).filter(|folder| folder.is_dir()))
    }

    /// Makes a folder for the database. If its owner may not enter ours, it is among the temporary ones.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub(super) fn make_database(&self, owner: Option<&Owner>) -> Result<PathBuf, DemoError> {
        let make = |folder: &Path| DirBuilder::new().mode(0o700).create(folder).map_err(failed(folder));
        let Some(owner) = owner else {
            let folder = self.path.join("database");
            make(&folder)?;
            return Ok(folder);
        };
        let folder = if self.path.parent().is_some_and(|above| may_enter(owner, above)) {
            // Nobody but us may list it; the owner of the database passes through.
            fs::set_permissions(&self.path, Permissions::from_mode(0o711)).map_err(failed(&self.path))?;
            self.path.join("database")
        } else {
            let temporary = Some(env::temp_dir()).filter(|folder| may_enter(owner, folder));
            let name = format!("{ELSEWHERE_PREFIX}{:016x}", rand::random::<u64>());
            let folder = temporary.unwrap_or_else(|| PathBuf::from("/tmp")).join(name);
            self.write(ELSEWHERE, &folder.display().to_string(), 0o600)?;
            folder
        };
        make(&folder)?;
        chown(&folder, Some(owner.uid), Some(owner.gid)).map_err(failed(&folder))?;
        Ok(folder)
    }

    fn elsewhere(&self) -> Option<PathBuf> {
        let folder = PathBuf::from(fs::read_to_string(self.path.join(ELSEWHERE)).ok()?);
        let ours = folder.file_name()?.to_str()?.starts_with(ELSEWHERE_PREFIX);
        (ours && folder.is_absolute() && folder.is_dir()).then_some(folder)
    }

    /// Makes a folder below, for us alone, if it is not there.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub(super) fn make(&self, name: &str) -> Result<(), DemoError> {
        make_private(&self.path.join(name))
    }

    /// Removes the database if it is elsewhere; no server runs there any more.
    ///
    /// # Errors
    ///
    /// It cannot be removed.
    pub(super) fn clear_elsewhere(&self) -> Result<(), DemoError> {
        self.elsewhere().map_or(Ok(()), |folder| remove(&folder))
    }

    /// Writes a file below the folder; its own folder is made, for us alone.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub(super) fn write(&self, name: &str, text: &str, mode: u32) -> Result<PathBuf, DemoError> {
        let path = self.path.join(name);
        if let Some(folder) = path.parent() {
            make_private(folder)?;
        }
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&path)?;
            file.write_all(text.as_bytes())
        };
        write().map_err(failed(&path))?;
        Ok(path)
    }
}

/// What a path may consist of to stand in the configuration as it is.
fn writable(c: char) -> bool {
    !c.is_control() && !"%?#\"\\".contains(c)
}

fn make_private(folder: &Path) -> Result<(), DemoError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed(folder))
}

fn usual() -> Option<PathBuf> {
    let folder = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")))?;
    Some(state.join("hansard/demo"))
}

/// Whether somebody may go through a folder and all those above it.
fn may_enter(owner: &Owner, folder: &Path) -> bool {
    folder.ancestors().all(|folder| {
        fs::metadata(folder).is_ok_and(|found| {
            let bit = if found.uid() == owner.uid {
                0o100
            } else if found.gid() == owner.gid {
                0o010
            } else {
                0o001
            };
            found.mode() & bit != 0
        })
    })
}

fn remove(path: &Path) -> Result<(), DemoError> {
    let folder = fs::symlink_metadata(path).map_err(failed(path))?.is_dir();
    if folder { fs::remove_dir_all(path) } else { fs::remove_file(path) }.map_err(failed(path))
}

/// Blames a file.
pub(super) fn failed(path: &Path) -> impl FnOnce(io::Error) -> DemoError + use<> {
    let path = path.to_owned();
    |source| DemoError::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_others_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.txt"), "years of work").unwrap();
        let error = Home::take(Some(dir.path())).unwrap_err();
        assert!(matches!(error, DemoError::NotOurs { .. }), "{error}");
        assert!(dir.path().join("thesis.txt").exists());
        assert!(!dir.path().join(MARKER).exists());
    }

    #[test]
    fn our_own_is_emptied_and_links_are_not_followed() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(other.path().join("kept"), "").unwrap();
        let home = Home::take(Some(&dir.path().join("deep/demo"))).unwrap();
        home.write("store/one/two.parquet", "old", 0o600).unwrap();
        std::os::unix::fs::symlink(other.path(), home.path().join("link")).unwrap();
        home.clear().unwrap();
        let left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [MARKER]);
        assert!(other.path().join("kept").exists());
    }

    #[test]
    fn one_demo_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = Home::take(Some(dir.path())).unwrap();
        assert!(matches!(Home::take(Some(dir.path())), Err(DemoError::InUse { .. })));
        drop(first);
        assert!(Home::take(Some(dir.path())).is_ok());
    }

    #[test]
    fn a_folder_that_the_configuration_cannot_name_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["100%", "what?", "a\"b", "two\nlines"] {
            let error = Home::take(Some(&dir.path().join(name))).unwrap_err();
            assert!(matches!(error, DemoError::Unwritable { .. }), "{name}: {error}");
        }
        let home = Home::take(Some(&dir.path().join("x/../ä demo"))).unwrap();
        assert_eq!(home.path(), fs::canonicalize(dir.path()).unwrap().join("ä demo"));
    }

    #[test]
    fn only_a_folder_of_ours_is_the_database_elsewhere() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let home = Home::take(Some(dir.path())).unwrap();
        let theirs = other.path().join("data");
        let ours = other.path().join(format!("{ELSEWHERE_PREFIX}1"));
        for (folder, found) in [(&theirs, None), (&ours, Some(ours.clone()))] {
            fs::create_dir(folder).unwrap();
            home.write(ELSEWHERE, &folder.display().to_string(), 0o600).unwrap();
            assert_eq!(home.database(), found);
            home.clear().unwrap();
            assert_eq!(folder.exists(), found.is_none());
        }
    }
}
