//! The demo's PostgreSQL: made from nothing, reachable on loopback only, stopped with the demo.
//!
//! It forgets safely: nothing is synced to disk. It is stopped when [`Database`] is dropped; if the demo itself is
//! killed, the next one in the same folder stops what was left ([`stop_leftover`]).

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::DemoError;
use super::find::Programs;
use super::home::{Home, failed};
use super::program::{Output, Owner, command, last_lines, run, wait};

/// The database, and what its schema is made of.
pub(super) const DATABASE: &str = "demo";
/// The role that Hansard logs in as, which owns everything in the database.
const ROLE: &str = "hansard";
/// The superuser, who is needed once.
const ADMIN: &str = "demo_admin";
const SCHEMA: &str = include_str!("files/schema.sql");

/// The role's password, for the configuration to refer to.
pub(super) const PASSWORD_FILE: &str = "secrets/database.password";
const ADMIN_PASSWORD_FILE: &str = "secrets/database-admin.password";

/// It takes three to four seconds on a small machine.
const INITDB_LIMIT: Duration = Duration::from_secs(60);
const START_LIMIT: Duration = Duration::from_secs(30);
const SQL_LIMIT: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What `psql` returns if it could not connect.
const NO_CONNECTION: i32 = 2;

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub(super) struct Database {
    child: Child,
    address: SocketAddr,
    folder: PathBuf,
}

impl Database {
    /// Makes what is missing and starts the server. Blocks for seconds.
    ///
    /// # Errors
    ///
    /// A program failed; its last words are part of the error.
    pub(super) fn start(programs: &Programs, home: &Home, owner: Option<&Owner>) -> Result<Self, DemoError> {
        let kept = home.database().filter(|folder| folder.join("data/PG_VERSION").exists());
        let fresh = kept.is_none();
        let folder = match kept {
            Some(folder) => folder,
            None => make(programs, home, owner)?,
        };
        let address = free_address().map_err(|error| broken(&error))?;
        let log = folder.join("server.log");
        let mut server = command(&programs.postgres, owner);
        server.arg("-D").arg(folder.join("data"));
        for setting in settings(address) {
            server.arg("-c").arg(setting);
        }
        let written = File::create(&log).map_err(failed(&log))?;
        server.stdout(written.try_clone().map_err(failed(&log))?).stderr(written);
        let child = server.spawn().map_err(|error| broken(&error))?;
        let mut database = Self { child, address, folder };
        let sql = if fresh { first_words(home)? } else { "SELECT 1".to_owned() };
        database.prepare(programs, home, &sql)?;
        Ok(database)
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its files are.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs SQL as soon as the server lets us.
    fn prepare(&mut self, programs: &Programs, home: &Home, sql: &str) -> Result<(), DemoError> {
        let script = home.write("secrets/prepare.sql", sql, 0o600)?;
        let password = fs::read_to_string(home.path().join(ADMIN_PASSWORD_FILE)).map_err(failed(&script))?;
        let start = Instant::now();
        let done = loop {
            let input = File::open(&script).map_err(failed(&script))?;
            let mut psql = psql(&programs.psql, home.path());
            psql.env("PGPASSWORD", &password).args(["-q", "-v", "ON_ERROR_STOP=1", "-f", "-"]);
            psql.arg(format!("host={} port={} user={ADMIN} dbname=postgres", self.address.ip(), self.address.port()));
            let output = run(&mut psql, Some(input), SQL_LIMIT).map_err(|error| broken(&error))?;
            if output.status.code() != Some(NO_CONNECTION) {
                break output.good("its preparation");
            }
            if self.child.try_wait().map_err(|error| broken(&error))?.is_some() || start.elapsed() > START_LIMIT {
                let log = fs::read_to_string(self.folder.join("server.log")).unwrap_or_default();
                break Err(format!("it did not come up: {}", last_lines(&log)));
            }
            thread::sleep(LOOK_EVERY);
        };
        fs::remove_file(&script).map_err(failed(&script))?;
        done.map(drop).map_err(|problem| DemoError::Database { problem })
    }

    fn stop(&mut self) -> io::Result<()> {
        for (signal, limit) in [(Signal::INT, STOP_LIMIT), (Signal::QUIT, STOP_LIMIT)] {
            if wait(&mut self.child, Duration::ZERO)?.is_some() {
                return Ok(());
            }
            if let Ok(pid) = i32::try_from(self.child.id())
                && let Some(pid) = Pid::from_raw(pid)
            {
                kill_process(pid, signal)?;
            }
            if wait(&mut self.child, limit)?.is_some() {
                return Ok(());
            }
        }
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::error!(%error, "the demo's PostgreSQL could not be stopped");
        }
    }
}

/// `psql` that reads no settings of this user, and speaks English.
pub(super) fn psql(program: &Path, home: &Path) -> Command {
    let mut psql = command(program, None);
    psql.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    psql.env("LC_ALL", "C").env("HOME", home).env("PGCLIENTENCODING", "UTF8").env("PGCONNECT_TIMEOUT", "10");
    psql.arg("-X").arg("-w");
    psql
}

/// A new cluster, with a password for its superuser.
fn make(programs: &Programs, home: &Home, owner: Option<&Owner>) -> Result<PathBuf, DemoError> {
    let folder = home.make_database(owner)?;
    for file in [PASSWORD_FILE, ADMIN_PASSWORD_FILE] {
        home.write(file, &format!("{:032x}", rand::random::<u128>()), 0o600)?;
    }
    // A copy that the server's user may read, for the moment.
    let password = folder.join("password");
    fs::copy(home.path().join(ADMIN_PASSWORD_FILE), &password).map_err(failed(&password))?;
    if let Some(owner) = owner {
        chown(&password, Some(owner.uid), Some(owner.gid)).map_err(failed(&password))?;
    }
    let mut initdb = command(&programs.initdb, owner);
    initdb.env("LC_ALL", "C").args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]);
    initdb.arg(format!("--username={ADMIN}")).arg("--pwfile").arg(&password).arg("-D").arg(folder.join("data"));
    let made = run(&mut initdb, None, INITDB_LIMIT).map_err(|error| broken(&error))?;
    fs::remove_file(&password).map_err(failed(&password))?;
    made.good("initdb").map(|_: Output| folder).map_err(|problem| DemoError::Database { problem })
}

/// Quick rather than durable; small; on loopback only.
fn settings(address: SocketAddr) -> Vec<String> {
    let listen = [format!("port={}", address.port()), format!("listen_addresses={}", address.ip())];
    let rest = [
        "unix_socket_directories=",
        "fsync=off",
        "synchronous_commit=off",
        "full_page_writes=off",
        "shared_buffers=32MB",
        "timezone=UTC",
        "log_timezone=UTC",
        "cluster_name=hansard-demo",
    ];
    listen.into_iter().chain(rest.map(str::to_owned)).collect()
}

/// The role and the tables.
fn first_words(home: &Home) -> Result<String, DemoError> {
    let file = home.path().join(PASSWORD_FILE);
    let password = fs::read_to_string(&file).map_err(failed(&file))?;
    Ok(format!(
        "CREATE ROLE {ROLE} LOGIN PASSWORD '{password}';\nCREATE DATABASE {DATABASE} OWNER {ROLE};\n\
         \\connect {DATABASE}\nSET ROLE {ROLE};\n{SCHEMA}"
    ))
}

/// A port that was free a moment ago.
fn free_address() -> io::Result<SocketAddr> {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn broken(error: &io::Error) -> DemoError {
    DemoError::Database { problem: error.to_string() }
}

/// Stops the server of an earlier demo that was killed, if there is one. Blocks.
///
/// # Errors
///
/// It does not stop.
pub(super) fn stop_leftover(folder: &Path) -> Result<(), DemoError> {
    let data = folder.join("data");
    let file = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let number = file.lines().next().and_then(|line| line.trim().parse().ok());
    // The number may belong to another program by now.
    let Some(pid) = number.and_then(Pid::from_raw).filter(|pid| serves(*pid, &data)) else {
        return Ok(());
    };
    kill_process(pid, Signal::QUIT).or_else(gone).map_err(|error| broken(&error))?;
    let start = Instant::now();
    while test_kill_process(pid).is_ok() {
        if start.elapsed() > STOP_LIMIT {
            let problem = format!("the one of an earlier demo, process {}, does not stop", pid.as_raw_nonzero());
            return Err(DemoError::Database { problem });
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

fn gone(error: rustix::io::Errno) -> io::Result<()> {
    if error == rustix::io::Errno::SRCH { Ok(()) } else { Err(error.into()) }
}

/// Whether a process is the server of this folder, by the command line that we gave it.
fn serves(pid: Pid, data: &Path) -> bool {
    let number = pid.as_raw_nonzero().to_string();
    let line = match fs::read(format!("/proc/{number}/cmdline")) {
        Ok(line) => line,
        Err(_) if Path::new("/proc/self").exists() => return false,
        Err(_) => {
            let ps = run(Command::new("ps").args(["-o", "command=", "-p", &number]), None, STOP_LIMIT);
            ps.map(|output| output.stdout.into_bytes()).unwrap_or_default()
        }
    };
    let data = data.as_os_str().as_encoded_bytes();
    line.windows(data.len().max(1)).any(|window| window == data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_belongs_to_another_program_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        let mut other = command(Path::new("/bin/sh"), None).args(["-c", "exec sleep 60"]).spawn().unwrap();
        fs::write(dir.path().join("data/postmaster.pid"), format!("{}\n/elsewhere\n", other.id())).unwrap();
        stop_leftover(dir.path()).unwrap();
        assert!(other.try_wait().unwrap().is_none(), "a stranger was stopped");
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn the_server_is_reachable_on_loopback_only_and_has_no_socket_file() {
        let settings = settings("127.0.0.1:5555".parse().unwrap());
        for setting in ["port=5555", "listen_addresses=127.0.0.1", "unix_socket_directories="] {
            assert!(settings.contains(&setting.to_owned()), "{setting}");
        }
    }
}
