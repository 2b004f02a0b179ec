//! Deterministic CBOR (RFC 8949 §4.2.1), as much as rows need: written in one way, and read in that way only.
//!
//! No floating point, no tags, no indefinite lengths, unsigned integers as keys. Our own hundred lines, because the
//! general encoders around leave the rules of §4.2.1 to their callers, and a reader must refuse what breaks them.

use super::canonical::{Fields, NotCanonical, Value};

/// Lists of structs are two levels deep, with the row four; the rest is room. Without a bound, hostile bytes overflow
/// the stack.
pub(super) const MAX_DEPTH: usize = 16;

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;
const NULL: u8 = 0xf6;

/// Type and argument in the shortest form.
#[inline]
fn head(to: &mut Vec<u8>, kind: u8, argument: u64) {
    let kind = kind << 5;
    let [a, b, c, d, e, f, g, h] = argument.to_be_bytes();
    match argument {
        0..=23 => to.push(kind | h),
        24..=0xff => to.extend_from_slice(&[kind | 24, h]),
        0x100..=0xffff => to.extend_from_slice(&[kind | 25, g, h]),
        0x1_0000..=0xffff_ffff => to.extend_from_slice(&[kind | 26, e, f, g, h]),
        _ => to.extend_from_slice(&[kind | 27, a, b, c, d, e, f, g, h]),
    }
}

pub(super) fn array(to: &mut Vec<u8>, length: usize) {
    head(to, ARRAY, length as u64);
}

pub(super) fn map(to: &mut Vec<u8>, length: usize) {
    head(to, MAP, length as u64);
}

pub(super) fn key(to: &mut Vec<u8>, key: u64) {
    head(to, UNSIGNED, key);
}

pub(super) fn null(to: &mut Vec<u8>) {
    to.push(NULL);
}

pub(super) fn flag(to: &mut Vec<u8>, flag: bool) {
    to.push(if flag { TRUE } else { FALSE });
}

/// −1 − n is encoded as n, which is the complement.
pub(super) fn number(to: &mut Vec<u8>, number: i64) {
    match u64::try_from(number) {
        Ok(number) => head(to, UNSIGNED, number),
        Err(_) => head(to, NEGATIVE, (!number).unsigned_abs()),
    }
}

pub(super) fn text(to: &mut Vec<u8>, text: &str) {
    head(to, TEXT, text.len() as u64);
    to.extend_from_slice(text.as_bytes());
}

pub(super) fn bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    head(to, BYTES, bytes.len() as u64);
    to.extend_from_slice(bytes);
}

pub(super) fn fields(to: &mut Vec<u8>, fields: &Fields<'_>) {
    let fields = fields.iter();
    map(to, fields.len());
    for (number, field) in fields {
        key(to, number);
        value(to, field);
    }
}

pub(super) fn value(to: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Null => null(to),
        Value::Bool(is) => flag(to, *is),
        Value::Int(integer) => number(to, *integer),
        Value::Text(words) => text(to, words),
        Value::Bytes(blob) => bytes(to, blob),
        Value::List(values) => {
            array(to, values.len());
            values.iter().for_each(|element| self::value(to, element));
        }
        Value::Map(map) => fields(to, map),
    }
}

/// Reads exactly one value.
pub(super) fn read(bytes: &[u8]) -> Result<Value<'_>, NotCanonical> {
    let mut reader = Reader { bytes, at: 0 };
    let value = reader.value(0)?;
    if reader.at == bytes.len() { Ok(value) } else { Err(NotCanonical::Follows(reader.at)) }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: u64) -> Result<&'a [u8], NotCanonical> {
        let end = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length));
        let taken = end.and_then(|end| self.bytes.get(self.at..end)).ok_or(NotCanonical::Ends)?;
        self.at += taken.len();
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, NotCanonical> {
        self.take(1)?.first().copied().ok_or(NotCanonical::Ends)
    }

    /// The argument that a first byte announces, if it could not be written shorter.
    fn argument(&mut self, first: u8, start: usize) -> Result<u64, NotCanonical> {
        let short = first & 0x1f;
        let (length, least) = match short {
            0..=23 => return Ok(u64::from(short)),
            24 => (1, 24),
            25 => (2, 0x100),
            26 => (4, 0x1_0000),
            27 => (8, 0x1_0000_0000),
            _ => return Err(NotCanonical::Form(start)),
        };
        let argument = self.take(length)?.iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
        if argument < least { Err(NotCanonical::Form(start)) } else { Ok(argument) }
    }

    fn value(&mut self, depth: usize) -> Result<Value<'a>, NotCanonical> {
        if depth >= MAX_DEPTH {
            return Err(NotCanonical::Deep);
        }
        let start = self.at;
        let first = self.byte()?;
        match first {
            NULL => return Ok(Value::Null),
            FALSE => return Ok(Value::Bool(false)),
            TRUE => return Ok(Value::Bool(true)),
            _ => {}
        }
        let argument = self.argument(first, start)?;
        match first >> 5 {
            UNSIGNED => i64::try_from(argument).map(Value::Int).or(Err(NotCanonical::Form(start))),
            NEGATIVE => i64::try_from(argument).map(|number| Value::Int(!number)).or(Err(NotCanonical::Form(start))),
            BYTES => self.take(argument).map(Value::Bytes),
            TEXT => {
                let bytes = self.take(argument)?;
                std::str::from_utf8(bytes).map(Value::Text).or(Err(NotCanonical::Form(start)))
            }
            ARRAY => {
                let mut values = Vec::new();
                for _ in 0..argument {
                    values.push(self.value(depth + 1)?);
                }
                Ok(Value::List(values))
            }
            MAP => self.map(argument, depth),
            _ => Err(NotCanonical::Form(start)),
        }
    }

    fn map(&mut self, length: u64, depth: usize) -> Result<Value<'a>, NotCanonical> {
        let mut fields: Vec<(u64, Value<'a>)> = Vec::new();
        for _ in 0..length {
            let start = self.at;
            let first = self.byte()?;
            if first >> 5 != UNSIGNED {
                return Err(NotCanonical::Form(start));
            }
            let key = self.argument(first, start)?;
            if fields.last().is_some_and(|(before, _)| *before >= key) {
                return Err(NotCanonical::Form(start));
            }
            match self.value(depth + 1)? {
                Value::Null => return Err(NotCanonical::Form(start)),
                value => fields.push((key, value)),
            }
        }
        Fields::new(fields).map(Value::Map).or(Err(NotCanonical::Form(self.at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(of: &Value<'_>) -> String {
        let mut bytes = Vec::new();
        value(&mut bytes, of);
        assert_eq!(read(&bytes).as_ref(), Ok(of));
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn values_are_written_as_the_examples_of_rfc_8949_appendix_a() {
        for (number, bytes) in [
            (0, "00"),
            (1, "01"),
            (10, "0a"),
            (23, "17"),
            (24, "1818"),
            (25, "1819"),
            (100, "1864"),
            (1_000, "1903e8"),
            (1_000_000, "1a000f4240"),
            (1_000_000_000_000, "1b000000e8d4a51000"),
            (i64::MAX, "1b7fffffffffffffff"),
            (-1, "20"),
            (-10, "29"),
            (-100, "3863"),
            (-1_000, "3903e7"),
            (i64::MIN, "3b7fffffffffffffff"),
        ] {
            assert_eq!(written(&Value::Int(number)), bytes);
        }
        assert_eq!(written(&Value::Bool(false)), "f4");
        assert_eq!(written(&Value::Bool(true)), "f5");
        assert_eq!(written(&Value::Null), "f6");
        assert_eq!(written(&Value::Bytes(&[])), "40");
        assert_eq!(written(&Value::Bytes(&[1, 2, 3, 4])), "4401020304");
        assert_eq!(written(&Value::Text("")), "60");
        assert_eq!(written(&Value::Text("\u{fc}")), "62c3bc");
        assert_eq!(written(&Value::Text("\u{10151}")), "64f0908591");
        let numbers = |to| (1..=to).map(Value::Int).collect();
        assert_eq!(written(&Value::List(vec![])), "80");
        assert_eq!(written(&Value::List(numbers(25))), "98190102030405060708090a0b0c0d0e0f101112131415161718181819");
        let map = Fields::new(vec![(1, Value::Int(2)), (3, Value::Int(4))]).unwrap();
        assert_eq!(written(&Value::Map(map)), "a201020304");
    }

    #[test]
    fn what_could_be_written_in_another_way_is_refused() {
        let cases: [(&[u8], NotCanonical); 18] = [
            (&[], NotCanonical::Ends),
            (&[0x18], NotCanonical::Ends),
            (&[0x62, b'a'], NotCanonical::Ends),
            (&[0x9b, 255, 255, 255, 255, 255, 255, 255, 255], NotCanonical::Ends),
            (&[0x5b, 255, 255, 255, 255, 255, 255, 255, 255], NotCanonical::Ends),
            (&[0x00, 0x00], NotCanonical::Follows(1)),
            (&[0x18, 23], NotCanonical::Form(0)),
            (&[0x81, 0x19, 0, 255], NotCanonical::Form(1)),
            (&[0x1a, 0, 0, 255, 255], NotCanonical::Form(0)),
            (&[0x1b, 0, 0, 0, 0, 255, 255, 255, 255], NotCanonical::Form(0)),
            (&[0x1b, 128, 0, 0, 0, 0, 0, 0, 0], NotCanonical::Form(0)),
            (&[0x9f, 0xff], NotCanonical::Form(0)),
            (&[0x61, 0xff], NotCanonical::Form(0)),
            (&[0xc0, 0x00], NotCanonical::Form(0)),
            (&[0xf9, 0, 0], NotCanonical::Form(0)),
            (&[0xa2, 2, 0, 1, 0], NotCanonical::Form(3)),
            (&[0xa1, 0x61, b'a', 0], NotCanonical::Form(1)),
            (&[0xa1, 1, 0xf6], NotCanonical::Form(1)),
        ];
        for (bytes, problem) in cases {
            assert_eq!(read(bytes), Err(problem), "{bytes:02x?}");
        }
        assert_eq!(read(&[0xf7]), Err(NotCanonical::Form(0)), "undefined");
        assert_eq!(read(&[0xf8, 32]), Err(NotCanonical::Form(0)), "other simple values");
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| [vec![0x81; depth], vec![0x00]].concat();
        assert!(read(&nested(MAX_DEPTH - 1)).is_ok());
        assert_eq!(read(&nested(MAX_DEPTH)), Err(NotCanonical::Deep));
        assert_eq!(read(&nested(1 << 20)), Err(NotCanonical::Deep));
    }
}
