//! What is wrong with a configuration: every problem at once, each with its place.
//!
//! Lines of the file are never shown: a problem may stand beside a secret that somebody wrote out.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Where a problem stands: both count from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character in that line.
    pub column: usize,
}

/// One thing to put right.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where; absent if the file as a whole is meant.
    pub at: Option<Position>,
    /// What, blame first; never a secret's value.
    pub message: String,
}

/// Every problem of one file, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    file: PathBuf,
    list: Vec<Problem>,
}

impl Problems {
    /// A file with one problem as a whole.
    pub(super) fn whole_file(file: &Path, message: String) -> Self {
        Self { file: file.to_owned(), list: vec![Problem { at: None, message }] }
    }

    /// The problems found at these bytes of `text`.
    pub(super) fn found(file: &Path, text: &str, found: Vec<(Range<usize>, String)>) -> Self {
        let mut list: Vec<Problem> = found
            .into_iter()
            .map(|(span, message)| Problem { at: Some(position(text, span.start)), message })
            .collect();
        list.sort();
        list.dedup();
        Self { file: file.to_owned(), list }
    }

    /// The problems, in the order of the file.
    pub fn list(&self) -> &[Problem] {
        &self.list
    }
}

/// One problem a line: `hansard.toml:12:5: what`.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.list.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:", self.file.display())?;
            if let Some(Position { line, column }) = problem.at {
                write!(f, "{line}:{column}:")?;
            }
            write!(f, " {}", problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

fn position(text: &str, byte: usize) -> Position {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Position {
        line: before.matches('\n').count() + 1,
        column: before.get(line_start..).unwrap_or("").chars().count() + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let text = "a\nüb = 1\n";
        assert_eq!(position(text, 0), Position { line: 1, column: 1 });
        assert_eq!(position(text, 4), Position { line: 2, column: 2 });
        assert_eq!(position(text, 999), Position { line: 3, column: 1 });
    }

    #[test]
    fn problems_print_one_a_line_in_the_order_of_the_file() {
        let found = vec![(4..5, "later".to_owned()), (0..1, "sooner".to_owned()), (0..1, "sooner".to_owned())];
        let problems = Problems::found(Path::new("x.toml"), "a\nb\nc", found);
        assert_eq!(problems.to_string(), "x.toml:1:1: sooner\nx.toml:3:1: later");
    }
}
