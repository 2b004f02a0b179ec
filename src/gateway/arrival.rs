//! From the first byte to the startup packet: TLS, asked for or at once, and requests for encryption.
//!
//! Promises: nothing that came in the clear is read as if it had come encrypted; a client that begins with TLS unasked
//! (`sslnegotiation=direct`) is let in only if it named PostgreSQL's protocol (ALPN), as servers do since version 17, so that
//! nobody can lead a browser or a mail server's client here.

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::Listener;
use super::cancel::Asked;
use super::client::{Client, ClientError, Socket, hang_up, prepare};
use super::origin::{Origin, is_unasked};
use super::tls::{PROTOCOL_NAME, presented};
use crate::model::{ClientCertificate, Peer};
use crate::wire::Violation;
use crate::wire::postgres::handshake::{self, FirstPacket, Startup};
use crate::wire::proxied::SIGNATURE;

/// Requests for encryption that are answered before the startup packet must come: one for GSS and one for TLS.
const MAX_REQUESTS: usize = 3;
/// The first byte of TLS: a record of its handshake. A startup packet begins with the zero of its length.
const TLS_HANDSHAKE: u8 = 0x16;

/// What came in at the door.
pub(super) enum Greeted {
    /// Somebody who wants a session.
    Client(Box<Client>),
    /// Somebody who wants a statement cancelled.
    Cancel(Asked),
    /// Nobody: the connection ended before a startup packet, as those of scanners and health checks do.
    Nobody,
    /// Somebody without TLS where TLS is demanded.
    Plain(Box<Client>),
    /// Somebody without a certificate where one is demanded.
    Uncertified(Box<Client>),
}

/// A connection on its way to the startup packet.
struct Arrival {
    socket: Box<dyn Socket>,
    /// Bytes read and not yet taken.
    buffer: BytesMut,
    tls: Option<Encrypted>,
}

/// What a client said in its TLS handshake.
struct Encrypted {
    version: String,
    server_name: Option<String>,
    certificate: Option<ClientCertificate>,
}

/// How TLS began.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Began {
    /// With the client's first byte.
    AtOnce,
    /// After it was asked for.
    Asked,
}

/// Answers requests for encryption and reads the startup packet.
pub(super) async fn greet(socket: TcpStream, origin: Origin, listener: &Listener) -> Result<Greeted, ClientError> {
    prepare(&socket)?;
    let mut first = [0; SIGNATURE.len()];
    let came = socket.peek(&mut first).await?;
    let first = first.get(..came).unwrap_or_default();
    if is_unasked(first) {
        return Err(ClientError::Unasked);
    }
    let mut arrival = Arrival { socket: Box::new(socket), buffer: BytesMut::new(), tls: None };
    if first.first() == Some(&TLS_HANDSHAKE) {
        arrival = arrival.encrypted(Began::AtOnce, listener).await?;
    }
    for _ in 0..MAX_REQUESTS {
        let Some(first) = arrival.first_packet().await? else { return Ok(Greeted::Nobody) };
        match first {
            FirstPacket::Cancel(pid, secret) => {
                let socket = arrival.socket;
                return Ok(Greeted::Cancel(Asked { pid, secret, from: origin.client, socket }));
            }
            FirstPacket::Gss => arrival.socket.write_all(b"N").await?,
            FirstPacket::Ssl if arrival.tls.is_some() => return Err(Violation("a request for TLS inside TLS").into()),
            FirstPacket::Ssl => {
                // Whatever came in the clear must not be read as if it had come encrypted (CVE-2021-23214).
                if !arrival.buffer.is_empty() {
                    return Err(ClientError::PlainBeforeTls);
                }
                arrival.socket.write_all(b"S").await?;
                arrival = arrival.encrypted(Began::Asked, listener).await?;
            }
            FirstPacket::Startup(startup) => {
                return Ok(arrival.arrived(startup, origin, listener));
            }
        }
    }
    Err(Violation("more requests for encryption than there are kinds").into())
}

impl Arrival {
    /// Somebody who wants a session, and whether the way here was as the listener demands.
    fn arrived(self, startup: Startup, origin: Origin, listener: &Listener) -> Greeted {
        let Self { socket, buffer, tls } = self;
        let is_plain = tls.is_none();
        // By where the connection came from: what a balancer says of its client protects nothing on the way here.
        let plain_is_fine = listener.plain_on_loopback && origin.peer.ip().is_loopback();
        let (tls_version, server_name, client_certificate) = match tls {
            Some(Encrypted { version, server_name, certificate }) => (Some(version), server_name, certificate),
            None => (None, None, None),
        };
        let lacks_certificate = listener.demands_certificate && client_certificate.is_none();
        let application = startup.get("application_name").map(str::to_owned);
        let (address, balancer) = (origin.client, origin.balancer());
        let peer = Peer { address, balancer, tls_version, application, client_certificate };
        let client = Box::new(Client { socket, peer, startup, server_name, buffer });
        match (is_plain && !plain_is_fine, lacks_certificate) {
            (true, _) => Greeted::Plain(client),
            (false, true) => Greeted::Uncertified(client),
            (false, false) => Greeted::Client(client),
        }
    }

    async fn first_packet(&mut self) -> Result<Option<FirstPacket>, ClientError> {
        loop {
            if let Some((first, used)) = handshake::first_packet(&self.buffer)? {
                bytes::Buf::advance(&mut self.buffer, used);
                return Ok(Some(first));
            }
            if self.socket.read_buf(&mut self.buffer).await? == 0 {
                let is_empty = self.buffer.is_empty();
                return if is_empty { Ok(None) } else { Err(Violation("a startup packet cut short").into()) };
            }
        }
    }

    /// Goes on in TLS.
    async fn encrypted(self, began: Began, listener: &Listener) -> Result<Self, ClientError> {
        let accepting = TlsAcceptor::from(listener.tls.current()).accept(self.socket).into_fallible();
        let mut socket = match accepting.await {
            Ok(socket) => socket,
            Err((error, socket)) => {
                // What is wrong went down as an alert of TLS, and is to arrive.
                let (mut read, mut write) = tokio::io::split(socket);
                hang_up(&mut read, &mut write).await;
                return Err(error.into());
            }
        };
        let (_, tls) = socket.get_ref();
        if began == Began::AtOnce && tls.alpn_protocol() != Some(PROTOCOL_NAME) {
            socket.shutdown().await?;
            return Err(ClientError::NoProtocol);
        }
        let version = tls.protocol_version().and_then(|version| version.as_str()).unwrap_or("TLS").replace('_', ".");
        let certificate = match tls.peer_certificates().and_then(<[_]>::first) {
            Some(shown) => Some(presented::read(shown).ok_or(ClientError::Certificate)?),
            None => None,
        };
        let encrypted = Encrypted { version, server_name: tls.server_name().map(str::to_owned), certificate };
        Ok(Self { socket: Box::new(socket), buffer: self.buffer, tls: Some(encrypted) })
    }
}
