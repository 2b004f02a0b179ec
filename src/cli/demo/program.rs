//! Other programs, run for the demo: each has a time limit, none hears our Ctrl-C, and one that fails says why.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often a program is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A user who is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// What a program wrote, and how it ended.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Output {
    /// What it wrote, if it went well.
    ///
    /// # Errors
    ///
    /// The last lines of what it complained of.
    pub(super) fn good(self, what: &str) -> Result<Self, String> {
        if self.status.success() {
            return Ok(self);
        }
        Err(format!("{what} failed ({}): {}", self.status, last_lines(&self.stderr)))
    }
}

/// A command that runs as `owner`, if one is given, in a process group of its own and in a folder that everybody may
/// enter.
pub(super) fn command(program: &Path, owner: Option<&Owner>) -> Command {
    let mut command = Command::new(program);
    command.process_group(0).current_dir("/").stdin(Stdio::null());
    if let Some(owner) = owner {
        // Supplementary groups are left as well when the user is changed.
        command.uid(owner.uid).gid(owner.gid);
    }
    command
}

/// Runs a program to its end. Blocks; `input` is what it reads.
///
/// # Errors
///
/// It cannot be started, or did not end in time and was stopped.
pub(super) fn run(command: &mut Command, input: Option<File>, limit: Duration) -> io::Result<Output> {
    if let Some(input) = input {
        command.stdin(input);
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (stdout, stderr) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let ended = wait(&mut child, limit)?;
    let Some(status) = ended else {
        child.kill()?;
        child.wait()?;
        let program = command.get_program().display();
        return Err(io::Error::other(format!("{program} did not end within {} s", limit.as_secs())));
    };
    Ok(Output { status, stdout: text(stdout)?, stderr: text(stderr)? })
}

/// How it ended, if it did so in time. Blocks.
///
/// # Errors
///
/// The system does not say.
pub(super) fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        match child.try_wait()? {
            None if start.elapsed() < limit => thread::sleep(LOOK_EVERY),
            ended => return Ok(ended),
        }
    }
}

type Reading = JoinHandle<io::Result<Vec<u8>>>;

/// Reads beside the program, which would wait for ever once a pipe is full.
fn reader(pipe: Option<impl Read + Send + 'static>) -> Reading {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    })
}

fn text(reading: Reading) -> io::Result<String> {
    let bytes = reading.join().map_err(|_panic| io::Error::other("a pipe could not be read"))??;
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| error.as_bytes().escape_ascii().to_string()))
}

/// The last three lines: where programs say what is wrong.
pub(super) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines.get(lines.len().saturating_sub(3)..).unwrap_or_default();
    if last.is_empty() { "it said nothing".to_owned() } else { last.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHELL: &str = "/bin/sh";

    #[test]
    fn a_program_that_fails_is_quoted() {
        let mut shell = command(Path::new(SHELL), None);
        shell.args(["-c", "echo out; echo one; for n in 1 2 3; do echo bad $n >&2; done; exit 3"]);
        let output = run(&mut shell, None, Duration::from_secs(10)).unwrap();
        assert_eq!(output.stdout, "out\none\n");
        let error = output.good("the shell").unwrap_err();
        assert_eq!(error, "the shell failed (exit status: 3): bad 1\nbad 2\nbad 3");
    }

    #[test]
    fn a_program_that_does_not_end_is_stopped() {
        let mut shell = command(Path::new(SHELL), None);
        shell.args(["-c", "exec sleep 60"]);
        let start = Instant::now();
        let error = run(&mut shell, None, Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("did not end"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn much_output_does_not_block() {
        let mut shell = command(Path::new(SHELL), None);
        shell.args(["-c", "head -c 1000000 /dev/zero | tr '\\0' x"]);
        let output = run(&mut shell, None, Duration::from_secs(30)).unwrap();
        assert_eq!(output.stdout.len(), 1_000_000);
    }
}
