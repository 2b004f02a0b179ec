//! A timestamp authority: OpenSSL's `ts` on loopback, with a root of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use super::leash::Leash;
use super::{Folder, free_port, python, repository};

/// How long it may take to stop: it keeps nothing.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A timestamp authority, running or not.
#[derive(Debug)]
pub(crate) struct Authority {
    /// Stops it in the end, before its folder goes.
    running: Option<Leash>,
    folder: Folder,
    port: u16,
    ca_file: PathBuf,
}

impl Authority {
    /// Starts one, with new keys.
    pub(crate) fn start() -> Self {
        let (folder, port) = (Folder::new("authority"), free_port());
        let ca_file = folder.join("ca.pem");
        let mut authority = Self { running: None, folder, port, ca_file };
        authority.start_again();
        authority
    }

    /// Starts it with the keys and the address that it had before.
    pub(crate) fn start_again(&mut self) {
        assert!(self.running.is_none(), "it is running");
        let mut command = python();
        command.arg(repository("tests/parts/authority.py")).arg(self.folder.path()).arg(self.port.to_string());
        let log = self.folder.join("log");
        let mut leash = Leash::borrow("the timestamp authority", self.folder.path(), &log, "TERM", &command);
        leash.wait(|log| log.lines().any(|line| line.starts_with("ready ")).then_some(()));
        self.running = Some(leash);
    }

    /// Stops it: whoever connects is refused.
    pub(crate) fn stop(&mut self) {
        self.running.take().unwrap().end(Signal::TERM, STOP_LIMIT);
    }

    /// Where it answers.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/tsr", self.port)
    }

    /// The certificate that vouches for it, in PEM.
    pub(crate) fn ca_file(&self) -> &Path {
        &self.ca_file
    }
}
