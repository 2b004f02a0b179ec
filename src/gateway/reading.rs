//! Reads from a peer without a buffer that waits for it.
//!
//! Promises: a session that waits holds no memory for what may come, however it is encrypted; what came is copied once, into
//! a buffer of its own length. Values of statements are slices of that buffer and live as long as their record is written,
//! so a small statement keeps a small buffer alive.
//!
//! Rejected: a buffer for each direction, kept (64 KiB each, which is what an idle session then costs), or made when the
//! socket is readable (what is readable under TLS may be no byte of the message). The copy costs some 0.05 s of a processor
//! for a gigabyte.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

/// Bytes read at a time: four records of TLS, and what a socket gives at once in bulk.
pub(super) const CHUNK: usize = 64 << 10;

thread_local! {
    /// What the sessions of this thread read into, one after the other.
    static SPACE: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

/// Reads what is there into `buffer`, and says how many bytes came; 0 is the end. Of `missing` bytes it is known that the
/// buffer will need them: a long message goes right where it belongs. A buffer that all was taken from is let go first, as
/// it would keep alive whatever it once held.
///
/// # Errors
///
/// The connection failed.
pub(super) async fn read_some(
    from: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    missing: usize,
) -> std::io::Result<usize> {
    if buffer.is_empty() {
        *buffer = BytesMut::new();
    }
    if missing > CHUNK {
        buffer.reserve(missing);
        return from.read_buf(buffer).await;
    }
    poll_fn(|context| {
        SPACE.with_borrow_mut(|space| {
            let mut space = ReadBuf::new(space);
            ready!(Pin::new(&mut *from).poll_read(context, &mut space))?;
            buffer.extend_from_slice(space.filled());
            Poll::Ready(Ok(space.filled().len()))
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn nothing_is_held_until_something_comes_and_then_no_more_than_that() {
        let (mut peer, mut ours) = tokio::io::duplex(1 << 20);
        let mut buffer = BytesMut::new();
        {
            let mut waiting = Box::pin(read_some(&mut ours, &mut buffer, 0));
            assert!(futures::poll!(&mut waiting).is_pending());
        }
        assert_eq!(buffer.capacity(), 0);
        peer.write_all(&[7; 100]).await.unwrap();
        assert_eq!(read_some(&mut ours, &mut buffer, 0).await.unwrap(), 100);
        assert!(buffer[..] == [7; 100] && buffer.capacity() < 200, "{}", buffer.capacity());
    }

    #[tokio::test]
    async fn a_session_that_once_held_a_large_message_does_not_keep_its_memory() {
        let (mut peer, mut ours) = tokio::io::duplex(1 << 20);
        let mut buffer = BytesMut::from(&vec![7; 10 * CHUNK][..]);
        let message = buffer.split_to(10 * CHUNK).freeze();
        {
            let mut waiting = Box::pin(read_some(&mut ours, &mut buffer, 0));
            assert!(futures::poll!(&mut waiting).is_pending());
        }
        assert!(message.is_unique(), "the buffer keeps what was taken from it");
        peer.write_all(b"x").await.unwrap();
        assert_eq!(read_some(&mut ours, &mut buffer, 0).await.unwrap(), 1);
        assert!(buffer.capacity() < CHUNK);
    }

    #[tokio::test]
    async fn a_long_message_is_read_in_larger_steps_and_the_end_is_told() {
        let (mut peer, mut ours) = tokio::io::duplex(1 << 20);
        peer.write_all(&vec![7; 3 * CHUNK]).await.unwrap();
        drop(peer);
        let mut buffer = BytesMut::new();
        assert_eq!(read_some(&mut ours, &mut buffer, 0).await.unwrap(), CHUNK);
        assert_eq!(read_some(&mut ours, &mut buffer, 2 * CHUNK).await.unwrap(), 2 * CHUNK);
        assert_eq!(read_some(&mut ours, &mut buffer, 0).await.unwrap(), 0);
        assert_eq!(buffer.len(), 3 * CHUNK);
    }
}
