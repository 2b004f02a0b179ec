//! Whose a connection is: its peer's own, or by the word of a load balancer that is trusted, its client's.
//!
//! Promises: the word is taken from those addresses alone that the configuration names, and from these it must come, before
//! anything else and within a few seconds; from nobody else is it read. What follows it stays unread.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use ipnet::IpNet;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::wire::Violation;
use crate::wire::proxied::{Proxied, SIGNATURE, VERSION_1, header};

/// How long a balancer may take to say whose the connection is: it does so at once, with the first packet.
const HEADER_LIMIT: Duration = Duration::from_secs(5);

/// Whose a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    /// Where it came from.
    pub(super) peer: SocketAddr,
    /// Whose it is: what is recorded, judged and told.
    pub(super) client: SocketAddr,
}

impl Origin {
    fn of(peer: SocketAddr) -> Self {
        Self { peer, client: peer }
    }

    /// The load balancer between, if there is one.
    pub(super) fn balancer(&self) -> Option<SocketAddr> {
        (self.peer != self.client).then_some(self.peer)
    }
}

/// Why it is not known whose a connection is.
#[derive(Debug, thiserror::Error)]
pub(super) enum OriginError {
    #[error("a load balancer was to say by the PROXY protocol whose it is, and sent {0}")]
    Malformed(#[from] Violation),
    #[error("a load balancer was to say by the PROXY protocol whose it is, and did not do so in time")]
    Late,
    #[error("the connection ended: {0}")]
    Gone(#[from] std::io::Error),
    #[error("it ended before its load balancer had said whose it is")]
    Cut,
    #[error("it ended before its load balancer said anything, as those do that only see whether somebody listens")]
    Nobody,
}

/// Finds out whose a connection is. Reads nothing of one that comes from elsewhere than a balancer.
pub(super) async fn of(socket: &mut TcpStream, peer: SocketAddr, balancers: &[IpNet]) -> Result<Origin, OriginError> {
    if !is_among(peer.ip(), balancers) {
        return Ok(Origin::of(peer));
    }
    match tokio::time::timeout(HEADER_LIMIT, told(socket)).await {
        Ok(told) => Ok(told?.map_or_else(|| Origin::of(peer), |client| Origin { peer, client })),
        Err(_elapsed) => Err(OriginError::Late),
    }
}

/// Whether an address is in one of the networks, in whichever form it comes.
fn is_among(address: IpAddr, networks: &[IpNet]) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// What the balancer says, read to its last byte and no further.
async fn told(socket: &mut TcpStream) -> Result<Option<SocketAddr>, OriginError> {
    let mut said = BytesMut::new();
    loop {
        let wanted = match header(&said)? {
            Proxied::By(client) => return Ok(Some(client)),
            Proxied::Itself => return Ok(None),
            Proxied::Wait(wanted) => wanted,
        };
        let missing = wanted.saturating_sub(said.len());
        if (&mut *socket).take(missing as u64).read_buf(&mut said).await? == 0 {
            return Err(if said.is_empty() { OriginError::Nobody } else { OriginError::Cut });
        }
    }
}

/// Whether the first bytes of a connection are those of a header, which nobody asked for.
pub(super) fn is_unasked(first: &[u8]) -> bool {
    first.starts_with(SIGNATURE) || first.starts_with(VERSION_1)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    /// A header of 127.0.0.1 for 192.0.2.7:40000.
    const HEADER: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x7f\0\0\x01\x9c\x40\x15\x38";

    /// What is found of a connection that begins with these bytes, and what is left of them.
    async fn found(begins: &[u8], networks: &[&str]) -> (Result<Origin, OriginError>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(begins).await.unwrap();
        client.shutdown().await.unwrap();
        let (mut socket, peer) = listener.accept().await.unwrap();
        let networks: Vec<IpNet> = networks.iter().map(|network| network.parse().unwrap()).collect();
        let found = of(&mut socket, peer, &networks).await;
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.unwrap();
        (found, rest)
    }

    #[tokio::test]
    async fn a_balancer_that_is_trusted_says_whose_it_is_and_what_follows_stays_unread() {
        let (origin, rest) = found(&[HEADER, b"what follows"].concat(), &["10.0.0.0/8", "127.0.0.0/8"]).await;
        let origin = origin.unwrap();
        assert_eq!((origin.client, rest.as_slice()), ("192.0.2.7:40000".parse().unwrap(), &b"what follows"[..]));
        assert!(origin.peer.ip().is_loopback() && origin.balancer() == Some(origin.peer));
    }

    #[tokio::test]
    async fn from_elsewhere_nothing_is_read() {
        let begins = [HEADER, b"what follows"].concat();
        for networks in [&["10.0.0.0/8", "127.0.0.2/32", "::1/128"][..], &[]] {
            let (origin, rest) = found(&begins, networks).await;
            let origin = origin.unwrap();
            assert!(origin.client == origin.peer && origin.balancer().is_none());
            assert_eq!(rest, begins);
        }
        assert!(
            is_unasked(&begins) && is_unasked(b"PROXY TCP4 ") && !is_unasked(b"POST / HTTP") && !is_unasked(b"\r\n")
        );
    }

    #[tokio::test]
    async fn a_balancer_that_does_not_say_it_is_refused() {
        let (origin, _) = found(b"\0\0\0\x08\x04\xd2\x16\x2f", &["127.0.0.0/8"]).await;
        assert!(matches!(origin, Err(OriginError::Malformed(_))), "{origin:?}");
        for short in [&HEADER[..3], &HEADER[..20]] {
            let (origin, _) = found(short, &["127.0.0.0/8"]).await;
            assert!(matches!(origin, Err(OriginError::Cut)), "{origin:?}");
        }
        let (origin, _) = found(b"", &["127.0.0.0/8"]).await;
        assert!(matches!(origin, Err(OriginError::Nobody)), "{origin:?}");
    }

    #[test]
    fn an_address_is_the_same_in_either_form() {
        let networks = ["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        for (address, among) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("11.0.0.1", false),
            ("2001:db8::7", true),
            ("2001:db9::7", false),
        ] {
            assert_eq!(is_among(address.parse().unwrap(), &networks), among, "{address}");
        }
    }
}
