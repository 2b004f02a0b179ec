//! The reference: frames both ways and nothing else. Every header is walked, the text of each `Query` and `Parse` hashed,
//! rows and bytes counted, as any relay must that is to say afterwards what went by. It neither judges nor records.
//!
//! On a machine that others use too, the processor time of a relay against this one's in the same run is the figure that
//! holds.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Bytes read at a time.
const CHUNK: usize = 16 << 10;
/// Type and length.
const HEADER: usize = 5;

/// Forwards connections to `upstream` until it is killed.
pub(crate) fn run(listen: SocketAddr, upstream: SocketAddr) -> std::io::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind(listen).await?;
        loop {
            let (client, _) = listener.accept().await?;
            tokio::spawn(async move {
                // A connection that fails is the peers' to notice.
                serve(client, upstream).await.ok();
            });
        }
    })
}

async fn serve(mut client: TcpStream, upstream: SocketAddr) -> std::io::Result<()> {
    let mut server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let up = forward(&mut from_client, &mut to_server, Frames::new(true));
    let down = forward(&mut from_server, &mut to_client, Frames::new(false));
    tokio::try_join!(up, down).map(drop)
}

async fn forward(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    mut frames: Frames,
) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = from.read(&mut buffer).await?;
        let bytes = buffer.get(..read).unwrap_or_default();
        if read == 0 {
            return to.shutdown().await;
        }
        frames.walk(bytes);
        to.write_all(bytes).await?;
    }
}

/// One direction's frames, cut as they come.
struct Frames {
    /// A connection begins with a packet that has no type.
    first: bool,
    header: Vec<u8>,
    remaining: usize,
    hashes: bool,
    hash: DefaultHasher,
    rows: u64,
    bytes: u64,
}

impl Frames {
    fn new(from_client: bool) -> Self {
        let hash = DefaultHasher::new();
        Self { first: from_client, header: Vec::new(), remaining: 0, hashes: false, hash, rows: 0, bytes: 0 }
    }

    fn walk(&mut self, mut bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let (body, rest) = bytes.split_at(self.remaining.min(bytes.len()));
            if self.hashes {
                self.hash.write(body);
            }
            self.remaining -= body.len();
            bytes = rest;
            let wanted = if self.first { HEADER - 1 } else { HEADER };
            let (head, rest) = bytes.split_at((wanted - self.header.len()).min(bytes.len()));
            self.header.extend_from_slice(head);
            bytes = rest;
            if self.header.len() == wanted {
                self.head();
            }
        }
    }

    fn head(&mut self) {
        let length = self.header.last_chunk::<4>().map_or(4, |length| u32::from_be_bytes(*length));
        let kind = if self.first { 0 } else { self.header.first().copied().unwrap_or(0) };
        self.remaining = usize::try_from(length).unwrap_or(4).saturating_sub(4);
        self.hashes = matches!(kind, b'Q' | b'P');
        self.rows += u64::from(kind == b'D');
        self.header.clear();
        self.first = false;
    }
}
