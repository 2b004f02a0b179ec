//! A program that never outlives the test: it runs behind `tests/parts/leash.sh`, whose standard input we hold open.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use super::folder::keep;
use super::{Folder, START_LIMIT, repository, wait_for};

/// A running part, its folder and its log.
#[derive(Debug)]
pub(super) struct Leash {
    name: &'static str,
    child: Child,
    held: Option<ChildStdin>,
    folder: PathBuf,
    log: PathBuf,
}

impl Leash {
    /// Starts `command` with its output in `log` of `folder`; `stop` is the signal that ends it.
    pub(super) fn start(name: &'static str, folder: Folder, stop: &str, command: &Command) -> Self {
        let log = folder.join("log");
        let file = File::create(&log).unwrap();
        let folder = folder.hand_over();
        let mut leash = Command::new(repository("tests/parts/leash.sh"));
        leash.arg(if keep() { Path::new("-") } else { &folder }).arg(stop);
        leash.arg(command.get_program()).args(command.get_args());
        leash.envs(command.get_envs().filter_map(|(key, value)| value.map(|value| (key, value))));
        leash.stdin(Stdio::piped()).stdout(file.try_clone().unwrap()).stderr(file);
        let mut child = leash.spawn().unwrap_or_else(|error| panic!("tests/parts/leash.sh cannot be run: {error}"));
        let held = child.stdin.take();
        Self { name, child, held, folder, log }
    }

    /// The part's folder; it is gone after the part.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the part printed so far.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until `ready` finds what it looks for; shows the log if it does not or if the part ended.
    pub(super) fn wait<T>(&mut self, mut ready: impl FnMut(&str) -> Option<T>) -> T {
        let name = self.name;
        let started = std::time::Instant::now();
        wait_for(&format!("{name} did not get ready"), START_LIMIT * 2, || {
            let log = self.log();
            if let Some(found) = ready(&log) {
                return Some(found);
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("{name} ended at start ({status}):\n{log}");
            }
            assert!(started.elapsed() < START_LIMIT, "{name} is not ready after {START_LIMIT:?}:\n{log}");
            None
        })
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        drop(self.held.take());
        // It may have ended by itself; either way it is gone afterwards.
        drop(self.child.wait());
    }
}
