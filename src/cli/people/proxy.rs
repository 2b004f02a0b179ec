//! `hansard proxy`: a door on loopback for clients that cannot fetch a token: it adds TLS and a token for each connection.
//!
//! Whoever connects there is the person to the recorder, so only the person's own processes are let through, where the system
//! tells whose a connection is (Linux). The port of a target is made of its name: it is the same tomorrow, and if somebody else
//! has it, that is an error and never another port.
//!
//! A session that outlives its token is given the next one, beside it and unseen by the client.

use std::convert::Infallible;
use std::fs;
use std::future::pending;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::super::Globals;
use super::super::exit::Exit;
use super::super::render::{quiet_if_closed, say};
use super::super::system::SystemClock;
use super::connect::settings;
use super::fresh::{LONGER, fresh, having};
use super::kept::{Server, Store};
use super::run as run_command;
use super::trouble::Trouble;
use crate::gateway::{Escort, tls};
use crate::model::{Clock, Sha256};
use crate::sign_in::{Asked, Hidden, SignInError, operate};

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
/// How often it is looked at most whether a session needs a newer token.
const LEAST: Duration = Duration::from_secs(1);
/// How long it is waited after one could not be had or handed over.
const TRY_AGAIN: Duration = Duration::from_secs(10);
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
            let known = OnceLock::new();
            let token = async || match fresh(&store, &address).await {
                Ok((server, token)) => {
                    let text = token.reveal().to_owned();
                    // Asked once for each client.
                    known.set((server, token)).ok();
                    Ok(text)
                }
                Err(trouble) => Err(trouble.to_string()),
            };
            let brought = tokio::select! {
                brought = escort.bring(client, token) => brought,
                never = keep_renewed(&known, &store, &target) => match never {},
            };
            if let Err(error) = brought {
                say(format_args!("{target}: {error}"));
            }
        });
    }
}

/// Hands newer tokens over to the recorder for a session that began with this one, for as long as it lasts.
async fn keep_renewed(begun: &OnceLock<(Server, Hidden)>, store: &Store, target: &str) -> Infallible {
    let (mut server, mut token) = loop {
        match begun.get() {
            Some(begun) => break begun.clone(),
            None => sleep(LEAST).await,
        }
    };
    loop {
        let Some(expires) = server.expires.filter(|_| server.refresh.is_some()) else { return pending().await };
        let left = Duration::from_micros(expires.micros_since(SystemClock.now()));
        if left.is_zero() {
            // The session is the recorder's to end.
            return pending().await;
        }
        // From LONGER before its end on, another token is given; of one that lives for less than that, half its time.
        sleep(left.saturating_sub(LONGER).max(left / 2).max(LEAST)).await;
        match renew(&server, &token, store).await {
            Ok(Some(newer)) => (server, token) = newer,
            Ok(None) => sleep(TRY_AGAIN).await,
            Err(trouble) => {
                say(format_args!("{target}: a session could not be given a newer token: {trouble}"));
                sleep(TRY_AGAIN).await;
            }
        }
    }
}

/// Gets a newer token, if there is one, and has the recorder take it for what has the old one.
async fn renew(server: &Server, old: &Hidden, store: &Store) -> Result<Option<(Server, Hidden)>, Trouble> {
    let (newer, token) = fresh(store, &server.address).await?;
    if token == *old {
        return Ok(None);
    }
    let authorities = newer.authorities()?;
    let asked = json!({ "token_sha256": Sha256::of(old.reveal().as_bytes()).to_string() });
    match operate((&newer.address, authorities.as_deref()), &token, Asked::Do("/renew", &asked)).await {
        // Another client here began with the same token, and had it renewed for all of them.
        Ok(_) | Err(SignInError::Nothing { .. }) => Ok(Some((newer, token))),
        Err(error) => Err(error.into()),
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
