//! However the bytes of a connection are cut into reads, the same frames come out, and none over its limit is waited for.

use hansard::wire::Violation;
use hansard::wire::postgres::frame::{Framer, HEADER_LEN, Side, Step};

const SIDES: [Side; 4] = [Side::SignIn, Side::Client, Side::Login, Side::Server];

/// The first byte says which side and which limit, the rest is what the peer sends.
pub fn body(data: &[u8]) {
    let Some((first, sent)) = data.split_first() else { return };
    let side = SIDES[usize::from(first % 4)];
    let limit = usize::from(first >> 2) * 16;
    let whole = cut(side, limit, sent, sent.len().max(1));
    for chunk in [1, 2, 3, 5, 64] {
        assert_eq!(cut(side, limit, sent, chunk), whole, "cut into reads of {chunk} bytes");
    }
    let taken: Vec<u8> = whole.frames.concat();
    assert!(sent.starts_with(&taken), "what came out is not what went in");
}

#[derive(Debug, PartialEq, Eq)]
struct Cut {
    /// Each frame's bytes; of one that is passed on in pieces, as many as came.
    frames: Vec<Vec<u8>>,
    broken: Option<Violation>,
}

/// As the gateway drives it.
fn cut(side: Side, limit: usize, sent: &[u8], chunk: usize) -> Cut {
    let mut framer = Framer::new(side, limit);
    let (mut buffer, mut cut) = (Vec::new(), Cut { frames: Vec::new(), broken: None });
    for read in sent.chunks(chunk) {
        buffer.extend_from_slice(read);
        loop {
            let step = match framer.step(&buffer) {
                Ok(step) => step,
                Err(violation) => {
                    cut.broken = Some(violation);
                    return cut;
                }
            };
            match step {
                Step::Frame { kind, len } => {
                    let frame: Vec<u8> = buffer.drain(..len).collect();
                    assert!(frame.len() <= most(side, limit, kind) && frame.first() == Some(&kind));
                    assert!(framer.at_boundary());
                    cut.frames.push(frame);
                }
                Step::Start { kind, len } => {
                    let piece: Vec<u8> = buffer.drain(..len).collect();
                    assert!(piece.len() >= HEADER_LEN && piece.first() == Some(&kind));
                    cut.frames.push(piece);
                }
                Step::More { len } => {
                    assert!(len > 0, "a step that takes nothing is taken for ever");
                    cut.frames.last_mut().expect("more of nothing").extend(buffer.drain(..len));
                }
                Step::Wait { wanted } => {
                    assert!(wanted > buffer.len(), "it waits for what is here");
                    let kind = buffer.first().copied().unwrap_or_default();
                    assert!(wanted <= HEADER_LEN || wanted <= most(side, limit, kind), "it waits for {wanted}");
                    break;
                }
            }
        }
    }
    cut
}

/// The longest frame that may be held whole, as documented.
fn most(side: Side, limit: usize, kind: u8) -> usize {
    1 + match (side, kind) {
        (Side::SignIn, _) => 65_535,
        (Side::Login, _) => 64 << 10,
        (Side::Client, b'Q' | b'P' | b'B' | b'F') => limit,
        (Side::Client, _) => 10_000,
        (Side::Server, _) => 64 << 20,
    }
}
