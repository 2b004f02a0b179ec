//! What differs through Hansard, test by test, with the reason. The lists are tight: one that is not there any more fails
//! the test as one that is not named does.

/// One test of the suite whose output differs.
#[derive(Debug)]
pub(crate) struct Difference {
    /// Its name in the schedule.
    pub(crate) test: &'static str,
    /// Every line that `diff` shows as gone (`-`) or come (`+`), in order.
    pub(crate) lines: &'static [&'static str],
    /// Why it is so.
    #[expect(dead_code, reason = "for people")]
    pub(crate) reason: &'static str,
}

/// Of `pg_regress`.
pub(crate) const REGRESSION: &[Difference] = &[];

/// Of `pg_isolation_regress`.
pub(crate) const ISOLATION: &[Difference] = &[];
