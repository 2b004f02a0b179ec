//! One place that a database server may be at: found by its name, connected to, encrypted.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::UpstreamError;
use crate::gateway::client::{Socket, prepare};
use crate::gateway::tls::end_point;
use crate::gateway::{Address, UpstreamTls};
use crate::wire::postgres::handshake::{self, Channel};

/// Machines that one name may stand for: more than any cluster has, and an end for a name server that lies.
const MAX_MACHINES: usize = 16;

/// A place that a server may be at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::gateway) enum Spot {
    /// A machine, and the name that led there, which its certificate must have.
    Tcp { host: String, at: SocketAddr },
    /// A socket on this machine.
    Unix(PathBuf),
}

/// For the log and the record; nothing that a client reads.
impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, at } if *host == at.ip().to_string() => write!(f, "{at}"),
            Self::Tcp { host, at } => write!(f, "{host} ({at})"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Every place that an address stands for, in the order of the name server.
pub(super) async fn spots(address: &Address) -> std::io::Result<Vec<Spot>> {
    match address {
        Address::Unix(path) => Ok(vec![Spot::Unix(path.clone())]),
        Address::Tcp { host, port } => {
            let found = tokio::net::lookup_host((host.as_str(), *port)).await?;
            Ok(found.take(MAX_MACHINES).map(|at| Spot::Tcp { host: host.clone(), at }).collect())
        }
    }
}

/// A connection to a server, as protected as the target says. A Unix socket has no TLS, as at any client of PostgreSQL.
pub(super) async fn dial(spot: &Spot, tls: &UpstreamTls) -> Result<(Box<dyn Socket>, Channel), UpstreamError> {
    let (host, at) = match spot {
        Spot::Unix(path) => return Ok((Box::new(UnixStream::connect(path).await?), Channel::Local)),
        Spot::Tcp { host, at } => (host, at),
    };
    let mut socket = TcpStream::connect(at).await?;
    prepare(&socket)?;
    let UpstreamTls::VerifyFull(config) = tls else { return Ok((Box::new(socket), Channel::Open)) };
    socket.write_all(&handshake::ssl_request()).await?;
    // Exactly one byte is read: what follows it belongs to TLS.
    if socket.read_u8().await? != b'S' {
        return Err(UpstreamError::NoTls);
    }
    let name = ServerName::try_from(host.clone()).or(Err(UpstreamError::Name))?;
    let encrypted = TlsConnector::from(config.current()).connect(name, socket).await?;
    let chain = encrypted.get_ref().1.peer_certificates();
    let bound = chain.and_then(|chain| chain.first()).and_then(end_point);
    Ok((Box::new(encrypted), Channel::Tls(bound)))
}
