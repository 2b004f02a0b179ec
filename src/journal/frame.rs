//! One entry on disk.
//!
//! ```text
//! name   = journal-<first>-<salt>.hj         the salt in hexadecimal: a damaged header costs nothing
//! file   = header, frame*, end               header = "HANSARDJ" version:u32 first:u64 salt[16] crc:u32
//! frame  = head payload[length] crc:u32      head = "HF" version:u8 0:u8 length:u32 seq:u64 check:u64
//! end    = head crc:u32                      head = "HE" version:u8 0:u8 0:u32      seq:u64 check:u64
//! ```
//!
//! Numbers are little-endian; an end's `seq` is the number of the entry that would come next. The payload is an [`Entry`]
//! in CBOR with field names: a reader of another version can tell what it does not know.
//!
//! A CRC-32C covers everything before it in its frame, and begins with the number of the file's first entry: files are used
//! again, and what an earlier use left behind is no frame of this one. A frame that was torn, flipped or moved is not a
//! frame either. The end is written with every write and overwritten by the next, so that a file that was cut short is told
//! from one that ends.
//!
//! # Bytes that look like a frame
//!
//! Values and texts are recorded as they were sent, so a client can put into one whatever it likes, also the bytes of an
//! entry. While the frame around them is whole, nobody looks there. Should a machine's crash tear that frame, recovery
//! searches behind it, and a long value holds millions of places to be searched. So each use of a file has a salt of 16
//! random bytes, which no client can see, and `check` is SipHash-2-4 of the head before it under that key: to guess it once
//! in a value of 1 GiB is a chance of less than 2⁻³⁴ (64 bits against fewer than 2³⁰ places), each time that such a write is torn.
//! A head that is not ours is told by its own 24 bytes, so one that claims a long payload costs no reading of it either.
//!
//! What comes behind a head that is ours is the CRC's to judge, as before: it stands where we wrote it, so there is one
//! candidate and nothing to search. Rejected: a salt for the CRC alone (2³² is one good value full of candidates); a CRC of
//! 64 bits (it is linear: whoever sees one knows the difference to any other); a keyed hash over the whole payload (SipHash
//! or BLAKE3 cost more than the whole frame does for a statement of usual length, and BLAKE3 is another dependency);
//! HMAC-SHA-256 (the same, without the processor's help).
//!
//! Version 1 had neither salt nor check: `name = journal-<first>.hj`, a header without salt, a head of 16 bytes. Files of
//! that version are read, never written on.

use cbor4ii::serde as cbor;

use super::salt::Salt;
use crate::model::Entry;
use crate::model::EntrySeq;

/// What a journal file starts with.
pub(super) const FILE_HEADER_LEN: usize = 40;
/// The same in a file of version 1.
const OLD_FILE_HEADER_LEN: usize = 24;
/// Bytes before a payload.
pub(super) const HEAD_LEN: usize = CHECKED_LEN + CHECK_LEN;
/// Bytes of a head that its check is of; all of a head in a file of version 1.
const CHECKED_LEN: usize = 16;
const CHECK_LEN: usize = 8;
/// Bytes after a payload.
pub(super) const TRAILER_LEN: usize = 4;
/// The end of a file. A frame takes as much beside its payload.
pub(super) const END_LEN: usize = HEAD_LEN + TRAILER_LEN;
/// The longest payload: a statement and its values, each up to PostgreSQL's 1 GiB limit of one message, fit into it.
pub(super) const MAX_PAYLOAD: usize = (2 << 30) + (64 << 20);

/// The highest number that an entry may have. At a million entries a second it is reached after 292,000 years, so a higher
/// one is none of ours; and after it there is still room for the number of the entry that would come next.
pub(super) const MAX_SEQ: u64 = 1 << 63;

/// The least frame that a statement takes: field names alone are as long.
pub(super) const LEAST_STATEMENT: usize = 256;

const FILE_MAGIC: &[u8; 8] = b"HANSARDJ";
/// The first two bytes of a frame.
pub(super) const FRAME_MAGIC: [u8; 2] = *b"HF";
const END_MAGIC: [u8; 2] = *b"HE";

/// What all that stands in one file is bound to: the number of its first entry, and the salt of this use of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    /// The number of the first entry.
    pub(super) first: EntrySeq,
    /// Absent in a file of version 1.
    pub(super) salt: Option<Salt>,
}

impl Key {
    /// The version of a file's layout, which its header and its frames both say.
    fn version(&self) -> u8 {
        if self.salt.is_some() { 2 } else { 1 }
    }

    /// The bytes that the file begins with.
    pub(super) fn file_header(&self) -> Vec<u8> {
        let mut header = Vec::with_capacity(FILE_HEADER_LEN);
        header.extend_from_slice(FILE_MAGIC);
        header.extend_from_slice(&u32::from(self.version()).to_le_bytes());
        header.extend_from_slice(&self.first.0.to_le_bytes());
        header.extend_from_slice(self.salt.as_ref().map_or(&[], Salt::bytes));
        header.extend_from_slice(&crc32c::crc32c(&header).to_le_bytes());
        header
    }

    /// Where the first frame stands.
    pub(super) fn file_header_len(&self) -> usize {
        if self.salt.is_some() { FILE_HEADER_LEN } else { OLD_FILE_HEADER_LEN }
    }

    /// The key of a file whose name says no salt. `header` is what it begins with: a file of this version that was given a
    /// name of the old form says its salt itself.
    pub(super) fn of_header(first: EntrySeq, header: &[u8]) -> Self {
        let salt =
            header.get(FILE_MAGIC.len() + 4 + 8..).and_then(|rest| rest.first_chunk()).map(|salt| Salt::of(*salt));
        let salted = Self { first, salt };
        if header.starts_with(&salted.file_header()) { salted } else { Self { first, salt: None } }
    }

    /// Bytes before a payload.
    pub(super) fn head_len(&self) -> usize {
        if self.salt.is_some() { HEAD_LEN } else { CHECKED_LEN }
    }

    fn head(&self, magic: [u8; 2], length: u32, seq: EntrySeq) -> Head {
        let mut checked = [0_u8; CHECKED_LEN];
        let whole = [&magic[..], &[self.version(), 0], &length.to_le_bytes(), &seq.0.to_le_bytes()].concat();
        checked.copy_from_slice(&whole);
        Head { checked, check: self.salt.map(|salt| salt.check(&checked).to_le_bytes()) }
    }

    /// The CRC of a frame's parts. It begins with the file's first entry, see the head of this module.
    fn crc(&self, head: &Head, payload: &[u8]) -> u32 {
        let parts = [&head.checked[..], head.check.as_ref().map_or(&[], |check| &check[..]), payload];
        let of_file = crc32c::crc32c(&self.first.0.to_le_bytes());
        parts.into_iter().fold(of_file, crc32c::crc32c_append)
    }

    /// Appends the frame of `payload` to `to`.
    pub(super) fn put(&self, to: &mut Vec<u8>, seq: EntrySeq, payload: &[u8]) {
        // `encode` keeps payloads under MAX_PAYLOAD, which fits.
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        to.reserve(HEAD_LEN + payload.len() + TRAILER_LEN);
        self.put_parts(to, &self.head(FRAME_MAGIC, length, seq), payload);
    }

    /// Appends the end to `to`: `next` is the entry that would come next.
    pub(super) fn put_end(&self, to: &mut Vec<u8>, next: EntrySeq) {
        self.put_parts(to, &self.head(END_MAGIC, 0, next), &[]);
    }

    fn put_parts(&self, to: &mut Vec<u8>, head: &Head, payload: &[u8]) {
        to.extend_from_slice(&head.checked);
        to.extend_from_slice(head.check.as_ref().map_or(&[], |check| &check[..]));
        to.extend_from_slice(payload);
        to.extend_from_slice(&self.crc(head, payload).to_le_bytes());
    }
}

/// The bytes before a payload.
#[derive(Debug, Clone, Copy)]
struct Head {
    checked: [u8; CHECKED_LEN],
    /// Absent in a file of version 1.
    check: Option<[u8; CHECK_LEN]>,
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

/// What a frame's head says, before its CRC is known to be right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    /// The number it claims; for an end, the number that would come next.
    pub(super) seq: EntrySeq,
    /// The payload's length in bytes.
    pub(super) length: usize,
    /// Whether it is the end.
    pub(super) ends: bool,
    head: Head,
}

impl Header {
    /// Reads a head of so many bytes as [`Key::head_len`] says; nothing if these bytes start neither frame nor end of the
    /// file with this key.
    pub(super) fn read(key: &Key, bytes: &[u8]) -> Option<Self> {
        let (checked, rest) = bytes.split_first_chunk::<CHECKED_LEN>()?;
        let [m0, m1, version, zero, l0, l1, l2, l3, s0, s1, s2, s3, s4, s5, s6, s7] = *checked;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let ends = [m0, m1] == END_MAGIC;
        let magic = if ends { length == 0 } else { [m0, m1] == FRAME_MAGIC };
        let seq = EntrySeq(u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]));
        let fits = length <= MAX_PAYLOAD && seq.0 <= MAX_SEQ;
        let known = magic && version == key.version() && zero == 0 && fits;
        let check = key.salt.filter(|_| known).map(|salt| salt.check(checked).to_le_bytes());
        let ours = known && check.as_ref().map_or(&[][..], |check| &check[..]) == rest;
        ours.then_some(Self { seq, length, ends, head: Head { checked: *checked, check } })
    }

    /// Whether head and payload are what was written into the file with this key.
    pub(super) fn matches(&self, key: &Key, payload: &[u8], found: [u8; TRAILER_LEN]) -> bool {
        key.crc(&self.head, payload) == u32::from_le_bytes(found)
    }

    /// The whole frame's length in bytes, in the file with this key.
    pub(super) fn frame_len(&self, key: &Key) -> u64 {
        (key.head_len() + self.length + TRAILER_LEN) as u64
    }
}

/// A payload as an entry; the error says what the decoder did not like, never what the entry holds.
pub(super) fn decode(payload: &[u8]) -> Result<Entry, String> {
    cbor::from_slice(payload).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tests::{intent, salted};

    /// A file of this version, and one of version 1.
    fn keys() -> [Key; 2] {
        [salted(EntrySeq(3)), Key { first: EntrySeq(3), salt: None }]
    }

    fn read(key: &Key, frame: &[u8]) -> Option<Header> {
        Header::read(key, frame.get(..key.head_len())?)
    }

    #[test]
    fn an_entry_reads_back_from_its_frame() {
        let entry = intent(7, "SELECT 1", true);
        let payload = encode(&entry).unwrap();
        for key in keys() {
            let mut frame = Vec::new();
            key.put(&mut frame, EntrySeq(9), &payload);
            let header = read(&key, &frame).unwrap();
            assert_eq!((header.seq, header.length, header.ends), (EntrySeq(9), payload.len(), false));
            assert_eq!(header.frame_len(&key), frame.len() as u64);
            let crc = frame[frame.len() - 4..].try_into().unwrap();
            assert!(header.matches(&key, &payload, crc));
            let other = Key { first: EntrySeq(4), ..key };
            assert!(!header.matches(&other, &payload, crc), "a frame of an earlier use of the file");
        }
        assert_eq!(decode(&payload).unwrap(), entry);
    }

    #[test]
    fn a_frame_of_another_salt_or_of_none_is_no_frame_of_the_file() {
        let [key, old] = keys();
        let other = Key { salt: Some(Salt::of([8; 16])), ..key };
        let frames = [key, other, old].map(|key| {
            let mut frame = Vec::new();
            key.put(&mut frame, EntrySeq(9), b"payload");
            frame
        });
        for (at, key) in [key, other, old].iter().enumerate() {
            for (from, frame) in frames.iter().enumerate() {
                assert_eq!(read(key, frame).is_some(), at == from, "{at} reads {from}");
            }
        }
    }

    #[test]
    fn a_name_of_the_old_form_hides_no_salt_that_the_header_says() {
        for key in keys() {
            let header = key.file_header();
            assert_eq!(header.len(), key.file_header_len());
            assert_eq!(Key::of_header(key.first, &[&header[..], &[1; 100]].concat()), key);
            let old = Key { salt: None, ..key };
            for cut in 0..header.len() {
                assert_eq!(Key::of_header(key.first, &header[..cut]), old, "cut at {cut}");
            }
        }
    }

    #[test]
    fn no_statement_takes_less_than_the_least() {
        let payload = encode(&intent(1, "", true)).unwrap();
        assert!(payload.len() + END_LEN >= LEAST_STATEMENT, "{}", payload.len());
    }

    #[test]
    fn no_flipped_bit_passes_for_a_frame_or_an_end() {
        let payload = encode(&intent(1, "SELECT 1", true)).unwrap();
        for key in keys() {
            let (mut frame, mut end) = (Vec::new(), Vec::new());
            key.put(&mut frame, EntrySeq(1), &payload);
            key.put_end(&mut end, EntrySeq(2));
            assert!(end.len() <= END_LEN);
            for whole in [frame, end] {
                for bit in 0..whole.len() * 8 {
                    let mut broken = whole.clone();
                    broken[bit / 8] ^= 1 << (bit % 8);
                    let intact = read(&key, &broken).is_some_and(|header| {
                        let at = key.head_len() + header.length;
                        broken.len() == at + TRAILER_LEN
                            && header.matches(&key, &broken[key.head_len()..at], broken[at..].try_into().unwrap())
                    });
                    assert!(!intact, "bit {bit}");
                }
            }
        }
    }
}
