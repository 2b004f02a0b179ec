//! `hansard query`: SQL over the archive.

use std::io::{self, BufWriter, IsTerminal};

use super::Globals;
use super::exit::Exit;
use super::reading::{self, Asked, Stop, Where, counted, moment};
use super::render::{Format, Parts, say};
use crate::archive::{Archive, Coverage};

const EXAMPLES: &str = "\
Examples:
  hansard query -c hansard.toml \"SELECT subject, count(*) FROM statements WHERE date = '2026-11-24' GROUP BY subject\"
  hansard query --archive /var/lib/hansard/archive \"SELECT reference, text FROM statements WHERE decision = 'deny'\"
  hansard query -c hansard.toml -o csv \"SELECT * FROM sessions\"

Views: statements, sessions, events; DESCRIBE <view> lists the columns. Conditions on date or time leave the files of
other days unread.";

/// Ask the archive in SQL; it is only read
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct QueryArgs {
    /// The query
    #[arg(value_name = "SQL")]
    sql: String,

    #[command(flatten)]
    place: Where,
}

pub(super) fn run(args: &QueryArgs, globals: &Globals) -> Exit {
    reading::run(globals, async {
        let archive = args.place.open(Asked { command: "query", question: &args.sql, quiet: globals.quiet })?;
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let mut out = BufWriter::new(stdout.lock());
        let footer = query(&archive, &args.sql, (globals.format(), terminal), &mut out).await?;
        if !globals.quiet {
            say(footer);
        }
        Ok(Exit::Done)
    })
}

/// Writes the rows and returns what they are based on, as one line.
async fn query(
    archive: &Archive,
    sql: &str,
    (format, terminal): (Format, bool),
    out: &mut dyn io::Write,
) -> Result<String, Stop> {
    let mut answer = archive.query(sql).await?;
    let mut parts = Parts::new(answer.columns().to_vec(), format, terminal, out);
    while let Some(rows) = answer.next().await? {
        for row in rows {
            parts.row(row)?;
        }
    }
    let rows = parts.rows();
    parts.finish()?;
    Ok(footer(rows, &answer.coverage().await?))
}

fn footer(rows: u64, coverage: &Coverage) -> String {
    let mut said = vec![
        counted(rows, "row"),
        format!("{}, {}", counted(coverage.files, "file"), size(coverage.bytes)),
        coverage
            .newest
            .map_or_else(|| "no record".to_owned(), |newest| format!("newest record {}", moment(&newest.to_string()))),
    ];
    if coverage.unsealed > 0 {
        said.push(format!("{} not in the log yet", counted(coverage.unsealed, "file")));
    }
    said.join(" · ")
}

/// A number of bytes for people.
pub(super) fn size(bytes: u64) -> String {
    const STEPS: &[(u64, &str)] = &[(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match STEPS.iter().find(|(step, _)| bytes >= *step) {
        Some((step, unit)) => format!("{}.{} {unit}", bytes / step, bytes % step * 10 / step),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::testing::{Shelf, denied, record, records, with_values};

    async fn asked(sql: &str, format: Format) -> (String, String) {
        let mut shelf = Shelf::new();
        let rows = vec![
            with_values(record(7, 1, 0, "select 'x'\n-- \u{1b}[2J\u{202e}")),
            denied(record(7, 2, 1_000, "=cmd()")),
        ];
        shelf.seal(records(rows)).await;
        let mut out = Vec::new();
        let footer = query(&shelf.archive(), sql, (format, true), &mut out).await.unwrap();
        (String::from_utf8(out).unwrap(), footer)
    }

    #[tokio::test]
    async fn rows_come_in_the_form_that_was_asked_for_and_hostile_text_cannot_act() {
        let sql = "SELECT statement_seq AS n, text FROM statements ORDER BY n";
        let (table, footer) = asked(sql, Format::Table).await;
        assert_eq!(table, "n  text\n1  select 'x'␊-- ␛[2J⟨U+202E⟩\n2  =cmd()\n");
        assert!(footer.starts_with("2 rows · 1 file, "), "{footer}");
        assert!(footer.ends_with(" kB · newest record 2026-11-24 14:10:52.118 UTC"), "{footer}");
        let (csv, _) = asked(sql, Format::Csv).await;
        assert_eq!(csv, "n,text\n1,\"select 'x'\n-- ␛[2J⟨U+202E⟩\"\n2,'=cmd()\n");
        let (lines, _) = asked(sql, Format::Ndjson).await;
        assert_eq!(lines, "{\"n\":1,\"text\":\"select 'x'\\n-- \\u001b[2J\\u202e\"}\n{\"n\":2,\"text\":\"=cmd()\"}\n");
    }

    #[tokio::test]
    async fn nested_values_are_objects_and_bytes_are_hexadecimal() {
        let sql = "SELECT params FROM statements WHERE statement_seq = 1";
        let (json, _) = asked(sql, Format::Json).await;
        let rows: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(rows[0]["params"][2]["raw"], "\\x01ff");
        assert_eq!(rows[0]["params"][0]["value"], "88123");
        assert!(rows[0]["params"][1]["value"].is_null());
        let (none, footer) = asked("SELECT 1 AS one WHERE false", Format::Json).await;
        assert_eq!((none.as_str(), footer.as_str()), ("[]\n", "0 rows · 0 files, 0 B · no record"));
    }

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [(0, "0 B"), (999, "999 B"), (412_300_000, "412.3 MB"), (31_000_000_000, "31.0 GB")] {
            assert_eq!(size(bytes), text);
        }
    }
}
