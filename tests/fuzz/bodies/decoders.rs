//! What a client, a load balancer or a database sends is read to its exact end or not at all, and startup parameters that
//! change who somebody is never go upstream.

use bytes::{Bytes, BytesMut};
use hansard::wire::Violation;
use hansard::wire::postgres::answers::Answer;
use hansard::wire::postgres::frame::{Framer, Side, Step};
use hansard::wire::postgres::message::{self, Bind, Parse, Target};
use hansard::wire::postgres::{handshake, parameters};
use hansard::wire::proxied::{self, Proxied};

use super::frame;

/// The first byte says whose bytes the rest are.
pub fn body(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    header(rest);
    match first % 3 {
        0 => from_a_client(rest),
        1 => startup(rest),
        _ => answer(rest),
    }
}

fn from_a_client(body: &[u8]) {
    exact(body, message::query, |text| [text, &b"\0"[..]].concat());
    exact(body, message::parse, written_parse);
    exact(body, message::execute, |name| [name, &b"\0"[..], &body[body.len() - 4..]].concat());
    exact(body, message::target, |target| match target {
        Target::Statement(name) => [b"S", name.as_ref(), b"\0"].concat(),
        Target::Portal(name) => [b"P", name.as_ref(), b"\0"].concat(),
    });
    exact(body, message::bare, |()| Vec::new());
    exact(body, message::copy_fail, |()| body.to_vec());
    exact(body, handshake::password, |token| [token.reveal(), b"\0"].concat());
    exact(body, message::bind, |bind| {
        let Bind { portal, statement, values } = bind;
        let begins = [portal.as_ref(), b"\0", statement.as_ref(), b"\0"].concat();
        assert!(body.starts_with(&begins));
        let values: usize = values.iter().filter_map(|(_, value)| value.as_ref()).map(Bytes::len).sum();
        assert!(begins.len() + values + 6 <= body.len(), "more was read than there is");
        body.to_vec()
    });
    message::error_fields(&frame(b'E', body));
}

/// The header of a load balancer: nothing is said of it before it is all here, no more is waited for than there may be, and
/// what follows it changes nothing.
fn header(rest: &[u8]) {
    for bytes in [rest.to_vec(), [&proxied::SIGNATURE[..], rest].concat()] {
        let mut said = None;
        for end in 0..=bytes.len() {
            let now = proxied::header(&bytes[..end]);
            match (now, &said) {
                (Ok(Proxied::Wait(wanted)), None) => assert!(wanted > end && wanted <= proxied::MAX_HEADER),
                (now, None) => said = Some(now),
                (Ok(now), Some(before)) => assert_eq!(*before, Ok(now), "what follows a header is part of it"),
                (Err(_), Some(before)) => assert!(before.is_err(), "what follows a header breaks it"),
            }
        }
    }
}

fn written_parse(parse: &Parse) -> Vec<u8> {
    let count = u16::try_from(parse.types.len()).expect("as many as were counted").to_be_bytes();
    let types: Vec<u8> = parse.types.iter().flat_map(|oid| oid.to_be_bytes()).collect();
    [parse.name.as_ref(), b"\0", parse.text.as_ref(), b"\0", &count, &types].concat()
}

/// A decoder takes a body only if it says the same when written again, and then takes neither less nor more.
fn exact<T>(body: &[u8], decode: impl Fn(&Bytes) -> Result<T, Violation>, written: impl Fn(&T) -> Vec<u8>) {
    let Ok(value) = decode(&frame(b'?', body)) else { return };
    assert_eq!(written(&value), body, "read as something else");
    assert!(decode(&frame(b'?', &[body, b"\0"].concat())).is_err(), "a byte more is taken as well");
    if let Some((_, shorter)) = body.split_last() {
        assert!(decode(&frame(b'?', shorter)).is_err(), "a byte less is taken as well");
    }
}

fn startup(bytes: &[u8]) {
    let Ok(Some((packet, used))) = handshake::first_packet(bytes) else { return };
    assert!(used <= bytes.len() && used <= handshake::MAX_FIRST_PACKET);
    assert_eq!(handshake::first_packet(&bytes[..used]), Ok(Some((packet.clone(), used))), "what follows it counts");
    for short in [used - 1, used / 2, 3] {
        assert_eq!(handshake::first_packet(&bytes[..short]), Ok(None), "a part of it is another packet");
    }
    let handshake::FirstPacket::Startup(startup) = packet else { return };
    if let Some(negotiation) = startup.negotiation() {
        let step = Framer::new(Side::Login, 0).step(&negotiation);
        assert_eq!(step, Ok(Step::Frame { kind: b'v', len: negotiation.len() }));
    }
    let Ok(upstream) = parameters::for_upstream(&startup.parameters) else { return };
    let Ok(settings) = parameters::settings(&upstream) else { return };
    assert!(upstream.iter().all(|(name, _)| name != "user" && name != "database"));
    for (name, _) in settings {
        assert!(
            !["role", "session_authorization", "standard_conforming_strings"].contains(&name.as_str()),
            "{name} is set at startup"
        );
    }
}

/// The answer to a question of ours is the same however its bytes come.
fn answer(bytes: &[u8]) {
    const MOST: usize = 1_000;
    let taken = |chunk: usize| {
        let (mut answer, mut buffer) = (Answer::new(MOST), BytesMut::new());
        for read in bytes.chunks(chunk) {
            buffer.extend_from_slice(read);
            match answer.take(&mut buffer) {
                Ok(None) => {}
                Ok(Some(rows)) => return Ok(Some(rows)),
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(None)
    };
    let whole = taken(bytes.len().max(1));
    for chunk in [1, 3, 16] {
        assert_eq!(taken(chunk), whole, "read {chunk} bytes at a time");
    }
    let said: usize = whole.iter().flatten().flatten().flatten().flatten().map(String::len).sum();
    assert!(said <= MOST, "more than was allowed");
}
