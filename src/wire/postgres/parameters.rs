//! Which of a client's startup parameters go upstream.
//!
//! They are settings of the session, set before any statement could be judged. What a client may not set by a statement
//! without a rule that says so, it may not set here at all: who it is at the database, and how text is read. Whether it
//! may set the rest is asked of the rules ([`settings`]), but for what every driver sets and nothing hangs on.

use crate::model::Replication;

/// Settings that change who the session is, or how the database reads text.
const UNSAFE: &[&str] = &[
    "role",
    "session_authorization",
    "standard_conforming_strings",
    "backslash_quote",
    "escape_string_warning",
    "session_preload_libraries",
    "local_preload_libraries",
];

/// Settings that drivers set by themselves, that are no more than how values are written, and who says so.
const USUAL: &[&str] =
    &["application_name", "datestyle", "timezone", "intervalstyle", "extra_float_digits", "bytea_output"];

/// A startup parameter that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// `replication` with a value that is none.
    #[error("the startup parameter \"replication\" may be true, false or database")]
    Replication,
    /// One of the unsafe settings.
    #[error("the startup parameter \"{0}\" is not available through hansard")]
    Unsafe(String),
    /// `options` in a form that we do not read.
    #[error("the startup parameter \"options\" may hold -c name=value only")]
    Options,
}

/// The parameters to send upstream: all but those of the connection itself.
///
/// # Errors
///
/// One of them may not be set.
pub fn for_upstream(parameters: &[(String, String)]) -> Result<Vec<(String, String)>, Refused> {
    let mut kept = Vec::new();
    for (name, value) in parameters {
        match name.as_str() {
            "user" | "database" => continue,
            "replication" if replication(value)?.is_none() => continue,
            "replication" => {}
            "options" => options(value)?.into_iter().try_for_each(|(name, _)| check_setting(name))?,
            name if name.starts_with("_pq_.") => continue,
            name => check_setting(name)?,
        }
        kept.push((name.clone(), value.clone()));
    }
    Ok(kept)
}

/// What a connection with these parameters replicates, if anything.
///
/// # Errors
///
/// The server would not know either.
pub fn replicates(parameters: &[(String, String)]) -> Result<Option<Replication>, Refused> {
    // The server takes the last of several.
    let value = parameters.iter().rev().find(|(name, _)| name == "replication");
    value.map_or(Ok(None), |(_, value)| replication(value))
}

/// A boolean as the server reads them (`parse_bool`, without its abbreviations), or the word for one database.
fn replication(value: &str) -> Result<Option<Replication>, Refused> {
    match value.to_ascii_lowercase().as_str() {
        "" | "false" | "off" | "no" | "0" => Ok(None),
        "true" | "on" | "yes" | "1" => Ok(Some(Replication::Server)),
        _ if value == "database" => Ok(Some(Replication::Database)),
        _ => Err(Refused::Replication),
    }
}

/// The settings among the parameters that go upstream, each with its value, but for the usual ones.
///
/// # Errors
///
/// `options` are in a form that we do not read.
pub fn settings(upstream: &[(String, String)]) -> Result<Vec<(String, &str)>, Refused> {
    let mut settings = Vec::new();
    for (name, value) in upstream {
        match name.as_str() {
            "replication" => {}
            "options" => settings.extend(options(value)?.into_iter().map(|(name, value)| (folded(name), value))),
            name => settings.push((folded(name), value)),
        }
    }
    settings.retain(|(name, _)| !USUAL.contains(&name.as_str()));
    Ok(settings)
}

/// The server folds names, and takes `-` for `_` in options.
fn folded(name: &str) -> String {
    name.to_ascii_lowercase().replace('-', "_")
}

fn check_setting(name: &str) -> Result<(), Refused> {
    let folded = folded(name);
    if UNSAFE.contains(&folded.as_str()) { Err(Refused::Unsafe(folded)) } else { Ok(()) }
}

/// What `isspace` calls a blank in C, which is what the server splits at. Rust's own notion lacks the vertical tab.
fn is_blank(letter: char) -> bool {
    letter.is_ascii_whitespace() || letter == '\u{b}'
}

/// `options` is a command line: words apart by blanks, `-c name=value`, `-cname=value` or `--name=value`.
fn options(options: &str) -> Result<Vec<(&str, &str)>, Refused> {
    if options.contains('\\') {
        return Err(Refused::Options);
    }
    let mut settings = Vec::new();
    let mut words = options.split(is_blank).filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            Some("") if word == "-c" => words.next().ok_or(Refused::Options)?,
            Some(setting) if !setting.is_empty() => setting,
            _ => return Err(Refused::Options),
        };
        settings.push(setting.split_once('=').ok_or(Refused::Options)?);
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(name: &str, value: &str) -> Result<Vec<(String, String)>, Refused> {
        for_upstream(&[(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn usual_settings_go_upstream_and_the_connection_s_own_do_not() {
        assert_eq!(given("application_name", "psql").unwrap().len(), 1);
        assert_eq!(given("options", "-c search_path=clinic --statement_timeout=5s -cgeqo=off").unwrap().len(), 1);
        for own in ["user", "database", "_pq_.x"] {
            assert_eq!(given(own, "x").unwrap(), Vec::new());
        }
    }

    #[test]
    fn what_is_set_is_told_by_its_folded_name_wherever_it_stands() {
        let given = [("options", "-c Search-Path=hr --work_mem=1GB"), ("TimeZone", "UTC"), ("Geqo", "off")];
        let given: Vec<_> = given.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let told = settings(&given).unwrap();
        let told: Vec<_> = told.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        assert_eq!(told, [("search_path", "hr"), ("work_mem", "1GB"), ("geqo", "off")]);
    }

    #[test]
    fn nobody_becomes_another_or_changes_how_text_is_read_at_startup() {
        for name in ["role", "Role", "session_authorization", "STANDARD_CONFORMING_STRINGS"] {
            assert!(given(name, "x").is_err(), "{name}");
        }
        for options in [
            "-c role=x",
            "-crole=x",
            "--session-authorization=x",
            "-c",
            "-r x",
            "-c\\ role=x",
            "role=x",
            "-c geqo=off\u{b}-crole=x",
        ] {
            assert!(given("options", options).is_err(), "{options}");
        }
    }

    #[test]
    fn what_is_replicated_is_read_as_the_server_reads_it() {
        let told = |value: &str| replicates(&given("replication", value)?);
        assert_eq!((told("off"), told("")), (Ok(None), Ok(None)));
        assert_eq!((told("true"), told("ON")), (Ok(Some(Replication::Server)), Ok(Some(Replication::Server))));
        assert_eq!(told("database"), Ok(Some(Replication::Database)));
        assert_eq!((told("Database"), told("2")), (Err(Refused::Replication), Err(Refused::Replication)));
        let both = [("replication".to_owned(), "true".to_owned()), ("replication".to_owned(), "database".to_owned())];
        assert_eq!(replicates(&both), Ok(Some(Replication::Database)));
    }
}
