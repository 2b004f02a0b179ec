//! A column of few distinct values → a column chunk of Parquet.
//!
//! The Parquet writer knows nothing of a column: it hashes and compares each value anew. Here the words of a row group are
//! known, and the number of each row's, which is what the file holds: a dictionary and numbers. Writing these takes a fifth
//! of the time. The chunk is what the writer would make of the same column: data pages of version 1, statistics of chunk
//! and pages, offsets, and a bloom filter where there shall be one. Whole numbers that repeat are written likewise.

use std::ops::Range;

use arrow::array::{Array, Int32Array, ListArray};
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, PageType};
use parquet::column::page::{CompressedPage, Page, PageWriteSpec, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use zstd::bulk::Compressor;

use super::few::Few;
use super::hybrid;
use super::logical::bounds;
use super::write::PAGE_ROWS;

/// Of so many bytes, in eighths, a compressor must spare one, or they are stored as they are: numbers of what comes at
/// random do not become fewer, and reading them is then quicker.
const EIGHTHS: usize = 8;

/// Writes the chunk of such a column. Its offsets are those in the bytes.
pub(super) fn write(
    column: &Few<'_>,
    descr: &ColumnDescPtr,
    properties: &WriterProperties,
    compressor: &mut Compressor<'static>,
) -> Result<(Bytes, ColumnCloseResult), ParquetError> {
    let mut chunk = Chunk::new(column, descr)?;
    for from in (0..column.rows()).step_by(PAGE_ROWS) {
        chunk.page(from..column.rows().min(from + PAGE_ROWS));
    }
    let mut sink = TrackedWrite::new(Vec::new());
    let close = chunk.close(descr, properties, compressor, &mut sink)?;
    Ok((sink.into_inner()?.into(), close))
}

/// A chunk that is being made.
struct Chunk<'a> {
    column: &'a Few<'a>,
    nesting: Nesting,
    width: u8,
    /// The place of each distinct value among all, sorted.
    ranks: Vec<u32>,
    /// The dictionary, and the data pages.
    plain: Vec<u8>,
    pages: Vec<DataPage>,
    column_index: ColumnIndexBuilder,
    nulls: u64,
    /// The ranks of the least and the greatest value.
    span: Option<(u32, u32)>,
    scratch: Scratch,
}

/// A data page before it is compressed.
struct DataPage {
    encoded: Vec<u8>,
    values: u32,
    rows: usize,
}

/// Room that each page uses again.
#[derive(Default)]
struct Scratch {
    repetitions: Vec<u32>,
    definitions: Vec<u32>,
    numbers: Vec<u32>,
}

impl<'a> Chunk<'a> {
    fn new(column: &'a Few<'a>, descr: &ColumnDescPtr) -> Result<Self, ParquetError> {
        Ok(Self {
            column,
            nesting: Nesting::of(descr),
            width: hybrid::width(column.len()),
            ranks: column.ranks(),
            plain: column.plain()?,
            pages: Vec::new(),
            column_index: ColumnIndexBuilder::new(descr.physical_type()),
            nulls: 0,
            span: None,
            scratch: Scratch::default(),
        })
    }

    /// A data page of these rows: levels, and the numbers of the values.
    fn page(&mut self, rows: Range<usize>) {
        let count = rows.len();
        self.scratch.fill(self.column.list, &self.column.which, rows, self.nesting);
        let (encoded, values) = self.scratch.encode(self.nesting, self.width);
        let nulls = u64::from(values) - self.scratch.numbers.len() as u64;
        let ranks = self.scratch.numbers.iter().filter_map(|number| self.ranks.get(*number as usize));
        let span = ranks.fold(None, |span: Option<(u32, u32)>, rank| Some(widened(span, (*rank, *rank))));
        match span {
            None => self.column_index.append(true, Vec::new(), Vec::new(), wide(nulls)),
            Some(span) => {
                let (least, greatest) = (self.column.least(span.0).0, self.column.greatest(span.1).0);
                self.column_index.append(false, least, greatest, wide(nulls));
                self.span = Some(widened(self.span, span));
            }
        }
        self.nulls += nulls;
        self.pages.push(DataPage { encoded, values, rows: count });
    }

    /// Writes the pages, compressed if that pays, and says what was written.
    fn close(
        self,
        descr: &ColumnDescPtr,
        properties: &WriterProperties,
        compressor: &mut Compressor<'static>,
        sink: &mut TrackedWrite<Vec<u8>>,
    ) -> Result<ColumnCloseResult, ParquetError> {
        let raw = || std::iter::once(&self.plain).chain(self.pages.iter().map(|page| &page.encoded));
        let bytes: usize = raw().map(Vec::len).sum();
        let compressed = raw().map(|page| compressor.compress(page)).collect::<Result<Vec<_>, _>>()?;
        let spared = bytes.saturating_sub(compressed.iter().map(Vec::len).sum());
        let (pays, lengths) = (spared * EIGHTHS >= bytes, raw().map(Vec::len).collect::<Vec<_>>());
        let Self { column, plain, pages, column_index, nulls, span, .. } = self;
        let counts: Vec<(u32, usize)> = pages.iter().map(|page| (page.values, page.rows)).collect();
        let stored = match pays {
            true => compressed,
            false => std::iter::once(plain).chain(pages.into_iter().map(|page| page.encoded)).collect(),
        };
        let mut written = Written::to(sink);
        let mut stored = stored.into_iter().zip(lengths);
        if let Some(dictionary) = stored.next() {
            written.dictionary(dictionary, column.len())?;
        }
        for (page, counts) in stored.zip(counts) {
            written.page(page, counts)?;
        }
        let compression = if pays { properties.compression(descr.path()) } else { Compression::UNCOMPRESSED };
        Ok(ColumnCloseResult {
            bytes_written: written.compressed as u64,
            rows_written: column.rows() as u64,
            bloom_filter: column.bloom_filter(properties.bloom_filter_properties(descr.path()))?,
            column_index: Some(column_index.build()?),
            metadata: written
                .metadata(descr)
                .set_compression(compression)
                .set_statistics(column.statistics(span, nulls))
                .build()?,
            offset_index: Some(written.offset_index.build()),
        })
    }
}

/// What was written so far.
struct Written<'a> {
    pages: SerializedPageWriter<'a, Vec<u8>>,
    compressed: usize,
    uncompressed: usize,
    values: u32,
    count: i32,
    first: Option<u64>,
    offset_index: OffsetIndexBuilder,
}

impl<'a> Written<'a> {
    fn to(sink: &'a mut TrackedWrite<Vec<u8>>) -> Self {
        let pages = SerializedPageWriter::new(sink);
        let offset_index = OffsetIndexBuilder::new();
        Self { pages, compressed: 0, uncompressed: 0, values: 0, count: 0, first: None, offset_index }
    }

    /// The dictionary comes first.
    fn dictionary(&mut self, (bytes, length): (Vec<u8>, usize), values: usize) -> Result<(), ParquetError> {
        let page = Page::DictionaryPage {
            buf: bytes.into(),
            num_values: u32::try_from(values).unwrap_or(u32::MAX),
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        self.put(page, length).map(|_| ())
    }

    fn page(&mut self, (bytes, length): (Vec<u8>, usize), (values, rows): (u32, usize)) -> Result<(), ParquetError> {
        let page = Page::DataPage {
            buf: bytes.into(),
            num_values: values,
            encoding: Encoding::RLE_DICTIONARY,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let spec = self.put(page, length)?;
        self.offset_index.append_row_count(rows as i64);
        self.offset_index.append_unencoded_byte_array_data_bytes(None);
        self.offset_index.append_offset_and_size(wide(spec.offset), i32::try_from(spec.compressed_size).unwrap_or(0));
        self.first.get_or_insert(spec.offset);
        self.values += values;
        self.count += 1;
        Ok(())
    }

    fn put(&mut self, page: Page, uncompressed: usize) -> Result<PageWriteSpec, ParquetError> {
        let spec = self.pages.write_page(CompressedPage::new(page, uncompressed))?;
        self.compressed += spec.compressed_size;
        self.uncompressed += spec.uncompressed_size;
        Ok(spec)
    }

    fn metadata(&self, descr: &ColumnDescPtr) -> parquet::file::metadata::ColumnChunkMetaDataBuilder {
        let stats = |page_type, encoding, count| PageEncodingStats { page_type, encoding, count };
        ColumnChunkMetaData::builder(descr.clone())
            .set_encodings(vec![Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY])
            .set_page_encoding_stats(vec![
                stats(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1),
                stats(PageType::DATA_PAGE, Encoding::RLE_DICTIONARY, self.count),
            ])
            .set_total_compressed_size(self.compressed as i64)
            .set_total_uncompressed_size(self.uncompressed as i64)
            .set_num_values(i64::from(self.values))
            .set_dictionary_page_offset(Some(0))
            .set_data_page_offset(wide(self.first.unwrap_or(0)))
    }
}

impl Scratch {
    /// The levels and numbers of some rows.
    fn fill(&mut self, list: Option<&ListArray>, which: &Int32Array, rows: Range<usize>, nesting: Nesting) {
        self.repetitions.clear();
        self.definitions.clear();
        self.numbers.clear();
        match list {
            None if which.null_count() == 0 => {
                self.definitions.resize(rows.len(), nesting.value);
                let which = which.values().get(rows).unwrap_or_default();
                self.numbers.extend(which.iter().map(|number| number.unsigned_abs()));
            }
            None => rows.for_each(|at| self.element(which, at, nesting)),
            Some(list) => rows.for_each(|row| self.list(list, which, row, nesting)),
        }
    }

    fn list(&mut self, list: &ListArray, which: &Int32Array, row: usize, nesting: Nesting) {
        let elements = if list.is_valid(row) { bounds(list, row) } else { 0..0 };
        if elements.is_empty() {
            self.repetitions.push(0);
            self.definitions.push(if list.is_valid(row) { nesting.empty } else { 0 });
        }
        for (place, at) in elements.enumerate() {
            self.repetitions.push(u32::from(place > 0));
            self.element(which, at, nesting);
        }
    }

    fn element(&mut self, which: &Int32Array, at: usize, nesting: Nesting) {
        if which.is_null(at) {
            self.definitions.push(nesting.value.saturating_sub(1));
        } else {
            self.definitions.push(nesting.value);
            self.numbers.push(which.value(at).unsigned_abs());
        }
    }

    /// Encodes them; and how many there are, nulls and empty lists among them.
    fn encode(&self, nesting: Nesting, width: u8) -> (Vec<u8>, u32) {
        let mut encoded = Vec::new();
        if !self.repetitions.is_empty() {
            levels(&mut encoded, &self.repetitions, 1);
        }
        if nesting.value > 0 {
            levels(&mut encoded, &self.definitions, nesting.value);
        }
        encoded.push(width);
        hybrid::encode(&mut encoded, &self.numbers, width);
        (encoded, u32::try_from(self.definitions.len()).unwrap_or(u32::MAX))
    }
}

/// The definition levels of a column; 0 is what is null at the top.
#[derive(Debug, Clone, Copy)]
struct Nesting {
    /// That of a value.
    value: u32,
    /// That of an empty list.
    empty: u32,
}

impl Nesting {
    fn of(descr: &ColumnDescPtr) -> Self {
        let value = u32::from(descr.max_def_level().unsigned_abs());
        let optional = u32::from(descr.self_type().is_optional());
        // One level for the element, one if it may be null, and one if the list may be.
        Self { value, empty: value.saturating_sub(1 + optional) }
    }
}

/// Levels with their length before them.
fn levels(to: &mut Vec<u8>, levels: &[u32], max: u32) {
    let start = to.len();
    to.extend([0; 4]);
    hybrid::encode(to, levels, hybrid::width(max as usize + 1));
    let length = u32::try_from(to.len() - start - 4).unwrap_or(u32::MAX);
    if let Some(place) = to.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

fn widened(span: Option<(u32, u32)>, (least, greatest): (u32, u32)) -> (u32, u32) {
    span.map_or((least, greatest), |known| (known.0.min(least), known.1.max(greatest)))
}

fn wide(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
