//! Payloads → entries, quickly.
//!
//! Nearly all entries are intents and outcomes. These two are read here in exactly the form in which this version writes
//! them; at the first byte that is otherwise this way gives up, and the general decoder reads the whole payload, so both
//! give the same entry. Facts, decisions and the texts of prepared statements repeat: each is decoded once and shared
//! from then on, which is most of the time and of the memory that an intent takes.

use std::sync::Arc;

use bytes::Bytes;
use cbor4ii::serde as cbor;
use serde::de::DeserializeOwned;

use super::frame;
use crate::model::{
    Acting, Decision, Entry, Facts, HandleName, Intent, Outcome, OutcomeStatus, Param, ParamFormat, Reference, Request,
    SessionId, SqlText, Statement, Timestamp,
};

/// What is remembered of each kind, at most: an application has some hundred statements, and what does not fit is decoded
/// again.
const SLOTS: usize = 2_048;
/// Longer ones are decoded each time: 2,048 of them would be much memory.
const LONGEST: usize = 2 << 10;

/// Decodes payloads, and remembers what repeats in them.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    texts: Memory<Bytes>,
    facts: Memory<Arc<Facts>>,
    decisions: Memory<Arc<Decision>>,
    acting: Memory<Arc<Acting>>,
}

impl Decoder {
    /// A payload as an entry; the error says what the decoder did not like, never what the entry holds.
    pub(super) fn decode(&mut self, payload: &[u8]) -> Result<Entry, String> {
        self.quick(payload).map_or_else(|| frame::decode(payload), Ok)
    }

    fn quick(&mut self, payload: &[u8]) -> Option<Entry> {
        let mut from = Items(payload);
        from.map(1)?;
        let entry = match from.text()? {
            "Intent" => Entry::Intent(Arc::new(self.intent(&mut from)?)),
            "Outcome" => Entry::Outcome(Box::new(outcome(&mut from)?)),
            _ => return None,
        };
        from.0.is_empty().then_some(entry)
    }

    fn intent(&mut self, from: &mut Items<'_>) -> Option<Intent> {
        from.map(8)?;
        from.field(b"reference")?;
        let reference = reference(from)?;
        from.field(b"time")?;
        let time = Timestamp(from.number()?);
        from.field(b"statement")?;
        let statement = self.statement(from)?;
        from.field(b"facts")?;
        let facts = self.facts.get(from.whole()?, decoded)?;
        from.field(b"decision")?;
        let decision = self.decisions.get(from.whole()?, decoded)?;
        from.field(b"transaction")?;
        let transaction = from.text()?.parse().ok()?;
        from.field(b"server_version")?;
        let server_version = from.optional(Items::owned)?;
        from.field(b"acting")?;
        let acting = self.acting.get(from.whole()?, decoded)?;
        Some(Intent { reference, time, statement, facts, decision, transaction, server_version, acting })
    }

    fn statement(&mut self, from: &mut Items<'_>) -> Option<Statement> {
        from.map(5)?;
        from.field(b"request")?;
        let word = from.text()?;
        let request = *Request::ALL.iter().find(|it| it.as_str() == word)?;
        from.field(b"text")?;
        let text = from.bytes()?;
        let text = match request {
            Request::Execute | Request::FunctionCall => {
                self.texts.get(text, |text| Some(Bytes::copy_from_slice(text)))?
            }
            // A text with literals seldom comes twice.
            Request::Query | Request::Parse => Bytes::copy_from_slice(text),
        };
        from.field(b"params")?;
        let params = (0..from.list()?).map(|_| param(from)).collect::<Option<Vec<Param>>>()?;
        from.field(b"prepared")?;
        let prepared = from.optional(name)?;
        from.field(b"portal")?;
        let portal = from.optional(name)?;
        Some(Statement { request, text: SqlText::new(text), params, prepared, portal })
    }
}

fn decoded<T: DeserializeOwned>(bytes: &[u8]) -> Option<Arc<T>> {
    cbor::from_slice(bytes).ok().map(Arc::new)
}

fn reference(from: &mut Items<'_>) -> Option<Reference> {
    from.map(2)?;
    from.field(b"session")?;
    let bits = from.unsigned()?;
    let session = Some(SessionId::from_bits(bits)).filter(|session| session.bits() == bits)?;
    from.field(b"statement")?;
    Some(Reference { session, statement: from.unsigned()? })
}

fn name(from: &mut Items<'_>) -> Option<HandleName> {
    from.text().map(HandleName::from)
}

fn param(from: &mut Items<'_>) -> Option<Param> {
    from.map(3)?;
    from.field(b"type_oid")?;
    let type_oid = u32::try_from(from.unsigned()?).ok()?;
    from.field(b"format")?;
    let format = match from.text()? {
        "text" => ParamFormat::Text,
        "binary" => ParamFormat::Binary,
        _ => return None,
    };
    from.field(b"value")?;
    let value = from.optional(|from| from.bytes().map(Bytes::copy_from_slice))?;
    Some(Param { type_oid, format, value })
}

fn outcome(from: &mut Items<'_>) -> Option<Outcome> {
    from.map(12)?;
    from.field(b"reference")?;
    let reference = reference(from)?;
    from.field(b"time")?;
    let time = Timestamp(from.number()?);
    from.field(b"status")?;
    let word = from.text()?;
    let status = OutcomeStatus::ALL.iter().copied().find(|status| status.as_str() == word)?;
    from.field(b"sqlstate")?;
    let sqlstate = from.optional(Items::owned)?;
    from.field(b"command_tag")?;
    let command_tag = from.optional(Items::owned)?;
    from.field(b"rows_returned")?;
    let rows_returned = from.unsigned()?;
    from.field(b"rows_affected")?;
    let rows_affected = from.optional(Items::unsigned)?;
    from.field(b"bytes_in")?;
    let bytes_in = from.unsigned()?;
    from.field(b"bytes_out")?;
    let bytes_out = from.unsigned()?;
    from.field(b"first_row_us")?;
    let first_row_us = from.optional(Items::unsigned)?;
    from.field(b"total_us")?;
    let total_us = from.optional(Items::unsigned)?;
    from.field(b"transaction_after")?;
    let transaction_after = from.optional(|from| from.text()?.parse().ok())?;
    Some(Outcome {
        reference,
        time,
        status,
        sqlstate,
        command_tag,
        rows_returned,
        rows_affected,
        bytes_in,
        bytes_out,
        first_row_us,
        total_us,
        transaction_after,
    })
}

/// What was decoded, by its bytes. Each has one place; another that wants it takes it.
#[derive(Debug)]
struct Memory<T>(Vec<Option<(Box<[u8]>, T)>>);

impl<T> Default for Memory<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Clone> Memory<T> {
    fn get(&mut self, bytes: &[u8], decode: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
        if bytes.len() > LONGEST {
            return decode(bytes);
        }
        if self.0.is_empty() {
            self.0.resize_with(SLOTS, || None);
        }
        let place = self.0.get_mut(crc32c::crc32c(bytes) as usize % SLOTS)?;
        if let Some((known, value)) = place
            && **known == *bytes
        {
            return Some(value.clone());
        }
        let value = decode(bytes)?;
        *place = Some((bytes.into(), value.clone()));
        Some(value)
    }
}

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const LIST: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const NULL: u8 = 0xf6;

/// CBOR (RFC 8949) that is still to be read. Nothing means: not in this form.
struct Items<'a>(&'a [u8]);

impl<'a> Items<'a> {
    /// Type and argument of the next item.
    fn head(&mut self) -> Option<(u8, u64)> {
        let (first, rest) = self.0.split_first()?;
        let (argument, rest) = match first & 0x1f {
            short @ 0..=23 => (u64::from(short), rest),
            24 => rest.split_first_chunk().map(|(bytes, rest)| (u64::from(u8::from_be_bytes(*bytes)), rest))?,
            25 => rest.split_first_chunk().map(|(bytes, rest)| (u64::from(u16::from_be_bytes(*bytes)), rest))?,
            26 => rest.split_first_chunk().map(|(bytes, rest)| (u64::from(u32::from_be_bytes(*bytes)), rest))?,
            27 => rest.split_first_chunk().map(|(bytes, rest)| (u64::from_be_bytes(*bytes), rest))?,
            _ => return None,
        };
        self.0 = rest;
        Some((first >> 5, argument))
    }

    fn argument(&mut self, kind: u8) -> Option<u64> {
        self.head().filter(|(found, _)| *found == kind).map(|(_, argument)| argument)
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    /// A struct of so many fields.
    fn map(&mut self, fields: u64) -> Option<()> {
        (self.argument(MAP)? == fields).then_some(())
    }

    /// The name of the field that comes next; short, so that its length stands in one byte.
    fn field<const N: usize>(&mut self, name: &[u8; N]) -> Option<()> {
        let (head, rest) = self.0.split_first()?;
        let (found, rest) = rest.split_first_chunk::<N>()?;
        self.0 = rest;
        (usize::from(*head) == usize::from(TEXT << 5) + N && found == name).then_some(())
    }

    fn list(&mut self) -> Option<u64> {
        self.argument(LIST)
    }

    fn unsigned(&mut self) -> Option<u64> {
        self.argument(UNSIGNED)
    }

    fn number(&mut self) -> Option<i64> {
        let (kind, argument) = self.head()?;
        let number = i64::try_from(argument).ok()?;
        match kind {
            UNSIGNED => Some(number),
            NEGATIVE => Some(!number),
            _ => None,
        }
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.argument(BYTES)?;
        self.take(length)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.argument(TEXT)?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn owned(&mut self) -> Option<String> {
        self.text().map(str::to_owned)
    }

    /// What may be null.
    fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.0.split_first()? {
            (&NULL, rest) => {
                self.0 = rest;
                Some(None)
            }
            _ => read(self).map(Some),
        }
    }

    /// The bytes of the next item, with all that it holds.
    fn whole(&mut self) -> Option<&'a [u8]> {
        let all = self.0;
        let mut pending = 1_u64;
        while pending > 0 {
            let (kind, argument) = self.head()?;
            let more = match kind {
                BYTES | TEXT => self.take(argument).map(|_| 0)?,
                LIST => argument,
                MAP => argument.checked_mul(2)?,
                TAG => 1,
                _ => 0,
            };
            pending = (pending - 1).checked_add(more)?;
        }
        all.get(..all.len() - self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tests::intent;
    use crate::model::{Action, Effect, Kind, Object, ObjectKind, RuleId};

    fn entries() -> Vec<Entry> {
        let Entry::Intent(plain) = intent(7, "SELECT 1", true) else { unreachable!() };
        let object = Object { kind: ObjectKind::Table, schema: Some("clinic".to_owned()), name: "patients".to_owned() };
        let facts = Facts {
            kind: Kind::Select,
            statement_count: 300,
            effects: vec![Effect { action: Action::Select, object: Some(object), has_where: true }; 3],
            functions: vec!["now".to_owned(); 25],
            has_where: Some(false),
            fingerprint: Some("ab".repeat(32)),
            problem: None,
            touched: Vec::new(),
            has_limit: false,
            lifts_read_only: false,
            by_shape: false,
            operators: Vec::new(),
            conversions: Vec::new(),
            handles: Vec::new(),
            executes: None,
        };
        let param = |value: Option<&'static [u8]>| Param {
            type_oid: u32::MAX,
            format: if value.is_some() { ParamFormat::Binary } else { ParamFormat::Text },
            value: value.map(Bytes::from_static),
        };
        let full = Intent {
            reference: Reference { session: SessionId::from_bits(u64::MAX), statement: u64::MAX },
            time: Timestamp(i64::MIN),
            statement: Statement {
                request: Request::Execute,
                text: SqlText::new(Bytes::from_static(b"select '\xff'")),
                params: vec![param(Some(b"\0\xff")), param(None), param(Some(b""))],
                prepared: Some("".into()),
                portal: Some("ü".repeat(300).as_str().into()),
            },
            facts: facts.into(),
            transaction: 'T',
            server_version: Some("15.18".to_owned()),
            acting: Arc::new(Acting { session_user: Some("app".to_owned()), role: Some("clerk".to_owned()) }),
            ..plain.as_ref().clone()
        };
        let long = Intent {
            statement: Statement { text: SqlText::from("x".repeat(70_000).as_str()), ..full.statement.clone() },
            ..full.clone()
        };
        let mut denied = full.clone();
        let decision = Arc::make_mut(&mut denied.decision);
        decision.rules = vec![RuleId("no".to_owned())];
        decision.message = Some("No.".to_owned());
        let reference = full.reference;
        let outcomes = OutcomeStatus::ALL.iter().map(|status| {
            let bare = || Outcome::bare(reference, Timestamp(-1), *status);
            let counted = Outcome {
                sqlstate: Some("42501".to_owned()),
                command_tag: Some("SELECT 3".to_owned()),
                rows_affected: Some(u64::MAX),
                first_row_us: Some(24),
                total_us: Some(0),
                transaction_after: Some('E'),
                ..bare()
            };
            [bare(), counted]
        });
        let intents =
            [Arc::unwrap_or_clone(plain), full, long, denied].into_iter().map(|intent| Entry::Intent(Arc::new(intent)));
        intents.chain(outcomes.flatten().map(|outcome| Entry::Outcome(Box::new(outcome)))).collect()
    }

    #[test]
    fn the_quick_way_reads_all_that_is_written_and_the_general_one_agrees() {
        let mut decoder = Decoder::default();
        // The second time, what repeats is remembered.
        for entry in entries().into_iter().chain(entries()) {
            let payload = frame::encode(&entry).unwrap();
            assert_eq!(decoder.quick(&payload).as_ref(), Some(&entry));
            assert_eq!(frame::decode(&payload), Ok(entry));
        }
    }

    #[test]
    fn a_name_that_is_not_utf8_is_left_to_the_general_way_and_keeps_its_bytes() {
        let Entry::Intent(mut intent) = entries().remove(1) else { unreachable!() };
        let name = HandleName::new(Bytes::from_static(b"\xff\\xff"));
        Arc::make_mut(&mut intent).statement.portal = Some(name);
        let entry = Entry::Intent(intent);
        let payload = frame::encode(&entry).unwrap();
        assert_eq!(Decoder::default().quick(&payload), None);
        assert_eq!(Decoder::default().decode(&payload), Ok(entry));
    }

    #[test]
    fn what_repeats_is_shared() {
        let mut decoder = Decoder::default();
        let payload = frame::encode(&entries()[1]).unwrap();
        let [Ok(Entry::Intent(one)), Ok(Entry::Intent(two))] = [decoder.decode(&payload), decoder.decode(&payload)]
        else {
            unreachable!()
        };
        assert!(Arc::ptr_eq(&one.facts, &two.facts) && Arc::ptr_eq(&one.decision, &two.decision));
        assert!(Arc::ptr_eq(&one.acting, &two.acting));
        assert_eq!(one.statement.text.bytes().as_ptr(), two.statement.text.bytes().as_ptr());
    }

    #[test]
    fn bytes_that_are_cut_or_changed_are_left_to_the_general_way() {
        let mut decoder = Decoder::default();
        for entry in entries().iter().filter(|entry| frame::encode(entry).unwrap().len() < 4_000) {
            let payload = frame::encode(entry).unwrap();
            for cut in 0..payload.len() {
                assert_eq!(decoder.quick(&payload[..cut]), None);
            }
            for at in 0..payload.len() {
                let mut changed = payload.clone();
                changed[at] ^= 0x55;
                if let Some(entry) = decoder.quick(&changed) {
                    assert_eq!(frame::decode(&changed), Ok(entry), "byte {at}");
                }
            }
        }
    }

    #[test]
    fn an_outcome_of_before_the_state_after_it_was_kept_is_read() {
        let Some(entry @ Entry::Outcome(_)) = entries().into_iter().nth(4) else { unreachable!() };
        let payload = frame::encode(&entry).unwrap();
        let newer = b"\x71transaction_after\xf6";
        let mut older = payload.strip_suffix(newer).unwrap().to_vec();
        let fields = older.iter().position(|byte| *byte == 0xac).unwrap();
        older[fields] -= 1;
        assert_eq!(Decoder::default().quick(&older), None);
        assert_eq!(Decoder::default().decode(&older), Ok(entry));
    }

    #[test]
    fn a_field_of_another_version_is_left_to_the_general_way() {
        let entry = &entries()[4];
        let payload = frame::encode(entry).unwrap();
        let fields = payload.iter().position(|byte| *byte == 0xac).unwrap();
        let mut newer = payload;
        newer[fields] += 1;
        newer.extend(b"\x63new\xf6");
        assert_eq!(Decoder::default().quick(&newer), None);
        assert_eq!(Decoder::default().decode(&newer).as_ref(), Ok(entry));
    }
}
