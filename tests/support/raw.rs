//! A client that says exactly the bytes it is told to, with or without TLS.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::Login;
use super::clients::unverified;

/// How long an answer may take before the test fails.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// The protocol that every client speaks: 3.0.
pub(crate) const PROTOCOL: u32 = 3 << 16;
pub(crate) const SSL_REQUEST: u32 = 80_877_103;
pub(crate) const GSS_REQUEST: u32 = 80_877_104;
pub(crate) const CANCEL_REQUEST: u32 = 80_877_102;

/// A connection.
#[derive(Debug)]
pub(crate) struct Raw {
    stream: Stream,
    /// The key for cancelling, once signed in.
    pub(crate) key: Vec<u8>,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// A message: its type and body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: char,
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// A field of an error or notice; empty if it is not there.
    pub(crate) fn field(&self, field: char) -> String {
        let fields = self.body.split(|byte| *byte == 0).filter_map(<[u8]>::split_first);
        let found = fields.into_iter().find(|(name, _)| char::from(**name) == field);
        found.map(|(_, text)| super::lossy(text)).unwrap_or_default()
    }
}

/// A message as it goes over the wire.
pub(crate) fn message(kind: char, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[u8::try_from(kind).unwrap()][..], &length.to_be_bytes(), body].concat()
}

/// A packet without a type, as they come before the sign-in.
pub(crate) fn packet(code: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 8).unwrap();
    [&length.to_be_bytes()[..], &code.to_be_bytes(), body].concat()
}

/// A startup packet.
pub(crate) fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let pairs: String = parameters.iter().map(|(name, value)| format!("{name}\0{value}\0")).collect();
    packet(version, format!("{pairs}\0").as_bytes())
}

pub(crate) fn query(text: &str) -> Vec<u8> {
    message('Q', format!("{text}\0").as_bytes())
}

pub(crate) fn parse(name: &str, text: &str) -> Vec<u8> {
    message('P', format!("{name}\0{text}\0\0\0").as_bytes())
}

/// A `Bind` without values.
pub(crate) fn bind(portal: &str, statement: &str) -> Vec<u8> {
    message('B', format!("{portal}\0{statement}\0\0\0\0\0\0\0").as_bytes())
}

pub(crate) fn execute(portal: &str, rows: u32) -> Vec<u8> {
    message('E', &[portal.as_bytes(), &[0], &rows.to_be_bytes()].concat())
}

pub(crate) fn sync() -> Vec<u8> {
    message('S', b"")
}

pub(crate) fn flush() -> Vec<u8> {
    message('H', b"")
}

/// Parse, Bind and Execute of the unnamed statement.
pub(crate) fn run_unnamed(text: &str) -> Vec<u8> {
    [parse("", text), bind("", ""), execute("", 0)].concat()
}

impl Raw {
    /// A connection that has said nothing yet.
    pub(crate) fn plain(port: u16) -> Self {
        Self::plain_at("127.0.0.1", port)
    }

    /// The same to another address of this machine.
    pub(crate) fn plain_at(address: &str, port: u16) -> Self {
        let stream = TcpStream::connect((address, port)).unwrap();
        stream.set_read_timeout(Some(ANSWER_LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: Stream::Plain(stream), key: Vec::new() }
    }

    /// The same to 127.0.0.1, from another address of this machine.
    pub(crate) fn plain_from(source: &str, port: u16) -> Self {
        let at = |address: &str, port| SocketAddr::new(address.parse().unwrap(), port);
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&at(source, 0).into()).unwrap();
        socket.connect(&at("127.0.0.1", port).into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(ANSWER_LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: Stream::Plain(stream), key: Vec::new() }
    }

    /// A connection in TLS, by `SSLRequest`.
    pub(crate) fn tls(port: u16) -> Self {
        Self::tls_at("127.0.0.1", port)
    }

    /// The same to another address of this machine.
    pub(crate) fn tls_at(address: &str, port: u16) -> Self {
        Self::plain_at(address, port).in_tls()
    }

    /// Asks for TLS, and goes on in it.
    pub(crate) fn in_tls(mut self) -> Self {
        self.send(&packet(SSL_REQUEST, b""));
        assert_eq!(self.bytes(1), b"S");
        self.encrypted()
    }

    /// A connection that begins with TLS at once and offers these protocols inside it (ALPN).
    pub(crate) fn direct(port: u16, protocols: &[&str]) -> Self {
        let mut config = ClientConfig::clone(&unverified());
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self::plain(port).encrypted_by(Arc::new(config), "127.0.0.1")
    }

    /// How long an answer may take from now on.
    pub(crate) fn patience(&self, limit: Duration) {
        let tcp = match &self.stream {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => &tls.sock,
        };
        tcp.set_read_timeout(Some(limit)).unwrap();
    }

    /// Goes on in TLS.
    pub(crate) fn encrypted(self) -> Self {
        self.encrypted_by(unverified(), "127.0.0.1")
    }

    /// Goes on in TLS by this configuration, to this host.
    pub(crate) fn encrypted_by(self, config: Arc<ClientConfig>, host: &str) -> Self {
        let Stream::Plain(tcp) = self.stream else { panic!("it is encrypted already") };
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let connection = ClientConnection::new(config, name).unwrap();
        Self { stream: Stream::Tls(Box::new(StreamOwned::new(connection, tcp))), key: Vec::new() }
    }

    /// The certificate that the other side showed; none in the clear.
    pub(crate) fn shown_certificate(&self) -> Option<Vec<u8>> {
        let Stream::Tls(tls) = &self.stream else { return None };
        tls.conn.peer_certificates()?.first().map(|certificate| certificate.to_vec())
    }

    /// A session, signed in and ready.
    pub(crate) fn sign_in(login: &Login) -> Self {
        Self::sign_in_with(login, &[])
    }

    /// The same with more startup parameters.
    pub(crate) fn sign_in_with(login: &Login, more: &[(&str, &str)]) -> Self {
        let mut raw = Self::tls(login.port);
        let said = raw.ask(login, PROTOCOL, more);
        let last = said.last().unwrap();
        assert_eq!(last.kind, 'Z', "not let in: {last:?}");
        raw.key = said.iter().find(|message| message.kind == 'K').unwrap().body.clone();
        raw
    }

    /// Startup and password; everything that is answered until the session is ready or over.
    pub(crate) fn ask(&mut self, login: &Login, version: u32, more: &[(&str, &str)]) -> Vec<Message> {
        let own = [
            ("user", login.user.as_str()),
            ("database", login.database.as_str()),
            ("application_name", login.application.as_str()),
        ];
        self.send(&startup(version, &[&own[..], more].concat()));
        let mut said = self.until(|message| matches!(message.kind, 'R' | 'E'));
        if said.last().is_some_and(|message| message.kind == 'R') {
            self.send(&message('p', format!("{}\0", login.password).as_bytes()));
            said.extend(self.until(|message| matches!(message.kind, 'Z' | 'E')));
        }
        said
    }

    /// Sends; whether the other side still listens is seen by what it answers.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        drop(self.try_send(bytes));
    }

    /// Sends, and says whether that went well.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.stream {
            Stream::Plain(tcp) => tcp.write_all(bytes),
            Stream::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
        }
    }

    /// Exactly so many bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        match &mut self.stream {
            Stream::Plain(tcp) => tcp.read_exact(&mut bytes),
            Stream::Tls(tls) => tls.read_exact(&mut bytes),
        }
        .unwrap();
        bytes
    }

    /// What is read at once; nothing at the end of the connection.
    fn some(&mut self, bytes: &mut [u8]) -> usize {
        let read = match &mut self.stream {
            Stream::Plain(tcp) => tcp.read(bytes),
            Stream::Tls(tls) => tls.read(bytes),
        };
        match read {
            Ok(count) => count,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                panic!("no answer within {ANSWER_LIMIT:?}")
            }
            // A reset is an end as well.
            Err(_) => 0,
        }
    }

    /// The next message; none at the end of the connection.
    pub(crate) fn next(&mut self) -> Option<Message> {
        let mut header = [0; 5];
        let mut have = 0;
        while have < header.len() {
            match self.some(&mut header[have..]) {
                0 => return None,
                count => have += count,
            }
        }
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
        let mut body = vec![0; usize::try_from(length).unwrap().checked_sub(4).unwrap()];
        let mut have = 0;
        while have < body.len() {
            match self.some(&mut body[have..]) {
                0 => return None,
                count => have += count,
            }
        }
        Some(Message { kind: char::from(header[0]), body })
    }

    /// Messages up to and with the one that `last` knows, or to the end of the connection.
    pub(crate) fn until(&mut self, last: impl Fn(&Message) -> bool) -> Vec<Message> {
        let mut said = Vec::new();
        while let Some(message) = self.next() {
            let done = last(&message);
            said.push(message);
            if done {
                break;
            }
        }
        said
    }

    /// Messages up to `ReadyForQuery`.
    pub(crate) fn until_ready(&mut self) -> Vec<Message> {
        self.until(|message| message.kind == 'Z')
    }

    /// Every message to the end of the connection.
    pub(crate) fn rest(&mut self) -> Vec<Message> {
        self.until(|_| false)
    }

    /// Sends and reads up to `ReadyForQuery`.
    pub(crate) fn talk(&mut self, bytes: &[u8]) -> Vec<Message> {
        self.send(bytes);
        self.until_ready()
    }

    /// Whether the other side says nothing more and takes its leave: TLS that breaks off is no end.
    pub(crate) fn ends_in_order(&mut self) -> bool {
        let mut byte = [0];
        let read = match &mut self.stream {
            Stream::Plain(tcp) => tcp.read(&mut byte),
            Stream::Tls(tls) => tls.read(&mut byte),
        };
        matches!(read, Ok(0))
    }

    /// Says nothing more, and goes on reading.
    pub(crate) fn half_close(&mut self) {
        self.try_half_close().unwrap();
    }

    /// The same where the other side may have ended the connection already.
    pub(crate) fn try_half_close(&mut self) -> std::io::Result<()> {
        match &mut self.stream {
            Stream::Plain(tcp) => tcp.shutdown(Shutdown::Write),
            Stream::Tls(tls) => {
                tls.conn.send_close_notify();
                tls.flush()?;
                tls.sock.shutdown(Shutdown::Write)
            }
        }
    }
}

/// The types of messages, in order: `1 2 D C Z` as `12DCZ`.
pub(crate) fn kinds(said: &[Message]) -> String {
    said.iter().map(|message| message.kind).filter(|kind| !matches!(kind, 'S' | 'N')).collect()
}

/// The SQLSTATE of each error.
pub(crate) fn errors(said: &[Message]) -> Vec<String> {
    said.iter().filter(|message| message.kind == 'E').map(|message| message.field('C')).collect()
}
