//! A folder of a part: removed with its guard, kept on request.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Keeps every folder for a look afterwards.
pub(super) fn keep() -> bool {
    std::env::var_os("HANSARD_TEST_KEEP").is_some()
}

/// A new, empty folder under the system's temporary folder.
#[derive(Debug)]
pub(crate) struct Folder {
    inside: Option<tempfile::TempDir>,
    path: PathBuf,
}

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let made = tempfile::Builder::new().prefix(&format!("hansard-{name}-")).tempdir().unwrap();
        // PostgreSQL runs as another user when the tests run as root, and must get through.
        fs::set_permissions(made.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = made.path().to_owned();
        if keep() {
            return Self { inside: None, path: made.keep() };
        }
        Self { inside: Some(made), path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Leaves the folder to somebody who removes it.
    pub(super) fn leave(&mut self) {
        if let Some(made) = self.inside.take() {
            self.path = made.keep();
        }
    }

    /// Hands the folder to somebody who removes it.
    pub(super) fn hand_over(self) -> PathBuf {
        match self.inside {
            Some(made) => made.keep(),
            None => self.path,
        }
    }
}
