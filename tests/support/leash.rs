//! A program that never outlives the test: it runs behind `tests/parts/leash.sh`, whose standard input we hold open.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::folder::keep;
use super::{Folder, START_LIMIT, repository};

/// How often its log and its end are looked for: some tests start and end a part hundreds of times.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A running part and its log.
#[derive(Debug)]
pub(super) struct Leash {
    name: &'static str,
    child: Child,
    held: Option<ChildStdin>,
    folder: PathBuf,
    log: PathBuf,
    pid_file: PathBuf,
}

impl Leash {
    /// Starts `command` with its output in a log in `folder`, which goes with it; `stop` is the signal that ends it.
    pub(super) fn start(name: &'static str, folder: Folder, stop: &str, command: &Command) -> Self {
        let folder = folder.hand_over();
        let log = folder.join("log");
        let remove = if keep() { Path::new("-") } else { &folder };
        Self::spawn(name, [&folder, remove, &log], stop, command)
    }

    /// Starts `command` with its output in `log`, in a folder that stays.
    pub(super) fn borrow(name: &'static str, folder: &Path, log: &Path, stop: &str, command: &Command) -> Self {
        Self::spawn(name, [folder, Path::new("-"), log], stop, command)
    }

    /// Starts `command` with its output in `log`, in a folder that goes with it.
    pub(super) fn own(name: &'static str, folder: &Path, log: &Path, stop: &str, command: &Command) -> Self {
        let remove = if keep() { Path::new("-") } else { folder };
        Self::spawn(name, [folder, remove, log], stop, command)
    }

    fn spawn(name: &'static str, [folder, remove, log]: [&Path; 3], stop: &str, command: &Command) -> Self {
        let file = File::create(log).unwrap();
        let pid_file = folder.join("pid");
        // The one of an earlier start is of a process that is no more.
        drop(fs::remove_file(&pid_file));
        let mut leash = Command::new(repository("tests/parts/leash.sh"));
        leash.args([remove, &pid_file]).arg(stop).arg(command.get_program()).args(command.get_args());
        leash.envs(command.get_envs().filter_map(|(key, value)| value.map(|value| (key, value))));
        leash.stdin(Stdio::piped()).stdout(file.try_clone().unwrap()).stderr(file);
        let mut child = leash.spawn().unwrap_or_else(|error| panic!("tests/parts/leash.sh cannot be run: {error}"));
        let held = child.stdin.take();
        Self { name, child, held, folder: folder.to_owned(), log: log.to_owned(), pid_file }
    }

    /// The part's folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the part printed so far.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The part's own process.
    pub(super) fn pid(&self) -> Pid {
        let number = || fs::read_to_string(&self.pid_file).ok()?.strip_suffix('\n')?.parse().ok();
        let started = Instant::now();
        loop {
            if let Some(pid) = number() {
                return Pid::from_raw(pid).unwrap();
            }
            assert!(started.elapsed() < START_LIMIT, "{} has no process", self.name);
            sleep(LOOK_AGAIN);
        }
    }

    /// Sends a signal and waits for the end: the exit code, or 128 and the signal that ended it.
    pub(super) fn end(self, signal: Signal, limit: Duration) -> i32 {
        kill_process(self.pid(), signal).unwrap();
        self.ended(limit)
    }

    /// Waits until it has ended by itself: the exit code, or 128 and the signal that ended it.
    pub(super) fn ended(mut self, limit: Duration) -> i32 {
        let (name, started) = (self.name, Instant::now());
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or_else(|| panic!("the leash of {name} was killed: {status}"));
            }
            assert!(started.elapsed() < limit, "{name} did not end within {limit:?}");
            sleep(LOOK_AGAIN);
        }
    }

    /// Waits until `ready` finds what it looks for; shows the log if it does not or if the part ended.
    pub(super) fn wait<T>(&mut self, mut ready: impl FnMut(&str) -> Option<T>) -> T {
        let name = self.name;
        let started = Instant::now();
        loop {
            let log = self.log();
            if let Some(found) = ready(&log) {
                return found;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{name} ended at start ({status}):\n{log}");
            }
            assert!(started.elapsed() < START_LIMIT, "{name} is not ready after {START_LIMIT:?}:\n{log}");
            sleep(LOOK_AGAIN);
        }
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        drop(self.held.take());
        // It may have ended by itself; either way it is gone afterwards.
        drop(self.child.wait());
    }
}
