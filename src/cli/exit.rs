//! Exit codes: part of the public interface, so that scripts can tell what happened.

use std::process::ExitCode;

/// How a command ended. The numbers are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done; of a proof: proven.
    Done = 0,
    /// Something failed that nobody planned for.
    Unexpected = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// The configuration or the rules are invalid.
    Invalid = 3,
    /// No valid sign-in.
    SignInNeeded = 4,
    /// A good identity that may not do this.
    Forbidden = 5,
    /// There is no such thing.
    NotFound = 6,
    /// A dependency cannot be reached; trying again may help.
    DependencyAway = 7,
    /// The check ran and found something.
    Found = 8,
    /// Evidence contradicts itself.
    Contradiction = 9,
    /// Evidence is incomplete; nothing can be concluded.
    Incomplete = 10,
}

/// The table for people, as help shows it.
pub const TABLE: &str = "\
Exit codes:
   0  done; of a proof: proven
   1  unexpected failure
   2  wrong usage
   3  configuration or rules invalid
   4  sign-in needed
   5  forbidden for this identity
   6  not found
   7  a dependency cannot be reached; trying again may help
   8  the check ran and found something
   9  evidence contradicts itself
  10  evidence incomplete, no conclusion";

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lists_every_code_in_order() {
        let all = [
            Exit::Done,
            Exit::Unexpected,
            Exit::Usage,
            Exit::Invalid,
            Exit::SignInNeeded,
            Exit::Forbidden,
            Exit::NotFound,
            Exit::DependencyAway,
            Exit::Found,
            Exit::Contradiction,
            Exit::Incomplete,
        ];
        let listed: Vec<u8> =
            TABLE.lines().skip(1).map(|line| line.split_whitespace().next().unwrap().parse().unwrap()).collect();
        assert_eq!(listed, all.map(Exit::code));
    }
}
