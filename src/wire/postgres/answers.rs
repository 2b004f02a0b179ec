//! Questions of our own to a database, one at a time, and the rows that it answers with.
//!
//! Promises: no socket; all values as text; no more than the bytes that the asker allows; a frame that does not hold what
//! its type says is an error.

use bytes::{Bytes, BytesMut};

use super::frame::{HEADER_LEN, MAX_MESSAGE};
use super::message::{Body, error_fields};
use crate::wire::Violation;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// The database refused.
    #[error("the database refused with {0}")]
    Refused(String),
    /// More than the asker allows.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// It is no answer.
    #[error("the database broke the protocol: {0}")]
    Broken(#[from] Violation),
}

/// A row: each value's text, nothing for null.
pub type Row = Vec<Option<String>>;

/// A `Query` frame. A zero byte would end the text, so there must be none: what we ask is written in this program.
pub fn question(text: &str) -> Bytes {
    debug_assert!(!text.contains('\0'), "a question of our own has no zero byte");
    let mut frame = vec![b'Q'];
    let length = u32::try_from(text.len() + 5).unwrap_or(u32::MAX);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(text.as_bytes());
    frame.push(0);
    frame.into()
}

/// The answer to one question, as its bytes come in.
#[derive(Debug)]
pub struct Answer {
    rows: Vec<Row>,
    refused: Option<String>,
    most: usize,
    seen: usize,
}

impl Answer {
    /// None yet; `most`: the most bytes it may have.
    pub fn new(most: usize) -> Self {
        Self { rows: Vec::new(), refused: None, most, seen: 0 }
    }

    /// Takes what is whole in the buffer. The rows when the answer is complete; nothing as long as it is not.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`]; the connection is not to be used any more.
    pub fn take(&mut self, buffer: &mut BytesMut) -> Result<Option<Vec<Row>>, NoAnswer> {
        while let Some((kind, length)) = header(buffer)? {
            if self.seen.saturating_add(length) > self.most {
                return Err(NoAnswer::TooLong(self.most));
            }
            if buffer.len() < length {
                return Ok(None);
            }
            self.seen += length;
            let frame = buffer.split_to(length).freeze();
            match kind {
                b'D' => self.rows.push(row(&frame)?),
                b'E' => {
                    self.refused =
                        Some(error_fields(&frame).sqlstate.unwrap_or_else(|| "an error without code".to_owned()))
                }
                b'Z' => {
                    return match self.refused.take() {
                        Some(sqlstate) => Err(NoAnswer::Refused(sqlstate)),
                        None => Ok(Some(std::mem::take(&mut self.rows))),
                    };
                }
                // Descriptions, tags, notices, settings: nothing that is asked for.
                b'T' | b'C' | b'N' | b'S' | b'I' | b'A' => {}
                _ => return Err(Violation("a message that answers no question").into()),
            }
        }
        Ok(None)
    }
}

fn header(buffer: &BytesMut) -> Result<Option<(u8, usize)>, Violation> {
    let Some([kind, length @ ..]) = buffer.first_chunk::<HEADER_LEN>() else { return Ok(None) };
    match usize::try_from(i32::from_be_bytes(*length)) {
        Ok(length) if (4..=MAX_MESSAGE).contains(&length) => Ok(Some((*kind, length + 1))),
        _ => Err(Violation("a length that no message has")),
    }
}

fn row(frame: &Bytes) -> Result<Row, Violation> {
    let mut body = Body::of(frame);
    let columns = body.u16()?;
    let mut row = Row::new();
    for _ in 0..columns {
        let value = match usize::try_from(body.i32()?) {
            Ok(length) => {
                let bytes = body.take(length)?;
                Some(std::str::from_utf8(&bytes).map_err(|_| Violation("text that is not UTF-8"))?.to_owned())
            }
            Err(_negative) => None,
        };
        row.push(value);
    }
    body.end().map(|()| row)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[kind], &length[..], body].concat()
    }

    fn data() -> Vec<u8> {
        frame(b'D', b"\0\x02\0\0\0\x02ab\xff\xff\xff\xff")
    }

    #[test]
    fn rows_are_whole_however_their_bytes_come() {
        let bytes = [frame(b'T', b"\0\0"), data(), data(), frame(b'C', b"SELECT 2\0"), frame(b'Z', b"I")].concat();
        let expected = vec![vec![Some("ab".to_owned()), None]; 2];
        for cut in 0..bytes.len() {
            let (mut answer, mut buffer) = (Answer::new(1_000), BytesMut::from(&bytes[..cut]));
            assert!(answer.take(&mut buffer).unwrap().is_none(), "{cut}");
            buffer.extend_from_slice(&bytes[cut..]);
            assert_eq!(answer.take(&mut buffer).unwrap().unwrap(), expected);
        }
    }

    #[test]
    fn a_refusal_too_much_and_nonsense_are_no_answers() {
        let taken = |bytes: Vec<u8>| Answer::new(100).take(&mut BytesMut::from(&bytes[..])).unwrap_err().to_string();
        let refused = [frame(b'E', b"SERROR\0C42501\0Mno\0\0"), frame(b'Z', b"I")].concat();
        assert_eq!(taken(refused), "the database refused with 42501");
        assert_eq!(taken(data().repeat(10)), "the answer is longer than 100 bytes");
        assert!(taken(vec![b'D', 0xff, 0xff, 0xff, 0xff]).contains("a length that no message has"));
        assert!(taken(frame(b'D', b"\0\x01\0\0\0\x09ab")).contains("shorter than its fields"));
        assert!(taken(frame(b'G', b"")).contains("answers no question"));
    }

    #[test]
    fn a_question_is_a_query() {
        assert_eq!(&question("SELECT 1")[..], b"Q\0\0\0\x0dSELECT 1\0");
    }
}
