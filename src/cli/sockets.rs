//! The sockets that clients connect to: made here or handed over by whoever started us, and kept over a restart.
//!
//! Promises: a socket that was handed over is listened on as it is; one that was opened is there until the last process of a
//! chain of restarts stops, so a client that connects meanwhile waits in the kernel's queue and is not refused.
//!
//! Sockets come as systemd hands them over (sd_listen_fds(3): `LISTEN_FDS`, `LISTEN_PID`, `LISTEN_FDNAMES`), and go the same
//! way, so what holds for a socket unit, for a small parent and for ourselves is one and the same code. Ours begin at another
//! number than 3 (`LISTEN_FDS_FIRST_FD`), because 3 may be anything of ours by then.
//!
//! Rejected, for a restart that refuses nobody: `SO_REUSEPORT`, where the kernel shares the clients between the old process
//! and the new one, so that those whom it gave to the old one are reset when that closes; a second process that gets the
//! sockets by a Unix socket (`SCM_RIGHTS`), because two processes cannot serve side by side anyhow (the journal is locked by
//! one), and it would have another number than the one that whoever watches over us knows. What is left is to become the new
//! program ([`super::restart`]).

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Command;

use listenfd::ListenFd;
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};

/// How many sockets whoever starts us may hand over: more listeners than anybody configures.
const MOST: usize = 1_000;
/// Where the numbers of handed sockets begin at the earliest: above those that a process has when it begins.
const FIRST: i32 = 64;
/// How often a row of free numbers is looked for; each time it begins above what was in the way.
const TRIES: usize = 1_000;

const FDS: &str = "LISTEN_FDS";
const PID: &str = "LISTEN_PID";
const NAMES: &str = "LISTEN_FDNAMES";
const FIRST_FD: &str = "LISTEN_FDS_FIRST_FD";

/// Sockets that were handed over and have no listener yet.
#[derive(Debug, Default)]
pub(super) struct Handed(Vec<(Option<String>, SocketAddr, TcpListener)>);

impl Handed {
    /// Takes what whoever started us handed over. Once, and before there are threads: it changes the environment.
    ///
    /// # Errors
    ///
    /// What was handed over is not a TCP socket.
    pub(super) fn take() -> Result<Self, String> {
        let count: usize = std::env::var(FDS).ok().and_then(|count| count.parse().ok()).unwrap_or(0);
        if count > MOST {
            return Err(format!("{FDS}: more than {MOST} sockets were handed over"));
        }
        let names = std::env::var(NAMES).unwrap_or_default();
        let mut handed = ListenFd::from_env();
        let mut sockets = Vec::new();
        for at in 0..handed.len() {
            let blame = |error: io::Error| format!("{FDS}: socket {}: {error}", at + 1);
            let Some(socket) = handed.take_tcp_listener(at).map_err(blame)? else { continue };
            socket.set_nonblocking(true).map_err(blame)?;
            let address = socket.local_addr().map_err(blame)?;
            sockets.push((names.split(':').nth(at).map(str::to_owned), address, socket));
        }
        Ok(Self(sockets))
    }

    /// The socket of a listener: the one that bears its name, or else one with its address.
    fn claim(&mut self, name: &str, address: SocketAddr) -> Option<TcpListener> {
        let named = self.0.iter().position(|(given, ..)| given.as_deref() == Some(name));
        let at = named.or_else(|| self.0.iter().position(|(_, bound, _)| *bound == address))?;
        Some(self.0.remove(at).2)
    }
}

/// Those that no listener took are closed: a listener may have gone from the configuration.
impl Drop for Handed {
    fn drop(&mut self) {
        for (name, address, _) in &self.0 {
            tracing::warn!(name, %address, "a socket was handed over that no listener has the name or address of");
        }
    }
}

/// The sockets of all listeners, to be kept as long as clients are to be let in at some time.
#[derive(Debug, Default)]
pub(super) struct Kept(Vec<(String, TcpListener)>);

impl Kept {
    /// The socket of a listener, which was handed over or is made now.
    ///
    /// # Errors
    ///
    /// The address cannot be had.
    pub(super) async fn open(
        &mut self,
        name: &str,
        address: SocketAddr,
        handed: &mut Handed,
    ) -> io::Result<tokio::net::TcpListener> {
        let socket = match handed.claim(name, address) {
            Some(socket) => socket,
            None => tokio::net::TcpListener::bind(address).await?.into_std()?,
        };
        let served = tokio::net::TcpListener::from_std(socket.try_clone()?)?;
        self.0.push((name.to_owned(), socket));
        Ok(served)
    }

    /// Hands them over to what this process becomes. They are open in it as long as what is given back lives here.
    ///
    /// # Errors
    ///
    /// There are no numbers for them.
    pub(super) fn hand_over(self, command: &mut Command) -> io::Result<Vec<OwnedFd>> {
        let (names, sockets): (Vec<_>, Vec<_>) = self.0.into_iter().unzip();
        let copies = in_a_row(&sockets)?;
        for copy in &copies {
            fcntl_setfd(copy, FdFlags::empty())?;
        }
        let first = copies.first().map_or(FIRST, AsRawFd::as_raw_fd);
        command.env(FDS, copies.len().to_string()).env(FIRST_FD, first.to_string());
        command.env(PID, std::process::id().to_string()).env(NAMES, names.join(":"));
        Ok(copies)
    }
}

/// Sockets are not for those whom we start beside us.
pub(super) fn without(command: &mut Command) -> &mut Command {
    [FDS, PID, NAMES, FIRST_FD].into_iter().fold(command, Command::env_remove)
}

/// Copies with numbers that follow one another.
fn in_a_row(sockets: &[impl AsFd]) -> io::Result<Vec<OwnedFd>> {
    let mut from = FIRST;
    for _ in 0..TRIES {
        let copies = sockets.iter().map(|socket| fcntl_dupfd_cloexec(socket, from)).collect::<Result<Vec<_>, _>>()?;
        let numbers: Vec<i32> = copies.iter().map(AsRawFd::as_raw_fd).collect();
        if numbers.windows(2).all(|pair| matches!(pair, [one, next] if one + 1 == *next)) {
            return Ok(copies);
        }
        from = numbers.last().map_or(from, |last| last + 1);
    }
    Err(io::Error::other("there is no row of free numbers for the sockets"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> TcpListener {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }

    fn handed(names: &[Option<&str>]) -> (Handed, Vec<SocketAddr>) {
        let sockets: Vec<_> = names
            .iter()
            .map(|name| {
                let socket = socket();
                (name.map(str::to_owned), socket.local_addr().unwrap(), socket)
            })
            .collect();
        let addresses = sockets.iter().map(|(_, address, _)| *address).collect();
        (Handed(sockets), addresses)
    }

    #[test]
    fn a_listener_gets_the_socket_of_its_name_or_else_of_its_address_and_each_goes_once() {
        let (mut some, addresses) = handed(&[Some("a"), Some("b"), None]);
        let claim = |some: &mut Handed, name: &str, at: usize| {
            some.claim(name, addresses[at]).map(|socket| socket.local_addr().unwrap())
        };
        assert_eq!(claim(&mut some, "b", 0), Some(addresses[1]), "the name goes before the address");
        assert_eq!(claim(&mut some, "c", 2), Some(addresses[2]));
        assert_eq!(claim(&mut some, "d", 0), Some(addresses[0]));
        assert_eq!(claim(&mut some, "a", 0), None);
    }

    #[tokio::test]
    async fn what_is_handed_over_is_what_was_open_in_order_and_by_name() {
        let (mut given, addresses) = handed(&[Some("a"), Some("b")]);
        let mut kept = Kept::default();
        for (name, address) in ["a", "b"].into_iter().zip(&addresses) {
            let served = kept.open(name, *address, &mut given).await.unwrap();
            assert_eq!(served.local_addr().unwrap(), *address);
        }
        let mut command = Command::new("true");
        let copies = kept.hand_over(&mut command).unwrap();
        let set = |name: &str| {
            let found = command.get_envs().find(|(key, _)| *key == name).and_then(|(_, value)| value);
            found.unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!((set(FDS), set(NAMES)), ("2".to_owned(), "a:b".to_owned()));
        assert_eq!(set(FIRST_FD), copies[0].as_raw_fd().to_string());
        assert_eq!(copies[0].as_raw_fd() + 1, copies[1].as_raw_fd());
        assert!(copies.iter().all(|copy| rustix::io::fcntl_getfd(copy).unwrap().is_empty()), "they survive the change");
        let again: Vec<_> = copies.into_iter().map(|copy| TcpListener::from(copy).local_addr().unwrap()).collect();
        assert_eq!(again, addresses);
    }

    #[test]
    fn numbers_in_between_that_are_taken_are_passed_over() {
        let sockets = [socket(), socket(), socket()];
        let first = in_a_row(&sockets).unwrap();
        let second = in_a_row(&sockets).unwrap();
        // A gap of one is no place for three.
        let [_, gap, _] = <[OwnedFd; 3]>::try_from(first).unwrap();
        drop(gap);
        let third = in_a_row(&sockets).unwrap();
        let numbers = |copies: &[OwnedFd]| copies.iter().map(AsRawFd::as_raw_fd).collect::<Vec<_>>();
        assert!(numbers(&third).windows(2).all(|pair| pair[0] + 1 == pair[1]), "{third:?}");
        assert!(numbers(&third).iter().all(|number| !numbers(&second).contains(number)));
    }
}
