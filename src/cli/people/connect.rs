//! `hansard connect`: `psql` with everything set, and settings for every other client.
//!
//! The token reaches psql in a password file that has no name: memory that only psql and what it starts can open, with one line
//! that is good for this host, port and user. So it is neither among the arguments nor in the environment, and is never sent to
//! another server that psql is told to connect to.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::Globals;
use super::super::exit::Exit;
use super::super::render::{quiet_if_closed, say};
use super::fresh::{fresh, having};
use super::kept::{Server, Store, target};
use super::run as run_command;
use super::settings::{Form, Settings};
use super::trouble::Trouble;
use crate::sign_in::Hidden;

const EXAMPLES: &str = "\
Examples:
  hansard connect clinic                           psql on its first database
  hansard connect clinic billing -- -c 'SELECT 1'  on another one, with arguments of psql
  hansard connect clinic --print jdbc              settings for another client, without the token";

/// Where systems keep their authorities in one file: Debian, Fedora, Alpine and others, macOS.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What in the environment would lead psql elsewhere, or bring another password.
const MISLEADING: [&str; 8] = [
    "PGHOSTADDR",
    "PGPASSWORD",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGREQUIREAUTH",
    "PGREQUIRESSL",
    "PGTARGETSESSIONATTRS",
    "PGLOADBALANCEHOSTS",
];

/// Connect to a target with psql, or print settings for another client
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in super::super) struct ConnectArgs {
    /// The target
    target: String,

    /// The database [default: the target's first]
    database: Option<String>,

    /// Print settings for a client and run nothing; no token is among them
    #[arg(long, value_name = "CLIENT")]
    print: Option<Form>,

    /// The Hansard, if several have that target
    #[arg(long, value_name = "ADDRESS")]
    server: Option<String>,

    /// Arguments of psql
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

pub(in super::super) fn run(args: &ConnectArgs, globals: &Globals) -> Exit {
    run_command(connect(args, globals.quiet))
}

async fn connect(args: &ConnectArgs, quiet: bool) -> Result<(), Trouble> {
    let store = Store::of_person()?;
    let server = having(&store, args.server.as_deref(), &args.target).await?;
    if let Some(form) = args.print {
        let text = settings(&server, &args.target, args.database.as_deref())?.in_form(form);
        let written = writeln!(io::stdout().lock(), "{}", text.trim_end());
        return quiet_if_closed(written).map_err(Trouble::Output);
    }
    let (server, token) = fresh(&store, &server.address).await?;
    let settings = settings(&server, &args.target, args.database.as_deref())?;
    if !quiet {
        let Settings { user, target, database, .. } = &settings;
        say(format_args!("Connecting as {user} to {target}/{database} …"));
    }
    Err(become_psql(&settings, &token, &args.arguments))
}

/// What a client needs for this target, and this database or the first.
pub(super) fn settings(server: &Server, name: &str, database: Option<&str>) -> Result<Settings, Trouble> {
    let target = target(server, name)?;
    let no_authorities = || Trouble::NoAuthorities { address: server.address.clone() };
    let authorities = server.ca_file.clone().or_else(bundle).ok_or_else(no_authorities)?;
    let user = server.claim(&["preferred_username", "upn", "email", "sub"]).unwrap_or("hansard");
    let first = target.databases.first().unwrap_or(&target.name);
    Ok(Settings {
        target: target.name.clone(),
        host: target.host.clone().unwrap_or_else(|| host_of(&server.address)),
        port: target.port,
        database: database.unwrap_or(first).to_owned(),
        user: user.chars().filter(|c| !c.is_control()).collect(),
        authorities,
    })
}

fn bundle() -> Option<PathBuf> {
    BUNDLES.iter().map(Path::new).find(|path| path.is_file()).map(Path::to_owned)
}

/// The host of an address, without brackets.
fn host_of(address: &str) -> String {
    let authority = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host = match authority.strip_prefix('[') {
        Some(inner) => inner.split(']').next(),
        None => authority.split(':').next(),
    };
    host.unwrap_or(authority).to_owned()
}

/// Becomes psql; if that fails, why.
fn become_psql(settings: &Settings, token: &Hidden, arguments: &[OsString]) -> Trouble {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => Trouble::NoClient,
        _ => Trouble::Client { program: "psql", source },
    };
    let mut psql = Command::new("psql");
    MISLEADING.iter().for_each(|name| {
        psql.env_remove(name);
    });
    psql.envs(settings.environment()).args(arguments);
    // It is closed when this process ends, and not when it becomes another.
    let _file = match password_file(&settings.password_line(token)) {
        Ok(file) => {
            psql.env("PGPASSFILE", format!("/proc/self/fd/{}", file.as_raw_fd()));
            file
        }
        Err(source) => return Trouble::Client { program: "psql", source },
    };
    failed(psql.exec())
}

/// A file without a name that holds this line, and that the program we become has open too.
fn password_file(line: &str) -> io::Result<std::fs::File> {
    use rustix::fs::{MemfdFlags, Mode, fchmod, memfd_create};
    let memory = memfd_create("hansard-password", MemfdFlags::empty())?;
    // libpq takes no password file that others could read.
    fchmod(&memory, Mode::RUSR | Mode::WUSR)?;
    let mut file = std::fs::File::from(memory);
    file.write_all(line.as_bytes())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_that_of_the_address() {
        for (address, host) in [
            ("https://hansard.example", "hansard.example"),
            ("https://hansard.example:8443", "hansard.example"),
            ("https://[::1]:8443", "::1"),
            ("http://127.0.0.1:1", "127.0.0.1"),
        ] {
            assert_eq!(host_of(address), host);
        }
    }
}
