//! Running PostgreSQL's own suite, as `make installcheck` of its source does.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::{Folder, Login, Postgres, lossy, part, repository};

/// The version whose suite the set-up fetches.
const MAJOR: &str = "15";

/// Connections at a time. What runs beside each other in a schedule is cut into groups of so many.
const CONNECTIONS: &str = "--max-connections=6";

/// The suite, and the programs that run it.
#[derive(Debug)]
pub(crate) struct Suite {
    files: PathBuf,
    binaries: PathBuf,
}

/// One run of one schedule.
#[derive(Debug)]
pub(crate) struct Run {
    folder: Folder,
    said: String,
}

impl Suite {
    /// Finds it; or says why it cannot be run here.
    pub(crate) fn find() -> Result<Self, String> {
        if repository(".cache/test-parts/postgresql-sql.left-out").exists() {
            return Err(
                "the set-up knew no mirror of Debian; HANSARD_DEBIAN_MIRROR=URL make setup-test names one".to_owned()
            );
        }
        let binaries = Postgres::binaries();
        let version = Command::new(binaries.join("postgres")).arg("--version").output().unwrap();
        let version = String::from_utf8(version.stdout).unwrap();
        if !version.contains(&format!(" {MAJOR}.")) {
            return Err(format!("it is that of PostgreSQL {MAJOR}, and the server here is {}", version.trim()));
        }
        let files = part("PostgreSQL's own suite", ".cache/test-parts/postgresql-suite");
        let suite = Self { files, binaries };
        match suite.program("regress/pg_regress").exists() {
            true => Ok(suite),
            false => Err(format!("{} is missing", suite.program("regress/pg_regress").display())),
        }
    }

    fn program(&self, name: &str) -> PathBuf {
        self.binaries.join("../lib/pgxs/src/test").join(name)
    }

    /// Runs the parallel schedule of `src/test/regress`. What is expected is what another run gave, or else what the
    /// source says.
    pub(crate) fn regression(&self, login: &Login, expected: Option<&Run>) -> Run {
        let mut command = Command::new(self.program("regress/pg_regress"));
        command.arg(CONNECTIONS);
        self.run(command, "regress", "parallel_schedule", login, expected)
    }

    /// Runs the schedule of `src/test/isolation`: sessions that wait for each other.
    pub(crate) fn isolation(&self, login: &Login, expected: Option<&Run>) -> Run {
        let command = Command::new(self.program("isolation/pg_isolation_regress"));
        self.run(command, "isolation", "isolation_schedule", login, expected)
    }

    fn run(&self, mut command: Command, name: &str, schedule: &str, login: &Login, expected: Option<&Run>) -> Run {
        let folder = Folder::new(name);
        let input = folder.join("input");
        copy(&self.files.join(name), &input);
        fs::copy(self.files.join("regress.so"), folder.join("regress.so")).unwrap();
        for contrib in ["autoinc.so", "refint.so"] {
            fs::copy(self.binaries.join("../lib").join(contrib), folder.join(contrib)).unwrap();
        }
        if let Some(expected) = expected {
            expected.becomes_expected_of(&input);
        }
        // The server writes there, too.
        for made in ["", "results", "sql", "expected"] {
            fs::create_dir_all(folder.join("output").join(made)).unwrap();
            fs::set_permissions(folder.join("output").join(made), fs::Permissions::from_mode(0o777)).unwrap();
        }
        login.environment(&mut command);
        command.arg("--inputdir").arg(&input).arg("--outputdir").arg(folder.join("output"));
        command.arg("--bindir").arg(&self.binaries).arg("--dlpath").arg(folder.path());
        command.arg("--schedule").arg(input.join(schedule));
        command.args(["--host", "127.0.0.1", "--port", &login.port.to_string(), "--user", &login.user]);
        let done = command.output().unwrap();
        let said = String::from_utf8(done.stdout).unwrap() + &String::from_utf8(done.stderr).unwrap();
        Run { folder, said }
    }
}

impl Run {
    /// What the runner said.
    pub(crate) fn said(&self) -> &str {
        &self.said
    }

    /// Tests that ran to an end, well or not.
    pub(crate) fn tests(&self) -> usize {
        let is_test = |line: &&str| line.contains("... ok  ") || line.contains("... FAILED  ");
        self.said.lines().filter(is_test).count()
    }

    /// Its output takes the place of what the source expects, alternatives included.
    fn becomes_expected_of(&self, input: &Path) {
        let expected = input.join("expected");
        fs::remove_dir_all(&expected).unwrap();
        copy(&self.folder.join("output/results"), &expected);
        // Alternatives by platform.
        let map = input.join("resultmap");
        if map.exists() {
            fs::write(map, "").unwrap();
        }
    }

    /// By test, the lines that are gone (`-`) or have come (`+`). A test in which only notices stand elsewhere, each
    /// session's in the order that they had, is none that differs.
    pub(crate) fn differences(&self) -> BTreeMap<String, Vec<String>> {
        let mut found = self.lines();
        found.retain(|_, lines| !are_moved_notices(lines));
        found
    }

    fn lines(&self) -> BTreeMap<String, Vec<String>> {
        let text = fs::read(self.folder.join("output/regression.diffs")).unwrap_or_default();
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut test = String::new();
        for line in lossy(&text).lines() {
            if let Some(header) = line.strip_prefix("diff ") {
                let file = header.rsplit('/').next().unwrap();
                test = file.trim_end_matches(".out").to_owned();
                found.entry(test.clone()).or_default();
            } else if line.starts_with(['-', '+']) && !line.starts_with("--- /") && !line.starts_with("+++ /") {
                found.get_mut(&test).unwrap().push(line.to_owned());
            }
        }
        found
    }
}

/// Whether all lines are notices of named sessions (`s1: NOTICE:  …`), and each session's that are gone are those that
/// have come. The tester of sessions that wait for each other prints a notice when it reads it, which is before or after
/// the step of another session that is at work meanwhile.
fn are_moved_notices(lines: &[String]) -> bool {
    let mut sessions: BTreeMap<&str, (Vec<&str>, Vec<&str>)> = BTreeMap::new();
    for line in lines {
        let (gone_or_come, line) = line.split_at(1);
        let Some((session, notice)) = line.split_once(": NOTICE:  ") else { return false };
        let (gone, come) = sessions.entry(session).or_default();
        if gone_or_come == "-" { gone.push(notice) } else { come.push(notice) }
    }
    sessions.values().all(|(gone, come)| gone == come)
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
