//! PostgreSQL: the machine's own server, shared by the tests of one binary, and what it says it was asked.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::leash::Leash;
use super::{Expected, Folder, Login, free_port, output, repository, wait_for};

/// The role that Hansard logs in as, which owns the database of the tests.
pub(crate) const ROLE: &str = "hansard";
pub(crate) const PASSWORD: &str = "upstream-only-for-tests";
pub(crate) const DATABASE: &str = "app";

/// Who may own a server process when the tests run as root, which PostgreSQL refuses. The first that exists.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// The server's log as CSV: the fields we read.
const FIELD_SESSION: usize = 5;
const FIELD_MESSAGE: usize = 13;
const FIELD_DETAIL: usize = 14;
const FIELD_APPLICATION: usize = 22;

/// A running server.
#[derive(Debug)]
pub(crate) struct Postgres {
    leash: Leash,
    binaries: PathBuf,
    port: u16,
}

/// One statement that the server was asked to execute, by its own log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logged {
    /// `query` for a simple query, `execute` for the extended protocol.
    pub(crate) request: String,
    /// The text.
    pub(crate) text: String,
    /// The bound values as the server shows them: `Parameters: $1 = '7'`.
    pub(crate) parameters: Option<String>,
}

impl Postgres {
    /// The server of this test binary, started at first use, with the tables of `tests/clients/schema.sql`.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A server of one's own, for tests that harm it.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The folder of its programs.
    pub(crate) fn binaries() -> PathBuf {
        binaries()
    }

    /// A server of one's own with settings of one's own.
    pub(crate) fn start_with(own: &[(&str, &str)]) -> Self {
        let binaries = binaries();
        let folder = Folder::new("postgres");
        let user = unprivileged();
        certificates(folder.path(), user.as_deref());
        let data = folder.join("data");
        let mut initdb = as_user(user.as_deref(), &binaries.join("initdb"));
        initdb
            .args(["--username=admin", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(&data);
        output(initdb.current_dir(folder.path()), "");
        fs::write(
            data.join("pg_hba.conf"),
            "local all,replication all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n",
        )
        .unwrap();

        let port = free_port();
        let mut server = as_user(user.as_deref(), &binaries.join("postgres"));
        server.arg("-D").arg(&data);
        for (name, value) in settings(folder.path(), port) {
            server.arg("-c").arg(format!("{name}={value}"));
        }
        for (name, value) in own {
            server.arg("-c").arg(format!("{name}={value}"));
        }
        let mut leash = Leash::start("PostgreSQL", folder, "INT", &server);
        let socket = leash.folder().to_owned();
        leash.wait(|_| {
            let mut probe = Command::new(binaries.join("pg_isready"));
            let answer = probe.arg("-q").arg("-h").arg(&socket).arg("-p").arg(port.to_string()).status().unwrap();
            answer.success().then_some(())
        });
        let server = Self { leash, binaries, port };
        server.admin_in("postgres", &format!("create role {ROLE} login password '{PASSWORD}'"));
        server.admin_in("postgres", &format!("create database {DATABASE} owner {ROLE}"));
        let schema = fs::read_to_string(repository("tests/clients/schema.sql")).unwrap();
        server.admin(&format!("set role {ROLE};\n{schema}"));
        server
    }

    /// A standby that follows this server, with its certificate.
    pub(crate) fn standby(&self) -> Self {
        let binaries = binaries();
        let folder = Folder::new("standby");
        let user = unprivileged();
        if let Some((uid, gid)) = user.as_deref().map(numbers) {
            chown(folder.path(), Some(uid), Some(gid)).unwrap();
        }
        let data = folder.join("data");
        let mut copy = as_user(user.as_deref(), &binaries.join("pg_basebackup"));
        copy.args(["--checkpoint=fast", "--no-sync", "--write-recovery-conf", "-U", "admin", "-D"]).arg(&data);
        copy.arg("-h").arg(self.socket_folder()).arg("-p").arg(self.port.to_string());
        output(copy.current_dir(folder.path()), "");
        let port = free_port();
        let mut server = as_user(user.as_deref(), &binaries.join("postgres"));
        server.arg("-D").arg(&data);
        for (name, value) in settings(self.socket_folder(), port) {
            let value = match name {
                "unix_socket_directories" => folder.path().display().to_string(),
                "log_directory" => folder.join("logs").display().to_string(),
                _ => value,
            };
            server.arg("-c").arg(format!("{name}={value}"));
        }
        let mut leash = Leash::start("a standby", folder, "INT", &server);
        let socket = leash.folder().to_owned();
        leash.wait(|_| {
            let mut probe = Command::new(binaries.join("pg_isready"));
            let answer = probe.arg("-q").arg("-h").arg(&socket).arg("-p").arg(port.to_string()).status().unwrap();
            answer.success().then_some(())
        });
        Self { leash, binaries, port }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where its Unix socket is.
    pub(crate) fn socket_folder(&self) -> &Path {
        self.leash.folder()
    }

    /// The certificate of who signed the server's.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.leash.folder().join("ca.pem")
    }

    /// The way to the database without Hansard.
    pub(crate) fn direct(&self, application: &str) -> Login {
        Login {
            port: self.port,
            user: ROLE.to_owned(),
            password: PASSWORD.to_owned(),
            database: DATABASE.to_owned(),
            application: application.to_owned(),
            recorded: false,
            authority: None,
        }
    }

    /// The same as its superuser.
    pub(crate) fn superuser(&self) -> Login {
        self.admin_in("postgres", &format!("alter role admin password '{PASSWORD}'"));
        Login { user: "admin".to_owned(), ..self.direct("the superuser") }
    }

    /// Everything that it logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.leash.folder().join("logs/statements.csv")).unwrap_or_default()
    }

    /// Runs SQL as superuser, past Hansard; returns rows as `a|b`, one per line.
    pub(crate) fn admin(&self, sql: &str) -> String {
        self.admin_in(DATABASE, sql)
    }

    /// Lets a role in without a password over loopback, as a laboratory's server does whose databases reach each other.
    pub(crate) fn trust(&self, role: &str) {
        self.admit(role, "trust");
    }

    /// Lets a role in over loopback by a method of `pg_hba.conf`.
    pub(crate) fn admit(&self, role: &str, method: &str) {
        self.admit_to("all", role, method);
    }

    /// The same for one database, or for `replication`, which is none of `all`.
    pub(crate) fn admit_to(&self, database: &str, role: &str, method: &str) {
        let file = self.leash.folder().join("data/pg_hba.conf");
        let rules = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("host {database} {role} 127.0.0.1/32 {method}\n{rules}")).unwrap();
        self.admin_in("postgres", "select pg_reload_conf()");
    }

    /// Lets roles in over loopback and TLS by a method of `pg_hba.conf` alone.
    pub(crate) fn demand(&self, role: &str, method: &str) {
        let file = self.leash.folder().join("data/pg_hba.conf");
        let rules = format!("local all all trust\nhostssl all {role} 127.0.0.1/32 {method}\n");
        fs::write(&file, rules).unwrap();
        self.admin_in("postgres", "select pg_reload_conf()");
    }

    /// Lets the role of the tests in without TLS, and stops telling what it is asked: for measuring, not for proving.
    pub(crate) fn be_quick(&self) {
        let file = self.leash.folder().join("data/pg_hba.conf");
        let rules = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("host all {ROLE} 127.0.0.1/32 scram-sha-256\n{rules}")).unwrap();
        self.admin_in("postgres", "alter system set log_statement = 'none'");
        self.admin_in("postgres", "select pg_reload_conf()");
    }

    /// A program that comes with the server.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.binaries.join(name)
    }

    /// The same in another database than that of the tests.
    pub(crate) fn admin_in(&self, database: &str, sql: &str) -> String {
        let mut psql = Command::new(self.binaries.join("psql"));
        psql.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-U", "admin", "-d", database, "-f", "-"]);
        psql.env("PGAPPNAME", "the tests themselves");
        psql.arg("-h").arg(self.leash.folder()).arg("-p").arg(self.port.to_string());
        output(&mut psql, sql).trim_end().to_owned()
    }

    /// The server was asked for exactly what a client ran of what was let through: two lists from two sides.
    pub(crate) fn assert_asked(&self, application: &str, ran: &[Expected]) {
        let ran: Vec<&Expected> = ran.iter().filter(|statement| statement.executed()).collect();
        let logged = self.logged(application, ran.len());
        for at in 0..ran.len().max(logged.len()) {
            let (ran, logged) = (ran.get(at), logged.get(at));
            let same = ran.zip(logged).is_some_and(|(ran, logged)| ran.is(logged));
            assert!(same, "{application}, statement {at}:\n  ran    {ran:?}\n  logged {logged:?}");
        }
        assert!(!ran.is_empty(), "{application} ran nothing");
    }

    /// Every text that the server was asked to execute so far, by application.
    pub(crate) fn asked_by_application(&self) -> BTreeMap<String, Vec<String>> {
        let mut asked: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in csv(&self.log()) {
            let Some(application) = row.get(FIELD_APPLICATION) else { continue };
            let texts = asked.entry(application.clone()).or_default();
            texts.extend(logged(&row, application).map(|logged| logged.text));
        }
        asked
    }

    /// How each statement was asked for and its text (of a function call message: `lo_creat (OID 957)`), in order, for each of the server's sessions that ever bore the name
    /// `application`; sorted, because sessions have no order.
    pub(crate) fn asked_in_sessions(&self, application: &str) -> Vec<Vec<(String, String)>> {
        let log = csv(&self.log());
        let mut sessions: BTreeMap<&str, Vec<(String, String)>> = BTreeMap::new();
        for row in log.iter().filter(|row| row.get(FIELD_APPLICATION).is_some_and(|name| name == application)) {
            sessions.entry(&row[FIELD_SESSION]).or_default();
        }
        for row in &log {
            let Some(asked) = row.get(FIELD_SESSION).and_then(|session| sessions.get_mut(session.as_str())) else {
                continue;
            };
            let statement = logged(row, &row[FIELD_APPLICATION]).map(|logged| (logged.request, logged.text));
            asked.extend(statement.or_else(|| called(row)));
        }
        let mut asked: Vec<_> = sessions.into_values().filter(|asked| !asked.is_empty()).collect();
        asked.sort();
        asked
    }

    /// Every statement that the server was asked to execute by `application`, in order. Waits until there are `count`,
    /// because the server's log runs behind; returns what is there after a while if they do not come.
    pub(crate) fn logged(&self, application: &str, count: usize) -> Vec<Logged> {
        let path = self.leash.folder().join("logs/statements.csv");
        let mut tries = 0;
        wait_for("the server's log", Duration::from_secs(60), || {
            tries += 1;
            let log = fs::read_to_string(&path).unwrap_or_default();
            let found: Vec<Logged> = csv(&log).iter().filter_map(|row| logged(row, application)).collect();
            (found.len() >= count || tries > 100).then_some(found)
        })
    }
}

/// The folder of the newest server on this machine.
fn binaries() -> PathBuf {
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let newest =
        debian.map(|entry| entry.unwrap().path()).filter(|path| path.join("bin/initdb").exists()).max_by_key(version);
    let on_path = || std::env::split_paths(&std::env::var_os("PATH")?).find(|folder| folder.join("initdb").exists());
    newest
        .map(|path| path.join("bin"))
        .or_else(on_path)
        .unwrap_or_else(|| panic!("the PostgreSQL server is missing (no initdb was found); run: make setup-test"))
}

/// The user that the server runs as, if that must be another than ours.
fn unprivileged() -> Option<String> {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return None;
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let exists = |user: &&&str| passwd.lines().any(|line| line.split(':').next() == Some(**user));
    let user = UNPRIVILEGED.iter().find(exists);
    Some((*user.unwrap_or_else(|| panic!("root cannot run PostgreSQL; none of {UNPRIVILEGED:?} exists"))).to_owned())
}

/// The user's and the group's number.
fn numbers(user: &str) -> (u32, u32) {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd.lines().find(|line| line.split(':').next() == Some(user)).unwrap();
    let mut fields = line.split(':').skip(2).map(|field| field.parse().unwrap());
    (fields.next().unwrap(), fields.next().unwrap())
}

fn as_user(user: Option<&str>, program: &Path) -> Command {
    let Some(user) = user else { return Command::new(program) };
    let (uid, gid) = numbers(user);
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).arg("--clear-groups").arg("--").arg(program);
    command
}

/// A certificate for 127.0.0.1 and localhost with who signed it, in a folder that the server's user may write to.
/// Their names are `server.pem`, `server.key` and `ca.pem`.
pub(super) fn certificates(folder: &Path, user: Option<&str>) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, "tests of hansard");
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let signer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &signer).unwrap();
    fs::write(folder.join("ca.pem"), ca_certificate.pem()).unwrap();
    fs::write(folder.join("server.pem"), certificate.pem()).unwrap();
    let key_file = folder.join("server.key");
    fs::write(&key_file, key.serialize_pem()).unwrap();
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();
    if let Some((uid, gid)) = user.map(numbers) {
        chown(&key_file, Some(uid), Some(gid)).unwrap();
        chown(folder, Some(uid), Some(gid)).unwrap();
    }
}

/// Safe enough for a test, quick, and telling: every statement is logged before it is executed.
fn settings(folder: &Path, port: u16) -> Vec<(&'static str, String)> {
    let path = |name: &str| folder.join(name).display().to_string();
    let word = str::to_owned;
    vec![
        ("port", port.to_string()),
        ("listen_addresses", word("127.0.0.1")),
        ("unix_socket_directories", folder.display().to_string()),
        ("max_connections", word("200")),
        ("ssl", word("on")),
        ("ssl_cert_file", path("server.pem")),
        ("ssl_key_file", path("server.key")),
        ("password_encryption", word("scram-sha-256")),
        ("fsync", word("off")),
        ("synchronous_commit", word("off")),
        ("full_page_writes", word("off")),
        ("log_statement", word("all")),
        ("logging_collector", word("on")),
        ("log_destination", word("csvlog")),
        ("log_directory", path("logs")),
        ("log_filename", word("statements.log")),
        ("log_file_mode", word("0644")),
        ("log_rotation_age", word("0")),
        ("log_rotation_size", word("0")),
    ]
}

fn logged(row: &[String], application: &str) -> Option<Logged> {
    if row.get(FIELD_APPLICATION)? != application {
        return None;
    }
    let message = row.get(FIELD_MESSAGE)?;
    let (request, text) = if let Some(text) = message.strip_prefix("statement: ") {
        ("query", text)
    } else {
        ("execute", message.strip_prefix("execute ")?.split_once(": ")?.1)
    };
    let parameters = row.get(FIELD_DETAIL).filter(|detail| !detail.is_empty()).cloned();
    Some(Logged { request: request.to_owned(), text: text.to_owned(), parameters })
}

/// A function call message, as the function's name and number.
fn called(row: &[String]) -> Option<(String, String)> {
    let call = row.get(FIELD_MESSAGE)?.strip_prefix("fastpath function call: \"")?;
    Some(("function_call".to_owned(), call.replacen('"', "", 1)))
}

/// The rows of a CSV text; a row that is not finished yet is left out.
fn csv(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut field, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quoted) {
            ('"', true) if chars.peek() == Some(&'"') => {
                field.push('"');
                chars.next();
            }
            ('"', _) => quoted = !quoted,
            (',', false) => row.push(std::mem::take(&mut field)),
            ('\n', false) => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            (c, _) => field.push(c),
        }
    }
    rows
}
