//! Which days a question can concern, from its conditions on `date` and `time`: the files of other days stay unread.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Date32Array, TimestampMicrosecondArray};
use chrono::NaiveDate;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, ScalarValue};
use datafusion::physical_optimizer::pruning::PruningPredicate;

/// The column that is in a file's folder and not in the file: the UTC day of [`TIME`].
pub(super) const DATE: &str = "date";
/// The column that every dataset is sorted by.
pub(super) const TIME: &str = "time";
const DAY_US: i64 = 86_400_000_000;

/// What the archive names days by.
pub(super) fn parse(day: &str) -> Option<NaiveDate> {
    let plain = day.len() == 10 && day.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    if plain { NaiveDate::parse_from_str(day, "%Y-%m-%d").ok() } else { None }
}

/// The day as days since 1970.
pub(super) fn number(day: NaiveDate) -> i32 {
    day.to_epoch_days()
}

/// Which days a question concerns.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    /// All.
    All,
    /// Those for which the predicate may hold.
    Some(Arc<PruningPredicate>),
}

impl Wanted {
    /// Of `days`, whether each may hold rows that are asked for. In doubt it may.
    pub(super) fn of(&self, days: &[NaiveDate]) -> Vec<bool> {
        match self {
            Self::All => vec![true; days.len()],
            Self::Some(predicate) => predicate.prune(&Days(days)).unwrap_or_else(|_| vec![true; days.len()]),
        }
    }

    /// Whether the day may hold rows that are asked for.
    pub(super) fn has(&self, day: NaiveDate) -> bool {
        self.of(&[day]).first().is_none_or(|wanted| *wanted)
    }
}

/// Days as an engine prunes them: by the least and the greatest value of each column.
struct Days<'a>(&'a [NaiveDate]);

impl Days<'_> {
    fn bound(&self, column: &Column, last_microsecond: i64) -> Option<ArrayRef> {
        let days = self.0.iter().map(|day| number(*day));
        match column.name() {
            DATE => Some(Arc::new(Date32Array::from_iter_values(days))),
            TIME => {
                let times = days.map(|day| i64::from(day) * DAY_US + last_microsecond);
                Some(Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")))
            }
            _ => None,
        }
    }
}

impl PruningStatistics for Days<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bound(column, 0)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bound(column, DAY_US - 1)
    }

    fn num_containers(&self) -> usize {
        self.0.len()
    }

    fn null_counts(&self, _: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_days_as_the_archive_names_them_are_days() {
        assert_eq!(parse("1970-01-02").map(number), Some(1));
        for bad in ["", "2026-13-01", "2026-1-1", "+026-01-01", "2026-02-30", "2026-01-011"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
