//! Output: data on standard output in the form that was asked for, everything else on standard error.
//!
//! Recorded text is hostile. What a terminal would act on is shown instead ([`shown`]); what a spreadsheet would run is
//! defused; JSON carries such characters as escapes, so that nothing is lost.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::{self, BufWriter, IsTerminal, Write};

use serde_json::Value;

/// Rows that are aligned together: more than anybody reads, few enough to hold.
const PAGE_ROWS: usize = 10_000;
/// Bytes of text that are aligned together.
const PAGE_BYTES: usize = 16 << 20;

/// The form of data on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns for people.
    Table,
    /// One array of objects.
    Json,
    /// One object a line.
    Ndjson,
    /// RFC 4180 with a header; cells that a spreadsheet would run begin with an apostrophe.
    Csv,
}

impl Format {
    /// What was asked for; else a table on a terminal, and one object a line for a program.
    pub fn or_default(asked: Option<Self>) -> Self {
        asked.unwrap_or(if io::stdout().is_terminal() { Self::Table } else { Self::Ndjson })
    }
}

/// Rows under named columns.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// The names of the columns: those of the archive where the data is from there.
    pub columns: Vec<String>,
    /// The rows, each with a value for every column.
    pub rows: Vec<Vec<Value>>,
}

impl Table {
    /// Writes to standard output. A reader that has gone away has seen enough: that is no error.
    ///
    /// # Errors
    ///
    /// Standard output cannot be written for another reason.
    pub fn print(&self, format: Format) -> io::Result<()> {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        quiet_if_closed(self.write(format, terminal, &mut BufWriter::new(stdout.lock())))
    }

    /// Writes to `out`, which is or is not a terminal, and flushes.
    ///
    /// # Errors
    ///
    /// `out` fails.
    pub fn write(&self, format: Format, terminal: bool, out: &mut dyn Write) -> io::Result<()> {
        let mut parts = Parts::new(self.columns.clone(), format, terminal, out);
        if format == Format::Table {
            write_table(&self.columns, &self.rows, parts.out)?;
            return parts.out.flush();
        }
        for row in &self.rows {
            parts.write(row)?;
        }
        parts.finish()
    }
}

/// Rows that come one after another, written as they come. A table is aligned page by page.
pub struct Parts<'a> {
    columns: Vec<String>,
    format: Format,
    terminal: bool,
    out: &'a mut dyn Write,
    rows: u64,
    page: Vec<Vec<Value>>,
    page_bytes: usize,
}

impl fmt::Debug for Parts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("format", &self.format).field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl<'a> Parts<'a> {
    /// Rows with these columns, to be written to `out`, which is or is not a terminal.
    pub fn new(columns: Vec<String>, format: Format, terminal: bool, out: &'a mut dyn Write) -> Self {
        Self { columns, format, terminal, out, rows: 0, page: Vec::new(), page_bytes: 0 }
    }

    /// How many rows were given.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes one row; of a table, with the page that it belongs to.
    ///
    /// # Errors
    ///
    /// The output fails.
    pub fn row(&mut self, row: Vec<Value>) -> io::Result<()> {
        if self.format != Format::Table {
            return self.write(&row);
        }
        self.rows += 1;
        self.page_bytes += row.iter().map(|value| text_of(value).len()).sum::<usize>();
        self.page.push(row);
        if self.page.len() >= PAGE_ROWS || self.page_bytes >= PAGE_BYTES { self.end_page() } else { Ok(()) }
    }

    /// Writes what is left and what follows the last row, and flushes.
    ///
    /// # Errors
    ///
    /// The output fails.
    pub fn finish(mut self) -> io::Result<()> {
        match self.format {
            Format::Table if self.rows == 0 || !self.page.is_empty() => self.end_page()?,
            Format::Json if self.rows == 0 => writeln!(self.out, "[]")?,
            Format::Json => writeln!(self.out, "\n]")?,
            Format::Csv if self.rows == 0 => self.header()?,
            _ => {}
        }
        self.out.flush()
    }

    fn write(&mut self, row: &[Value]) -> io::Result<()> {
        match self.format {
            Format::Table => {}
            Format::Json => {
                let before = if self.rows == 0 { "[" } else { "," };
                write!(self.out, "{before}\n  {}", object(&self.columns, row)?)?;
            }
            Format::Ndjson => writeln!(self.out, "{}", object(&self.columns, row)?)?,
            Format::Csv => {
                if self.rows == 0 {
                    self.header()?;
                }
                let cells: Vec<String> = row
                    .iter()
                    .map(|value| match value {
                        Value::Null => String::new(),
                        value => self.cell(&text_of(value), !value.is_string()),
                    })
                    .collect();
                writeln!(self.out, "{}", cells.join(","))?;
            }
        }
        self.rows += 1;
        Ok(())
    }

    fn end_page(&mut self) -> io::Result<()> {
        let page = std::mem::take(&mut self.page);
        self.page_bytes = 0;
        write_table(&self.columns, &page, self.out)
    }

    fn header(&mut self) -> io::Result<()> {
        let header: Vec<String> = self.columns.iter().map(|name| self.cell(name, false)).collect();
        writeln!(self.out, "{}", header.join(","))
    }

    fn cell(&self, text: &str, typed: bool) -> String {
        let text = if self.terminal { shown(text, Lines::Kept) } else { Cow::Borrowed(text) };
        csv_cell(&text, typed)
    }
}

fn write_table(columns: &[String], rows: &[Vec<Value>], out: &mut dyn Write) -> io::Result<()> {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(columns.iter().map(|name| shown(name, Lines::Shown)));
    for row in rows {
        table.add_row(row.iter().map(|value| match value {
            Value::Null => "NULL".to_owned(),
            value => shown(&text_of(value), Lines::Shown).into_owned(),
        }));
    }
    for (number, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        let mut values = rows.iter().filter_map(|row| row.get(number)).filter(|value| !value.is_null()).peekable();
        if values.peek().is_some() && values.all(Value::is_number) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
    writeln!(out, "{}", table.trim_fmt())
}

/// One row as an object, its keys in the order of the columns.
///
/// # Errors
///
/// A value has no JSON form.
pub fn object(columns: &[String], row: &[Value]) -> io::Result<String> {
    let mut text = String::from("{");
    for (number, (name, value)) in columns.iter().zip(row).enumerate() {
        let comma = if number > 0 { "," } else { "" };
        let (name, value) = (serde_json::to_string(name)?, serde_json::to_string(value)?);
        text.extend([comma, &name, ":", &value]);
    }
    text.push('}');
    Ok(escaped_in_json(&text).into_owned())
}

/// A value as a cell's text: strings as they are, the rest as JSON.
fn text_of(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        value => Cow::Owned(value.to_string()),
    }
}

/// A cell of CSV. Absent is nothing at all, so empty text is quoted. `typed` cells are ours to the first character.
fn csv_cell(text: &str, typed: bool) -> String {
    const RUNS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];
    let text = if !typed && text.starts_with(RUNS) { format!("'{text}") } else { text.to_owned() };
    if text.is_empty() || text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

/// What becomes of line ends and tabs when text is [`shown`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// They stay: for text that has lines of its own.
    Kept,
    /// They are shown as `␊` and `␉`: for a cell, where a line of the text must not pass for a line of ours.
    Shown,
}

/// Text for a terminal: what it would act on, or what would hide or reorder other text, is made visible. Escape becomes
/// `␛`, other control characters their picture or number, as do bidi and invisible characters: `⟨U+202E⟩`.
pub fn shown(text: &str, lines: Lines) -> Cow<'_, str> {
    let stays = |c: char| !acts(c) || (lines == Lines::Kept && matches!(c, '\n' | '\t'));
    if text.chars().all(stays) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match u32::from(c) {
            _ if stays(c) => safe.push(c),
            control @ 0..0x20 => safe.extend(char::from_u32(0x2400 + control)),
            0x7f => safe.push('␡'),
            // Writing to a String cannot fail.
            number => write!(safe, "⟨U+{number:04X}⟩").unwrap_or_default(),
        }
    }
    Cow::Owned(safe)
}

/// Whether a terminal acts on the character, or it hides or reorders others: controls, line separators, bidi marks and
/// embeddings, zero-width and other invisible format characters, tags.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// JSON with the characters that [`acts`] names as escapes: the same value, safe on a terminal. Outside of its strings,
/// JSON has none of them but the line ends of a pretty form, which stay.
pub(super) fn escaped_in_json(json: &str) -> Cow<'_, str> {
    let acts = |c: char| acts(c) && c != '\n';
    if !json.chars().any(acts) {
        return Cow::Borrowed(json);
    }
    let mut safe = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if acts(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(safe, "\\u{unit:04x}").unwrap_or_default();
            }
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// Says something to the person on standard error, where nobody can be told if that fails.
pub fn say(message: impl fmt::Display) {
    let text = message.to_string();
    writeln!(io::stderr().lock(), "{}", shown(&text, Lines::Kept)).unwrap_or_default();
}

/// The result, except that a reader who has gone away is no error.
///
/// # Errors
///
/// Every other one.
pub fn quiet_if_closed(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hostile() -> Table {
        Table {
            columns: vec!["actor".to_owned(), "n".to_owned(), "sql".to_owned()],
            rows: vec![
                vec![json!("ana"), json!(-9114), json!("SELECT 1\n-- \u{1b}[2J\u{202e}x")],
                vec![json!("=cmd|'/c calc'!A0"), Value::Null, json!("a,\"b\"")],
                vec![json!(""), json!(7), json!(["x", 1])],
            ],
        }
    }

    fn written(format: Format, terminal: bool) -> String {
        let mut out = Vec::new();
        hostile().write(format, terminal, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_table_shows_hostile_text_and_aligns_numbers() {
        assert_eq!(
            written(Format::Table, true),
            "actor                  n  sql\n\
             ana                -9114  SELECT 1␊-- ␛[2J⟨U+202E⟩x\n\
             =cmd|'/c calc'!A0   NULL  a,\"b\"\n\
             \x20                      7  [\"x\",1]\n"
        );
    }

    #[test]
    fn json_keeps_every_value_and_holds_nothing_that_a_terminal_acts_on() {
        let values: Vec<Value> = serde_json::from_str(&written(Format::Json, true)).unwrap();
        let lines: Vec<Value> =
            written(Format::Ndjson, false).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(values, lines);
        assert_eq!(values[0], json!({"actor": "ana", "n": -9114, "sql": "SELECT 1\n-- \u{1b}[2J\u{202e}x"}));
        assert!(written(Format::Json, true).chars().all(|c| c == '\n' || !acts(c)));
        assert!(written(Format::Ndjson, false).starts_with("{\"actor\":\"ana\",\"n\":-9114,\"sql\":"));
        let mut empty = Vec::new();
        Table::default().write(Format::Json, false, &mut empty).unwrap();
        assert_eq!(empty, b"[]\n");
    }

    #[test]
    fn rows_that_come_one_after_another_are_written_as_all_at_once() {
        for rows in [hostile().rows, Vec::new()] {
            for format in [Format::Table, Format::Json, Format::Ndjson, Format::Csv] {
                let table = Table { columns: hostile().columns, rows: rows.clone() };
                let (mut at_once, mut one_by_one) = (Vec::new(), Vec::new());
                table.write(format, true, &mut at_once).unwrap();
                let mut parts = Parts::new(table.columns.clone(), format, true, &mut one_by_one);
                for row in table.rows {
                    parts.row(row).unwrap();
                }
                assert_eq!(parts.rows(), rows.len() as u64);
                parts.finish().unwrap();
                assert_eq!(at_once, one_by_one, "{format:?}");
            }
        }
    }

    #[test]
    fn a_long_table_is_aligned_page_by_page() {
        let mut out = Vec::new();
        let mut parts = Parts::new(vec!["n".to_owned()], Format::Table, true, &mut out);
        for number in 0..=PAGE_ROWS {
            parts.row(vec![json!(number)]).unwrap();
        }
        parts.finish().unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), PAGE_ROWS + 3, "two heads");
        assert!(text.ends_with("\n    n\n10000\n"), "{:?}", text.get(text.len() - 20..));
    }

    #[test]
    fn json_escapes_characters_beyond_the_basic_plane_as_pairs() {
        let text = escaped_in_json("\"\u{e0041}\"").into_owned();
        assert_eq!(text, "\"\\udb40\\udc41\"");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), "\u{e0041}");
    }

    #[test]
    fn csv_defuses_what_a_spreadsheet_would_run_and_tells_absent_from_empty() {
        assert_eq!(
            written(Format::Csv, false),
            "actor,n,sql\n\
             ana,-9114,\"SELECT 1\n-- \u{1b}[2J\u{202e}x\"\n\
             '=cmd|'/c calc'!A0,,\"a,\"\"b\"\"\"\n\
             \"\",7,\"[\"\"x\"\",1]\"\n"
        );
        assert!(written(Format::Csv, true).contains("-- ␛[2J⟨U+202E⟩x"));
        for run in ["=1", "+1", "-1", "@x", "\tx", "\r=1"] {
            assert!(csv_cell(run, false).trim_start_matches('"').starts_with('\''), "{run:?}");
        }
    }

    #[test]
    fn shown_text_has_nothing_left_that_acts() {
        let every: String = (0..=0x10_ffff).filter_map(char::from_u32).collect();
        assert!(!shown(&every, Lines::Shown).chars().any(acts));
        assert!(!shown(&every, Lines::Kept).chars().any(|c| acts(c) && !matches!(c, '\n' | '\t')));
        assert_eq!(shown("\u{9b}31m\u{7f}\0\r", Lines::Kept), "⟨U+009B⟩31m␡␀␍");
        assert!(matches!(shown("Grüße, 世界", Lines::Shown), Cow::Borrowed(_)));
    }

    #[test]
    fn a_reader_that_has_gone_away_is_no_error_and_a_full_disk_is() {
        let result = |kind: io::ErrorKind| quiet_if_closed(Err(kind.into()));
        assert!(result(io::ErrorKind::BrokenPipe).is_ok());
        assert!(result(io::ErrorKind::StorageFull).is_err());
    }
}
