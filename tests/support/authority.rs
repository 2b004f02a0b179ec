//! A timestamp authority: OpenSSL's `ts` on loopback, with a root of its own.

use std::path::{Path, PathBuf};

use super::leash::Leash;
use super::{Folder, python, repository};

/// A running timestamp authority.
#[derive(Debug)]
pub(crate) struct Authority {
    /// Stops it in the end.
    leash: Leash,
    url: String,
    ca_file: PathBuf,
}

impl Authority {
    /// Starts one, with new keys.
    pub(crate) fn start() -> Self {
        let folder = Folder::new("authority");
        let mut command = python();
        command.arg(repository("tests/parts/authority.py")).arg(folder.path());
        let mut leash = Leash::start("the timestamp authority", folder, "TERM", &command);
        let (port, ca_file) = leash.wait(|log| {
            let ready = log.lines().find_map(|line| line.strip_prefix("ready "))?;
            ready.split_once(' ').map(|(port, file)| (port.to_owned(), PathBuf::from(file)))
        });
        Self { leash, url: format!("http://127.0.0.1:{port}/tsr"), ca_file }
    }

    /// Where it answers.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The certificate that vouches for it, in PEM.
    pub(crate) fn ca_file(&self) -> &Path {
        &self.ca_file
    }
}
