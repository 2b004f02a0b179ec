//! What an issuer gave, and what it says of the one it was given to.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::Timestamp;

/// Claims of a token.
pub type Claims = Map<String, Value>;

/// A text that `Debug` does not show.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hidden(String);

impl Hidden {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(…)")
    }
}

/// What an issuer gave.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// The password.
    pub token: Hidden,
    /// When it ends; absent, the issuer does not say.
    pub expires: Option<Timestamp>,
    /// What the next one can be had by, if it can.
    pub refresh: Option<Hidden>,
    /// What it says of its owner: the token itself, else the ID token beside it.
    pub claims: Claims,
}

/// What a token says, whoever signed it; nothing if it is one that only its issuer can read. To show people, and for nothing
/// that decides.
pub fn claims_of(token: &str) -> Option<Claims> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    let bytes = URL_SAFE_NO_PAD.decode(claims).ok().filter(|_| parts.next().is_none())?;
    serde_json::from_slice(&bytes).ok()
}

/// A moment among the claims.
pub(super) fn moment(claims: &Claims, name: &str) -> Option<Timestamp> {
    let value = claims.get(name)?;
    value.as_i64().map(Timestamp::from_seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_what_is_in_its_middle_and_an_opaque_one_nothing() {
        let token = format!("x.{}.z", URL_SAFE_NO_PAD.encode(r#"{"sub":"u-ana","exp":7}"#));
        let claims = claims_of(&token).unwrap();
        assert_eq!(claims["sub"], "u-ana");
        assert_eq!(moment(&claims, "exp"), Some(Timestamp::from_seconds(7)));
        for opaque in ["", "a.b", "a.!.c", "a.b.c.d", "hG7_opaque", "a.W10.c"] {
            assert_eq!(claims_of(opaque), None, "{opaque}");
        }
    }

    #[test]
    fn what_is_hidden_does_not_print() {
        let tokens = Tokens {
            token: Hidden::new("s3cret"),
            expires: None,
            refresh: Some(Hidden::new("s3cret")),
            claims: Claims::new(),
        };
        assert!(!format!("{tokens:?}").contains("s3cret"));
    }
}
