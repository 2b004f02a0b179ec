//! The canonical bytes of one row of the archive: what is hashed, and so what is signed.
//!
//! Defined over the published columns, not over files: whoever has the values (Parquet, CSV, another table format) and
//! the contract in `schemas/` rebuilds the same bytes, so compaction and export invalidate no proof. The bytes are
//! deterministic CBOR (RFC 8949 §4.2.1) of `["hansard.row.v1", "statements.v1", {key: value, …}]`;
//! `schemas/record-bytes.v1.md` is the whole rule.
//!
//! Keys are the numbers that the contract gives its columns and the fields of its structs. Two other ways lose:
//! *names as keys* need no number in the contract, but they are as long as all values together, and verifying half a
//! million rows a second is bound by what is hashed; and a column could never get a better name. *Values by position*
//! are shorter still, but a column that is added later changes the bytes of every row before it.
//!
//! What is null is left out, which makes "null" and "this column did not exist yet" one thing: a nullable column that is
//! added later changes no hash of an old row. A column that is not nullable can only come with a new version of the
//! contract, and the version is part of the bytes.

use crate::model::Sha256;

use super::abreast;
use super::cbor;
use super::merkle;

/// What is encoded, and how: a hash of anything else of ours cannot be taken for a row's.
const DOMAIN: &str = "hansard.row.v1";

/// A value of a column, as any lossless form of the archive carries it. Times are microseconds since 1970 in UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// There is none.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number, or a time.
    Int(i64),
    /// Text in UTF-8, not normalised.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// Values in order.
    List(Vec<Value<'a>>),
    /// A struct.
    Map(Fields<'a>),
}

/// Values by the keys of the contract: ascending, each once, without nulls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fields<'a>(Vec<(u64, Value<'a>)>);

impl<'a> Fields<'a> {
    /// Sorts, and leaves nulls out.
    ///
    /// # Errors
    ///
    /// [`KeyTwice`].
    pub fn new(mut fields: Vec<(u64, Value<'a>)>) -> Result<Self, KeyTwice> {
        fields.retain(|(_, value)| *value != Value::Null);
        if !fields.is_sorted_by_key(|(key, _)| *key) {
            fields.sort_by_key(|(key, _)| *key);
        }
        let twice = fields.iter().zip(fields.iter().skip(1)).find(|((before, _), (after, _))| before == after);
        match twice {
            Some(((key, _), _)) => Err(KeyTwice(*key)),
            None => Ok(Self(fields)),
        }
    }

    /// The fields in the order of their keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u64, &Value<'a>)> {
        self.0.iter().map(|(key, value)| (*key, value))
    }

    /// The value under `key`, if it is not null.
    pub fn get(&self, key: u64) -> Option<&Value<'a>> {
        let at = self.0.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }
}

/// Two values have one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("two values have the key {0}")]
pub struct KeyTwice(pub u64);

/// One row of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row<'a> {
    /// The contract with its version: `statements.v1`.
    pub schema: &'a str,
    /// Its values.
    pub fields: Fields<'a>,
}

impl<'a> Row<'a> {
    /// The canonical bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        bytes
    }

    /// The RFC 6962 leaf hash of the canonical bytes. `scratch` is room that is used again for the next row.
    pub fn leaf(&self, scratch: &mut Vec<u8>) -> Sha256 {
        scratch.clear();
        scratch.push(merkle::LEAF_PREFIX);
        self.write(scratch);
        Sha256::of(scratch)
    }

    /// Reads canonical bytes back, and takes no others.
    ///
    /// # Errors
    ///
    /// [`NotCanonical`].
    pub fn read(bytes: &'a [u8]) -> Result<Self, NotCanonical> {
        let Value::List(parts) = cbor::read(bytes)? else { return Err(NotCanonical::NoRow) };
        match <[Value<'a>; 3]>::try_from(parts) {
            Ok([Value::Text(DOMAIN), Value::Text(schema), Value::Map(fields)]) => Ok(Self { schema, fields }),
            _ => Err(NotCanonical::NoRow),
        }
    }

    fn write(&self, to: &mut Vec<u8>) {
        begin(to, self.schema);
        cbor::fields(to, &self.fields);
    }
}

/// Canonical bytes put together piece by piece, where a [`Row`] for each row would cost more than its hash.
///
/// Nothing is checked here that [`Fields`] checks there: whoever puts the pieces together answers for it that each map has
/// as many pairs of key and value as was said, with ascending keys and without nulls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pieces(Vec<u8>);

impl Pieces {
    /// The beginning of a leaf of this contract; a map of the row's fields makes it whole.
    pub fn leaf(schema: &str) -> Self {
        let mut bytes = vec![merkle::LEAF_PREFIX];
        begin(&mut bytes, schema);
        Self(bytes)
    }

    /// What was put together so far.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The digest of each of some, which are spent by it up to the next [`Pieces::truncate`]; of a whole leaf, its leaf
    /// hash. Several together cost less than one by one.
    pub fn digests(some: &mut [Self]) -> Vec<Sha256> {
        abreast::digests(&mut some.iter_mut().map(|pieces| &mut pieces.0).collect::<Vec<_>>())
    }

    /// Takes back all but the first bytes.
    pub fn truncate(&mut self, length: usize) {
        self.0.truncate(length);
    }

    /// A map of so many pairs of key and value follows.
    pub fn map(&mut self, fields: usize) {
        cbor::map(&mut self.0, fields);
    }

    /// The key of the value that follows.
    pub fn key(&mut self, key: u64) {
        cbor::key(&mut self.0, key);
    }

    /// A list of so many values follows.
    pub fn list(&mut self, values: usize) {
        cbor::array(&mut self.0, values);
    }

    /// An element that is not there.
    pub fn null(&mut self) {
        cbor::null(&mut self.0);
    }

    /// True or false.
    pub fn flag(&mut self, flag: bool) {
        cbor::flag(&mut self.0, flag);
    }

    /// A whole number, or a time.
    pub fn number(&mut self, number: i64) {
        cbor::number(&mut self.0, number);
    }

    /// Text.
    pub fn text(&mut self, text: &str) {
        cbor::text(&mut self.0, text);
    }

    /// Bytes.
    pub fn blob(&mut self, bytes: &[u8]) {
        cbor::bytes(&mut self.0, bytes);
    }

    /// What was put together elsewhere.
    pub fn append(&mut self, piece: &[u8]) {
        self.0.extend_from_slice(piece);
    }
}

/// What stands before the fields of a row.
fn begin(to: &mut Vec<u8>, schema: &str) {
    cbor::array(to, 3);
    cbor::text(to, DOMAIN);
    cbor::text(to, schema);
}

/// Why bytes are not canonical. The places are offsets into them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotCanonical {
    /// They end too early.
    #[error("the bytes end in the middle of a value")]
    Ends,
    /// They go on after the value.
    #[error("something follows the value at offset {0}")]
    Follows(usize),
    /// A form that the encoding does not have.
    #[error("what stands at offset {0} is not deterministic CBOR of this encoding")]
    Form(usize),
    /// Structs in structs in structs.
    #[error("values are nested deeper than {} levels", cbor::MAX_DEPTH)]
    Deep,
    /// Canonical, but no row.
    #[error("the value is no row")]
    NoRow,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(fields: Vec<(u64, Value<'_>)>) -> Row<'_> {
        Row { schema: "statements.v1", fields: Fields::new(fields).unwrap() }
    }

    #[test]
    fn a_row_reads_back_and_its_leaf_is_the_hash_of_its_bytes() {
        let inner = Fields::new(vec![(1, Value::Text("select")), (2, Value::Null), (5, Value::Bool(true))]).unwrap();
        let row = row(vec![
            (300, Value::Int(-1)),
            (1, Value::Text("ü")),
            (2, Value::Bytes(&[0, 255])),
            (3, Value::List(vec![Value::Map(inner)])),
            (24, Value::List(vec![])),
        ]);
        let bytes = row.bytes();
        assert_eq!(Row::read(&bytes), Ok(row.clone()));
        assert_eq!(row.leaf(&mut b"left from before".to_vec()), merkle::leaf(&bytes));
        assert_eq!(row.fields.get(300), Some(&Value::Int(-1)));
        assert_eq!(row.fields.get(4), None);
    }

    #[test]
    fn order_and_nulls_make_no_difference_and_a_key_that_comes_twice_is_refused() {
        let one = row(vec![(2, Value::Int(5)), (1, Value::Bool(false)), (3, Value::Null)]);
        let other = row(vec![(1, Value::Bool(false)), (2, Value::Int(5))]);
        assert_eq!(one.bytes(), other.bytes());
        assert_eq!(Fields::new(vec![(7, Value::Int(1)), (1, Value::Int(1)), (7, Value::Int(1))]), Err(KeyTwice(7)));
    }

    #[test]
    fn rows_of_two_contracts_with_the_same_values_have_two_hashes() {
        let one = row(vec![(1, Value::Int(5))]);
        let other = Row { schema: "sessions.v1", ..one.clone() };
        assert_ne!(one.leaf(&mut Vec::new()), other.leaf(&mut Vec::new()));
    }

    #[test]
    fn bytes_of_something_else_are_no_row() {
        let strange = |value: &Value<'_>| {
            let mut bytes = Vec::new();
            cbor::value(&mut bytes, value);
            Row::read(&bytes).map(|_| ()).unwrap_err()
        };
        let list = |parts| Value::List(parts);
        let map = || Value::Map(Fields::default());
        for value in [
            map(),
            list(vec![Value::Text(DOMAIN), Value::Text("x.v1")]),
            list(vec![Value::Text("hansard.row.v2"), Value::Text("x.v1"), map()]),
            list(vec![Value::Text(DOMAIN), Value::Text("x.v1"), list(vec![])]),
        ] {
            assert_eq!(strange(&value), NotCanonical::NoRow);
        }
    }
}
