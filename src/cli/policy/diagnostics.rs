//! What is wrong with a text, as a compiler shows it: the sentence, the place, the line, and a caret under what is meant.
//!
//! Rules and their tests may come from anywhere, so what a terminal would act on is shown instead.

use super::super::render::{Lines, shown};
use crate::policy::PolicyProblem;

/// The most characters of a line that are shown.
const WIDTH: usize = 120;
/// Of a longer line, so many before what is meant.
const BEFORE: usize = 40;

/// Whether it must be put right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Severity {
    Error,
    Warning,
}

impl Severity {
    /// The word.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A problem with its line of these files, if it is one of theirs.
pub(super) fn described(severity: Severity, problem: &PolicyProblem, files: &[(String, String)]) -> String {
    let place = format!("{}:{}:{}", problem.file, problem.line, problem.column);
    let line_number = problem.line.to_string();
    let margin = " ".repeat(line_number.len());
    let mut text = format!("{}: {}\n", severity.as_str(), shown(&problem.sentence, Lines::Shown));
    text += &format!("{margin}--> {}\n", shown(&place, Lines::Shown));
    let file = files.iter().find(|(name, _)| *name == problem.file);
    if let Some(line) = file.and_then(|(_, text)| text.lines().nth(problem.line - 1)) {
        let (excerpt, pad, carets) = excerpt(line, problem.column, problem.length);
        text += &format!("{margin} |\n{line_number} | {excerpt}\n{margin} | {pad}{carets}\n");
    }
    if let Some(suggestion) = &problem.suggestion {
        text += &format!("{margin} = help: {}\n", shown(suggestion, Lines::Shown));
    }
    text
}

/// What is shown of a line, the blanks before the carets, and the carets.
fn excerpt(line: &str, column: usize, length: usize) -> (String, String, String) {
    let column = column.saturating_sub(1);
    let skipped = if column > WIDTH / 2 { column.saturating_sub(BEFORE) } else { 0 };
    let safe = |from: usize, count: usize| {
        let part: String = line.chars().skip(from).take(count).map(|c| if c == '\t' { ' ' } else { c }).collect();
        shown(&part, Lines::Shown).into_owned()
    };
    let length = length.min(WIDTH.saturating_sub(column - skipped)).max(1);
    let pad = " ".repeat(safe(skipped, column - skipped).chars().count());
    let carets = "^".repeat(safe(column, length).chars().count().max(1));
    (safe(skipped, WIDTH), pad, carets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: usize, column: usize, length: usize) -> PolicyProblem {
        let (file, sentence) = ("a.cedar".to_owned(), "it is \u{1b}[2Jwrong".to_owned());
        PolicyProblem { file, line, column, length, sentence, suggestion: Some("mend it".to_owned()) }
    }

    #[test]
    fn a_problem_is_shown_with_its_line_and_carets_under_what_is_meant() {
        let files = [("a.cedar".to_owned(), "permit (\n\tprincipal, \u{202e}actoin, resource);\n".to_owned())];
        let expected = "\
error: it is ␛[2Jwrong
 --> a.cedar:2:14
  |
2 |  principal, ⟨U+202E⟩actoin, resource);
  |                     ^^^^^^
  = help: mend it
";
        let found = problem(2, 14, 6);
        assert_eq!(described(Severity::Error, &found, &files), expected);
        assert!(!described(Severity::Warning, &found, &[]).contains(" | "), "no line of a file that is not at hand");
        assert!(!described(Severity::Warning, &problem(9, 1, 1), &files).contains(" | "), "nor of one beyond its end");
    }

    #[test]
    fn of_a_long_line_the_part_with_the_problem_is_shown() {
        let line = format!("{}wrong{}", "a".repeat(500), "b".repeat(500));
        let (excerpt, pad, carets) = excerpt(&line, 501, 5);
        assert_eq!((excerpt.len(), pad.len(), carets.as_str()), (WIDTH, BEFORE, "^^^^^"));
        assert_eq!(excerpt.find("wrong"), Some(BEFORE));
        let (_, pad, carets) = super::excerpt("short", 99, 50);
        assert_eq!((pad.len(), carets.len()), (0, 1));
    }
}
