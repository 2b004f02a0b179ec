//! The cases of a file, one JSON object a line.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::conversation::Verdict;

/// What a case must get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Expected {
    Allow,
    Deny,
}

/// One message's text, or its bytes where they are no text.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Said {
    Text(String),
    Bytes { hex: String },
}

/// A case; fields as `fixtures/corpus/README.md` tells them.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) dialect: String,
    pub(crate) policy: String,
    pub(crate) category: String,
    #[serde(default)]
    pub(crate) setup: Vec<String>,
    #[serde(default)]
    pub(crate) startup: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) statements: Vec<Said>,
    #[serde(default)]
    pub(crate) copy_in: Vec<String>,
    pub(crate) script: Option<String>,
    pub(crate) expected: Expected,
}

impl Case {
    /// Whether the laboratory may be another now: not if all was denied, nor where nothing can be changed.
    pub(crate) fn may_have_changed(&self, verdict: &Verdict) -> bool {
        if self.policy == "profile:read_only+catalog" && self.setup.is_empty() {
            return false;
        }
        let all_denied = matches!(verdict, Verdict::Denied(_)) && self.statements.len() == 1 && self.setup.is_empty();
        !all_denied
    }
}

/// The PostgreSQL cases of a file.
pub(crate) fn read(file: &Path) -> Vec<Case> {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let cases = text.lines().filter(|line| !line.trim().is_empty()).enumerate().map(|(at, line)| {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{}:{}: {error}", file.display(), at + 1))
    });
    let cases: Vec<Case> = cases.filter(|case: &Case| case.dialect == "postgresql").collect();
    assert!(!cases.is_empty(), "{} holds no case for PostgreSQL", file.display());
    cases
}

impl Said {
    /// The bytes to send, with what stands for the database and the port filled in.
    pub(crate) fn bytes(&self, database: &str, port: u16) -> Vec<u8> {
        match self {
            Self::Text(text) => filled(text, database, port).into_bytes(),
            Self::Bytes { hex } => {
                let pairs = hex.as_bytes().chunks(2);
                pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
            }
        }
    }
}

/// A text with what stands for the database and the port filled in.
pub(crate) fn filled(text: &str, database: &str, port: u16) -> String {
    text.replace("{{current_database}}", database).replace("{{port}}", &port.to_string())
}
