//! Other nodes of ours: a cancel request that came to the wrong one goes to the one that holds the session.
//!
//! The process number of a key says which node that is (its highest eight bits). The request is passed on as a
//! `CancelRequest` over TLS to a listener of that node, its secret followed by the number of the node that passes it on and
//! by a tag (HMAC-SHA-256 under what the nodes share). So it is known for what it is: it is never passed on again, and the
//! node that holds the session says in one byte whether it knows the key, which is told to nobody else.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ring::hmac;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::client::prepare;
use super::tls::Renewable;
use crate::wire::postgres::handshake;

/// Requests passed on at a time; others wait. Each costs a connection, and a cancel request takes some milliseconds.
const FORWARDS_AT_ONCE: usize = 16;
/// How long another node may take, with the wait for a place. It waits for its database in turn.
const FORWARD_LIMIT: Duration = Duration::from_secs(20);
/// Bits of a process number below the number of the node. The sign is left alone.
const NUMBER_SHIFT: u32 = 23;
/// What a tag is for, so that it is good for nothing else.
const PURPOSE: &[u8] = b"hansard cancel 1\0";
/// Bytes that follow the secret of a request that was passed on: the sender's number and the tag.
const MARK: usize = 1 + 32;
/// The answers of the node that holds the session, or does not.
pub(super) const KNOWN: u8 = b'C';
pub(super) const UNKNOWN: u8 = b'N';

/// The nodes, as one of them sees them.
pub struct Cluster {
    number: u8,
    key: hmac::Key,
    peers: Vec<ClusterPeer>,
    tls: Arc<Renewable<ClientConfig>>,
    places: Semaphore,
}

/// Another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterPeer {
    /// Its number: 1 to 255.
    pub number: u8,
    /// The host of one of its listeners, as its certificate names it.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("number", &self.number).field("peers", &self.peers).finish_non_exhaustive()
    }
}

/// Why a request could not be passed on.
#[derive(Debug, thiserror::Error)]
pub(super) enum ForwardError {
    #[error("no node of the cluster has the number {0}")]
    NoSuchNode(u8),
    #[error("node {0} cannot be reached: {1}")]
    Unreachable(u8, std::io::Error),
    #[error("node {number} did not answer within {} s", FORWARD_LIMIT.as_secs())]
    TooSlow { number: u8 },
}

impl Cluster {
    /// `number` is that of this node. `secret` is what the nodes share; `tls` says whom to trust for them.
    pub fn new(number: u8, secret: &[u8], tls: Arc<Renewable<ClientConfig>>, peers: Vec<ClusterPeer>) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        Self { number, key, peers, tls, places: Semaphore::new(FORWARDS_AT_ONCE) }
    }

    /// Our side of TLS towards the other nodes.
    pub(super) fn tls(&self) -> &Arc<Renewable<ClientConfig>> {
        &self.tls
    }

    /// The lowest and the highest process number of this node.
    pub(super) fn processes(&self) -> (i32, i32) {
        let lowest = i32::from(self.number) << NUMBER_SHIFT;
        (lowest, lowest | ((1 << NUMBER_SHIFT) - 1))
    }

    /// The number of the node that gave a process number, if it is not this one.
    pub(super) fn elsewhere(&self, pid: i32) -> Option<u8> {
        u8::try_from(pid >> NUMBER_SHIFT).ok().filter(|number| *number != self.number)
    }

    fn tag(&self, pid: i32, secret_and_sender: &[u8]) -> hmac::Tag {
        hmac::sign(&self.key, &signed(pid, secret_and_sender))
    }

    /// The secret and the sender of a request that another node passed on; nothing if it is not such a one.
    pub(super) fn passed_on(&self, pid: i32, secret: &[u8]) -> Option<(Bytes, u8)> {
        let (inner, mark) = secret.split_at_checked(secret.len().checked_sub(MARK)?)?;
        let (sender, tag) = mark.split_first()?;
        let told = secret.get(..=inner.len())?;
        hmac::verify(&self.key, &signed(pid, told), tag).ok()?;
        Some((Bytes::copy_from_slice(inner), *sender))
    }

    /// Passes a request on to the node that gave the process number: whether it knew the key.
    pub(super) async fn forward(&self, number: u8, pid: i32, secret: &[u8]) -> Result<bool, ForwardError> {
        let peer = self.peers.iter().find(|peer| peer.number == number).ok_or(ForwardError::NoSuchNode(number))?;
        let mut marked = [secret, &[self.number]].concat();
        let tag = self.tag(pid, &marked);
        marked.extend_from_slice(tag.as_ref());
        let asking = async {
            let _place = self.places.acquire().await;
            self.ask(peer, &handshake::cancel_request(pid, &marked)).await
        };
        match tokio::time::timeout(FORWARD_LIMIT, asking).await {
            Ok(answer) => answer.map_err(|error| ForwardError::Unreachable(number, error)),
            Err(_elapsed) => Err(ForwardError::TooSlow { number }),
        }
    }

    async fn ask(&self, peer: &ClusterPeer, request: &[u8]) -> std::io::Result<bool> {
        let invalid = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
        let mut socket = TcpStream::connect((peer.host.as_str(), peer.port)).await?;
        prepare(&socket)?;
        socket.write_all(&handshake::ssl_request()).await?;
        // Exactly one byte is read: what follows it belongs to TLS.
        if socket.read_u8().await? != b'S' {
            return Err(invalid("it does not speak TLS"));
        }
        let name = ServerName::try_from(peer.host.clone()).map_err(|_odd| invalid("its name cannot be certified"))?;
        let mut socket = TlsConnector::from(self.tls.current()).connect(name, socket).await?;
        socket.write_all(request).await?;
        socket.flush().await?;
        let mut answer = BytesMut::with_capacity(1);
        socket.read_buf(&mut answer).await?;
        match answer.first() {
            Some(&KNOWN) => Ok(true),
            Some(&UNKNOWN) => Ok(false),
            _ => Err(invalid("it did not take the request for one of a node; is the secret the same?")),
        }
    }
}

/// What a tag is of.
fn signed(pid: i32, secret_and_sender: &[u8]) -> Vec<u8> {
    [PURPOSE, &pid.to_be_bytes(), secret_and_sender].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::tls;
    use crate::model::Sha256;

    fn node(number: u8, secret: &[u8]) -> Cluster {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["a".to_owned()]).unwrap().self_signed(&key).unwrap();
        let pem = certificate.pem();
        let tls = tls::connector(Some((pem.as_bytes(), std::path::Path::new("a"))), None).unwrap();
        Cluster::new(number, secret, Arc::new(Renewable::new(tls, Sha256::of(b""))), Vec::new())
    }

    #[test]
    fn a_process_number_says_which_node_gave_it_and_is_above_zero() {
        for number in [1, 2, 128, 255] {
            let (lowest, highest) = node(number, b"s").processes();
            assert!(0 < lowest && lowest < highest, "{number}");
            let other = node(if number == 1 { 2 } else { 1 }, b"s");
            assert_eq!([lowest, highest].map(|pid| other.elsewhere(pid)), [Some(number); 2]);
            assert_eq!([lowest, highest].map(|pid| node(number, b"s").elsewhere(pid)), [None; 2]);
        }
        assert_eq!(node(1, b"s").elsewhere(-1), None, "nobody's");
    }

    #[test]
    fn only_a_node_that_knows_the_secret_can_pass_a_request_on_and_only_that_one() {
        let (one, two, stranger) = (node(1, b"shared"), node(2, b"shared"), node(1, b"other"));
        for secret in [&[1, 2, 3, 4][..], &[9; 32]] {
            let marked = |by: &Cluster| {
                let mut marked = [secret, &[by.number]].concat();
                let tag = by.tag(77, &marked);
                marked.extend_from_slice(tag.as_ref());
                marked
            };
            let sent = marked(&one);
            assert_eq!(two.passed_on(77, &sent), Some((Bytes::copy_from_slice(secret), 1)));
            assert_eq!(two.passed_on(78, &sent), None, "of another session");
            for at in 0..sent.len() {
                let mut changed = sent.clone();
                changed[at] ^= 1;
                assert_eq!(two.passed_on(77, &changed), None, "{at}");
            }
            assert_eq!(two.passed_on(77, &marked(&stranger)), None);
            assert_eq!(two.passed_on(77, secret), None, "a client's own");
        }
    }
}
