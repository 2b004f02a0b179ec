//! `hansard proxy`: a door on loopback for clients that cannot fetch a token: it adds TLS and a token for each connection.
//!
//! Whoever connects there is the person to the recorder, so only the person's own processes are let through, where the system
//! tells whose a connection is (Linux). The port of a target is made of its name: it is the same tomorrow, and if somebody else
//! has it, that is an error and never another port.

use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::super::Globals;
use super::super::exit::Exit;
use super::super::render::{quiet_if_closed, say};
use super::connect::settings;
use super::fresh::{fresh, having};
use super::kept::Store;
use super::run as run_command;
use super::trouble::Trouble;
use crate::gateway::{Escort, tls};
use crate::model::Sha256;

const EXAMPLES: &str = "\
Examples:
  hansard proxy clinic billing             until Ctrl-C; then point any tool at the port that it names
  hansard proxy clinic --port 6543         at a port of your choice";

/// Ports of targets are from here on, below those that systems give to outgoing connections.
const FIRST_PORT: u16 = 15_000;
const PORTS: u16 = 10_000;
/// Connections at a time.
const MOST: usize = 256;
/// The state of an open connection in the system's table.
const ESTABLISHED: &str = "01";
/// A pause after a failed accept, whose cause does not go away by trying at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listen on this machine for tools that cannot fetch a token, and add it for them
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in super::super) struct ProxyArgs {
    /// The targets
    #[arg(required = true)]
    targets: Vec<String>,

    /// The port of the first target, the next ones for the others [default: made of each target's name]
    #[arg(long)]
    port: Option<u16>,

    /// The Hansard, if several have these targets
    #[arg(long, value_name = "ADDRESS")]
    server: Option<String>,
}

pub(in super::super) fn run(args: &ProxyArgs, globals: &Globals) -> Exit {
    run_command(proxy(args, globals.quiet))
}

/// A door and what is behind it.
struct Door {
    target: String,
    address: String,
    listener: TcpListener,
    escort: Escort,
}

async fn proxy(args: &ProxyArgs, quiet: bool) -> Result<(), Trouble> {
    let store = Store::of_person()?;
    let mut doors = Vec::new();
    let mut lines = String::new();
    for (name, nth) in args.targets.iter().zip(0..) {
        let meant = having(&store, args.server.as_deref(), name).await?.address;
        let (server, _token) = fresh(&store, &meant).await?;
        let settings = settings(&server, name, None)?;
        let pem = fs::read(&settings.authorities)
            .map_err(|source| Trouble::Io { path: settings.authorities.clone(), source })?;
        let tls = tls::connector(Some((&pem, &settings.authorities)), None)
            .map_err(|error| Trouble::Proxy { target: name.clone(), reason: error.to_string() })?;
        let port = args.port.map_or_else(|| own_port(name), |first| first.saturating_add(nth));
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = TcpListener::bind(at).await.map_err(|error| {
            let reason = format!("{at} cannot be had: {error}; choose another with --port");
            Trouble::Proxy { target: name.clone(), reason }
        })?;
        let tab = settings.database;
        lines.push_str(&format!(
            "{name}  host 127.0.0.1  port {port}  database {tab}  user and password anything  no SSL\n"
        ));
        let escort = Escort { host: settings.host, port: settings.port, tls };
        doors.push(Door { target: name.clone(), address: meant, listener, escort });
    }
    let mut out = io::stdout().lock();
    quiet_if_closed(out.write_all(lines.as_bytes()).and_then(|()| out.flush())).map_err(Trouble::Output)?;
    drop(out);
    if !quiet {
        say("For this machine and this user alone. Ctrl-C to stop.");
    }
    let store = Arc::new(store);
    let mut serving = JoinSet::new();
    for door in doors {
        serving.spawn(serve(door, Arc::clone(&store)));
    }
    if let Err(error) = tokio::signal::ctrl_c().await {
        say(format_args!("signals cannot be waited for: {error}"));
    }
    Ok(())
}

/// The port of a target, made of its name.
fn own_port(target: &str) -> u16 {
    let Sha256(hash) = Sha256::of(target.as_bytes());
    let number = hash.first_chunk::<2>().map_or(0, |two| u16::from_be_bytes(*two));
    FIRST_PORT + number % PORTS
}

async fn serve(door: Door, store: Arc<Store>) {
    let Door { target, address, listener, escort } = door;
    let mut clients = JoinSet::new();
    loop {
        while clients.len() >= MOST {
            clients.join_next().await;
        }
        while clients.try_join_next().is_some() {}
        let client = match listener.accept().await {
            Ok((client, _)) => client,
            Err(error) => {
                say(format_args!("{target}: a client could not be let in: {error}"));
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if !is_own(&client) {
            say(format_args!("{target}: a client of another user was turned away"));
            continue;
        }
        let (escort, store) = (escort.clone(), Arc::clone(&store));
        let (target, address) = (target.clone(), address.clone());
        clients.spawn(async move {
            let token = async || match fresh(&store, &address).await {
                Ok((_, token)) => Ok(token.reveal().to_owned()),
                Err(trouble) => Err(trouble.to_string()),
            };
            if let Err(error) = escort.bring(client, token).await {
                say(format_args!("{target}: {error}"));
            }
        });
    }
}

/// Whether a client is this user's, or root's, who can do everything anyway.
fn is_own(client: &TcpStream) -> bool {
    let (Ok(theirs), Ok(ours)) = (client.peer_addr(), client.local_addr()) else { return false };
    let Ok(table) = fs::read_to_string("/proc/net/tcp") else {
        // A system that does not tell; the door is on loopback.
        return !cfg!(target_os = "linux");
    };
    let me = rustix::process::getuid().as_raw();
    owner(&table, theirs, ours).is_some_and(|uid| uid == me || uid == 0)
}

/// Whose the connection from `theirs` to `ours` is, by the system's table of connections. Only while it is open at both ends:
/// what somebody has closed is nobody's, which the table writes as root's.
fn owner(table: &str, theirs: SocketAddr, ours: SocketAddr) -> Option<u32> {
    let written = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port())),
        IpAddr::V6(_) => None,
    };
    let (theirs, ours) = (written(theirs)?, written(ours)?);
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let is_it = fields.next()? == theirs && fields.next()? == ours && fields.next()? == ESTABLISHED;
        // Then two queues in one field, a timer in one, the retransmissions.
        if is_it { fields.nth(3)?.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_a_target_is_the_same_every_day_and_its_own() {
        assert_eq!(own_port("clinic"), own_port("clinic"));
        assert_ne!(own_port("clinic"), own_port("billing"));
        for name in ["a", "b", "clinic", "prod-clinical", &"x".repeat(63)] {
            assert!((15_000..25_000).contains(&own_port(name)), "{name}");
        }
    }

    #[test]
    fn a_connection_is_known_to_be_somebodys() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        let (theirs, ours) = (client.local_addr().unwrap(), ours.local_addr().unwrap());
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        assert_eq!(owner(&table, theirs, ours), Some(rustix::process::getuid().as_raw()));
        assert_eq!(owner(&table, "127.0.0.1:1".parse().unwrap(), ours), None);
        assert_eq!(owner(&table, "[::1]:1".parse().unwrap(), ours), None);
        assert_eq!(owner("", theirs, ours), None);
        drop(client);
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        assert_eq!(owner(&table, theirs, ours), None, "closed by its owner, and nobody's since");
    }
}
