//! TLS around HTTP, with the certificate of a listener.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

use super::Renewable;

/// What HTTP/1.1 is called among the protocols inside TLS (ALPN).
const HTTP: &[u8] = b"http/1.1";

/// A connection on which HTTP is spoken.
pub type Web = TlsStream<TcpStream>;

/// Begins TLS on a connection of somebody who wants to speak HTTP. The certificate is the one that is in force now.
///
/// # Errors
///
/// The handshake does not come about.
pub async fn web(side: &Renewable<ServerConfig>, socket: TcpStream) -> io::Result<Web> {
    let mut config = ServerConfig::clone(&side.current());
    // A listener says that it speaks PostgreSQL, and whoever wants HTTP would hang up.
    config.alpn_protocols = vec![HTTP.to_vec()];
    TlsAcceptor::from(Arc::new(config)).accept(socket).await
}
