//! From a parsed TOML tree to typed sections, noting every problem with its place instead of stopping at the first.
//!
//! A section is declared once, with [`section!`]: the same fields are the keys that are accepted, the types they must
//! have, and the JSON schema. Values are never repeated in a message, because any of them may turn out to be a secret
//! in the wrong place; keys are.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// How alike two words must be (Jaro-Winkler, 0 to 1) for one to be offered instead of the other: high enough that
/// nothing unrelated is offered, low enough for two wrong letters in eight.
const ALIKE: f64 = 0.8;

/// Bytes of the file.
pub(super) type Place = Range<usize>;

/// What a configuration may ask about the machine it is read on; tests answer for themselves.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// An environment variable.
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
    /// The machine's own name.
    pub(super) hostname: &'a dyn Fn() -> Option<String>,
}

/// Collects what is wrong.
#[derive(Debug, Default)]
pub(super) struct Findings {
    found: Vec<(Place, String)>,
}

impl Findings {
    pub(super) fn note(&mut self, at: &Place, message: impl Into<String>) {
        self.found.push((at.clone(), message.into()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.found.len()
    }

    pub(super) fn into_list(self) -> Vec<(Place, String)> {
        self.found
    }
}

/// A value, where it stands, and its full name (`target.app.login.password`).
///
/// Without a value there was a problem, already noted: what depends on the value says nothing more.
#[derive(Debug, Clone)]
pub(super) struct Located<T> {
    pub(super) value: Option<T>,
    pub(super) at: Place,
    pub(super) name: String,
}

impl<T: FromToml> Located<T> {
    fn read(node: Node<'_, '_>, findings: &mut Findings) -> Self {
        let (at, name) = (node.at(), node.name.clone());
        Self { value: T::read(node, findings), at, name }
    }
}

impl<T> Located<T> {
    /// Notes what is wrong with this value.
    pub(super) fn refuse(&self, problem: impl std::fmt::Display, findings: &mut Findings) {
        findings.note(&self.at, format!("{}: {problem}", self.name));
    }

    /// The value turned into another, or what is wrong with it noted.
    pub(super) fn try_map<U, E: std::fmt::Display>(
        self,
        turn: impl FnOnce(T) -> Result<U, E>,
        findings: &mut Findings,
    ) -> Located<U> {
        let (at, name) = (self.at, self.name);
        let value = self
            .value
            .map(turn)
            .and_then(|turned| turned.map_err(|problem| findings.note(&at, format!("{name}: {problem}"))).ok());
        Located { value, at, name }
    }
}

/// The value of a key that may be absent. `None` means that it is there and bad.
pub(super) fn value_or<T>(field: Option<Located<T>>, default: T) -> Option<T> {
    field.map_or(Some(default), |located| located.value)
}

/// The value of a key that may be absent and has no default. `None` means that it is there and bad.
#[expect(clippy::option_option, reason = "absent and bad are different things here")]
pub(super) fn value_if_any<T>(field: Option<Located<T>>) -> Option<Option<T>> {
    field.map_or(Some(None), |located| located.value.map(Some))
}

/// A value of the tree under its full name.
pub(super) struct Node<'n, 't> {
    pub(super) name: String,
    pub(super) value: &'n Spanned<DeValue<'t>>,
}

impl Node<'_, '_> {
    pub(super) fn at(&self) -> Place {
        self.value.span()
    }

    /// Notes that something else was expected here.
    pub(super) fn refuse<T>(&self, expected: &str, findings: &mut Findings) -> Option<T> {
        let found = match self.value.get_ref() {
            DeValue::String(_) => "other text",
            DeValue::Integer(_) | DeValue::Float(_) => "a bare number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        findings.note(&self.at(), format!("{}: expected {expected}, found {found}", self.name));
        None
    }
}

/// A type that a value of the file can become. `None` means that the problem was noted.
pub(super) trait FromToml: Sized {
    /// Whether the file gives names of its own to what is inside (`[target.NAME]`).
    const NAMED: bool = false;

    fn read(node: Node<'_, '_>, findings: &mut Findings) -> Option<Self>;
}

/// A type written as text of a certain form.
pub(super) trait TextValue: Sized {
    const EXPECTED: &'static str;
    /// The form as a regular expression, for editors that know the schema.
    const PATTERN: &'static str;

    fn parse(text: &str) -> Option<Self>;
}

impl<T: TextValue> FromToml for T {
    fn read(node: Node<'_, '_>, findings: &mut Findings) -> Option<Self> {
        match node.value.get_ref().as_str().and_then(T::parse) {
            Some(value) => Some(value),
            None => node.refuse(T::EXPECTED, findings),
        }
    }
}

impl FromToml for String {
    fn read(node: Node<'_, '_>, findings: &mut Findings) -> Option<Self> {
        match node.value.get_ref().as_str() {
            Some("") => {
                findings.note(&node.at(), format!("{}: is empty", node.name));
                None
            }
            Some(text) => Some(text.to_owned()),
            None => node.refuse("text", findings),
        }
    }
}

impl FromToml for PathBuf {
    fn read(node: Node<'_, '_>, findings: &mut Findings) -> Option<Self> {
        String::read(node, findings).map(PathBuf::from)
    }
}

/// One value or a list of at least one.
#[derive(Debug, Clone)]
pub(super) struct OneOrMany<T>(pub(super) Vec<T>);

impl<T: FromToml> FromToml for OneOrMany<T> {
    fn read(node: Node<'_, '_>, findings: &mut Findings) -> Option<Self> {
        let DeValue::Array(items) = node.value.get_ref() else {
            return T::read(node, findings).map(|only| Self(vec![only]));
        };
        if items.is_empty() {
            findings.note(&node.at(), format!("{}: the list is empty", node.name));
            return None;
        }
        // Every item is read before the first bad one ends it, so that all are reported.
        let read: Vec<Option<T>> =
            items.iter().map(|value| T::read(Node { name: node.name.clone(), value }, findings)).collect();
        read.into_iter().collect::<Option<Vec<_>>>().map(Self)
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
    }
}

/// What the operator named: `[target.NAME]`, or plain `NAME = value` pairs.
#[derive(Debug, Clone)]
pub(super) struct Named<T>(pub(super) BTreeMap<String, Located<T>>);

impl<T: FromToml> FromToml for Named<T> {
    const NAMED: bool = true;

    fn read(node: Node<'_, '_>, findings: &mut Findings) -> Option<Self> {
        let Some(table) = node.value.get_ref().as_table() else {
            return node.refuse("a table of names", findings);
        };
        let read = table.iter().map(|(key, value)| {
            let inner = Node { name: format!("{}.{}", node.name, key.get_ref()), value };
            (key.get_ref().to_string(), Located::read(inner, findings))
        });
        Some(Self(read.collect()))
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Named_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<T>() })
    }
}

impl<T: JsonSchema> JsonSchema for Located<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A key of a section: required (`Located<T>`) or not (`Option<Located<T>>`).
pub(super) trait Field: Sized {
    fn take(keys: &Keys<'_, '_>, key: &'static str, findings: &mut Findings) -> Self;
}

impl<T: FromToml> Field for Located<T> {
    fn take(keys: &Keys<'_, '_>, key: &'static str, findings: &mut Findings) -> Self {
        match keys.node(key) {
            Some(node) => Self::read(node, findings),
            None => {
                findings.note(&keys.at, keys.missing(key, T::NAMED));
                Self { value: None, at: keys.at.clone(), name: keys.name_of(key) }
            }
        }
    }
}

impl<T: FromToml> Field for Option<Located<T>> {
    fn take(keys: &Keys<'_, '_>, key: &'static str, findings: &mut Findings) -> Self {
        keys.node(key).map(|node| Located::read(node, findings))
    }
}

/// The keys of one section as they stand in the file.
pub(super) struct Keys<'n, 't> {
    name: String,
    at: Place,
    table: &'n DeTable<'t>,
}

impl<'n, 't> Keys<'n, 't> {
    /// The file as a whole.
    pub(super) fn root(table: &'n DeTable<'t>) -> Self {
        Self { name: String::new(), at: 0..0, table }
    }

    /// The section in `node`, if it is one.
    pub(super) fn of(node: Node<'n, 't>, findings: &mut Findings) -> Option<Self> {
        let Some(table) = node.value.get_ref().as_table() else {
            return node.refuse("a table", findings);
        };
        Some(Self { at: node.at(), name: node.name, table })
    }

    /// Notes every key that is not among `known`, and the one that was probably meant.
    pub(super) fn refuse_unknown(&self, known: &[&str], findings: &mut Findings) {
        for key in self.table.keys() {
            let word = key.get_ref().as_ref();
            if known.contains(&word) {
                continue;
            }
            let advice = match closest(word, known) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => format!("known here: {}", known.join(", ")),
            };
            let place = if self.name.is_empty() { String::new() } else { format!("{}: ", self.name) };
            findings.note(&key.span(), format!("{place}unknown key \"{}\"; {advice}", word.escape_debug()));
        }
    }

    fn node(&self, key: &str) -> Option<Node<'n, 't>> {
        Some(Node { name: self.name_of(key), value: self.table.get(key)? })
    }

    fn name_of(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn missing(&self, key: &str, named: bool) -> String {
        match (self.name.is_empty(), named) {
            (true, true) => format!("the section [{key}.NAME] is missing"),
            (true, false) => format!("the section [{key}] is missing"),
            (false, _) => format!("{}: the key \"{key}\" is missing", self.name),
        }
    }
}

/// The word among `known` that was probably meant.
pub(super) fn closest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), *candidate))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, candidate)| candidate)
}

/// Declares a section: its documentation, keys and types, and with them how it is read and what its schema is.
macro_rules! section {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        pub(super) struct $name {
            $($(#[$field_meta])* pub(super) $field: $type,)*
        }

        impl $name {
            /// Reads every key, known or not, good or bad.
            pub(super) fn from_keys(keys: &Keys<'_, '_>, findings: &mut Findings) -> Self {
                keys.refuse_unknown(&[$(stringify!($field)),*], findings);
                Self { $($field: <$type as Field>::take(keys, stringify!($field), findings),)* }
            }
        }

        impl FromToml for $name {
            fn read(node: Node<'_, '_>, findings: &mut Findings) -> Option<Self> {
                Some(Self::from_keys(&Keys::of(node, findings)?, findings))
            }
        }
    };
}

/// Declares a choice among words.
macro_rules! choice {
    ($(#[$meta:meta])* $vis:vis $name:ident { $($(#[$word_meta:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $vis enum $name {
            $($(#[$word_meta])* $variant,)*
        }

        impl $name {
            /// The word in the configuration.
            $vis fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl FromToml for $name {
            fn read(node: Node<'_, '_>, findings: &mut Findings) -> Option<Self> {
                let word = node.value.get_ref().as_str();
                match [$(Self::$variant),*].into_iter().find(|choice| word == Some(choice.as_str())) {
                    Some(choice) => Some(choice),
                    None => node.refuse(concat!("one of", $(" \"", $word, "\""),*), findings),
                }
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "enum": [$($word),*] })
            }
        }
    };
}

/// The schema of types that are written as text of a certain form.
macro_rules! text_schema {
    ($($name:ty),*) => {$(
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": <$name as TextValue>::PATTERN })
            }
        }
    )*};
}

pub(super) use {choice, section, text_schema};
