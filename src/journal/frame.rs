//! One entry on disk.
//!
//! ```text
//! file   = header, frame*                     header = "HANSARDJ" version:u32 crc:u32
//! frame  = "HF" version:u8 0:u8 length:u32 seq:u64 payload[length] crc:u32
//! ```
//!
//! Numbers are little-endian. A frame's CRC-32C covers everything before it, so a frame that was torn, flipped or moved
//! to another number is not a frame. The payload is an [`Entry`] in CBOR with field names: a reader of another version
//! can tell what it does not know.

use cbor4ii::serde as cbor;

use crate::model::Entry;
use crate::model::EntrySeq;

/// What a journal file starts with.
pub(super) const FILE_HEADER_LEN: usize = 16;
/// Bytes before a payload.
pub(super) const FRAME_HEADER_LEN: usize = 16;
/// Bytes after a payload.
pub(super) const FRAME_TRAILER_LEN: usize = 4;
/// The longest payload: a statement and its values, each up to PostgreSQL's 1 GiB limit of one message, fit into it.
pub(super) const MAX_PAYLOAD: usize = (2 << 30) + (64 << 20);

const FILE_MAGIC: &[u8; 8] = b"HANSARDJ";
const FILE_VERSION: u32 = 1;
const FRAME_MAGIC: &[u8; 2] = b"HF";
const FRAME_VERSION: u8 = 1;

/// The bytes that a new file starts with.
pub(super) fn file_header() -> [u8; FILE_HEADER_LEN] {
    let mut header = [0_u8; FILE_HEADER_LEN];
    let (body, crc) = header.split_at_mut(12);
    let (magic, version) = body.split_at_mut(8);
    magic.copy_from_slice(FILE_MAGIC);
    version.copy_from_slice(&FILE_VERSION.to_le_bytes());
    crc.copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
    header
}

/// An entry as a payload.
///
/// # Errors
///
/// The entry is longer than a frame can hold.
pub(super) fn encode(entry: &Entry) -> Result<Vec<u8>, TooLong> {
    let payload = cbor::to_vec(Vec::with_capacity(1024), entry).or(Err(TooLong))?;
    if payload.len() > MAX_PAYLOAD { Err(TooLong) } else { Ok(payload) }
}

/// The payload cannot be framed: it is over [`MAX_PAYLOAD`], or memory ran out while it was encoded.
#[derive(Debug)]
pub(super) struct TooLong;

/// Appends the frame of `payload` to `to`.
pub(super) fn put(to: &mut Vec<u8>, seq: EntrySeq, payload: &[u8]) {
    let start = to.len();
    to.reserve(FRAME_HEADER_LEN + payload.len() + FRAME_TRAILER_LEN);
    to.extend_from_slice(FRAME_MAGIC);
    to.extend_from_slice(&[FRAME_VERSION, 0]);
    // `encode` keeps payloads under MAX_PAYLOAD, which fits.
    to.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    to.extend_from_slice(&seq.0.to_le_bytes());
    to.extend_from_slice(payload);
    let crc = crc32c::crc32c(to.get(start..).unwrap_or_default());
    to.extend_from_slice(&crc.to_le_bytes());
}

/// The header of a frame, read but not yet checked against its CRC.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    /// The number it claims.
    pub(super) seq: EntrySeq,
    /// The payload's length in bytes.
    pub(super) length: usize,
    bytes: [u8; FRAME_HEADER_LEN],
}

impl Header {
    /// Reads a header; nothing if these bytes start no frame of ours.
    pub(super) fn read(bytes: [u8; FRAME_HEADER_LEN]) -> Option<Self> {
        let [m0, m1, version, zero, l0, l1, l2, l3, s0, s1, s2, s3, s4, s5, s6, s7] = bytes;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let known = [m0, m1] == *FRAME_MAGIC && version == FRAME_VERSION && zero == 0 && length <= MAX_PAYLOAD;
        let seq = EntrySeq(u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]));
        known.then_some(Self { seq, length, bytes })
    }

    /// Whether header and payload are what was written.
    pub(super) fn matches(&self, payload: &[u8], crc: [u8; FRAME_TRAILER_LEN]) -> bool {
        crc32c::crc32c_append(crc32c::crc32c(&self.bytes), payload) == u32::from_le_bytes(crc)
    }

    /// The whole frame's length in bytes.
    pub(super) fn frame_len(&self) -> u64 {
        (FRAME_HEADER_LEN + self.length + FRAME_TRAILER_LEN) as u64
    }
}

/// A payload as an entry; the error says what the decoder did not like, never what the entry holds.
pub(super) fn decode(payload: &[u8]) -> Result<Entry, String> {
    cbor::from_slice(payload).map_err(|error| error.to_string())
}

/// Whether these bytes start a journal file of ours.
pub(super) fn is_file_header(bytes: &[u8; FILE_HEADER_LEN]) -> bool {
    *bytes == file_header()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tests::intent;

    #[test]
    fn an_entry_reads_back_from_its_frame() {
        let entry = intent(7, "SELECT 1", true);
        let payload = encode(&entry).unwrap();
        let mut frame = Vec::new();
        put(&mut frame, EntrySeq(9), &payload);
        let header = Header::read(frame[..FRAME_HEADER_LEN].try_into().unwrap()).unwrap();
        assert_eq!((header.seq, header.length), (EntrySeq(9), payload.len()));
        assert_eq!(header.frame_len(), frame.len() as u64);
        let crc = frame[frame.len() - 4..].try_into().unwrap();
        assert!(header.matches(&payload, crc));
        assert_eq!(decode(&payload).unwrap(), entry);
    }

    #[test]
    fn no_flipped_bit_passes_for_a_frame() {
        let payload = encode(&intent(1, "SELECT 1", true)).unwrap();
        let mut frame = Vec::new();
        put(&mut frame, EntrySeq(1), &payload);
        for bit in 0..frame.len() * 8 {
            let mut broken = frame.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            let intact = Header::read(broken[..FRAME_HEADER_LEN].try_into().unwrap()).is_some_and(|header| {
                let end = FRAME_HEADER_LEN + header.length;
                broken.len() == end + FRAME_TRAILER_LEN
                    && header.matches(&broken[FRAME_HEADER_LEN..end], broken[end..].try_into().unwrap())
            });
            assert!(!intact, "bit {bit}");
        }
    }
}
