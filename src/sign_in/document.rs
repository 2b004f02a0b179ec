//! What a recorder tells people's tools: who vouches for people, by which client they sign in, and where the targets are.
//! `schemas/sign-in.v1.json` repeats these sentences for tools of others.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the document is, below the recorder's address.
pub const PATH: &str = "/.well-known/hansard";
/// The form of the document. A reader that knows this one takes every document that says so, whatever else is in it.
pub const VERSION: u32 = 1;
/// The longest name of a target, as the configuration has it.
const MAX_NAME: usize = 63;

/// What people's tools need to sign in at a Hansard and to connect. Nothing in it is secret. Members that are not described
/// here may be there and mean nothing to who does not know them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Document {
    /// The form of the document: 1.
    pub hansard: u32,
    /// The issuers that people can sign in at.
    pub issuers: Vec<Issuer>,
    /// The databases behind, and where to connect to reach them.
    pub targets: Vec<Target>,
}

/// An issuer, and how to ask it for a token that the recorder takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Issuer {
    /// Its name at the recorder.
    pub name: String,
    /// Its URL, as its tokens name it.
    pub issuer: String,
    /// The public client that people sign in by.
    pub client_id: String,
    /// What is asked for, beside `openid`.
    pub scopes: Vec<String>,
    /// For whom, where the issuer wants to be told (RFC 8707).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The `prompt` of a sign-in by browser, where the issuer wants one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Where a browser is sent back to, on this machine. Without a port, to any that is free.
    pub redirect: String,
    /// Which of the tokens is the password.
    pub token: TokenKind,
}

/// Which of the tokens that an issuer gives is the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    /// The access token.
    Access,
    /// The ID token, of issuers whose access tokens only they can read.
    Id,
}

/// A database behind the recorder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// What it speaks.
    pub engine: String,
    /// The host to connect to; absent, that of the document's own address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The port to connect to.
    pub port: u16,
    /// Names of its databases, the first for those who name none. Others may be there too.
    pub databases: Vec<String>,
}

impl Document {
    /// What is wrong with it, if anything. Names and hosts become parts of commands and files, so that they can be nothing
    /// but names and hosts.
    pub fn problem(&self) -> Option<String> {
        if self.hansard != VERSION {
            return Some(format!("its document is of form {}, this program reads {VERSION}", self.hansard));
        }
        let word = |text: &str| {
            (1..=MAX_NAME).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        let host = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':'))
                && !text.starts_with('-')
        };
        let plain = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
        if self.issuers.is_empty() {
            return Some("it names no issuer that people sign in at".to_owned());
        }
        if let Some(issuer) = self.issuers.iter().find(|issuer| !word(&issuer.name) || !plain(&issuer.client_id)) {
            return Some(format!("it names an issuer or its client in a way that cannot be: {:?}", issuer.name));
        }
        let fits = |target: &Target| {
            word(&target.name)
                && word(&target.engine)
                && target.host.as_deref().is_none_or(host)
                && target.port != 0
                && !target.databases.is_empty()
                && target.databases.iter().all(|name| plain(name))
        };
        let odd = self.targets.iter().find(|target| !fits(target));
        odd.map(|target| format!("it describes a target in a way that cannot be: {:?}", target.name))
    }

    /// The target of that name.
    pub fn target(&self, name: &str) -> Option<&Target> {
        self.targets.iter().find(|target| target.name == name)
    }

    /// The issuer of that name.
    pub fn issuer(&self, name: &str) -> Option<&Issuer> {
        self.issuers.iter().find(|issuer| issuer.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Document {
        let text = r#"{
            "hansard": 1,
            "issuers": [{
                "name": "main", "issuer": "https://login.example", "client_id": "hansard-cli",
                "scopes": ["offline_access"], "redirect": "http://127.0.0.1/", "token": "access", "added": "later"
            }],
            "targets": [{ "name": "clinic", "engine": "postgresql", "port": 5432, "databases": ["clinic"] }],
            "added": "later"
        }"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_document_is_read_whatever_was_added_since() {
        let document = document();
        assert_eq!(document.problem(), None);
        assert_eq!(document.target("clinic").unwrap().host, None);
        assert_eq!(document.issuer("main").unwrap().token, TokenKind::Access);
        let again: Document = serde_json::from_str(&serde_json::to_string(&document).unwrap()).unwrap();
        assert_eq!(again, document);
    }

    #[test]
    fn the_schema_in_the_tree_is_the_one_the_types_give() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/sign-in.v1.json");
        let text = format!("{}\n", serde_json::to_string_pretty(&schemars::schema_for!(Document)).unwrap());
        if std::env::var_os("HANSARD_WRITE_SCHEMAS").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap();
        assert!(kept == text, "{path} is stale; HANSARD_WRITE_SCHEMAS=1 writes it anew");
    }

    #[test]
    fn a_document_that_could_put_words_into_a_command_is_not_taken() {
        let spoilt = |spoil: &dyn Fn(&mut Document)| {
            let mut document = document();
            spoil(&mut document);
            document.problem().is_some()
        };
        assert!(spoilt(&|document| document.hansard = 2));
        assert!(spoilt(&|document| document.issuers.clear()));
        assert!(spoilt(&|document| document.targets[0].name = "$(id)".to_owned()));
        assert!(spoilt(&|document| document.targets[0].name = "x".repeat(64)));
        assert!(spoilt(&|document| document.targets[0].host = Some("a b".to_owned())));
        assert!(spoilt(&|document| document.targets[0].host = Some("-oops".to_owned())));
        assert!(spoilt(&|document| document.targets[0].port = 0));
        assert!(spoilt(&|document| document.targets[0].databases.clear()));
        assert!(spoilt(&|document| document.targets[0].databases[0] = "a\nb".to_owned()));
        assert!(spoilt(&|document| document.issuers[0].client_id = "\u{1b}[2J".to_owned()));
    }
}
