//! PostgreSQL's programs on this machine: a server, and a `psql`.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::DemoError;
use super::program::{Owner, command, run};

/// How long a program may take to say what it is.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Where packages put servers: the folder above the versions, and the folder below each.
const PLACES: [(&str, &str, &str); 5] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/usr/local/opt", "postgresql", "bin"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql", "bin"),
];

/// Who may own the server when we are root, which PostgreSQL refuses to run as. The first that exists.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// A server's programs and a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Programs {
    pub(super) initdb: PathBuf,
    pub(super) postgres: PathBuf,
    pub(super) psql: PathBuf,
    /// As the server says it: `15.18`.
    pub(super) version: String,
}

/// Finds them: in `given` if that is said, else on the PATH, where `pg_config` says, and in the usual places.
///
/// # Errors
///
/// There is none; it says what to install.
pub(super) fn programs(given: Option<&Path>) -> Result<Programs, DemoError> {
    let folders = match given {
        Some(folder) => vec![folder.to_owned()],
        None => candidates(),
    };
    let server = folders.iter().find_map(|folder| server_in(folder));
    let Some((initdb, postgres)) = server else {
        return Err(given.map_or(DemoError::NoServer, |folder| DemoError::NoServerIn { folder: folder.to_owned() }));
    };
    let beside = postgres.with_file_name("psql");
    let psql =
        if executable(&beside) { Some(beside) } else { on_path().map(|f| f.join("psql")).find(|p| executable(p)) };
    let version = version(&postgres).ok_or_else(|| DemoError::Unusable { program: postgres.clone() })?;
    Ok(Programs { initdb, psql: psql.ok_or(DemoError::NoClient)?, postgres, version })
}

fn on_path() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).filter(|folder| folder.is_absolute()).collect::<Vec<_>>().into_iter()
}

fn candidates() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = on_path().collect();
    let mut config = Command::new("pg_config");
    if let Ok(answer) = run(config.arg("--bindir"), None, ANSWER_LIMIT) {
        folders.push(PathBuf::from(answer.stdout.trim_end()));
    }
    folders.extend(PLACES.iter().flat_map(|(above, prefix, below)| versions(Path::new(above), prefix, below)));
    folders
}

/// The folders of versions, the newest first.
fn versions(above: &Path, prefix: &str, below: &str) -> Vec<PathBuf> {
    let number = |name: &str| -> Option<u32> {
        let rest = name.strip_prefix(prefix)?.trim_start_matches('@');
        if rest.is_empty() { Some(0) } else { rest.split('.').next()?.parse().ok() }
    };
    let entries = fs::read_dir(above).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> =
        entries.filter_map(|entry| Some((number(entry.file_name().to_str()?)?, entry.path().join(below)))).collect();
    found.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    found.into_iter().map(|(_, folder)| folder).collect()
}

/// `initdb` and `postgres` of one installation: links are followed, because `psql` lies beside what they lead to.
fn server_in(folder: &Path) -> Option<(PathBuf, PathBuf)> {
    let initdb = fs::canonicalize(folder.join("initdb")).ok().filter(|path| executable(path))?;
    let postgres = initdb.with_file_name("postgres");
    executable(&postgres).then_some((initdb, postgres))
}

fn executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn version(postgres: &Path) -> Option<String> {
    version_in(&run(command(postgres, None).arg("--version"), None, ANSWER_LIMIT).ok()?.stdout)
}

/// `postgres (PostgreSQL) 15.18 (Debian …)`: the third word.
fn version_in(answer: &str) -> Option<String> {
    let version = answer.split_whitespace().nth(2)?;
    version.starts_with(|c: char| c.is_ascii_digit()).then(|| version.to_owned())
}

/// The user that the server runs as, if that must be another than ours.
///
/// # Errors
///
/// We are root and there is nobody else.
pub(super) fn owner() -> Result<Option<Owner>, DemoError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    UNPRIVILEGED.iter().find_map(|name| user(&passwd, name)).map(Some).ok_or(DemoError::NobodyElse)
}

fn user(passwd: &str, name: &str) -> Option<Owner> {
    let mut fields = passwd.lines().map(|line| line.split(':')).find(|fields| fields.clone().next() == Some(name))?;
    let uid = fields.nth(2)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    (uid != 0).then(|| Owner { name: name.to_owned(), uid, gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn the_newest_of_a_place_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["9.6", "15", "12", "common", "pgsql-16", "postgresql", "postgresql@17"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let found = |prefix| -> Vec<String> {
            let paths = versions(dir.path(), prefix, "bin").into_iter();
            paths.map(|path| path.strip_prefix(dir.path()).unwrap().display().to_string()).collect()
        };
        assert_eq!(found(""), ["15/bin", "12/bin", "9.6/bin"]);
        assert_eq!(found("pgsql-"), ["pgsql-16/bin"]);
        assert_eq!(found("postgresql"), ["postgresql@17/bin", "postgresql/bin"]);
    }

    #[test]
    fn a_server_is_found_through_links() {
        let dir = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(dir.path()).unwrap().join("real");
        program(&real.join("initdb"));
        let links = dir.path().join("links");
        fs::create_dir(&links).unwrap();
        std::os::unix::fs::symlink(real.join("initdb"), links.join("initdb")).unwrap();
        assert_eq!(server_in(&links), None, "half of an installation is none");
        program(&real.join("postgres"));
        assert_eq!(server_in(&links), Some((real.join("initdb"), real.join("postgres"))));
    }

    #[test]
    fn the_version_is_read_as_packages_write_it() {
        let debian = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n";
        assert_eq!(version_in(debian).as_deref(), Some("15.18"));
        assert_eq!(version_in("postgres (PostgreSQL) 18beta1").as_deref(), Some("18beta1"));
        assert_eq!(version_in("bash: no such thing"), None);
    }

    #[test]
    fn a_folder_without_a_server_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = programs(Some(dir.path())).unwrap_err().to_string();
        assert!(error.contains(&dir.path().display().to_string()) && error.contains("--postgres-bin"), "{error}");
    }

    #[test]
    fn root_gives_the_server_to_somebody_who_is_not_root() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65533:n:/:/bin/false\nfalse:x:0:0::/:/bin/sh\n";
        assert_eq!(user(passwd, "nobody"), Some(Owner { name: "nobody".to_owned(), uid: 65_534, gid: 65_533 }));
        assert_eq!((user(passwd, "postgres"), user(passwd, "false")), (None, None));
    }
}
