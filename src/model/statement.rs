//! A statement: one unit the client asked to execute, its bytes intact.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Sha256;

/// A statement's text exactly as sent. Bytes, never repaired: what is recorded is what was sent.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SqlText(#[serde(with = "as_bytes")] Bytes);

impl SqlText {
    /// Wraps the bytes between the frame's header and its terminating zero.
    pub fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes as sent.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The text, if the bytes are UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The digest of the bytes as sent.
    pub fn sha256(&self) -> Sha256 {
        Sha256::of(&self.0)
    }
}

impl From<&str> for SqlText {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

/// Its length only: statements do not belong into logs.
impl fmt::Debug for SqlText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqlText({} bytes)", self.0.len())
    }
}

/// How the client asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// A simple `Query` message.
    Query,
    /// An `Execute` of a bound portal.
    Execute,
    /// A `Parse` that was refused before anything of it was executed.
    Parse,
    /// A `FunctionCall` message: a function by its number, without a text.
    FunctionCall,
}

impl Request {
    /// Every way.
    pub const ALL: &[Self] = &[Self::Query, Self::Execute, Self::Parse, Self::FunctionCall];

    /// The word in columns.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Execute => "execute",
            Self::Parse => "parse",
            Self::FunctionCall => "function_call",
        }
    }
}

/// The format of a bound value on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParamFormat {
    /// The type's text form.
    Text,
    /// The type's binary form.
    Binary,
}

/// One bound value, as sent.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Param {
    /// The type's object identifier, as the client or the server said; 0 when neither did.
    pub type_oid: u32,
    /// How the bytes are to be read.
    pub format: ParamFormat,
    /// The bytes; absent for NULL.
    #[serde(with = "as_option_bytes")]
    pub value: Option<Bytes>,
}

impl fmt::Debug for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.value.as_ref().map(Bytes::len);
        write!(f, "Param(type {}, {:?}, {length:?} bytes)", self.type_oid, self.format)
    }
}

/// The name of a prepared statement or a portal, as sent: in a client encoding other than UTF-8 it need not be UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandleName(Bytes);

impl HandleName {
    /// Wraps the bytes up to the terminating zero.
    pub fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The name, if its bytes are UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The bytes, if they are not UTF-8.
    pub fn unreadable(&self) -> Option<&[u8]> {
        self.text().is_none().then_some(&self.0[..])
    }
}

impl From<&str> for HandleName {
    fn from(name: &str) -> Self {
        Self(Bytes::copy_from_slice(name.as_bytes()))
    }
}

/// As text where it is UTF-8: so the journal has always held it.
impl Serialize for HandleName {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.text() {
            Some(name) => to.serialize_str(name),
            None => to.serialize_bytes(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for HandleName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl de::Visitor<'_> for Either {
            type Value = HandleName;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a name as text or bytes")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<HandleName, E> {
                Ok(name.into())
            }

            fn visit_bytes<E: de::Error>(self, name: &[u8]) -> Result<HandleName, E> {
                Ok(HandleName(Bytes::copy_from_slice(name)))
            }
        }
        from.deserialize_any(Either)
    }
}

/// One unit the client asked to execute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// How it was asked.
    pub request: Request,
    /// The text, whole.
    pub text: SqlText,
    /// The bound values, in order.
    pub params: Vec<Param>,
    /// The prepared statement's name; empty for the unnamed one, absent for a simple query.
    pub prepared: Option<HandleName>,
    /// The portal's name; empty for the unnamed one, absent for a simple query.
    pub portal: Option<HandleName>,
}

mod as_bytes {
    use bytes::Bytes;
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        serde_bytes::deserialize::<Vec<u8>, D>(from).map(Bytes::from)
    }
}

mod as_option_bytes {
    use bytes::Bytes;
    use serde::{Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "serde's `with` hands a reference to the field")]
    pub(super) fn serialize<S: Serializer>(bytes: &Option<Bytes>, to: S) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => to.serialize_some(serde_bytes::Bytes::new(bytes)),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Bytes>, D::Error> {
        serde_bytes::deserialize::<Option<Vec<u8>>, D>(from).map(|value| value.map(Bytes::from))
    }
}
