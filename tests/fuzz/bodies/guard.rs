//! Any text has facts, the same ones each time; a comment or an empty statement beside it changes none of them; and what
//! is said of a text that was not understood holds nothing of it.

use bytes::Bytes;
use hansard::model::{Action, Facts, Kind, SqlText};
use hansard::sql::{self, Dialect};

/// A word that no message of ours has.
const CANARY: &str = "zq7canaryq7z";

/// The input is the text.
pub fn body(data: &[u8]) {
    let facts = read(data);
    consistent(&facts);
    assert_eq!(read(data), facts, "the same text has other facts");
    let Ok(text) = std::str::from_utf8(data) else {
        return assert_eq!(facts.kind, Kind::Unparsed);
    };
    if text.trim_matches(|letter: char| letter.is_ascii_whitespace()).is_empty() {
        assert!(facts.effects.is_empty() || facts.kind == Kind::Unparsed, "a blank text does something");
    }
    for same in [format!("{text}\n-- x"), format!("/* x */ {text}"), format!(" {text}\n\t")] {
        assert_eq!(read(same.as_bytes()), facts, "other facts than without what means nothing: {same}");
    }
    // Behind an open bracket a semicolon is a part of what is not understood.
    let ended = read(format!("{text}\n;").as_bytes());
    assert!(ended == facts || ended.kind == Kind::Unparsed && facts.kind == Kind::Unparsed, "{ended:?}\n{facts:?}");
    for other in [format!("{text} {CANARY}"), format!("{CANARY} {text}"), format!("{text} '{CANARY}' {CANARY} ,")] {
        let problem = read(other.as_bytes()).problem.unwrap_or_default();
        assert!(!problem.contains(CANARY), "a message holds a part of the text: {problem}");
    }
}

pub(super) fn read(text: &[u8]) -> Facts {
    sql::read(&SqlText::new(Bytes::copy_from_slice(text)), Dialect::PostgreSql)
}

/// What holds of all facts.
pub(super) fn consistent(facts: &Facts) {
    let unparsed = facts.effects.iter().any(|effect| effect.action == Action::Unparsed);
    assert_eq!(facts.kind == Kind::Unparsed, unparsed, "not understood, and not said so");
    assert!(!unparsed || facts.problem.is_some(), "not understood, and nobody says why");
    assert!(facts.effects.is_sorted() && facts.functions.is_sorted() && facts.operators.is_sorted());
    assert!(facts.effects.windows(2).all(|two| two.first() != two.last()), "an effect twice");
    assert!(facts.touched.is_empty() || facts.touched.len() == facts.effects.len());
    for object in facts.effects.iter().filter_map(|effect| effect.object.as_ref()) {
        assert!(!object.name.contains('\0') && object.schema.as_deref() != Some(""), "{object:?}");
    }
    let problem = facts.problem.as_deref().unwrap_or_default();
    assert!(problem != "could not be read in time" && problem != "the reader has stopped", "{problem}");
}
