//! One entry on disk.
//!
//! ```text
//! file   = header, frame*, end                header = "HANSARDJ" version:u32 first:u64 crc:u32
//! frame  = "HF" version:u8 0:u8 length:u32 seq:u64 payload[length] crc:u32
//! end    = "HE" version:u8 0:u8 0:u32      seq:u64 crc:u32            seq of the entry that would come next
//! ```
//!
//! Numbers are little-endian. A CRC-32C covers everything before it in its frame, and begins with the number of the file's
//! first entry: files are used again, and what an earlier use left behind is no frame of this one. A frame that was torn,
//! flipped or moved is not a frame either. The end is written with every write and overwritten by the next, so that a
//! file that was cut short is told from one that ends. The payload is an [`Entry`] in CBOR with field names: a reader of
//! another version can tell what it does not know.

use cbor4ii::serde as cbor;

use crate::model::Entry;
use crate::model::EntrySeq;

/// What a journal file starts with.
pub(super) const FILE_HEADER_LEN: usize = 24;
/// Bytes before a payload.
pub(super) const FRAME_HEADER_LEN: usize = 16;
/// Bytes after a payload.
pub(super) const FRAME_TRAILER_LEN: usize = 4;
/// The end of a file.
pub(super) const END_LEN: usize = FRAME_HEADER_LEN + FRAME_TRAILER_LEN;
/// The longest payload: a statement and its values, each up to PostgreSQL's 1 GiB limit of one message, fit into it.
pub(super) const MAX_PAYLOAD: usize = (2 << 30) + (64 << 20);

/// The highest number that an entry may have. At a million entries a second it is reached after 292,000 years, so a higher
/// one is none of ours; and after it there is still room for the number of the entry that would come next.
pub(super) const MAX_SEQ: u64 = 1 << 63;

/// The least frame that a statement takes: field names alone are as long.
pub(super) const LEAST_STATEMENT: usize = 256;

const FILE_MAGIC: &[u8; 8] = b"HANSARDJ";
const FILE_VERSION: u32 = 1;
/// The first two bytes of a frame.
pub(super) const FRAME_MAGIC: [u8; 2] = *b"HF";
const END_MAGIC: [u8; 2] = *b"HE";
const FRAME_VERSION: u8 = 1;

/// The bytes that the file starting with entry `first` begins with.
pub(super) fn file_header(first: EntrySeq) -> [u8; FILE_HEADER_LEN] {
    let mut header = [0_u8; FILE_HEADER_LEN];
    let body = [&FILE_MAGIC[..], &FILE_VERSION.to_le_bytes(), &first.0.to_le_bytes()].concat();
    let whole = [&body[..], &crc32c::crc32c(&body).to_le_bytes()].concat();
    header.copy_from_slice(&whole);
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

/// The CRC of a frame's parts in the file that starts with entry `first`.
fn crc(first: EntrySeq, parts: [&[u8]; 2]) -> u32 {
    let [header, payload] = parts;
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&first.0.to_le_bytes()), header), payload)
}

fn header_bytes(magic: [u8; 2], length: u32, seq: EntrySeq) -> [u8; FRAME_HEADER_LEN] {
    let mut header = [0_u8; FRAME_HEADER_LEN];
    let whole = [&magic[..], &[FRAME_VERSION, 0], &length.to_le_bytes(), &seq.0.to_le_bytes()].concat();
    header.copy_from_slice(&whole);
    header
}

/// Appends the frame of `payload` to `to`, for the file that starts with entry `first`.
pub(super) fn put(to: &mut Vec<u8>, first: EntrySeq, seq: EntrySeq, payload: &[u8]) {
    // `encode` keeps payloads under MAX_PAYLOAD, which fits.
    let header = header_bytes(FRAME_MAGIC, u32::try_from(payload.len()).unwrap_or(u32::MAX), seq);
    to.reserve(FRAME_HEADER_LEN + payload.len() + FRAME_TRAILER_LEN);
    to.extend_from_slice(&header);
    to.extend_from_slice(payload);
    to.extend_from_slice(&crc(first, [&header, payload]).to_le_bytes());
}

/// Appends the end to `to`: `next` is the entry that would come next.
pub(super) fn put_end(to: &mut Vec<u8>, first: EntrySeq, next: EntrySeq) {
    let header = header_bytes(END_MAGIC, 0, next);
    to.extend_from_slice(&header);
    to.extend_from_slice(&crc(first, [&header, &[]]).to_le_bytes());
}

/// What a frame's header says, before its CRC is known to be right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    /// The number it claims; for an end, the number that would come next.
    pub(super) seq: EntrySeq,
    /// The payload's length in bytes.
    pub(super) length: usize,
    /// Whether it is the end.
    pub(super) ends: bool,
    bytes: [u8; FRAME_HEADER_LEN],
}

impl Header {
    /// Reads a header; nothing if these bytes start neither frame nor end of ours.
    pub(super) fn read(bytes: [u8; FRAME_HEADER_LEN]) -> Option<Self> {
        let [m0, m1, version, zero, l0, l1, l2, l3, s0, s1, s2, s3, s4, s5, s6, s7] = bytes;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let ends = [m0, m1] == END_MAGIC;
        let magic = if ends { length == 0 } else { [m0, m1] == FRAME_MAGIC };
        let seq = EntrySeq(u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]));
        let fits = length <= MAX_PAYLOAD && seq.0 <= MAX_SEQ;
        let known = magic && version == FRAME_VERSION && zero == 0 && fits;
        known.then_some(Self { seq, length, ends, bytes })
    }

    /// Whether header and payload are what was written into the file that starts with entry `first`.
    pub(super) fn matches(&self, first: EntrySeq, payload: &[u8], found: [u8; FRAME_TRAILER_LEN]) -> bool {
        crc(first, [&self.bytes, payload]) == u32::from_le_bytes(found)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tests::intent;

    const FIRST: EntrySeq = EntrySeq(3);

    #[test]
    fn an_entry_reads_back_from_its_frame() {
        let entry = intent(7, "SELECT 1", true);
        let payload = encode(&entry).unwrap();
        let mut frame = Vec::new();
        put(&mut frame, FIRST, EntrySeq(9), &payload);
        let header = Header::read(frame[..FRAME_HEADER_LEN].try_into().unwrap()).unwrap();
        assert_eq!((header.seq, header.length, header.ends), (EntrySeq(9), payload.len(), false));
        assert_eq!(header.frame_len(), frame.len() as u64);
        let crc = frame[frame.len() - 4..].try_into().unwrap();
        assert!(header.matches(FIRST, &payload, crc));
        assert!(!header.matches(EntrySeq(4), &payload, crc), "a frame of an earlier use of the file");
        assert_eq!(decode(&payload).unwrap(), entry);
    }

    #[test]
    fn no_statement_takes_less_than_the_least() {
        let payload = encode(&intent(1, "", true)).unwrap();
        assert!(FRAME_HEADER_LEN + payload.len() + FRAME_TRAILER_LEN >= LEAST_STATEMENT, "{}", payload.len());
    }

    #[test]
    fn no_flipped_bit_passes_for_a_frame_or_an_end() {
        let payload = encode(&intent(1, "SELECT 1", true)).unwrap();
        let (mut frame, mut end) = (Vec::new(), Vec::new());
        put(&mut frame, FIRST, EntrySeq(1), &payload);
        put_end(&mut end, FIRST, EntrySeq(2));
        assert_eq!(end.len(), END_LEN);
        for whole in [frame, end] {
            for bit in 0..whole.len() * 8 {
                let mut broken = whole.clone();
                broken[bit / 8] ^= 1 << (bit % 8);
                let header = Header::read(broken[..FRAME_HEADER_LEN].try_into().unwrap());
                let intact = header.is_some_and(|header| {
                    let at = FRAME_HEADER_LEN + header.length;
                    broken.len() == at + FRAME_TRAILER_LEN
                        && header.matches(FIRST, &broken[FRAME_HEADER_LEN..at], broken[at..].try_into().unwrap())
                });
                assert!(!intact, "bit {bit}");
            }
        }
    }
}
