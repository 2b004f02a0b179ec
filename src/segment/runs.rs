//! Columns that stand side by side and are the same wherever another column has the same word: what a session or a text's
//! facts determine. Their bytes are put together once for each word, and copied.
//!
//! That they are determined is not taken from the contract but found in each batch, row by row: a forged row is hashed as
//! it is.

use std::ops::Range;

use arrow::array::{Array, ArrowPrimitiveType, Int32Array, PrimitiveArray};

use super::Dataset;
use super::leaves::Column;
use super::logical::{Cells, bounds};
use crate::seal::canonical::Pieces;

/// Columns whose words may determine others.
const ANCHORS: &[&str] = &["session_id", "fingerprint"];
/// Fewer columns are as quickly put down one by one.
const LEAST_COLUMNS: usize = 3;
/// A word must stand in so many rows on average, or finding out costs more than it spares.
const ROWS_PER_WORD: usize = 4;

/// What is put down in a row in one go.
pub(super) enum Step<'a> {
    /// A column.
    Column(Column<'a>),
    /// Columns with neighbouring keys.
    Run(Run<'a>),
}

impl<'a> Step<'a> {
    /// The steps of a batch, in the order of the columns' keys.
    pub(super) fn of(dataset: Dataset, columns: &'a [(u64, Cells)], rows: usize) -> Vec<Self> {
        let contract = dataset.columns().unwrap_or_default();
        let keys = contract.iter().filter(|column| ANCHORS.contains(&column.name.as_str())).map(|column| column.key);
        let found = keys.filter_map(|key| columns.iter().find(|(known, _)| *known == key));
        let anchors: Vec<Anchor<'_>> = found.filter_map(|(_, cells)| Anchor::of(cells, rows)).collect();
        let mut steps = Vec::new();
        let mut rest = columns;
        while let Some(((key, cells), others)) = rest.split_first() {
            let longest =
                anchors.iter().map(|anchor| (anchor.determined(rest), anchor)).max_by_key(|(length, _)| *length);
            match longest {
                Some((length, anchor)) if length >= LEAST_COLUMNS => {
                    let (run, after) = rest.split_at(length);
                    steps.push(Self::Run(Run::of(anchor, run)));
                    rest = after;
                }
                _ => {
                    steps.push(Self::Column(Column::of(*key, cells)));
                    rest = others;
                }
            }
        }
        steps
    }

    /// Whether it is one field of each row.
    pub(super) fn is_always_there(&self) -> bool {
        matches!(self, Self::Column(column) if column.is_always_there())
    }

    /// Counts the fields that are not null.
    pub(super) fn count(&self, block: Range<usize>, fields: &mut [usize]) {
        match self {
            Self::Column(column) => column.count(block, fields),
            Self::Run(run) => {
                for (at, fields) in block.zip(fields) {
                    *fields += run.fields.get(place(run.which, at, run.words)).copied().unwrap_or(0);
                }
            }
        }
    }

    /// Puts the fields down in each row of a block.
    pub(super) fn put_block(&self, block: Range<usize>, rows: &mut [Pieces]) {
        match self {
            Self::Column(column) => column.put_block(block, rows),
            Self::Run(run) => block.zip(rows).for_each(|(at, row)| run.put(row, at)),
        }
    }
}

/// A column whose words may determine others.
struct Anchor<'a> {
    which: &'a Int32Array,
    words: usize,
    /// The first row of each word; of the rows without one at last.
    firsts: Vec<usize>,
    /// For each row, the first with the same word.
    first: Vec<usize>,
}

impl<'a> Anchor<'a> {
    fn of(cells: &'a Cells, rows: usize) -> Option<Self> {
        let Cells::Words(which, words) = cells else { return None };
        let words = words.len();
        if words * ROWS_PER_WORD > rows {
            return None;
        }
        let mut firsts = vec![rows; words + 1];
        for at in (0..rows).rev() {
            if let Some(first) = firsts.get_mut(place(which, at, words)) {
                *first = at;
            }
        }
        let first = (0..rows).map(|at| firsts.get(place(which, at, words)).copied().unwrap_or(at)).collect();
        Some(Self { which, words, firsts, first })
    }

    /// How many of these columns, from the first on, are the same in all rows of a word.
    fn determined(&self, columns: &[(u64, Cells)]) -> usize {
        columns.iter().take_while(|(_, cells)| self.determines(cells)).count()
    }

    fn determines(&self, cells: &Cells) -> bool {
        match cells {
            // The usual columns, without a question for each row what they are.
            Cells::Words(which, _) => self.repeats(which),
            Cells::Number(cells) => self.repeats(cells),
            Cells::List(lists, elements) if lists.null_count() == 0 => match elements.as_ref() {
                Cells::Words(which, _) if which.null_count() == 0 => self.all(|at, first| {
                    let [ours, theirs] = [at, first].map(|row| which.values().get(bounds(lists, row)));
                    ours == theirs
                }),
                _ => self.all(|at, first| same(cells, at, first)),
            },
            _ => self.all(|at, first| same(cells, at, first)),
        }
    }

    fn repeats<T: ArrowPrimitiveType>(&self, cells: &PrimitiveArray<T>) -> bool {
        let values = cells.values();
        match cells.nulls() {
            None => values.iter().zip(&self.first).all(|(value, first)| values.get(*first) == Some(value)),
            Some(nulls) => self.all(|at, first| match (nulls.is_valid(at), nulls.is_valid(first)) {
                (true, true) => values.get(at) == values.get(first),
                (ours, theirs) => ours == theirs,
            }),
        }
    }

    fn all(&self, same: impl Fn(usize, usize) -> bool) -> bool {
        self.first.iter().enumerate().all(|(at, first)| *first == at || same(at, *first))
    }
}

/// The number of the word in a row; the one behind the last if there is none.
fn place(which: &Int32Array, at: usize, words: usize) -> usize {
    if which.is_valid(at) { Cells::word(which, at) } else { words }
}

/// Columns with neighbouring keys, put together for each word.
pub(super) struct Run<'a> {
    which: &'a Int32Array,
    words: usize,
    pieces: Pieces,
    /// Where each word's piece begins, and where the last ends.
    bounds: Vec<usize>,
    /// How many fields of each are not null.
    fields: Vec<usize>,
}

impl<'a> Run<'a> {
    fn of(anchor: &Anchor<'a>, columns: &[(u64, Cells)]) -> Self {
        let columns: Vec<Column<'_>> = columns.iter().map(|(key, cells)| Column::of(*key, cells)).collect();
        let mut pieces = Pieces::default();
        let (mut bounds, mut fields) = (vec![0], Vec::with_capacity(anchor.firsts.len()));
        for first in &anchor.firsts {
            let mut count = 0;
            // A word without rows, which a dictionary may have, is never asked for.
            if *first < anchor.which.len() {
                columns.iter().for_each(|column| column.put(&mut pieces, *first));
                count = columns.iter().filter(|column| column.is_valid(*first)).count();
            }
            bounds.push(pieces.bytes().len());
            fields.push(count);
        }
        Self { which: anchor.which, words: anchor.words, pieces, bounds, fields }
    }

    fn put(&self, to: &mut Pieces, at: usize) {
        let place = place(self.which, at, self.words);
        if let Some([from, upto]) = self.bounds.get(place..place + 2)
            && let Some(piece) = self.pieces.bytes().get(*from..*upto)
        {
            to.append(piece);
        }
    }
}

/// Whether a column has the same value in two rows, or both have none. Words are the same by their numbers: two that are
/// written alike may be taken for two.
fn same(cells: &Cells, one: usize, other: usize) -> bool {
    let valid = |array: &dyn Array| (array.is_valid(one), array.is_valid(other));
    let alike = |(one, other): (bool, bool), values: &dyn Fn() -> bool| one == other && (!one || values());
    match cells {
        Cells::Absent => true,
        Cells::Flag(cells) => alike(valid(cells), &|| cells.value(one) == cells.value(other)),
        Cells::Number(cells) => alike(valid(cells), &|| cells.value(one) == cells.value(other)),
        Cells::Text(cells) => alike(valid(cells), &|| cells.value(one) == cells.value(other)),
        Cells::Words(which, _) => alike(valid(which), &|| which.value(one) == which.value(other)),
        Cells::Bytes(cells) => alike(valid(cells), &|| cells.value(one) == cells.value(other)),
        Cells::List(cells, elements) => alike(valid(cells), &|| {
            let (ours, theirs) = (bounds(cells, one), bounds(cells, other));
            ours.len() == theirs.len() && ours.zip(theirs).all(|(one, other)| same(elements, one, other))
        }),
        Cells::Struct(cells, fields) => {
            alike(valid(cells), &|| fields.iter().all(|(_, cells)| same(cells, one, other)))
        }
    }
}
