//! Frames: type, length, and a limit by type. Nothing is copied here: the caller owns the buffer.

use crate::wire::Violation;

/// Bytes before a frame's body: type and length.
pub const HEADER_LEN: usize = 5;
/// The longest message that PostgreSQL itself takes (`MaxAllocSize`).
pub const MAX_MESSAGE: usize = (1 << 30) - 1;
/// Frames that carry names and numbers only; as PostgreSQL's `PQ_SMALL_MESSAGE_LIMIT`.
const SMALL_MESSAGE: usize = 10_000;
/// The longest message that carries a token, as PostgreSQL's `PG_MAX_AUTH_TOKEN_LENGTH`.
const MAX_TOKEN: usize = 65_535;
/// The longest message of a login: parameters, salts, an error.
const MAX_LOGIN: usize = 64 << 10;
/// A frame of the database that is read whole: errors, tags. Real ones are a few kilobytes; errors may quote
/// a long statement.
const MAX_REPLY: usize = 64 << 20;

/// Which way frames travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// From the client before it is signed in: its token and nothing else.
    SignIn,
    /// From the client to the database.
    Client,
    /// From the database before the session is ready.
    Login,
    /// From the database to the client.
    Server,
}

/// What stands next in the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A whole frame of `len` bytes, header included.
    Frame {
        /// Its type.
        kind: u8,
        /// Its length with header.
        len: usize,
    },
    /// The start of a frame that is passed on in pieces: `len` bytes of it are here.
    Start {
        /// Its type.
        kind: u8,
        /// Bytes of it that are here, header included.
        len: usize,
    },
    /// `len` more bytes of the frame whose start was given.
    More {
        /// Bytes of it that are here.
        len: usize,
    },
    /// Not enough bytes; with `wanted` in the buffer the next step is possible.
    Wait {
        /// Bytes needed from here on.
        wanted: usize,
    },
}

/// Cuts one direction of a connection into frames.
#[derive(Debug)]
pub struct Framer {
    side: Side,
    /// The longest frame of a client that is held in memory, in bytes.
    max_message: usize,
    /// Bytes still to come of the frame that is being passed on.
    remaining: usize,
}

impl Framer {
    /// A framer at the start of a connection's messages. `max_message` bounds what a client may send in one message.
    pub fn new(side: Side, max_message: usize) -> Self {
        Self { side, max_message: max_message.min(MAX_MESSAGE), remaining: 0 }
    }

    /// The frame that stands next, `whole` bytes of it, is not wanted as a whole: all of it comes in pieces.
    pub fn pass_over(&mut self, whole: usize) {
        self.remaining = whole;
    }

    /// Whether the last step ended with a whole frame.
    pub fn at_boundary(&self) -> bool {
        self.remaining == 0
    }

    /// Looks at the bytes that follow the last step.
    ///
    /// # Errors
    ///
    /// A type that this side does not send, or a length that its type does not have.
    pub fn step(&mut self, bytes: &[u8]) -> Result<Step, Violation> {
        if self.remaining > 0 {
            let len = self.remaining.min(bytes.len());
            self.remaining -= len;
            return Ok(if len == 0 { Step::Wait { wanted: 1 } } else { Step::More { len } });
        }
        let Some([kind, a, b, c, d]) = bytes.first_chunk::<HEADER_LEN>() else {
            return Ok(Step::Wait { wanted: HEADER_LEN });
        };
        let length = usize::try_from(i32::from_be_bytes([*a, *b, *c, *d])).or(Err(Violation(NEGATIVE)))?;
        let (limit, streamed) = self.rule(*kind).ok_or(Violation("a message of unknown type"))?;
        if length < 4 {
            return Err(Violation("a message shorter than its length field"));
        }
        if length > limit {
            return Err(Violation(TOO_LONG));
        }
        let whole = length + 1;
        if streamed {
            let len = whole.min(bytes.len());
            self.remaining = whole - len;
            return Ok(Step::Start { kind: *kind, len });
        }
        if bytes.len() < whole {
            return Ok(Step::Wait { wanted: whole });
        }
        Ok(Step::Frame { kind: *kind, len: whole })
    }

    /// The longest length field of a type, and whether the frame is passed on in pieces.
    fn rule(&self, kind: u8) -> Option<(usize, bool)> {
        match self.side {
            Side::SignIn => (kind == b'p').then_some((MAX_TOKEN, false)),
            Side::Login => matches!(kind, b'R' | b'S' | b'K' | b'E' | b'N' | b'Z' | b'v').then_some((MAX_LOGIN, false)),
            Side::Client => match kind {
                b'Q' | b'P' | b'B' => Some((self.max_message, false)),
                b'F' => Some((self.max_message, false)),
                b'd' => Some((MAX_MESSAGE, true)),
                b'D' | b'E' | b'C' | b'c' | b'f' | b'H' | b'S' | b'X' => Some((SMALL_MESSAGE, false)),
                _ => None,
            },
            Side::Server => match kind {
                b'D' | b'd' | b'T' | b'V' | b'N' | b'A' => Some((MAX_MESSAGE, true)),
                b'E' => Some((MAX_REPLY, false)),
                b'1' | b'2' | b'3' | b'C' | b'I' | b'n' | b's' | b't' | b'S' | b'K' | b'Z' | b'G' | b'H' | b'W'
                | b'c' | b'v' => Some((MAX_REPLY, false)),
                _ => None,
            },
        }
    }
}

/// The violation of a message over its limit.
pub const TOO_LONG: &str = "a message over the limit for its type";
const NEGATIVE: &str = "a message of negative length";

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = i32::try_from(body.len() + 4).unwrap();
        [&[kind][..], &length.to_be_bytes(), body].concat()
    }

    #[test]
    fn a_frame_is_given_only_when_all_of_it_is_here() {
        let whole = frame(b'Q', b"SELECT 1\0");
        let mut framer = Framer::new(Side::Client, 1000);
        for len in 0..whole.len() {
            let step = framer.step(&whole[..len]).unwrap();
            assert!(matches!(step, Step::Wait { wanted } if wanted > len), "{len}: {step:?}");
        }
        assert_eq!(framer.step(&whole).unwrap(), Step::Frame { kind: b'Q', len: whole.len() });
    }

    #[test]
    fn rows_are_passed_on_in_pieces_however_they_arrive() {
        let whole = frame(b'D', &[7; 1000]);
        for cut in HEADER_LEN..whole.len() {
            let mut framer = Framer::new(Side::Server, 0);
            assert_eq!(framer.step(&whole[..cut]).unwrap(), Step::Start { kind: b'D', len: cut });
            assert!(!framer.at_boundary());
            assert_eq!(framer.step(&[]).unwrap(), Step::Wait { wanted: 1 });
            assert_eq!(framer.step(&whole[cut..]).unwrap(), Step::More { len: whole.len() - cut });
            assert!(framer.at_boundary());
        }
    }

    #[test]
    fn a_message_that_is_not_wanted_comes_in_pieces_and_the_next_one_whole() {
        let (long, next) = (frame(b'Q', &[7; 1000]), frame(b'S', b""));
        let mut framer = Framer::new(Side::Client, 10_000);
        let Step::Wait { wanted } = framer.step(&long[..100]).unwrap() else { panic!("it is not all here") };
        framer.pass_over(wanted);
        assert_eq!(framer.step(&long[..100]).unwrap(), Step::More { len: 100 });
        assert!(!framer.at_boundary());
        let rest = [&long[100..], &next].concat();
        assert_eq!(framer.step(&rest).unwrap(), Step::More { len: long.len() - 100 });
        assert!(framer.at_boundary());
        assert_eq!(framer.step(&next).unwrap(), Step::Frame { kind: b'S', len: next.len() });
    }

    #[test]
    fn a_length_that_its_type_cannot_have_is_a_violation() {
        let mut framer = Framer::new(Side::Client, 1000);
        for bad in [
            [b'Q', 0, 0, 0, 3],
            [b'Q', 255, 255, 255, 255],
            [b'Q', 0, 0, 4, 0],
            [b'S', 0, 0, 255, 0],
            [b'p', 0, 0, 0, 4],
            [b'R', 0, 0, 0, 8],
            [0, 0, 0, 0, 4],
        ] {
            assert!(framer.step(&bad).is_err(), "{bad:?}");
        }
        let mut sign_in = Framer::new(Side::SignIn, 0);
        assert!(sign_in.step(&[b'Q', 0, 0, 0, 9]).is_err(), "a statement before the token");
        assert!(sign_in.step(&[b'p', 0, 1, 0, 0]).is_err(), "a token over the limit is refused unread");
        assert!(framer.step(&[b'd', 0x3f, 0xff, 0xff, 0xff]).is_ok(), "COPY data is not held, so it may be long");
    }
}
