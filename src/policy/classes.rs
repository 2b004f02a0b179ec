//! What kind of data tables and columns hold, said by pattern: `clinic.*.ssn` is `PHI`.
//!
//! Files beside the rules (`*.classes.toml`) say it, and they are part of the set: its version covers them, they are
//! checked and reloaded with it. A line is a classification and its patterns: `PHI = ["clinic.*.ssn", "clinic.notes"]`, two
//! parts for tables with all that is in them, three for columns; `*` stands for any letters of its part.
//!
//! Promises: an effect has every classification of what it touches, `context.classifications`; where all columns may be
//! touched and the catalog does not say which there are, those of every column that the table might have.
//!
//! Rejected: patterns in the configuration file (another set of patterns decides otherwise, so it must be another version
//! of the rules), and comments in the database (whoever may define a table could say that it is harmless).

use std::collections::{BTreeMap, BTreeSet};

use toml::Spanned;

use super::problem::{File, PolicyProblem};
use crate::model::Touch;

/// How the names of these files end.
pub const ENDING: &str = ".classes.toml";

/// Patterns in all files. Each is held against each table that is asked for.
const MAX_PATTERNS: usize = 2_000;

/// Every pattern.
#[derive(Debug, Default)]
pub(super) struct Classes {
    patterns: Vec<Pattern>,
}

#[derive(Debug)]
struct Pattern {
    class: String,
    schema: String,
    table: String,
    column: Option<String>,
}

impl Classes {
    /// Reads these files, each with its name.
    pub(super) fn read<'f>(files: impl Iterator<Item = (&'f String, &'f String)>) -> Result<Self, Vec<PolicyProblem>> {
        let (mut patterns, mut problems) = (Vec::new(), Vec::new());
        for (name, text) in files {
            let file = File { name, text };
            match toml::from_str::<BTreeMap<String, Vec<Spanned<String>>>>(text) {
                Err(error) => {
                    let sentence = error.message().lines().next().unwrap_or_default().to_owned();
                    let advice = Some(ADVICE.to_owned());
                    problems.push(file.problem(error.span().unwrap_or(0..0), sentence, advice));
                }
                Ok(classes) => {
                    for (class, written) in classes {
                        for text in written {
                            match pattern(&class, text.get_ref()) {
                                Ok(pattern) => patterns.push(pattern),
                                Err(sentence) => {
                                    problems.push(file.problem(text.span(), sentence, Some(ADVICE.to_owned())));
                                }
                            }
                        }
                    }
                }
            }
            if patterns.len() > MAX_PATTERNS {
                let sentence = format!("more than {MAX_PATTERNS} patterns");
                problems.push(file.problem(0..0, sentence, None));
            }
        }
        if problems.is_empty() { Ok(Self { patterns }) } else { Err(problems) }
    }

    /// The schemas that the patterns tell apart; of one with `*`, the shortest that fits it.
    pub(super) fn schemas(&self) -> impl Iterator<Item = String> {
        self.patterns.iter().map(|pattern| pattern.schema.replace('*', ""))
    }

    /// The classifications of what is touched of a table.
    pub(super) fn of(&self, schema: &str, table: &str, touch: &Touch) -> BTreeSet<&str> {
        let is_touched = |pattern: &&Pattern| {
            fits(&pattern.schema, schema) && fits(&pattern.table, table) && touches(pattern.column.as_deref(), touch)
        };
        self.patterns.iter().filter(is_touched).map(|pattern| pattern.class.as_str()).collect()
    }
}

const ADVICE: &str = "write PHI = [\"schema.table\", \"schema.table.column\"]; * stands for any letters of a part";

fn pattern(class: &str, text: &str) -> Result<Pattern, String> {
    let parts: Vec<&str> = text.split('.').collect();
    if class.is_empty() || parts.iter().any(|part| part.is_empty()) {
        return Err("an empty name".to_owned());
    }
    let (schema, table, column) = match parts.as_slice() {
        [schema, table] => (schema, table, None),
        [schema, table, column] => (schema, table, Some((*column).to_owned())),
        _ => return Err(format!("a table has two parts and a column three; this has {}", parts.len())),
    };
    Ok(Pattern { class: class.to_owned(), schema: (*schema).to_owned(), table: (*table).to_owned(), column })
}

/// Whether a column that the pattern means is touched.
fn touches(column: Option<&str>, touch: &Touch) -> bool {
    let Some(column) = column else { return true };
    let named = touch.columns.iter().chain(&touch.where_columns).any(|name| fits(column, name));
    named || touch.all_columns && !touch.columns_are_all
}

/// Whether a name fits a pattern in which `*` stands for any letters, also none.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        // The first place is as good as any: what stands before it is the star's.
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Classes, Vec<PolicyProblem>> {
        let file = ("a.classes.toml".to_owned(), text.to_owned());
        Classes::read(std::iter::once((&file.0, &file.1)))
    }

    fn columns(names: &[&str]) -> Touch {
        Touch { columns: names.iter().map(|name| (*name).to_owned()).collect(), ..Touch::default() }
    }

    #[test]
    fn a_pattern_fits_by_parts_and_a_star_stays_in_its_part() {
        for (pattern, name, does) in [
            ("ssn", "ssn", true),
            ("ssn", "ssn2", false),
            ("*", "anything", true),
            ("*ssn*", "old_ssn_2", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("pat*", "patients", true),
        ] {
            assert_eq!(fits(pattern, name), does, "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_touched_has_the_classes_of_its_table_and_its_columns() {
        let classes = read("PHI = [\"clinic.*.ssn\", \"clinic.notes\"]\nPCI = [\"*.cards.pan\"]").unwrap();
        let of = |schema, table, touch: &Touch| classes.of(schema, table, touch).into_iter().collect::<Vec<_>>();
        assert_eq!(of("clinic", "patients", &columns(&["id", "ssn"])), ["PHI"]);
        assert_eq!(of("clinic", "patients", &columns(&["id"])), [""; 0]);
        assert_eq!(of("app", "patients", &columns(&["ssn"])), [""; 0]);
        assert_eq!(of("clinic", "notes", &columns(&[])), ["PHI"]);
        let asked = Touch { where_columns: vec!["ssn".to_owned()], ..Touch::default() };
        assert_eq!(of("clinic", "patients", &asked), ["PHI"], "a condition tells, too");
    }

    #[test]
    fn a_star_touches_what_the_catalog_says_and_without_it_everything() {
        let classes = read("PHI = [\"clinic.*.ssn\"]").unwrap();
        let unknown = Touch { all_columns: true, ..columns(&["id"]) };
        assert_eq!(classes.of("clinic", "wards", &unknown).len(), 1);
        let known = Touch { columns_are_all: true, ..unknown };
        assert_eq!(classes.of("clinic", "wards", &known).len(), 0);
    }

    #[test]
    fn what_is_no_pattern_is_told_with_its_place() {
        let problems = read("PHI = [\n  \"clinic.patients\",\n  \"patients\", \"a..b\", \"a.b.c.d\"]").unwrap_err();
        let told: Vec<(usize, usize)> = problems.iter().map(|problem| (problem.line, problem.column)).collect();
        assert_eq!(told, [(3, 3), (3, 15), (3, 23)]);
        assert_eq!(read("PHI = \"a.b\"").unwrap_err().len(), 1);
        assert_eq!(read("PHI = [").unwrap_err().len(), 1);
    }
}
