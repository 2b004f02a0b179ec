//! Columns → leaf hashes, without a value in between.
//!
//! The bytes of a row are those of [`Row::leaf`](crate::seal::canonical::Row::leaf). Half a million rows a second leave no
//! room to make sixty values for each, so they are put together in buffers that are used again, some rows side by side: a
//! column is asked once for all of them what it is. A word that repeats is encoded once, with its key, and copied from
//! then on.

use std::ops::Range;

use arrow::array::{Array, Int32Array, StringArray};
use arrow::buffer::NullBuffer;

use super::Dataset;
use super::logical::{Cells, bounds};
use super::runs::Step;
use crate::model::Sha256;
use crate::seal::canonical::Pieces;

/// Rows that are put together side by side: as many as stay in the first cache of a processor.
const ABREAST: usize = 16;

/// The leaf hashes of so many rows with these columns, which stand in the order of their keys.
pub(super) fn of(dataset: Dataset, columns: &[(u64, Cells)], rows: usize) -> Vec<Sha256> {
    let steps = Step::of(dataset, columns, rows);
    // A column without nulls is a field of each row, and need not be asked.
    let (always, sometimes): (Vec<&Step<'_>>, Vec<&Step<'_>>) = steps.iter().partition(|step| step.is_always_there());
    let start = Pieces::leaf(dataset.version());
    let length = start.bytes().len();
    let mut abreast = vec![start; ABREAST];
    let mut leaves = Vec::with_capacity(rows);
    for from in (0..rows).step_by(ABREAST) {
        let block = from..rows.min(from + ABREAST);
        let mut fields = [always.len(); ABREAST];
        sometimes.iter().for_each(|step| step.count(block.clone(), &mut fields));
        for (row, fields) in abreast.iter_mut().zip(fields) {
            row.truncate(length);
            row.map(fields);
        }
        steps.iter().for_each(|step| step.put_block(block.clone(), &mut abreast));
        leaves.extend(Pieces::digests(abreast.get_mut(..block.len()).unwrap_or_default()));
    }
    leaves
}

/// A column, and what makes putting it down quick.
pub(super) struct Column<'a> {
    key: u64,
    cells: &'a Cells,
    nulls: Option<&'a NullBuffer>,
    /// Its words as they stand in a row, if it has words that repeat.
    words: Option<Words>,
    /// The elements of a list, the fields of a struct.
    inner: Vec<Column<'a>>,
}

impl<'a> Column<'a> {
    pub(super) fn of(key: u64, cells: &'a Cells) -> Self {
        let words = match cells {
            // With more words than rows, most would be encoded for nothing.
            Cells::Words(which, words) if words.len() <= which.len() => Some(Words::of(key, words)),
            _ => None,
        };
        let inner = match cells {
            Cells::List(_, elements) => vec![Self::of(0, elements)],
            Cells::Struct(_, fields) => fields.iter().map(|(key, cells)| Self::of(*key, cells)).collect(),
            _ => Vec::new(),
        };
        let nulls = cells.nulls().filter(|nulls| nulls.null_count() > 0);
        Self { key, cells, nulls, words, inner }
    }

    pub(super) fn is_valid(&self, at: usize) -> bool {
        !matches!(self.cells, Cells::Absent) && self.nulls.is_none_or(|nulls| nulls.is_valid(at))
    }

    /// Whether no row lacks it.
    pub(super) fn is_always_there(&self) -> bool {
        self.nulls.is_none() && !matches!(self.cells, Cells::Absent)
    }

    /// Counts the field where it is not null.
    pub(super) fn count(&self, block: Range<usize>, fields: &mut [usize]) {
        for (at, fields) in block.zip(fields) {
            *fields += usize::from(self.is_valid(at));
        }
    }

    /// Puts the field down in each row of a block that has it.
    pub(super) fn put_block(&self, block: Range<usize>, rows: &mut [Pieces]) {
        match (&self.words, self.cells) {
            (Some(words), Cells::Words(which, _)) => self.each(block, rows, |row, at| words.put(row, which, at)),
            (_, Cells::Absent) => {}
            (_, Cells::Number(cells)) => self.each(block, rows, |row, at| {
                row.key(self.key);
                row.number(cells.value(at));
            }),
            (_, Cells::Text(cells)) => self.each(block, rows, |row, at| {
                row.key(self.key);
                row.text(cells.value(at));
            }),
            _ => self.each(block, rows, |row, at| {
                row.key(self.key);
                self.put_value(row, at);
            }),
        }
    }

    fn each(&self, block: Range<usize>, rows: &mut [Pieces], put: impl Fn(&mut Pieces, usize)) {
        match self.nulls {
            None => block.zip(rows).for_each(|(at, row)| put(row, at)),
            Some(nulls) => {
                block.zip(rows).filter(|(at, _)| nulls.is_valid(*at)).for_each(|(at, row)| put(row, at));
            }
        }
    }

    /// Puts the field down, if it is not null.
    pub(super) fn put(&self, to: &mut Pieces, at: usize) {
        if !self.is_valid(at) {
            return;
        }
        match (&self.words, self.cells) {
            (Some(words), Cells::Words(which, _)) => words.put(to, which, at),
            _ => {
                to.key(self.key);
                self.put_value(to, at);
            }
        }
    }

    /// Puts a value down that is not null.
    fn put_value(&self, to: &mut Pieces, at: usize) {
        match self.cells {
            Cells::Absent => to.null(),
            Cells::Flag(cells) => to.flag(cells.value(at)),
            Cells::Number(cells) => to.number(cells.value(at)),
            Cells::Text(cells) => to.text(cells.value(at)),
            Cells::Words(which, words) => to.text(words.value(Cells::word(which, at))),
            Cells::Bytes(cells) => to.blob(cells.value(at)),
            Cells::List(cells, _) => {
                let range = bounds(cells, at);
                to.list(range.len());
                for element in &self.inner {
                    range
                        .clone()
                        .for_each(|at| if element.is_valid(at) { element.put_value(to, at) } else { to.null() });
                }
            }
            Cells::Struct(..) => {
                to.map(self.inner.iter().filter(|field| field.is_valid(at)).count());
                self.inner.iter().for_each(|field| field.put(to, at));
            }
        }
    }
}

/// The words of a column, each with its key as it stands in a row.
struct Words {
    pieces: Pieces,
    /// Where each word's piece begins, and where the last ends.
    bounds: Vec<usize>,
}

impl Words {
    fn of(key: u64, words: &StringArray) -> Self {
        let mut pieces = Pieces::default();
        let mut bounds = Vec::with_capacity(words.len() + 1);
        bounds.push(0);
        for word in words.iter().flatten() {
            pieces.key(key);
            pieces.text(word);
            bounds.push(pieces.bytes().len());
        }
        Self { pieces, bounds }
    }

    fn put(&self, to: &mut Pieces, which: &Int32Array, at: usize) {
        let word = Cells::word(which, at);
        if let Some([from, upto]) = self.bounds.get(word..word + 2)
            && let Some(piece) = self.pieces.bytes().get(*from..*upto)
        {
            to.append(piece);
        }
    }
}

impl Cells {
    fn nulls(&self) -> Option<&NullBuffer> {
        match self {
            Self::Absent => None,
            Self::Flag(cells) => cells.nulls(),
            Self::Number(cells) => cells.nulls(),
            Self::Text(cells) => cells.nulls(),
            Self::Words(which, _) => which.nulls(),
            Self::Bytes(cells) => cells.nulls(),
            Self::List(cells, _) => cells.nulls(),
            Self::Struct(cells, _) => cells.nulls(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::RecordBatch;
    use bytes::Bytes;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use crate::model::{
        Action, Effect, HandleName, Intent, Kind, Object, ObjectKind, OutcomeStatus, Param, ParamFormat, Record,
        RuleId, SegmentNo, SessionId, Sha256, SqlText, Timestamp, Verdict,
    };
    use crate::segment::tests::{built, events, node, record};
    use crate::segment::{Dataset, File, Leaves, LogicalRows, Rows, Segment};

    /// Numbers without pattern, the same in each run.
    struct Draw(u64);

    impl Draw {
        fn below(&mut self, bound: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(self.0 >> 33).unwrap() % bound
        }

        /// Nothing one time in three, else a word that may be empty, common, rare or long.
        fn word(&mut self) -> Option<String> {
            match self.below(6) {
                0 | 1 => None,
                2 => Some(String::new()),
                3 => Some("often".to_owned()),
                4 => Some(format!("ärztin-{}", self.below(1_000))),
                _ => Some("long ".repeat(self.below(90))),
            }
        }

        fn words(&mut self) -> Vec<String> {
            (0..self.below(4)).map(|_| self.word().unwrap_or_default()).collect()
        }
    }

    fn effect(draw: &mut Draw) -> Effect {
        let object = |draw: &mut Draw| Object {
            kind: ObjectKind::ALL[draw.below(ObjectKind::ALL.len())],
            schema: draw.word(),
            name: draw.word().unwrap_or_default(),
        };
        Effect {
            action: Action::ALL[draw.below(Action::ALL.len())],
            object: (draw.below(3) > 0).then(|| object(draw)),
            has_where: draw.below(2) == 0,
        }
    }

    fn param(draw: &mut Draw) -> Param {
        let format = if draw.below(2) == 0 { ParamFormat::Text } else { ParamFormat::Binary };
        let value = draw.word().map(|mut word| {
            word.truncate(if draw.below(4) == 0 { 4 } else { 400 });
            Bytes::from(word)
        });
        Param { type_oid: [0, 23, 25, 3802, 4_000_000_000][draw.below(5)], format, value }
    }

    /// A row with anything null that may be, and lists of any length.
    fn generated(draw: &mut Draw, number: u64) -> Record {
        let text = match draw.below(5) {
            0 => SqlText::new(Bytes::from_static(b"select '\xff'")),
            1 => SqlText::from("select 1"),
            _ => SqlText::from(format!("select {}", draw.word().unwrap_or_default()).as_str()),
        };
        let mut row = record(number, i64::try_from(draw.below(5_000)).unwrap() - 900, text);
        let mut intent: Intent = row.intent.as_ref().clone();
        intent.reference.session = SessionId::from_bits(draw.below(5) as u64);
        intent.server_version = draw.word();
        intent.statement.params = (0..draw.below(4)).map(|_| param(draw)).collect();
        intent.statement.prepared = draw.word().map(|name| HandleName::from(name.as_str()));
        intent.statement.portal = match draw.below(9) {
            0 => Some(HandleName::new(Bytes::from_static(b"\xff"))),
            _ => draw.word().map(|name| HandleName::from(name.as_str())),
        };
        let facts = Arc::make_mut(&mut intent.facts);
        facts.kind = Kind::ALL[draw.below(Kind::ALL.len())];
        facts.effects = (0..draw.below(4)).map(|_| effect(draw)).collect();
        facts.functions = draw.words();
        facts.has_where = [None, Some(true), Some(false)][draw.below(3)];
        facts.fingerprint = draw.word();
        facts.problem = draw.word();
        let decision = Arc::make_mut(&mut intent.decision);
        decision.verdict = if draw.below(9) == 0 { Verdict::Deny } else { Verdict::Allow };
        decision.rules = draw.words().into_iter().map(RuleId).collect();
        decision.message = draw.word();
        let mut session = row.session.as_ref().clone();
        session.id = intent.reference.session;
        // Not even what a session should determine is taken for determined.
        session.principal.email = draw.word();
        session.principal.roles = draw.words();
        session.principal.token.issued = (draw.below(2) == 0).then_some(Timestamp(number as i64));
        row.outcome.status = if draw.below(9) == 0 { OutcomeStatus::Error } else { OutcomeStatus::Ok };
        row.outcome.command_tag = draw.word();
        row.outcome.rows_affected = (draw.below(2) == 0).then(|| 1 << draw.below(63));
        row.outcome.total_us = (draw.below(2) == 0).then(|| draw.below(70_000) as u64);
        (row.intent, row.session) = (intent.into(), session.into());
        row
    }

    /// Each leaf, after finding it to be the one that the row itself has.
    fn checked(dataset: Dataset, batch: &RecordBatch) -> Vec<Sha256> {
        let rows = LogicalRows::of(dataset, batch).unwrap();
        let leaves = rows.leaves().unwrap();
        assert_eq!(leaves.len(), batch.num_rows());
        let mut scratch = Vec::new();
        for (at, (_, leaf)) in leaves.iter().enumerate() {
            assert_eq!(*leaf, rows.row(at).unwrap().unwrap().leaf(&mut scratch), "row {at}");
        }
        leaves.into_iter().map(|(_, leaf)| leaf).collect()
    }

    fn plain(file: &File) -> Vec<RecordBatch> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(file.bytes.clone()).unwrap();
        reader.with_batch_size(777).build().unwrap().map(Result::unwrap).collect()
    }

    fn words(dataset: Dataset, file: &File) -> Vec<RecordBatch> {
        Segment::batches(dataset, file.bytes.clone()).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn the_quick_way_hashes_the_bytes_of_the_row_whatever_is_null_or_repeats() {
        let mut draw = Draw(7);
        let records: Vec<Record> = (1..=4_000).map(|number| generated(&mut draw, number)).collect();
        let files = built(&Rows { records, ..Rows::default() });
        for file in &files {
            let slow: Vec<Sha256> = plain(file).iter().flat_map(|batch| checked(Dataset::Statements, batch)).collect();
            let quick: Vec<Sha256> =
                words(Dataset::Statements, file).iter().flat_map(|batch| checked(Dataset::Statements, batch)).collect();
            assert_eq!(slow, quick);
            // A part of a batch begins and ends anywhere.
            let batch = &words(Dataset::Statements, file)[0];
            let (from, length) = (draw.below(batch.num_rows()), draw.below(40));
            let length = length.min(batch.num_rows() - from);
            assert_eq!(checked(Dataset::Statements, &batch.slice(from, length)), slow[from..from + length]);
        }
        assert_eq!(files.iter().map(|file| file.rows).sum::<u64>(), 4_000);
    }

    /// Words and what the Parquet writer makes itself, nulls and lists, over several pages.
    #[test]
    fn what_is_read_back_has_the_hashes_of_what_was_written() {
        let mut draw = Draw(11);
        let records: Vec<Record> = (1..=10_000).map(|number| generated(&mut draw, number)).collect();
        let rows = Rows { records, events: events(), ..Rows::default() };
        let built = Segment::build(&node(), SegmentNo(3), Timestamp(99), &rows).unwrap();
        let mut read = Leaves::default();
        for file in &built.files {
            let dataset = if file.name.starts_with("events") { Dataset::Events } else { Dataset::Statements };
            for batch in plain(file) {
                read.extend(dataset, LogicalRows::of(dataset, &batch).unwrap().leaves().unwrap());
            }
        }
        assert_eq!(read.sorted(), built.leaves);
        assert_eq!(built.leaves.len(), 10_004);
    }

    #[test]
    fn the_quick_way_hashes_the_other_datasets_too() {
        let file = &built(&Rows { events: events(), ..Rows::default() })[0];
        let slow: Vec<Sha256> = plain(file).iter().flat_map(|batch| checked(Dataset::Events, batch)).collect();
        let quick: Vec<Sha256> =
            words(Dataset::Events, file).iter().flat_map(|batch| checked(Dataset::Events, batch)).collect();
        assert_eq!(slow, quick);
    }
}
