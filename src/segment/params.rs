//! Bound values in readable form, where the type is known. What cannot be read is left to the raw bytes beside it:
//! a value is never guessed and never repaired.

use std::borrow::Cow;
use std::fmt::Write;

use chrono::{Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};

use crate::model::{Param, ParamFormat};

/// Longer binary values stay raw: their readable form may be several times as long, and one Arrow array holds 2 GiB.
const MAX_DECODED_BYTES: usize = 16 << 20;
/// `numeric` can write 131 072 digits from eight bytes; beyond this many zeros it stays raw.
const MAX_NUMERIC_PADDING: usize = 400;

const BYTEA: u32 = 17;
const NUMERIC_NAN: u16 = 0xC000;
const NUMERIC_INFINITY: u16 = 0xD000;
const NUMERIC_MINUS_INFINITY: u16 = 0xF000;
const NUMERIC_NEGATIVE: u16 = 0x4000;

/// The built-in types that bound values usually have, by identifier: that, the name, and of an array the element's
/// identifier.
const TYPES: &[(u32, &str, u32)] = &[
    (16, "bool", 0),
    (BYTEA, "bytea", 0),
    (18, "char", 0),
    (19, "name", 0),
    (20, "int8", 0),
    (21, "int2", 0),
    (23, "int4", 0),
    (25, "text", 0),
    (26, "oid", 0),
    (114, "json", 0),
    (142, "xml", 0),
    (199, "json[]", 114),
    (650, "cidr", 0),
    (700, "float4", 0),
    (701, "float8", 0),
    (705, "unknown", 0),
    (869, "inet", 0),
    (1000, "bool[]", 16),
    (1001, "bytea[]", BYTEA),
    (1003, "name[]", 19),
    (1005, "int2[]", 21),
    (1007, "int4[]", 23),
    (1009, "text[]", 25),
    (1014, "bpchar[]", 1042),
    (1015, "varchar[]", 1043),
    (1016, "int8[]", 20),
    (1021, "float4[]", 700),
    (1022, "float8[]", 701),
    (1028, "oid[]", 26),
    (1042, "bpchar", 0),
    (1043, "varchar", 0),
    (1082, "date", 0),
    (1083, "time", 0),
    (1114, "timestamp", 0),
    (1115, "timestamp[]", 1114),
    (1182, "date[]", 1082),
    (1183, "time[]", 1083),
    (1184, "timestamptz", 0),
    (1185, "timestamptz[]", 1184),
    (1186, "interval", 0),
    (1231, "numeric[]", 1700),
    (1266, "timetz", 0),
    (1700, "numeric", 0),
    (2950, "uuid", 0),
    (2951, "uuid[]", 2950),
    (3802, "jsonb", 0),
    (3807, "jsonb[]", 3802),
];

/// The name of a built-in type.
pub(super) fn type_name(oid: u32) -> Option<&'static str> {
    find(oid).map(|(_, name, _)| *name)
}

/// The value in readable form; `None` for NULL and for what cannot be read.
pub(super) fn readable(param: &Param) -> Option<Cow<'_, str>> {
    let raw = param.value.as_ref()?;
    match param.format {
        ParamFormat::Text => std::str::from_utf8(raw).ok().map(Cow::Borrowed),
        ParamFormat::Binary => binary(param.type_oid, raw).map(Cow::Owned),
    }
}

/// How many bytes the raw and the readable form may take together.
pub(super) fn size_estimate(param: &Param) -> usize {
    let raw = param.value.as_ref().map_or(0, bytes::Bytes::len);
    let readable = match param.format {
        ParamFormat::Binary if raw <= MAX_DECODED_BYTES => raw.saturating_mul(4),
        _ => raw,
    };
    raw.saturating_add(readable).saturating_add(128)
}

fn find(oid: u32) -> Option<&'static (u32, &'static str, u32)> {
    TYPES.binary_search_by_key(&oid, |(known, ..)| *known).ok().and_then(|at| TYPES.get(at))
}

fn binary(oid: u32, raw: &[u8]) -> Option<String> {
    let (_, name, element) = find(oid)?;
    match *name {
        "text" | "varchar" | "bpchar" | "name" | "char" | "json" | "xml" | "unknown" => text(raw),
        "jsonb" => raw.split_first().filter(|(version, _)| **version == 1).and_then(|(_, json)| text(json)),
        _ if raw.len() > MAX_DECODED_BYTES => None,
        _ if *element != 0 => array(*element, raw),
        "bool" => match raw {
            [0] => Some("false".to_owned()),
            [1] => Some("true".to_owned()),
            _ => None,
        },
        "int2" => fixed(raw).map(i16::from_be_bytes).map(|value| value.to_string()),
        "int4" => fixed(raw).map(i32::from_be_bytes).map(|value| value.to_string()),
        "int8" => fixed(raw).map(i64::from_be_bytes).map(|value| value.to_string()),
        "oid" => fixed(raw).map(u32::from_be_bytes).map(|value| value.to_string()),
        "float4" => {
            let value = f32::from_be_bytes(fixed(raw)?);
            Some(float(f64::from(value), value.to_string(), format!("{value:e}")))
        }
        "float8" => {
            let value = f64::from_be_bytes(fixed(raw)?);
            Some(float(value, value.to_string(), format!("{value:e}")))
        }
        "bytea" => {
            let mut printed = String::with_capacity(2 + 2 * raw.len());
            printed.push_str("\\x");
            hex(&mut printed, raw);
            Some(printed)
        }
        "uuid" => uuid(raw),
        "date" => date(i32::from_be_bytes(fixed(raw)?)),
        "time" => time(i64::from_be_bytes(fixed(raw)?)),
        "timestamp" => timestamp(i64::from_be_bytes(fixed(raw)?), ""),
        "timestamptz" => timestamp(i64::from_be_bytes(fixed(raw)?), "+00"),
        "numeric" => numeric(raw),
        _ => None,
    }
}

fn text(raw: &[u8]) -> Option<String> {
    std::str::from_utf8(raw).ok().map(str::to_owned)
}

fn fixed<const N: usize>(raw: &[u8]) -> Option<[u8; N]> {
    raw.try_into().ok()
}

/// Appends bytes as hexadecimal digits.
fn hex(to: &mut String, raw: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = raw.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    to.extend(digits.filter_map(|digit| DIGITS.get(usize::from(digit))).map(|digit| char::from(*digit)));
}

/// The server's words for what is no number, and the short form for what is very large or small.
fn float(value: f64, plain: String, short: String) -> String {
    let size = value.abs();
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity".to_owned() } else { "-Infinity".to_owned() }
    } else if value == 0.0 || (1e-5..1e15).contains(&size) {
        plain
    } else {
        short
    }
}

fn uuid(raw: &[u8]) -> Option<String> {
    let bytes: [u8; 16] = fixed(raw)?;
    let mut printed = String::with_capacity(36);
    for (at, pair) in bytes.chunks(2).enumerate() {
        if (2..=5).contains(&at) {
            printed.push('-');
        }
        hex(&mut printed, pair);
    }
    Some(printed)
}

fn epoch() -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(2000, 1, 1)
}

fn date(days: i32) -> Option<String> {
    match days {
        i32::MAX => return Some("infinity".to_owned()),
        i32::MIN => return Some("-infinity".to_owned()),
        _ => {}
    }
    let distance = Days::new(u64::from(days.unsigned_abs()));
    let day = if days < 0 { epoch()?.checked_sub_days(distance) } else { epoch()?.checked_add_days(distance) }?;
    common_era(day)?;
    Some(day.format("%Y-%m-%d").to_string())
}

fn time(micros: i64) -> Option<String> {
    const DAY: i64 = 86_400_000_000;
    if micros == DAY {
        return Some("24:00:00".to_owned());
    }
    if !(0..DAY).contains(&micros) {
        return None;
    }
    let (time, _) = NaiveTime::MIN.overflowing_add_signed(TimeDelta::microseconds(micros));
    Some(time.format(if micros % 1_000_000 == 0 { "%H:%M:%S" } else { "%H:%M:%S%.6f" }).to_string())
}

fn timestamp(micros: i64, zone: &str) -> Option<String> {
    match micros {
        i64::MAX => return Some("infinity".to_owned()),
        i64::MIN => return Some("-infinity".to_owned()),
        _ => {}
    }
    let start = NaiveDateTime::new(epoch()?, NaiveTime::MIN);
    let moment = start.checked_add_signed(TimeDelta::microseconds(micros))?;
    common_era(moment.date())?;
    let form = if micros % 1_000_000 == 0 { "%Y-%m-%d %H:%M:%S" } else { "%Y-%m-%d %H:%M:%S%.6f" };
    Some(format!("{}{zone}", moment.format(form)))
}

/// Years that the server would print with BC, or with a sign here, stay raw.
fn common_era(day: NaiveDate) -> Option<()> {
    (1..=9999).contains(&chrono::Datelike::year(&day)).then_some(())
}

/// Reads big-endian fields off the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn int(&mut self) -> Option<i32> {
        self.next().map(i32::from_be_bytes)
    }

    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

/// Digits of base 10 000, most significant first; `weight` is the place of the first.
fn numeric(raw: &[u8]) -> Option<String> {
    let mut fields = Fields(raw);
    let count = usize::try_from(i16::from_be_bytes(fields.next()?)).ok()?;
    let weight = i32::from(i16::from_be_bytes(fields.next()?));
    let sign = u16::from_be_bytes(fields.next()?);
    let scale = usize::try_from(i16::from_be_bytes(fields.next()?)).ok()?;
    match sign {
        NUMERIC_NAN => return Some("NaN".to_owned()),
        NUMERIC_INFINITY => return Some("Infinity".to_owned()),
        NUMERIC_MINUS_INFINITY => return Some("-Infinity".to_owned()),
        0 | NUMERIC_NEGATIVE => {}
        _ => return None,
    }
    let digits: Vec<i16> = (0..count).map(|_| fields.next().map(i16::from_be_bytes)).collect::<Option<_>>()?;
    if !fields.0.is_empty() || digits.iter().any(|digit| !(0..10_000).contains(digit)) {
        return None;
    }
    let groups = usize::try_from(weight.saturating_add(1)).unwrap_or(0);
    let longest = digits.len().saturating_mul(4).saturating_add(MAX_NUMERIC_PADDING);
    if groups.saturating_mul(4) > longest || scale > longest {
        return None;
    }
    let digit_at = |place: i32| {
        usize::try_from(weight.saturating_sub(place)).ok().and_then(|at| digits.get(at)).copied().unwrap_or(0)
    };
    let mut whole = String::new();
    for place in (0..=weight).rev() {
        write!(whole, "{:04}", digit_at(place)).ok()?;
    }
    let whole = whole.trim_start_matches('0');
    let mut fraction = String::new();
    let mut place = -1;
    while fraction.len() < scale {
        write!(fraction, "{:04}", digit_at(place)).ok()?;
        place -= 1;
    }
    fraction.truncate(scale);
    let minus = if sign == NUMERIC_NEGATIVE { "-" } else { "" };
    let point = if scale > 0 { "." } else { "" };
    Some(format!("{minus}{}{point}{fraction}", if whole.is_empty() { "0" } else { whole }))
}

/// One dimension in the server's form: `{1,NULL,"a b"}`.
fn array(element: u32, raw: &[u8]) -> Option<String> {
    let mut fields = Fields(raw);
    let dimensions = fields.int()?;
    let _flags = fields.int()?;
    if fields.next().map(u32::from_be_bytes)? != element {
        return None;
    }
    if dimensions == 0 {
        return Some("{}".to_owned());
    }
    let length = fields.int()?;
    let lower_bound = fields.int()?;
    if dimensions != 1 || lower_bound != 1 {
        return None;
    }
    let mut printed = String::from("{");
    for at in 0..length {
        if at > 0 {
            printed.push(',');
        }
        match fields.int()? {
            -1 => printed.push_str("NULL"),
            size => quote(&mut printed, &binary(element, fields.bytes(usize::try_from(size).ok()?)?)?),
        }
    }
    printed.push('}');
    fields.0.is_empty().then_some(printed)
}

fn quote(into: &mut String, value: &str) {
    let plain = !value.is_empty()
        && !value.eq_ignore_ascii_case("null")
        && !value.contains(|c: char| matches!(c, '{' | '}' | ',' | '"' | '\\') || c.is_ascii_whitespace());
    if plain {
        into.push_str(value);
        return;
    }
    into.push('"');
    for c in value.chars() {
        if matches!(c, '"' | '\\') {
            into.push('\\');
        }
        into.push(c);
    }
    into.push('"');
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn read(oid: u32, raw: &[u8]) -> Option<String> {
        let param = Param { type_oid: oid, format: ParamFormat::Binary, value: Some(Bytes::copy_from_slice(raw)) };
        readable(&param).map(Cow::into_owned)
    }

    fn number(digits: &[i16], weight: i16, sign: u16, scale: i16) -> Vec<u8> {
        let mut raw = Vec::new();
        raw.extend(i16::try_from(digits.len()).unwrap().to_be_bytes());
        raw.extend(weight.to_be_bytes());
        raw.extend(sign.to_be_bytes());
        raw.extend(scale.to_be_bytes());
        digits.iter().for_each(|digit| raw.extend(digit.to_be_bytes()));
        raw
    }

    #[test]
    fn binary_values_print_as_the_server_prints_them() {
        let day: i64 = 86_400_000_000;
        for (oid, raw, want) in [
            (16, vec![1], "true"),
            (21, vec![0xff, 0xfe], "-2"),
            (23, 42_i32.to_be_bytes().to_vec(), "42"),
            (20, i64::MIN.to_be_bytes().to_vec(), "-9223372036854775808"),
            (26, u32::MAX.to_be_bytes().to_vec(), "4294967295"),
            (700, 0.1_f32.to_be_bytes().to_vec(), "0.1"),
            (701, 1e300_f64.to_be_bytes().to_vec(), "1e300"),
            (701, f64::NEG_INFINITY.to_be_bytes().to_vec(), "-Infinity"),
            (25, b"caf\xc3\xa9".to_vec(), "café"),
            (17, vec![0, 0xab], "\\x00ab"),
            (2950, (0..16).collect(), "00010203-0405-0607-0809-0a0b0c0d0e0f"),
            (1082, (-1_i32).to_be_bytes().to_vec(), "1999-12-31"),
            (1082, i32::MAX.to_be_bytes().to_vec(), "infinity"),
            (1083, day.to_be_bytes().to_vec(), "24:00:00"),
            (1083, 1_i64.to_be_bytes().to_vec(), "00:00:00.000001"),
            (1114, 0_i64.to_be_bytes().to_vec(), "2000-01-01 00:00:00"),
            (1184, (-1_i64).to_be_bytes().to_vec(), "1999-12-31 23:59:59.999999+00"),
            (3802, b"\x01{\"a\":1}".to_vec(), "{\"a\":1}"),
            (1700, number(&[1, 2345, 6700], 1, 0, 2), "12345.67"),
            (1700, number(&[5], -2, NUMERIC_NEGATIVE, 8), "-0.00000005"),
            (1700, number(&[1], 2, 0, 0), "100000000"),
            (1700, number(&[], 0, 0, 3), "0.000"),
            (1700, number(&[], 0, NUMERIC_NAN, 0), "NaN"),
        ] {
            assert_eq!(read(oid, &raw).as_deref(), Some(want), "type {oid}");
        }
    }

    #[test]
    fn an_array_prints_with_the_servers_quotes() {
        let mut raw = Vec::new();
        for field in [1, 1, 25, 3, 1] {
            raw.extend(i32::to_be_bytes(field));
        }
        raw.extend(4_i32.to_be_bytes());
        raw.extend(b"a\"b ");
        raw.extend((-1_i32).to_be_bytes());
        raw.extend(4_i32.to_be_bytes());
        raw.extend(b"null");
        assert_eq!(read(1009, &raw).as_deref(), Some(r#"{"a\"b ",NULL,"null"}"#));
        raw.push(0);
        assert_eq!(read(1009, &raw), None, "bytes left over");
    }

    #[test]
    fn what_cannot_be_read_is_null_and_never_a_guess() {
        for (oid, raw) in [
            (0, vec![1]),
            (23, vec![1]),
            (16, vec![2]),
            (25, vec![0xff]),
            (1082, (i32::MAX - 1).to_be_bytes().to_vec()),
            (1114, (i64::MAX - 1).to_be_bytes().to_vec()),
            (1700, number(&[10_000], 0, 0, 0)),
            (1700, number(&[1], 30_000, 0, 0)),
            (1700, vec![0, 9, 0, 0]),
            (1007, vec![0; 20]),
            (1186, vec![0; 16]),
        ] {
            assert_eq!(read(oid, &raw), None, "type {oid}");
        }
    }

    #[test]
    fn text_values_are_as_sent_and_null_is_null() {
        let text = Param { type_oid: 0, format: ParamFormat::Text, value: Some(Bytes::from_static(b"x'y")) };
        assert_eq!(readable(&text).as_deref(), Some("x'y"));
        assert_eq!(readable(&Param { value: None, ..text }), None);
    }

    #[test]
    fn no_bytes_make_the_reader_fail_or_swell() {
        let mut seed = 7_u64;
        for (oid, ..) in TYPES {
            for length in 0..60 {
                let raw: Vec<u8> = (0..length)
                    .map(|_| {
                        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        if seed >> 63 == 0 { 0 } else { seed.to_be_bytes()[2] }
                    })
                    .collect();
                let longest = 64 + MAX_NUMERIC_PADDING * 2 + 40 * raw.len();
                assert!(read(*oid, &raw).is_none_or(|printed| printed.len() <= longest), "type {oid}");
            }
        }
    }
}
