//! Hansard itself: the built program on a configuration of the test's, and its archive as a stranger reads it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::azurite::{ACCOUNT, KEY};
use super::issuer::AUDIENCE;
use super::leash::Leash;
use super::postgres::{DATABASE, PASSWORD, ROLE, certificates};
use super::{Azurite, Container, Folder, Issuer, Login, Postgres, free_port, lossy, output, python, repository};

/// How long a clean stop may take: sessions end, the last segment is shipped.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// How long an answer about its health may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

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
    running: Option<Leash>,
    starts: u32,
    port: u16,
    /// Where counters and health are told.
    metrics: Option<u16>,
    /// Who signed its certificate, if it is not its own.
    authority: Option<PathBuf>,
    /// Whether its folder goes with its process.
    is_shared: bool,
    issuer: &'static Issuer,
    store: Store,
    folder: Folder,
}

impl Hansard {
    /// Starts one before the shared PostgreSQL and issuer, with the rules of the tests.
    pub(crate) fn start(store: Store) -> Self {
        let rules = fs::read_to_string(repository("tests/support/rules.cedar")).unwrap();
        Self::start_with(store, &rules, Issuer::shared())
    }

    /// Starts one as [`Hansard::start`] does that tells counters and health, with a journal of at most `journal_max`.
    pub(crate) fn start_watched(store: Store, journal_max: &str) -> Self {
        let max = format!("[journal]\nmax = \"{journal_max}\"\n");
        Self::start_watched_edited(store, &|text| text.replace("[journal]\n", &max))
    }

    /// The same with the configuration as `edit` leaves it, whose last section is still `[telemetry]`.
    pub(crate) fn start_watched_edited(store: Store, edit: &dyn Fn(String) -> String) -> Self {
        let rules = fs::read_to_string(repository("tests/support/rules.cedar")).unwrap();
        let port = free_port();
        let mut hansard = Self::start_on(store, &rules, Issuer::shared(), &|text| {
            edit(text) + &format!("metrics = {{ address = \"127.0.0.1:{port}\" }}\n")
        });
        hansard.metrics = Some(port);
        hansard
    }

    /// Starts one before the shared PostgreSQL.
    pub(crate) fn start_with(store: Store, rules: &str, issuer: &'static Issuer) -> Self {
        Self::start_on(store, rules, issuer, &|config| config)
    }

    /// Starts one with the configuration of the tests and the usual rules, a text of it replaced by another.
    pub(crate) fn start_replaced(from: &str, to: &str) -> Self {
        Self::start_edited(&|config| {
            assert!(config.contains(from), "the configuration has no {from}");
            config.replace(from, to)
        })
    }

    /// Starts one with the configuration of the tests as `edit` leaves it, and the usual rules.
    pub(crate) fn start_edited(edit: &dyn Fn(String) -> String) -> Self {
        Self::start_edited_over(Store::Folder, edit)
    }

    /// The same with another archive than the folder.
    pub(crate) fn start_edited_over(store: Store, edit: &dyn Fn(String) -> String) -> Self {
        let rules = fs::read_to_string(repository("tests/support/rules.cedar")).unwrap();
        Self::start_on(store, &rules, Issuer::shared(), edit)
    }

    /// Starts one that signs in as the superuser of a server of one's own.
    pub(crate) fn start_before(postgres: &Postgres, store: Store, rules: &str, issuer: &'static Issuer) -> Self {
        let (shared, user) = (Postgres::shared(), postgres.superuser().user);
        let edits = [
            (format!("127.0.0.1:{}", shared.port()), format!("127.0.0.1:{}", postgres.port())),
            (shared.ca_file().display().to_string(), postgres.ca_file().display().to_string()),
            (format!("user = \"{ROLE}\""), format!("user = \"{user}\"")),
        ];
        let edit = |config| edits.iter().fold(config, |config: String, (from, to)| config.replace(from, to));
        Self::start_on(store, rules, issuer, &edit)
    }

    /// Starts one before the shared PostgreSQL with the configuration as `edit` leaves it.
    pub(crate) fn start_on(
        store: Store,
        rules: &str,
        issuer: &'static Issuer,
        edit: &dyn Fn(String) -> String,
    ) -> Self {
        Self::start_at(free_port(), store, rules, issuer, edit)
    }

    /// The same at a port that was chosen before.
    pub(crate) fn start_at(
        port: u16,
        store: Store,
        rules: &str,
        issuer: &'static Issuer,
        edit: &dyn Fn(String) -> String,
    ) -> Self {
        Self::configured(port, store, rules, issuer, edit).started()
    }

    fn configured(
        port: u16,
        store: Store,
        rules: &str,
        issuer: &'static Issuer,
        edit: &dyn Fn(String) -> String,
    ) -> Self {
        let folder = Folder::new("node");
        fs::create_dir(folder.join("rules")).unwrap();
        fs::write(folder.join("rules/tests.cedar"), rules).unwrap();
        for (name, secret) in [("upstream.password", PASSWORD), ("storage.key", KEY)] {
            fs::write(folder.join(name), secret).unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        fs::write(folder.join("hansard.toml"), edit(config(&folder, &store, issuer, port))).unwrap();
        Self { running: None, starts: 0, port, metrics: None, authority: None, is_shared: false, issuer, store, folder }
    }

    fn started(mut self) -> Self {
        self.start_again();
        self
    }

    /// One for many tests, which ends with their process: the usual rules, and a certificate that clients can verify.
    pub(crate) fn start_to_share() -> Self {
        let rules = fs::read_to_string(repository("tests/support/rules.cedar")).unwrap();
        let mut hansard = Self::configured(free_port(), Store::Folder, &rules, Issuer::shared(), &|text| text);
        let folder = hansard.folder.path().to_owned();
        certificates(&folder, None);
        let file = |name: &str| folder.join(name).display().to_string();
        let listener = format!(
            "targets = [\"app\"]\ntls = {{ cert = \"{}\", key = {{ file = \"{}\" }} }}\n",
            file("server.pem"),
            file("server.key")
        );
        let config = fs::read_to_string(file("hansard.toml")).unwrap();
        fs::write(file("hansard.toml"), config.replace("targets = [\"app\"]\n", &listener)).unwrap();
        hansard.authority = Some(folder.join("ca.pem"));
        hansard.is_shared = true;
        hansard.folder.leave();
        hansard.started()
    }

    /// Starts it on the folders it had before, and waits until it listens.
    pub(crate) fn start_again(&mut self) {
        self.launch();
        self.await_listening();
    }

    /// Waits until it listens.
    pub(crate) fn await_listening(&mut self) {
        let address = format!("127.0.0.1:{}", self.port);
        let leash = self.running.as_mut().unwrap();
        leash.wait(|log| log.lines().find(|line| line.contains("listening") && line.contains(&address)).map(|_| ()));
    }

    /// Starts it on the folders it had before; how far it gets is seen later.
    pub(crate) fn launch(&mut self) {
        self.launch_as(Command::new(env!("CARGO_BIN_EXE_hansard")));
    }

    /// Starts it on the folders it had before by a parent that listens for it, at an address that it does not have by itself.
    pub(crate) fn start_handed(&mut self) {
        let mut parent = python();
        let name = "main";
        parent.arg(repository("tests/parts/handing.py")).args([&self.port.to_string(), name]);
        self.start_by(parent);
    }

    /// Starts it on the folders it had before by a program that becomes it, and waits until it listens.
    pub(crate) fn start_by(&mut self, parent: Command) {
        self.launch_by(parent);
        self.await_listening();
    }

    /// Starts it on the folders it had before by a program that becomes it; how far it gets is seen later.
    pub(crate) fn launch_by(&mut self, mut parent: Command) {
        parent.arg(env!("CARGO_BIN_EXE_hansard"));
        self.launch_as(parent);
    }

    fn launch_as(&mut self, mut command: Command) {
        assert!(self.running.is_none(), "it is running");
        self.starts += 1;
        command.arg("serve").arg("-c").arg(self.folder.join("hansard.toml"));
        let log = self.log_path(self.starts);
        let start = if self.is_shared { Leash::own } else { Leash::borrow };
        self.running = Some(start("Hansard", self.folder.path(), &log, "KILL", &command));
    }

    /// Starts it, and it does not want to: the code that it ended with, and what it said.
    pub(crate) fn start_in_vain(&mut self) -> (i32, String) {
        self.launch();
        let code = self.running.take().unwrap().ended(STOP_LIMIT);
        (code, fs::read_to_string(self.log_path(self.starts)).unwrap())
    }

    /// Runs another command of the program, with the same configuration: the code that it ended with, and what it said on
    /// both streams.
    pub(crate) fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hansard"));
        command.args(arguments).arg("-c").arg(self.folder.join("hansard.toml"));
        let ran = command.output().unwrap();
        (ran.status.code().unwrap(), lossy(&ran.stdout), lossy(&ran.stderr))
    }

    /// `kill -9`: no time for anything.
    pub(crate) fn kill(&mut self) {
        let code = self.running.take().unwrap().end(Signal::KILL, STOP_LIMIT);
        assert_eq!(code, 128 + 9, "it ended otherwise before:\n{}", self.log());
    }

    /// Asks it about its health: the status, the kind of the content and the content; nothing if nobody answers.
    pub(crate) fn ask(&self, path: &str) -> Option<(u16, String, String)> {
        let port = self.metrics.unwrap();
        let mut socket = TcpStream::connect(("127.0.0.1", port)).ok()?;
        socket.set_read_timeout(Some(ANSWER_LIMIT)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().unwrap();
        let kind = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default();
        Some((status, kind.to_owned(), body.to_owned()))
    }

    /// Sends SIGTERM and does not wait.
    pub(crate) fn begin_to_stop(&self) {
        rustix::process::kill_process(self.running.as_ref().unwrap().pid(), Signal::TERM).unwrap();
    }

    /// Sends SIGHUP.
    pub(crate) fn hang_up(&self) {
        rustix::process::kill_process(self.running.as_ref().unwrap().pid(), Signal::HUP).unwrap();
    }

    /// Sends SIGUSR2.
    pub(crate) fn ask_to_restart(&self) {
        rustix::process::kill_process(self.running.as_ref().unwrap().pid(), Signal::USR2).unwrap();
    }

    /// SIGTERM, and the code that it ended with.
    pub(crate) fn stop(&mut self) -> i32 {
        self.running.take().unwrap().end(Signal::TERM, STOP_LIMIT)
    }

    /// Waits until it has ended by itself: the code that it ended with.
    pub(crate) fn ended(&mut self) -> i32 {
        self.running.take().unwrap().ended(STOP_LIMIT)
    }

    fn log_path(&self, start: u32) -> PathBuf {
        self.folder.join(&format!("log.{start}"))
    }

    /// What it wrote to standard error in all its starts.
    pub(crate) fn log(&self) -> String {
        (1..=self.starts).map(|start| fs::read_to_string(self.log_path(start)).unwrap_or_default()).collect()
    }

    /// The folder with its configuration, rules, journal and, if it is a folder, archive.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The way to the database by Hansard, with a token for `person`.
    pub(crate) fn login(&self, person: &str, application: &str) -> Login {
        self.login_by(self.issuer.token(person), application)
    }

    /// The way to the database by Hansard, with a token for whoever has this subject, under the same name.
    pub(crate) fn login_of_subject(&self, subject: &str) -> Login {
        self.login_by(self.issuer.token_of_subject(subject), subject)
    }

    /// The way to the database by Hansard, with this token.
    pub(crate) fn login_by(&self, token: String, application: &str) -> Login {
        Login {
            port: self.port,
            user: ROLE.to_owned(),
            password: token,
            database: DATABASE.to_owned(),
            application: application.to_owned(),
            recorded: true,
            authority: self.authority.clone(),
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

    /// The number of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.running.as_ref().unwrap().pid().as_raw_nonzero().get().unsigned_abs()
    }
}

/// A test that fails shows what Hansard said.
impl Drop for Hansard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let start = log.char_indices().rev().nth(SHOWN_LOG).map_or(0, |(at, _)| at);
            let shown = log.get(start..).unwrap_or_default();
            // There is nobody left to tell that this failed.
            drop(std::io::Write::write_all(&mut std::io::stderr(), shown.as_bytes()));
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
        duckdb_rows(&folder, sql)
    }

    /// Queries until `enough` says so, or returns the last rows after a while.
    pub(crate) fn query_until(&self, sql: &str, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let start = Instant::now();
        loop {
            let rows = self.query(sql);
            if enough(&rows) || start.elapsed() > SHIP_LIMIT {
                return rows;
            }
            sleep(Duration::from_millis(300));
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

/// The rows of a query over the views `statements`, `sessions` and `events` of an archive folder, read by DuckDB.
pub(crate) fn duckdb_rows(archive: &Path, sql: &str) -> Vec<Value> {
    let mut reader = python();
    reader.arg(repository("tests/parts/duckdb_rows.py")).arg(archive);
    let rows: Value = serde_json::from_str(&output(&mut reader, sql)).unwrap();
    rows.as_array().unwrap().clone()
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
