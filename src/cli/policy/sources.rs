//! The files that hold rules, and the tests beside them.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

use crate::policy::CLASSES;

/// How the name of a file of rules ends.
const RULES: &str = ".cedar";
/// How the name of a file of tests ends.
pub(super) const TESTS: &str = ".test.toml";
/// A file is at most this long: a hundred times the longest that anybody would write by hand.
const MAX_FILE: u64 = 4 << 20;

/// Names and texts of files, in the order in which they are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::cli) struct Sources {
    /// The rules, and what kind of data tables and columns hold.
    pub(in crate::cli) rules: Vec<(String, String)>,
    /// Their tests.
    pub(in crate::cli) tests: Vec<(String, String)>,
}

impl Sources {
    /// Reads files and folders in the order in which they are named, and the files of a folder in that of their names. A
    /// folder has its tests and classifications in it; those of `app.cedar` alone are in `app.test.toml` and `app.classes.toml`
    /// beside it, if they are there; and a file of tests alone is for all rules of its folder.
    ///
    /// # Errors
    ///
    /// Every file and folder that cannot be read, and every folder without rules.
    pub(in crate::cli) fn read(paths: &[PathBuf]) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let (mut rules, mut tests) = (Vec::new(), Vec::new());
        for path in paths {
            if path.is_dir() {
                rules.extend(with_rules(path, &mut problems));
                tests.extend(list(path, TESTS, &mut problems));
            } else if ends(path, TESTS) {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
                rules.extend(with_rules(folder, &mut problems));
                tests.push(path.clone());
            } else {
                rules.push(path.clone());
                let classes = path.with_extension(CLASSES.trim_start_matches('.'));
                rules.extend((ends(path, RULES) && classes.is_file()).then_some(classes));
                let beside = path.with_extension(TESTS.trim_start_matches('.'));
                tests.extend(beside.is_file().then_some(beside));
            }
        }
        let mut texts = |paths: Vec<PathBuf>| -> Vec<(String, String)> {
            let read = |path: &PathBuf| text(path).map(|text| (path.display().to_string(), text));
            paths
                .iter()
                .filter_map(|path| read(path).map_err(|error| problems.push(unread(path, &error))).ok())
                .collect()
        };
        let sources = Self { rules: texts(rules), tests: texts(tests) };
        if problems.is_empty() { Ok(sources) } else { Err(problems) }
    }
}

fn unread(path: &Path, error: &dyn Display) -> String {
    format!("policy: {}: {error}", path.display())
}

fn ends(path: &Path, end: &str) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().ends_with(end.as_bytes()))
}

fn with_rules(folder: &Path, problems: &mut Vec<String>) -> Vec<PathBuf> {
    let before = problems.len();
    let mut rules = list(folder, RULES, problems);
    if rules.is_empty() && problems.len() == before {
        problems.push(unread(folder, &"no *.cedar file is in this folder"));
    }
    rules.extend(list(folder, CLASSES, problems));
    rules
}

fn list(folder: &Path, end: &str, problems: &mut Vec<String>) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>());
    let mut found = entries.map_err(|error| problems.push(unread(folder, &error))).unwrap_or_default();
    found.retain(|path| ends(path, end));
    found.sort();
    found
}

fn text(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    let read = fs::File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_FILE {
        let words = format!("it is longer than {} MiB", MAX_FILE >> 20);
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, words));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_and_tests_are_read_from_folders_and_files_in_order_and_every_problem_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["b.cedar", "a.cedar", "a.test.toml", "z.test.toml", "notes.txt", "a.cedar.bak"] {
            fs::write(at(name), name).unwrap();
        }
        fs::create_dir(at("empty")).unwrap();
        let names = |paths: &[PathBuf]| {
            let sources = Sources::read(paths).unwrap();
            let short = |files: Vec<(String, String)>| files.into_iter().map(|(_, text)| text).collect::<Vec<_>>();
            (short(sources.rules), short(sources.tests))
        };
        let all = || (vec!["a.cedar".to_owned(), "b.cedar".to_owned()], vec!["a.test.toml".to_owned()]);
        let (rules, mut tests) = all();
        tests.push("z.test.toml".to_owned());
        assert_eq!(names(&[dir.path().to_owned()]), (rules, tests));
        assert_eq!(names(&[at("a.cedar")]), (vec!["a.cedar".to_owned()], vec!["a.test.toml".to_owned()]));
        assert_eq!(names(&[at("b.cedar")]), (vec!["b.cedar".to_owned()], Vec::new()));
        assert_eq!(names(&[at("a.test.toml")]), all());
        let problems = Sources::read(&[at("empty"), at("none.cedar"), at("b.cedar")]).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].ends_with("no *.cedar file is in this folder"), "{problems:?}");
        assert!(problems[1].contains("none.cedar: No such file"), "{problems:?}");
    }
}
