//! Who acts, and who vouched.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Sha256, Timestamp};

/// What a client presented to prove who it is. Consumed by the verifier; never recorded, never printed.
pub struct Credential(Vec<u8>);

impl Credential {
    /// Wraps the presented bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The same once more, for who has to ask the issuer about it again while a session lives.
    #[must_use]
    pub fn again(&self) -> Self {
        Self(self.0.clone())
    }

    /// The presented bytes, for the verifier alone.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({} bytes)", self.0.len())
    }
}

/// Whether somebody acts or something does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// A person.
    #[default]
    Person,
    /// A job, a pod, a service: nobody typed what it asks.
    Workload,
}

impl PrincipalKind {
    /// The word in columns and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Workload => "workload",
        }
    }
}

/// A person or a workload, exactly as a verified token said; never as the client claimed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// The token's `iss`; of an issuer that has several names, always the first that config gives.
    pub issuer: String,
    /// The claim that config names as the subject; with the issuer, the key of the person or workload.
    pub subject: String,
    /// Which of the two, as config tells them apart; a journal from before it did says nothing, and person.
    #[serde(default)]
    pub kind: PrincipalKind,
    /// A name for people to read; never for rules to rely on.
    pub display: Option<String>,
    /// The token's `email`.
    pub email: Option<String>,
    /// Roles, from the claim that config names.
    pub roles: Vec<String>,
    /// Groups, from the claim that config names.
    pub groups: Vec<String>,
    /// The token's own facts, without the token.
    pub token: TokenFacts,
    /// The claims that config keeps, by name.
    pub claims: BTreeMap<String, serde_json::Value>,
}

impl Principal {
    /// The name to show: display, else e-mail, else subject.
    pub fn name(&self) -> &str {
        self.display.as_deref().or(self.email.as_deref()).unwrap_or(&self.subject)
    }
}

/// What is remembered of a token instead of the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenFacts {
    /// SHA-256 of the token as it was presented.
    pub sha256: Sha256,
    /// The key that signed it.
    pub kid: Option<String>,
    /// The token's own name, `jti`.
    pub jti: Option<String>,
    /// `iat`.
    pub issued: Option<Timestamp>,
    /// `exp`.
    pub expires: Timestamp,
    /// By what the issuer would say that the access ended. Of use while the session lives, and no part of the record.
    #[serde(skip)]
    pub at_issuer: AtIssuer,
}

/// Whom and which sign-in a token's issuer means when it says that one ended, in its own words: a subject in config may be
/// another claim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AtIssuer {
    /// `sub`.
    pub sub: Option<String>,
    /// `sid`: the sign-in that the token came of, if the issuer says so in tokens.
    pub sid: Option<String>,
}

/// Somebody, as an issuer or an operator names them. `issuer` is always the name that config gives first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// Who is recorded as this.
    Subject {
        /// Who vouches.
        issuer: String,
        /// The claim that config names as the subject.
        subject: String,
    },
    /// Whom the issuer calls this in `sub`, whatever claim config takes.
    Account {
        /// Who vouches.
        issuer: String,
        /// `sub`.
        sub: String,
    },
    /// Who signed in at the issuer in this session of it.
    SignIn {
        /// Who vouches.
        issuer: String,
        /// `sid`.
        sid: String,
    },
    /// Whom the issuer calls this in `sub`, in tokens that do not say of which session there they came: whoever means one
    /// session of somebody's may mean any of those.
    Untold {
        /// Who vouches.
        issuer: String,
        /// `sub`.
        sub: String,
    },
    /// Whose e-mail address the issuer says this is.
    Email {
        /// Who vouches.
        issuer: String,
        /// The address; its case does not matter.
        email: String,
    },
}

impl Holder {
    /// Whether the token of this principal is of that holder.
    pub fn is(&self, principal: &Principal) -> bool {
        let at_issuer = &principal.token.at_issuer;
        match self {
            Self::Subject { issuer, subject } => *issuer == principal.issuer && *subject == principal.subject,
            Self::Account { issuer, sub } => {
                *issuer == principal.issuer && at_issuer.sub.as_ref().is_some_and(|known| known == sub)
            }
            Self::SignIn { issuer, sid } => {
                *issuer == principal.issuer && at_issuer.sid.as_ref().is_some_and(|known| known == sid)
            }
            Self::Untold { issuer, sub } => {
                let known = at_issuer.sub.as_ref().filter(|_| at_issuer.sid.is_none());
                *issuer == principal.issuer && known.is_some_and(|known| known == sub)
            }
            Self::Email { issuer, email } => {
                let known = principal.email.as_ref();
                *issuer == principal.issuer && known.is_some_and(|known| known.eq_ignore_ascii_case(email))
            }
        }
    }
}
