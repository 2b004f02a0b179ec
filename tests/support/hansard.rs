//! Hansard itself: the built program on a configuration of the test's, and its archive as a stranger reads it.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::azurite::{ACCOUNT, KEY};
use super::issuer::AUDIENCE;
use super::postgres::{DATABASE, PASSWORD, ROLE};
use super::{
    Azurite, Container, Folder, Issuer, Login, Postgres, START_LIMIT, free_port, output, python, repository, wait_for,
};

/// How long a clean stop may take: sessions end, the last segment is shipped.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// How long a statement may take to be in the archive; segments of the tests are cut each second.
const SHIP_LIMIT: Duration = Duration::from_secs(30);

/// Where the archive is.
#[derive(Debug)]
pub(crate) enum Store {
    /// In the folder of the test.
    Folder,
    /// In a container of the emulator.
    Azurite(Container),
}

impl Store {
    /// A new container of the shared emulator.
    pub(crate) fn azurite(container: &str) -> Self {
        Self::Azurite(Azurite::shared().container(container))
    }
}

/// A configured Hansard, running or not.
#[derive(Debug)]
pub(crate) struct Hansard {
    folder: Folder,
    store: Store,
    issuer: &'static Issuer,
    port: u16,
    child: Option<Child>,
    starts: u32,
}

impl Hansard {
    /// Starts one before the shared PostgreSQL and issuer, with the rules of `tests/support/rules/`.
    pub(crate) fn start(store: Store) -> Self {
        let folder = Folder::new("node");
        let issuer = Issuer::shared();
        let port = free_port();
        let rules = folder.join("rules");
        fs::create_dir_all(&rules).unwrap();
        for rule in fs::read_dir(repository("tests/support/rules")).unwrap() {
            let rule = rule.unwrap();
            fs::copy(rule.path(), rules.join(rule.file_name())).unwrap();
        }
        fs::write(folder.join("upstream.password"), PASSWORD).unwrap();
        fs::write(folder.join("storage.key"), KEY).unwrap();
        fs::write(folder.join("hansard.toml"), config(&folder, &store, issuer, port)).unwrap();
        let mut hansard = Self { folder, store, issuer, port, child: None, starts: 0 };
        hansard.start_again();
        hansard
    }

    /// Starts it on the folders it had before.
    pub(crate) fn start_again(&mut self) {
        assert!(self.child.is_none(), "it is running");
        self.starts += 1;
        let log = OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hansard"));
        command.arg("serve").arg("-c").arg(self.folder.join("hansard.toml"));
        let child = command.stdin(Stdio::null()).stdout(File::create(self.folder.join("stdout")).unwrap()).stderr(log);
        self.child = Some(child.spawn().unwrap());
        let address = format!("127.0.0.1:{}", self.port);
        wait_for("Hansard did not listen", START_LIMIT * 2, || {
            let log = self.log();
            if log.lines().any(|line| line.contains("listening") && line.contains(&address)) {
                return Some(());
            }
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().unwrap()) {
                panic!("Hansard ended at start ({status}):\n{log}");
            }
            None
        });
    }

    /// `kill -9`: no time for anything.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        wait_for("Hansard did not stop on SIGTERM", STOP_LIMIT, || child.try_wait().unwrap())
    }

    /// What it wrote to standard error since it was started last.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join(&format!("log.{}", self.starts))
    }

    /// What it ever wrote to standard error.
    pub(crate) fn whole_log(&self) -> String {
        (1..=self.starts)
            .map(|n| fs::read_to_string(self.folder.join(&format!("log.{n}"))).unwrap_or_default())
            .collect()
    }

    /// The folder with its configuration, rules, journal and, if it is a folder, archive.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The way to the database by Hansard, with a token for `person`.
    pub(crate) fn login(&self, person: &str, application: &str) -> Login {
        Login {
            port: self.port,
            user: ROLE.to_owned(),
            password: self.issuer.token(person),
            database: DATABASE.to_owned(),
            application: application.to_owned(),
            recorded: true,
        }
    }

    /// Its archive, read by DuckDB.
    pub(crate) fn archive(&self) -> Archive<'_> {
        Archive { hansard: self }
    }

    /// A number of kB from its line in `/proc/PID/status`, in bytes.
    pub(crate) fn memory(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(&format!("{field}:"))).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Starts the count of its peak memory (`VmHWM`) anew, from what it holds now.
    pub(crate) fn forget_peak_memory(&self) {
        // 5: see proc_pid_clear_refs(5).
        fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").unwrap();
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }
}

impl Drop for Hansard {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            drop(child.kill());
            drop(child.wait());
        }
        if std::thread::panicking() {
            let log = self.whole_log();
            let start = log.char_indices().rev().nth(SHOWN_LOG).map_or(0, |(at, _)| at);
            std::io::Write::write_all(&mut std::io::stderr(), log.split_at(start).1.as_bytes()).unwrap();
        }
    }
}

/// How much of the log a failed test shows.
const SHOWN_LOG: usize = 8_000;

/// An archive, as anybody with DuckDB sees it.
#[derive(Debug)]
pub(crate) struct Archive<'a> {
    hansard: &'a Hansard,
}

impl Archive<'_> {
    /// The rows of a query over `statements`, `sessions` and `events`, each an object by column.
    pub(crate) fn query(&self, sql: &str) -> Vec<Value> {
        let copy;
        let folder = match &self.hansard.store {
            Store::Folder => self.hansard.folder.join("archive"),
            Store::Azurite(container) => {
                copy = Folder::new("archive");
                container.download(copy.path());
                copy.path().to_owned()
            }
        };
        let mut reader = python();
        reader.arg(repository("tests/parts/duckdb_rows.py")).arg(folder);
        let rows: Value = serde_json::from_str(&output(&mut reader, sql)).unwrap();
        rows.as_array().unwrap().clone()
    }

    /// Queries until `enough` says so, or returns the last rows after a while.
    pub(crate) fn query_until(&self, sql: &str, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let start = std::time::Instant::now();
        loop {
            let rows = self.query(sql);
            if enough(&rows) || start.elapsed() > SHIP_LIMIT {
                return rows;
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// The rows of one client's statements in order, with the bound values as the list `values`. Waits for `count`.
    pub(crate) fn rows_of(&self, application: &str, count: usize) -> Vec<Value> {
        let sql = format!(
            "select *, list_transform(params, lambda p: p.value) as values \
             from statements where application = '{application}' order by session_id, statement_seq"
        );
        self.query_until(&sql, |rows| rows.len() >= count)
    }
}

fn config(folder: &Folder, store: &Store, issuer: &Issuer, port: u16) -> String {
    let postgres = Postgres::shared();
    let path = |name: &str| folder.join(name).display().to_string();
    let storage = match store {
        Store::Folder => format!("url = \"file://{}\"", path("archive")),
        Store::Azurite(container) => format!(
            "url = \"az://{}/audit\"\naccount = \"{ACCOUNT}\"\nauth = \"key\"\nkey = {{ file = \"{}\" }}\nendpoint = \"{}\"",
            container.name(),
            path("storage.key"),
            container.endpoint(),
        ),
    };
    format!(
        r#"node = "test-node"

[issuer.main]
discovery = "{issuer}"
audience = "{AUDIENCE}"
algorithms = ["RS256"]

[identity.main]
subject = "sub"
display = ["name"]
email = "email"
roles = "roles"
groups = "groups"
keep = ["sub", "client_id"]

[listener.main]
address = "127.0.0.1:{port}"
targets = ["app"]

[target.app]
engine = "postgresql"
upstream = "127.0.0.1:{upstream}"
tls = {{ mode = "verify-full", ca_file = "{ca}" }}
login = {{ user = "{ROLE}", password = {{ file = "{password}" }} }}

[policy]
path = "{rules}"

[journal]
path = "{journal}"

[storage]
{storage}
segment = {{ max_age = "1s", max_size = "64MiB" }}

[telemetry]
log = {{ format = "json", level = "info" }}
"#,
        issuer = issuer.url(),
        upstream = postgres.port(),
        ca = postgres.ca_file().display(),
        password = path("upstream.password"),
        rules = path("rules"),
        journal = path("journal"),
    )
}
