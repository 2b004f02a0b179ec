//! What is wrong with a rule, and where.

use std::fmt;
use std::ops::Range;

use miette::Diagnostic;

/// Something wrong with the rules, where it stands, and what may have been meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct PolicyProblem {
    /// The file, as it was named to us.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
    /// How many characters of that line are meant; at least 1.
    pub length: usize,
    /// What is wrong: one sentence.
    pub sentence: String,
    /// What to do about it, if that can be told.
    pub suggestion: Option<String>,
}

/// `app.cedar:12:7: sentence (suggestion)`.
impl fmt::Display for PolicyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.sentence)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, " ({suggestion})"),
            None => Ok(()),
        }
    }
}

impl PolicyProblem {
    /// A problem with these bytes of a file that is about rules, such as one of tests.
    pub fn of(name: &str, text: &str, at: Range<usize>, sentence: String, suggestion: Option<String>) -> Self {
        File { name, text }.problem(at, sentence, suggestion)
    }
}

/// One file of rules, to say where in it something is.
#[derive(Debug, Clone, Copy)]
pub(super) struct File<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Its text.
    pub(super) text: &'a str,
}

impl File<'_> {
    /// Where a byte of the text stands: line and character, both from 1.
    pub(super) fn position(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..self.boundary(at)).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        (before.matches('\n').count() + 1, column)
    }

    fn boundary(&self, at: usize) -> usize {
        let mut at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }

    /// A problem with these bytes; of several lines, with the first.
    pub(super) fn problem(&self, at: Range<usize>, sentence: String, suggestion: Option<String>) -> PolicyProblem {
        let meant = self.text.get(self.boundary(at.start)..self.boundary(at.end)).unwrap_or_default();
        let length = meant.lines().next().unwrap_or_default().chars().count().max(1);
        let (line, column) = self.position(at.start);
        PolicyProblem { file: self.name.to_owned(), line, column, length, sentence, suggestion }
    }

    /// The bytes of the first `text` after `from`, for a problem; without any, those of the place.
    pub(super) fn find(&self, from: usize, text: &str) -> Range<usize> {
        let found = self.text.get(from..).and_then(|rest| rest.find(text)).map(|at| from + at);
        found.map_or(from..from, |at| at..at + text.len())
    }

    /// A problem that the rule engine found.
    pub(super) fn found(&self, problem: &(impl Diagnostic + ?Sized)) -> PolicyProblem {
        let at = span(problem);
        let sentence = problem.to_string();
        // The engine numbers rules; where the rule stands says it better.
        let plain = sentence.strip_prefix("for policy `").and_then(|rest| rest.split_once("`, "));
        let sentence = plain.map_or(sentence.as_str(), |(_, plain)| plain).to_owned();
        self.problem(at, sentence, problem.help().map(|help| help.to_string()))
    }
}

/// The bytes that the rule engine means.
pub(super) fn span(problem: &(impl Diagnostic + ?Sized)) -> Range<usize> {
    let label = problem.labels().and_then(|mut labels| labels.next());
    label.map_or(0..0, |label| label.offset()..label.offset().saturating_add(label.len()))
}
