//! Becoming the program anew: another version of it, or another configuration, without a client that is refused.
//!
//! SIGUSR2 asks for it. The program that will be there is run first, to check the configuration; is that not fit, nothing
//! happens but words in the log. Then this process drains as for a stop, seals, lets go of the journal, and becomes the new
//! program (execve(2)) with its sockets kept open ([`super::sockets`]): same process number, no moment without a listener.
//! Clients that connect meanwhile wait in the kernel's queue as long as that takes: `drain.limit` at most, and some seconds.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::time::Instant;

use super::sockets::{Kept, without};

/// How long the new program may take to check the configuration.
const CHECK_LIMIT: Duration = Duration::from_secs(60);
/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The most bytes of its complaints that are kept.
const MOST_SAID: u64 = 64 << 10;

/// How this program was started.
#[derive(Debug)]
pub(super) struct Program {
    /// Where it was then. Another version may lie there by now.
    path: PathBuf,
    name: OsString,
    arguments: Vec<OsString>,
}

impl Program {
    /// This one.
    ///
    /// # Errors
    ///
    /// The system does not say where it is.
    pub(super) fn this() -> io::Result<Self> {
        let mut arguments = std::env::args_os();
        let path = std::env::current_exe()?;
        let name = arguments.next().unwrap_or_else(|| path.clone().into_os_string());
        Ok(Self { path, name, arguments: arguments.collect() })
    }

    /// Returns when a signal has asked for a restart and the configuration is fit for it.
    pub(super) async fn is_to_be_anew(&self, restarts: &mut Signal) {
        while restarts.recv().await.is_some() {
            match self.check().await {
                Ok(()) => {
                    tracing::info!("restarting: open transactions may end until the limit for draining");
                    return;
                }
                Err(problems) => {
                    for problem in problems {
                        tracing::error!(problem, "not restarted, and serving as before: it could not start anew");
                    }
                }
            }
        }
        std::future::pending().await
    }

    /// Has the program that lies there now check the configuration.
    ///
    /// # Errors
    ///
    /// What is wrong, line by line.
    pub(super) async fn check(&self) -> Result<(), Vec<String>> {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).arg("--check");
        match run(without(&mut command)).await {
            Ok((Some(status), _)) if status.success() => Ok(()),
            Ok((Some(_), said)) if !said.is_empty() => Err(said.lines().map(str::to_owned).collect()),
            Ok((Some(status), _)) => Err(vec![format!("{}: {status}", self.path.display())]),
            Ok((None, _)) => Err(vec![format!("{}: the check took too long", self.path.display())]),
            Err(error) => Err(vec![format!("{}: {error}", self.path.display())]),
        }
    }

    /// Becomes the program that lies there now. Returns only if that cannot be.
    pub(super) fn become_anew(&self, kept: Kept) -> io::Error {
        let mut command = Command::new(&self.path);
        command.arg0(&self.name).args(&self.arguments);
        match kept.hand_over(&mut command) {
            Ok(_open) => command.exec(),
            Err(error) => error,
        }
    }
}

/// Runs to the end: how it ended, unless it took too long, and its complaints.
async fn run(command: &mut Command) -> io::Result<(Option<ExitStatus>, String)> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let said = child.stderr.take();
    let listening = tokio::task::spawn_blocking(move || {
        let mut words = Vec::new();
        let heard = said.map(|said| said.take(MOST_SAID).read_to_end(&mut words));
        heard.transpose().map(|_| words.utf8_chunks().map(|chunk| chunk.valid()).collect::<String>())
    });
    let until = Instant::now() + CHECK_LIMIT;
    let ended = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if Instant::now() > until => {
                child.kill()?;
                child.wait()?;
                break None;
            }
            None => tokio::time::sleep(LOOK_EVERY).await,
        }
    };
    Ok((ended, listening.await.map_err(io::Error::other)??))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(path: &str, arguments: &[&str]) -> Program {
        let arguments = arguments.iter().map(OsString::from).collect();
        Program { path: path.into(), name: path.into(), arguments }
    }

    #[tokio::test]
    async fn a_check_says_what_the_program_complains_of_or_that_there_is_none() {
        assert_eq!(program("/bin/true", &[]).check().await, Ok(()));
        assert!(program("/bin/false", &[]).check().await.unwrap_err()[0].starts_with("/bin/false: exit status: 1"));
        let gone = program("/nowhere/hansard", &[]).check().await.unwrap_err();
        assert!(gone[0].starts_with("/nowhere/hansard: No such file"), "{gone:?}");
        let complains = "printf 'one\\ntwo\\n' >&2; exit 3";
        assert_eq!(program("/bin/sh", &["-c", complains]).check().await, Err(vec!["one".to_owned(), "two".to_owned()]));
        let chatty = "head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 3";
        let said = program("/bin/sh", &["-c", chatty]).check().await.unwrap_err();
        assert_eq!(said.iter().map(String::len).sum::<usize>() as u64, MOST_SAID, "and it does not hang");
    }

    #[tokio::test]
    async fn no_socket_is_open_for_the_check() {
        let shown = "test -z \"$LISTEN_FDS$LISTEN_PID$LISTEN_FDNAMES$LISTEN_FDS_FIRST_FD\"";
        assert_eq!(program("/bin/sh", &["-c", shown]).check().await, Ok(()));
    }
}
