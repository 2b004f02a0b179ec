//! Numbers that carry their unit: durations (`"90m"`), sizes (`"64MiB"`), shares (`"80%"`).
//!
//! A bare number is an error: nobody should have to guess whether 60 means seconds or minutes.

use std::time::Duration;

use super::reading::TextValue;

const DURATIONS: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZES: &[(&str, u64)] = &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// A duration as written: a whole number and one of `ms s m h d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Age(pub(super) Duration);

impl TextValue for Age {
    const EXPECTED: &'static str = "a duration with its unit (ms, s, m, h, d), such as \"60s\"";
    const PATTERN: &'static str = "^[0-9]+(ms|s|m|h|d)$";

    fn parse(text: &str) -> Option<Self> {
        Some(Self(Duration::from_millis(number_with_unit(text, DURATIONS)?)))
    }
}

/// A duration as configuration writes it; nothing if the text is none.
pub fn duration(text: &str) -> Option<Duration> {
    Age::parse(text).map(|Age(duration)| duration)
}

/// A size as written: a whole number and one of `B KiB MiB GiB TiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

impl TextValue for Size {
    const EXPECTED: &'static str = "a size with its unit (B, KiB, MiB, GiB, TiB), such as \"64MiB\"";
    const PATTERN: &'static str = "^[0-9]+(B|KiB|MiB|GiB|TiB)$";

    fn parse(text: &str) -> Option<Self> {
        number_with_unit(text, SIZES).map(Self)
    }
}

/// A share as written: `"1%"` to `"99%"`, so that there is always something on either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Percent(pub(super) u8);

impl TextValue for Percent {
    const EXPECTED: &'static str = "a share from \"1%\" to \"99%\"";
    const PATTERN: &'static str = "^[1-9][0-9]?%$";

    fn parse(text: &str) -> Option<Self> {
        let number = digits(text.strip_suffix('%')?)?;
        u8::try_from(number).ok().filter(|share| (1..=99).contains(share)).map(Self)
    }
}

fn number_with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let unit_start = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(unit_start)?;
    let (_, worth) = units.iter().find(|(name, _)| *name == unit)?;
    digits(number)?.checked_mul(*worth)
}

/// A number of ASCII digits only: `parse` alone would also take a sign.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The duration in the largest unit that holds it whole.
pub(super) fn duration_text(duration: Duration) -> String {
    text_in(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), DURATIONS)
}

/// The size in the largest unit that holds it whole.
pub(super) fn size_text(bytes: u64) -> String {
    text_in(bytes, SIZES)
}

fn text_in(amount: u64, units: &[(&str, u64)]) -> String {
    let whole = units.iter().rev().find(|(_, worth)| amount >= *worth && amount.is_multiple_of(*worth));
    let (unit, worth) = whole.or(units.first()).copied().unwrap_or(("", 1));
    format!("{}{unit}", amount / worth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_read_with_their_units_and_print_the_same() {
        for (text, millis) in
            [("250ms", 250), ("60s", 60_000), ("90m", 5_400_000), ("8h", 28_800_000), ("7d", 604_800_000)]
        {
            assert_eq!(Age::parse(text), Some(Age(Duration::from_millis(millis))), "{text}");
        }
        for (text, bytes) in [("1B", 1), ("3KiB", 3 << 10), ("64MiB", 64 << 20), ("10GiB", 10 << 30), ("2TiB", 2 << 40)]
        {
            assert_eq!(Size::parse(text), Some(Size(bytes)), "{text}");
            assert_eq!(size_text(bytes), text);
        }
        assert_eq!(duration_text(Duration::from_secs(5_400)), "90m");
        assert_eq!(duration_text(Duration::ZERO), "0ms");
    }

    #[test]
    fn a_number_without_a_known_unit_is_no_duration_and_no_size() {
        for bad in ["", "60", "s", "-1s", "+1s", "1.5h", "60 s", "1w", "99999999999999999999s", "18446744073709551615d"]
        {
            assert_eq!(Age::parse(bad), None, "{bad}");
        }
        for bad in ["", "64", "MiB", "64MB", "64mib", "64 MiB", "18446744073709551615TiB"] {
            assert_eq!(Size::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_share_leaves_room_on_both_sides() {
        assert_eq!(Percent::parse("80%"), Some(Percent(80)));
        for bad in ["0%", "100%", "80", "%", "+8%", "8.5%"] {
            assert_eq!(Percent::parse(bad), None, "{bad}");
        }
    }
}
