//! What tests of the dialects ask.

use crate::model::{Action, Facts, Kind, SqlText};
use crate::sql::tests::shown;
use crate::sql::{Dialect, read};

fn facts(text: &str, dialect: Dialect) -> Facts {
    read(&SqlText::from(text), dialect)
}

/// Effects in the words of [`shown`], sorted.
pub(in crate::sql) fn effects(text: &str, dialect: Dialect) -> String {
    let mut shown: Vec<String> = facts(text, dialect).effects.iter().map(shown).collect();
    shown.sort_unstable();
    shown.join(", ")
}

/// Each text is understood and does what stands beside it.
pub(in crate::sql) fn assert_effects(cases: &[(&str, &str)], dialect: Dialect) {
    for (text, expected) in cases {
        let mut expected: Vec<&str> = expected.split(", ").collect();
        expected.sort_unstable();
        let problem = facts(text, dialect).problem;
        assert_eq!(effects(text, dialect), expected.join(", "), "{text}: {problem:?}");
        assert_eq!(problem, None, "{text}");
    }
}

/// A text is not understood, and says why.
pub(in crate::sql) fn assert_unparsed(text: &str, dialect: Dialect) {
    let facts = facts(text, dialect);
    assert_eq!(facts.kind, Kind::Unparsed, "{text}: {facts:?}");
    assert!(facts.effects.iter().any(|effect| effect.action == Action::Unparsed), "{text}");
    assert!(facts.problem.is_some(), "{text}");
}
