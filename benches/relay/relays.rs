//! What stands between `pgbench` and PostgreSQL, each as its own process.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::median::median;
use super::support::{Folder, Hansard, Issuer, Login, Postgres, Store, free_port, output, wait_for};

/// Everybody may do everything: rules are asked all the same.
pub(crate) const RULES: &str = "@id(\"all\") permit (principal, action, resource);\n";
/// pgbench's tables: some 75 MB, which stay in memory.
const SCALE: &str = "5";

/// Whether a relay is to be measured: `HANSARD_BENCH_RELAYS`, names with semicolons between. The direct way and the forwarder
/// always are, because the others are held against them.
fn wanted(name: &str) -> bool {
    let only = std::env::var("HANSARD_BENCH_RELAYS").unwrap_or_default();
    only.is_empty() || only.split(';').any(|wanted| wanted == name)
}

/// A relay, or none.
pub(crate) struct Relay {
    pub(crate) name: &'static str,
    pub(crate) login: Login,
    /// Whether the client's leg has TLS.
    pub(crate) tls: bool,
    /// Whose processor time and memory count; nothing for the direct way.
    pid: Option<u32>,
}

impl Relay {
    /// One whose process this is.
    pub(crate) fn of(name: &'static str, login: Login, tls: bool, pid: u32) -> Self {
        Self { name, login, tls, pid: Some(pid) }
    }

    /// Processor time so far, in microseconds: of all its threads, by the scheduler's own count.
    pub(crate) fn cpu_micros(&self) -> f64 {
        let Some(pid) = self.pid else { return 0.0 };
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let nanos = tasks.filter_map(|task| {
            let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<f64>().ok()
        });
        nanos.sum::<f64>() / 1e3
    }

    /// Resident memory that is its own, in bytes.
    pub(crate) fn memory(&self) -> f64 {
        let Some(pid) = self.pid else { return 0.0 };
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let kilobytes = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
        kilobytes.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
    }

    /// A client's command with the way to it in its environment.
    pub(crate) fn client(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let mode = if self.tls { "require" } else { "disable" };
        command.env("PGHOST", "127.0.0.1").env("PGPORT", self.login.port.to_string()).env("PGUSER", &self.login.user);
        command.env("PGPASSWORD", &self.login.password).env("PGDATABASE", &self.login.database);
        command.env("PGSSLMODE", mode).env("PGGSSENCMODE", "disable").stderr(Stdio::piped());
        command
    }
}

/// All of them, running.
pub(crate) struct Relays {
    pub(crate) all: Vec<Relay>,
    pub(crate) postgres: &'static Postgres,
    children: Vec<Child>,
    _hansards: Vec<Hansard>,
    _folder: Folder,
}

impl Drop for Relays {
    fn drop(&mut self) {
        for child in &mut self.children {
            // One that has ended by itself needs no end.
            child.kill().and_then(|()| child.wait()).ok();
        }
    }
}

impl Relays {
    /// Starts PostgreSQL with pgbench's tables and everything before it.
    pub(crate) fn start() -> Self {
        let postgres = Postgres::shared();
        postgres.be_quick();
        let direct = Relay { name: "direct", login: postgres.direct("bench"), tls: false, pid: None };
        output(direct.client(&postgres.program("pgbench")).args(["-i", "-q", "-s", SCALE]), "");
        let folder = Folder::new("relays");
        let mut relays =
            Self { all: vec![direct], postgres, children: Vec::new(), _hansards: Vec::new(), _folder: folder };
        relays.forwarder();
        if wanted("haproxy") {
            relays.haproxy();
        }
        if wanted("pgbouncer") {
            relays.pgbouncer();
        }
        for (name, tls, recorded) in [
            ("hansard, written", false, "written"),
            ("hansard, flushed", false, "flushed"),
            ("hansard, TLS, written", true, "written"),
            ("hansard, TLS, flushed", true, "flushed"),
        ] {
            if wanted(name) {
                relays.hansard(name, tls, recorded);
            }
        }
        relays
    }

    fn child(&mut self, name: &'static str, port: u16, command: &mut Command) {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let login = Login { port, ..self.postgres.direct("bench") };
        wait_for(name, Duration::from_secs(20), || TcpStream::connect(("127.0.0.1", port)).ok());
        self.all.push(Relay { name, login, tls: false, pid: Some(child.id()) });
        self.children.push(child);
    }

    fn forwarder(&mut self) {
        let port = free_port();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["forward", &format!("127.0.0.1:{port}"), &format!("127.0.0.1:{}", self.postgres.port())]);
        self.child("forwarder", port, &mut command);
    }

    fn haproxy(&mut self) {
        let (port, config) = (free_port(), self._folder.join("haproxy.cfg"));
        let text = format!(
            "global\n  nbthread 2\n  maxconn 4000\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n\
             frontend f\n  bind 127.0.0.1:{port}\n  default_backend b\nbackend b\n  server s 127.0.0.1:{}\n",
            self.postgres.port()
        );
        fs::write(&config, text).unwrap();
        self.child("haproxy", port, Command::new("haproxy").arg("-db").arg("-f").arg(config));
    }

    fn pgbouncer(&mut self) {
        let port = free_port();
        let settings = "pool_mode = session\ndefault_pool_size = 190\n";
        self.child("pgbouncer", port, &mut pgbouncer(&self._folder, port, self.postgres, settings));
    }

    fn hansard(&mut self, name: &'static str, tls: bool, recorded: &str) {
        let hansard = Hansard::start_on(Store::Folder, RULES, Issuer::shared(), &|config| {
            let config = config.replace("max_age = \"1s\"", "max_age = \"60s\"");
            let (before, rest) = config.split_once("tls = { mode = \"verify-full\"").unwrap();
            let (_, after) = rest.split_once('\n').unwrap();
            let config = format!("{before}tls = {{ mode = \"disable\" }}\nrecorded = \"{recorded}\"\n{after}");
            if tls {
                config
            } else {
                config.replace("targets = [\"app\"]", "targets = [\"app\"]\nplain = \"loopback\"")
            }
        });
        let login = hansard.login("dev", "bench");
        self.all.push(Relay { name, login, tls, pid: Some(hansard.pid()) });
        self._hansards.push(hansard);
    }

    /// The direct way.
    pub(crate) fn direct(&self) -> &Relay {
        &self.all[0]
    }
}

/// PgBouncer before PostgreSQL, with these settings beside the usual ones.
pub(crate) fn pgbouncer(folder: &Folder, port: u16, postgres: &Postgres, settings: &str) -> Command {
    let direct = postgres.direct("bench");
    let (config, users) = (folder.join("pgbouncer.ini"), folder.join("users.txt"));
    fs::write(&users, format!("\"{}\" \"{}\"\n", direct.user, direct.password)).unwrap();
    let text = format!(
        "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
         unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\nmax_client_conn = 19000\nlogfile = /dev/null\n\
         log_connections = 0\nlog_disconnections = 0\nserver_idle_timeout = 1\n{settings}",
        postgres.port(),
        users.display()
    );
    fs::write(&config, text).unwrap();
    // It refuses to run as root.
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--clear-groups", "--", "pgbouncer"]).arg(config);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// One flush of 512 bytes into a file that was filled before, in microseconds: the median.
pub(crate) fn flush_micros() -> f64 {
    const WRITES: u64 = 300;
    let folder = Folder::new("flush");
    let path = folder.join("file");
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(&vec![0; 512 * usize::try_from(WRITES).unwrap()]).unwrap();
    file.sync_all().unwrap();
    let one = |at: u64| {
        let start = Instant::now();
        file.write_all_at(&[7; 512], at * 512).unwrap();
        file.sync_data().unwrap();
        start.elapsed().as_secs_f64() * 1e6
    };
    median((0..WRITES).map(one).collect())
}
