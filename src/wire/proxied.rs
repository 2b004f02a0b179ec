//! The header in front of a connection by which a load balancer says whose it is: the PROXY protocol, version 2 (HAProxy's
//! `doc/proxy-protocol.txt`, §2.2).
//!
//! Promises: nothing of what follows the header is looked at; what is no such header is known as soon as one byte shows it;
//! addresses are taken where they are those of a client over TCP, and in every other form that the protocol knows the
//! connection is the balancer's own. What comes after the addresses (TLVs, a checksum among them) is skipped.
//!
//! Our own reader because it is smaller than its use of one: `ppp` 2.3, the crate that is kept up, is three thousand lines
//! with the text form that we refuse and a writer, finds its way by indexing and copies Unix paths.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Violation;

/// The longest header that is read. The addresses take 216 bytes at most and what clouds add some tens; a balancer that ends
/// TLS may add what a client's certificate says.
pub const MAX_HEADER: usize = 4_096;
/// What every header begins with.
pub const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// What one of version 1 begins with.
pub const VERSION_1: &[u8; 6] = b"PROXY ";

/// Signature, version and command, family, and the length of the rest.
const FIXED: usize = 16;

/// What is known of a header by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxied {
    /// It is not all here: it has so many bytes at least. More than these must not be read.
    Wait(usize),
    /// It is all here and says that the connection is this client's.
    By(SocketAddr),
    /// It is all here, and the connection is the balancer's own, or nothing is said of its client that has an address.
    Itself,
}

/// Reads the header that a connection begins with.
///
/// # Errors
///
/// It is none of version 2, longer than [`MAX_HEADER`], or contradicts itself.
pub fn header(bytes: &[u8]) -> Result<Proxied, Violation> {
    if VERSION_1.iter().zip(bytes).all(|(wanted, found)| wanted == found) && !bytes.is_empty() {
        return Err(Violation("a header of the PROXY protocol in its first version, and only the second is read"));
    }
    if !SIGNATURE.iter().zip(bytes).all(|(wanted, found)| wanted == found) {
        return Err(Violation("no header of the PROXY protocol"));
    }
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else { return Ok(Proxied::Wait(FIXED)) };
    let [.., version_and_command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if FIXED + length > MAX_HEADER {
        return Err(Violation("a header of the PROXY protocol that is longer than 4,096 bytes"));
    }
    let is_local = match version_and_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Violation("a header of the PROXY protocol of an unknown version or command")),
    };
    let (is_tcp, addresses) = match (family >> 4, family & 0xf) {
        (0x0..=0x3, 0x0) | (0x0, 0x1 | 0x2) => (false, 0),
        (0x1, transport @ (0x1 | 0x2)) => (transport == 0x1, 12),
        (0x2, transport @ (0x1 | 0x2)) => (transport == 0x1, 36),
        (0x3, 0x1 | 0x2) => (false, 216),
        _ => return Err(Violation("a header of the PROXY protocol of an unknown family or transport")),
    };
    if !is_local && length < addresses {
        return Err(Violation("a header of the PROXY protocol without room for its addresses"));
    }
    let Some(said) = rest.get(..length) else { return Ok(Proxied::Wait(FIXED + length)) };
    if is_local || !is_tcp {
        return Ok(Proxied::Itself);
    }
    let client = if addresses == 12 { v4(said) } else { v6(said) };
    client.map(Proxied::By).ok_or(Violation("a header of the PROXY protocol without room for its addresses"))
}

/// The source of both: addresses of source and destination, then their ports.
fn v4(said: &[u8]) -> Option<SocketAddr> {
    let (source, rest) = said.split_first_chunk::<4>()?;
    let (_, ports) = rest.split_first_chunk::<4>()?;
    Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(*source)), u16::from_be_bytes(*ports.first_chunk()?)))
}

fn v6(said: &[u8]) -> Option<SocketAddr> {
    let (source, rest) = said.split_first_chunk::<16>()?;
    let (_, ports) = rest.split_first_chunk::<16>()?;
    Some(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(*source)), u16::from_be_bytes(*ports.first_chunk()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(version_and_command: u8, family: u8, said: &[u8]) -> Vec<u8> {
        let length = u16::try_from(said.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[version_and_command, family], &length, said].concat()
    }

    /// From 192.0.2.7:40000 to 198.51.100.1:5432.
    const V4: &[u8] = &[192, 0, 2, 7, 198, 51, 100, 1, 0x9c, 0x40, 0x15, 0x38];

    fn v6_addresses() -> Vec<u8> {
        let source: Ipv6Addr = "2001:db8::7".parse().unwrap();
        [&source.octets()[..], &[0; 16], &[0x9c, 0x40], &[0x15, 0x38]].concat()
    }

    #[test]
    fn a_client_over_tcp_is_the_one_that_is_named() {
        assert_eq!(header(&made(0x21, 0x11, V4)), Ok(Proxied::By("192.0.2.7:40000".parse().unwrap())));
        assert_eq!(header(&made(0x21, 0x21, &v6_addresses())), Ok(Proxied::By("[2001:db8::7]:40000".parse().unwrap())));
    }

    #[test]
    fn what_comes_after_the_addresses_is_skipped_whatever_it_is() {
        let tlv: &[u8] = &[0x05, 0, 3, b'a', b'b', b'c'];
        for more in [tlv, &[0xff; 100], &[0x01, 0xff, 0xff]] {
            let long = made(0x21, 0x11, &[V4, more].concat());
            assert_eq!(header(&long), Ok(Proxied::By("192.0.2.7:40000".parse().unwrap())), "{more:?}");
            assert_eq!(header(&[&long[..], b"what follows"].concat()), header(&long));
        }
    }

    #[test]
    fn every_other_form_is_the_balancers_own_connection() {
        for (what, bytes) in [
            ("LOCAL", made(0x20, 0x00, b"")),
            ("LOCAL with addresses", made(0x20, 0x11, V4)),
            ("LOCAL with less than its addresses", made(0x20, 0x11, b"x")),
            ("nobody", made(0x21, 0x00, b"")),
            ("nobody, with something", made(0x21, 0x00, V4)),
            ("an address without transport", made(0x21, 0x10, V4)),
            ("UDP", made(0x21, 0x12, V4)),
            ("UDP over IPv6", made(0x21, 0x22, &v6_addresses())),
            ("a Unix socket", made(0x21, 0x31, &[0; 216])),
            ("a Unix socket of datagrams", made(0x21, 0x32, &[0; 216])),
        ] {
            assert_eq!(header(&bytes), Ok(Proxied::Itself), "{what}");
        }
    }

    #[test]
    fn a_header_cut_short_waits_for_its_rest_and_for_no_more() {
        for whole in [made(0x21, 0x11, V4), made(0x21, 0x21, &v6_addresses()), made(0x20, 0, b"12345")] {
            for end in 0..whole.len() {
                let wanted = if end < FIXED { FIXED } else { whole.len() };
                assert_eq!(header(&whole[..end]), Ok(Proxied::Wait(wanted)), "{end}");
            }
            assert!(!matches!(header(&whole), Ok(Proxied::Wait(_))));
        }
    }

    #[test]
    fn what_is_malformed_oversize_or_of_another_version_is_refused_at_the_first_byte_that_shows_it() {
        for (what, bytes) in [
            ("version 1", b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 5432\r\n".to_vec()),
            ("the beginning of version 1", b"PRO".to_vec()),
            ("a request for TLS", vec![0, 0, 0, 8, 4, 210, 22, 47]),
            ("its first byte", vec![0]),
            ("TLS", vec![0x16, 3, 1]),
            ("a signature with a flaw", b"\r\n\r\n\0\r\nQUIX".to_vec()),
            ("version 3", made(0x31, 0x11, V4)),
            ("an unknown command", made(0x22, 0x11, V4)),
            ("an unknown family", made(0x21, 0x41, V4)),
            ("an unknown transport", made(0x21, 0x13, V4)),
            ("an unknown family, LOCAL", made(0x20, 0xf0, b"")),
            ("IPv4 without its last byte", made(0x21, 0x11, &V4[..11])),
            ("IPv6 with IPv4's length", made(0x21, 0x21, V4)),
            ("a Unix socket with a short path", made(0x21, 0x31, &[0; 215])),
            ("nothing where addresses are due", made(0x21, 0x11, b"")),
            ("4,097 bytes", made(0x21, 0x11, &[0; MAX_HEADER - FIXED + 1])),
            ("65,551 bytes", made(0x21, 0x11, &[0; 65_535])),
        ] {
            assert!(header(&bytes).is_err(), "{what}");
            // What is too long is refused before it is read.
            assert!(header(bytes.get(..FIXED).unwrap_or(&bytes)).is_err(), "{what}, by its beginning");
        }
        assert_eq!(header(&made(0x21, 0x11, &[V4, &[0; MAX_HEADER - FIXED - 12]].concat())).map(drop), Ok(()));
    }
}
