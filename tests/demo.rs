//! `hansard demo`, as a stranger meets it: the built program in a folder of the test's, and what it leaves behind.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of a test that fails says so by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// What the demo promises for the story.
const STORY_LIMIT: Duration = Duration::from_secs(30);
/// A clean stop: sessions end, the last segment is shipped, the database stops.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A demo that runs, and what it printed until it was ready.
struct Demo {
    child: Child,
    rest: BufReader<ChildStdout>,
    screen: String,
}

impl Demo {
    fn start(dir: &Path) -> Self {
        let mut child = demo(dir).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut rest = BufReader::new(child.stdout.take().unwrap());
        let mut screen = String::new();
        while !screen.contains("It runs until Ctrl-C.") {
            assert!(rest.read_line(&mut screen).unwrap() > 0, "it ended before it was ready:\n{screen}");
        }
        Self { child, rest, screen }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap(), signal).unwrap();
    }

    /// How it ended, and what it said at last.
    fn end(mut self) -> (Option<i32>, String) {
        let start = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(start.elapsed() < STOP_LIMIT, "it does not stop"),
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        let mut last = String::new();
        self.rest.read_to_string(&mut last).unwrap();
        (status.code(), last)
    }

    /// The commands that it says to try: indented below what they are for.
    fn commands(&self) -> Vec<String> {
        let tries = self.screen.split("Try it").nth(1).unwrap();
        tries.lines().filter_map(|line| line.strip_prefix("    ")).map(str::to_owned).collect()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            self.signal(Signal::TERM);
            self.child.wait().unwrap();
        }
    }
}

fn demo(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hansard"));
    command.arg("demo").arg("--dir").arg(dir);
    command
}

fn ended(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn shell(script: &str) -> (Option<i32>, String, String) {
    ended(Command::new("/bin/sh").arg("-c").arg(script))
}

/// The address in the line that begins with ` ✓ what`.
fn address(screen: &str, what: &str) -> String {
    let line = screen.lines().find(|line| line.starts_with(&format!(" ✓ {what}")));
    let line = line.unwrap_or_else(|| panic!("no line about {what}:\n{screen}"));
    let words = line.split([' ', ',']).map(|word| word.trim_start_matches("http://"));
    words.into_iter().find(|word| word.starts_with("127.0.0.1:")).unwrap().to_owned()
}

fn answers(address: &str) -> bool {
    TcpStream::connect(address).is_ok()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn the_story_is_told_checked_and_cleared_away_though_its_port_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    // Whoever has it, it is taken.
    let taken = TcpListener::bind("127.0.0.1:6432");
    let start = Instant::now();
    let (code, screen, complaints) = ended(demo(dir.path()).arg("--exit"));
    assert_eq!((code, complaints.as_str()), (Some(0), ""), "{screen}");
    assert!(start.elapsed() < STORY_LIMIT, "it took {:?}", start.elapsed());

    for line in ["database", "identities", "rules", "proxy", "story", "evidence"] {
        assert!(screen.contains(&format!(" ✓ {line}")), "{line}:\n{screen}");
    }
    assert!(screen.contains("14 statements: 12 allowed, 2 denied; 2 logins refused"), "{screen}");
    assert!(screen.contains("ERROR:  hansard: denied by rule \"no-bulk-patients\" (ref "), "{screen}");
    assert!(!screen.contains("Try it"), "nothing can be tried when it has ended:\n{screen}");
    assert_ne!(address(&screen, "proxy"), "127.0.0.1:6432");
    drop(taken);

    for what in ["database", "identities", "proxy"] {
        assert!(!answers(&address(&screen, what)), "{what} is still there");
    }
    for dataset in ["statements", "sessions", "events"] {
        let files = files_below(&dir.path().join("store").join(dataset));
        assert!(files.iter().any(|file| file.extension().is_some_and(|e| e == "parquet")), "{dataset}: {files:?}");
    }
    // The database of root may be elsewhere, because nobody else can enter this folder; it is gone too.
    let elsewhere = fs::read_to_string(dir.path().join("database-folder"));
    assert!(elsewhere.is_err() || !Path::new(&elsewhere.unwrap()).exists());
}

#[test]
fn everything_that_it_says_to_try_works() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("a demo");
    let demo = Demo::start(&home);
    let commands = demo.commands();
    let said = |with: &str| -> String {
        let command = commands.iter().find(|command| command.contains(with));
        let command = command.unwrap_or_else(|| panic!("nothing with {with:?} in {commands:?}"));
        let (code, out, complaints) = shell(command);
        assert_eq!(code, Some(0), "{command}\n{complaints}");
        format!("{out}{complaints}")
    };
    assert!(said(" why ").contains("no-bulk-patients"));
    assert!(said(" replay latest ").contains("CREATE INDEX"));
    assert!(said(" query ").contains("Dora"));

    let ana = commands.iter().find(|command| command.contains("as-ana")).unwrap();
    let (_, out, complaints) = shell(&format!("{ana} -X -At -c 'SELECT * FROM clinic.patients' -c 'SELECT 6 * 7'"));
    assert_eq!(out, "42\n", "{complaints}");
    assert!(complaints.contains("denied by rule \"no-bulk-patients\""), "{complaints}");
    let (code, out, complaints) = shell(&format!("{} -c 'SELECT 1'", ana.replace("as-ana", "as-otto")));
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(complaints.contains("Otto has no access to demo/demo"), "{complaints}");
    for (who, sql) in [("as-dev", "SELECT count(*) FROM app.orders"), ("as-dora", "SELECT count(*) FROM clinic.visits")]
    {
        let (code, _, complaints) = shell(&format!("{} -c '{sql}'", ana.replace("as-ana", who)));
        assert_eq!((code, complaints.as_str()), (Some(0), ""), "{who}");
    }

    demo.signal(Signal::INT);
    let (proxy, database) = (address(&demo.screen, "proxy"), address(&demo.screen, "database"));
    let (code, last) = demo.end();
    assert_eq!(code, Some(0));
    assert!(last.contains("Stopped."), "{last}");
    assert!(!answers(&proxy) && !answers(&database));
    let (code, _, complaints) = shell(&format!("{ana} -c 'SELECT 1'"));
    assert_eq!(code, Some(1));
    assert!(complaints.contains("is the demo still running?"), "{complaints}");
}

#[test]
fn one_that_was_killed_is_cleared_away_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let home = dir.path().join("demo");
    let first = Demo::start(&home);
    let database = address(&first.screen, "database");

    let (code, _, complaints) = ended(demo(&home).arg("--exit"));
    assert_eq!(code, Some(2));
    assert!(complaints.contains("another demo runs in"), "{complaints}");
    assert!(answers(&database), "the second demo harmed the first");

    first.signal(Signal::KILL);
    first.end();
    assert!(answers(&database), "a killed demo cannot stop its database");
    let (code, screen, complaints) = ended(demo(&home).arg("--exit"));
    assert_eq!((code, complaints.as_str()), (Some(0), ""), "{screen}");
    assert!(!answers(&database), "the database of the killed demo runs on");
}

#[test]
fn a_demo_that_is_kept_goes_on_with_database_and_archive() {
    let dir = tempfile::tempdir().unwrap();
    for count in ["14", "28"] {
        let (code, screen, complaints) = ended(demo(dir.path()).arg("--exit").arg("--keep"));
        assert_eq!((code, complaints.as_str()), (Some(0), ""), "{screen}");
        let mut query = Command::new(env!("CARGO_BIN_EXE_hansard"));
        query.arg("query").arg("-c").arg(dir.path().join("hansard.toml"));
        let (code, out, complaints) = ended(query.args(["-o", "csv", "SELECT count(*) AS n FROM statements"]));
        assert_eq!((code, out.lines().last()), (Some(0), Some(count)), "{complaints}");
    }
}

#[test]
fn what_stands_in_its_way_is_said_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let (code, screen, complaints) = ended(demo(dir.path()).arg("--postgres-bin").arg(dir.path()));
    assert_eq!((code, screen.as_str()), (Some(2), ""));
    assert!(complaints.contains("--postgres-bin") && complaints.lines().count() == 1, "{complaints}");

    fs::write(dir.path().join("thesis.txt"), "years of work").unwrap();
    let (code, _, complaints) = ended(demo(dir.path()).arg("--exit"));
    assert_eq!(code, Some(2));
    assert!(complaints.contains("choose another folder with --dir"), "{complaints}");
    assert_eq!(fs::read_to_string(dir.path().join("thesis.txt")).unwrap(), "years of work");
}
