//! What is wrong with a rule, and where.

use std::fmt;

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

/// One file of rules, to say where in it something is.
#[derive(Debug, Clone, Copy)]
pub(super) struct File<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Its text.
    pub(super) text: &'a str,
}

impl File<'_> {
    /// A problem at an offset in bytes.
    pub(super) fn problem(&self, at: usize, sentence: String, suggestion: Option<String>) -> PolicyProblem {
        let mut at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        let before = self.text.get(..at).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        PolicyProblem {
            file: self.name.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            sentence,
            suggestion,
        }
    }

    /// A problem that the rule engine found.
    pub(super) fn found(&self, problem: &(impl Diagnostic + ?Sized)) -> PolicyProblem {
        let at = problem.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset());
        let sentence = problem.to_string();
        // The engine numbers rules; where the rule stands says it better.
        let plain = sentence.strip_prefix("for policy `").and_then(|rest| rest.split_once("`, "));
        let sentence = plain.map_or(sentence.as_str(), |(_, plain)| plain).to_owned();
        self.problem(at, sentence, problem.help().map(|help| help.to_string()))
    }
}
