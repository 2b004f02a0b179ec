//! Time: microseconds since 1970 UTC, given from outside.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A moment in UTC, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The moment `seconds` after 1970; far-off values stop at the ends of the range.
    pub fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Whole seconds since 1970, rounded down.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Whole days since 1970, rounded down.
    pub fn day(self) -> i64 {
        self.0.div_euclid(86_400_000_000)
    }

    /// Microseconds from `earlier` to this moment; 0 if the clock went back.
    pub fn micros_since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }

    /// The UTC day as `YYYY-MM-DD`; the name of an archive folder.
    pub fn date(self) -> String {
        self.utc().map_or_else(|| "0000-00-00".to_owned(), |utc| utc.format("%Y-%m-%d").to_string())
    }

    fn utc(self) -> Option<chrono::DateTime<chrono::Utc>> {
        chrono::DateTime::from_timestamp_micros(self.0)
    }
}

/// RFC 3339 in UTC with microseconds: `2026-11-24T09:32:46.000000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.utc() {
            Some(utc) => write!(f, "{}", utc.format("%Y-%m-%dT%H:%M:%S%.6fZ")),
            None => write!(f, "{}us", self.0),
        }
    }
}

/// Where time comes from, so that tests can set it.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_prints_in_utc_and_survives_the_ends_of_its_range() {
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000000Z");
        assert_eq!(Timestamp::from_seconds(1_795_512_766).date(), "2026-11-24");
        for end in [i64::MIN, i64::MAX] {
            assert!(!Timestamp(end).to_string().is_empty());
            assert!(!Timestamp(end).date().is_empty());
        }
    }
}
