//! A report for people and for programs.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::super::exit::Exit;
use super::super::reading::{counted, moment};
use super::super::render::{Format, Lines, escaped_in_json, shown};
use crate::archive::verify::{Finding, NodeCoverage, Proven, Report, Request, Verdict, Weight};
use crate::seal::proof::NotProven;

/// Findings that a person is shown; a program gets all.
const SHOWN: usize = 50;

/// What was asked, in a sentence for the record.
pub(super) fn asked(request: &Request) -> String {
    let of = |name: &str, time: Option<crate::model::Timestamp>| time.map(|time| format!(" {name} {time}"));
    let parts = [Some("the archive".to_owned()), of("since", request.since), of("until", request.until)];
    parts.into_iter().flatten().collect()
}

/// As JSON: the verdict first.
pub(super) fn json(report: &Report, request: &Request, format: Format, out: &mut dyn Write) -> io::Result<()> {
    let mut value = json!({
        "verdict": report.verdict(),
        "since": request.since.map(|time| time.to_string()),
        "until": request.until.map(|time| time.to_string()),
    });
    if let (Value::Object(value), Value::Object(report)) = (&mut value, serde_json::to_value(report)?) {
        value.extend(report);
    }
    let text =
        if format == Format::Json { serde_json::to_string_pretty(&value)? } else { serde_json::to_string(&value)? };
    writeln!(out, "{}", escaped_in_json(&text))
}

/// For people: what was looked at, what was found, what it comes to.
pub(super) fn people(report: &Report, request: &Request, out: &mut dyn Write) -> io::Result<()> {
    for node in &report.nodes {
        of_node(node, out)?;
    }
    let where_ = if request.rows.is_some() { ", in other files than the recorder's" } else { "" };
    line(out, "files", &format!("{}, {} read{where_}", counted(report.files, "file"), size(report.bytes)))?;
    line(out, "rows", &format!("{} fit the signed roots", counted(report.records, "row")))?;
    if let Some(window) = window(request) {
        line(out, "window", &window)?;
    }
    for finding in report.findings.iter().take(SHOWN) {
        found(finding, out)?;
    }
    let more = report.findings.len().saturating_sub(SHOWN);
    if more > 0 {
        writeln!(out, "  and {} more; --json has them all", counted(more as u64, "finding"))?;
    }
    writeln!(out, "{}", result(report))
}

fn of_node(node: &NodeCoverage, out: &mut dyn Write) -> io::Result<()> {
    let signed = match node.signed {
        signed if signed == node.segments => "every one signed".to_owned(),
        0 => "none signed by a key that is trusted".to_owned(),
        signed => format!("signed up to segment {signed}"),
    };
    line(out, &node.node, &format!("{}, {signed}", counted(node.segments, "segment")))?;
    for key in &node.keys {
        line(out, "  key", key)?;
    }
    if let (Some(first), Some(last)) = (&node.first_time, &node.last_time) {
        line(out, "  time", &format!("{} to {}", moment(first), moment(last)))?;
    }
    let end = match (node.stopped, node.kept) {
        (true, _) => "the recorder was stopped on purpose".to_owned(),
        (false, 0) => "open: whether more came after it, only a checkpoint kept elsewhere can tell".to_owned(),
        (false, _) => "open".to_owned(),
    };
    line(out, "  end", &end)?;
    if node.kept > 0 {
        line(out, "  kept", &format!("{} kept elsewhere fit", counted(node.kept, "checkpoint")))?;
    }
    if let Some(stamped) = &node.stamped {
        line(out, "  stamps", &format!("{}, the last of {}", counted(node.stamps, "timestamp"), moment(stamped)))?;
    }
    if node.stamps_unchecked > 0 {
        let stamps = counted(node.stamps_unchecked, "timestamp");
        line(out, "  stamps", &format!("{stamps} not looked at; --timestamp-authorities names who is trusted"))?;
    }
    Ok(())
}

fn window(request: &Request) -> Option<String> {
    let since = request.since.map(|time| format!("since {}", moment(&time.to_string())));
    let until = request.until.map(|time| format!("until {}", moment(&time.to_string())));
    let parts: Vec<String> = since.into_iter().chain(until).collect();
    (!parts.is_empty()).then(|| format!("rows {}; logs from their beginning", parts.join(" ")))
}

fn found(finding: &Finding, out: &mut dyn Write) -> io::Result<()> {
    let place = match (&finding.node, finding.segment) {
        (Some(node), Some(segment)) => format!("  ({node}, segment {segment})"),
        (Some(node), None) => format!("  ({node})"),
        _ => String::new(),
    };
    let note = if finding.weight == Weight::Note { "note: " } else { "" };
    let head = format!("  {note}{:<15} {}{place}", finding.class.as_str(), finding.object);
    writeln!(out, "{}", shown(&head, Lines::Shown))?;
    writeln!(out, "      {}", shown(&finding.detail, Lines::Shown))
}

fn result(report: &Report) -> String {
    match report.verdict() {
        Verdict::Proven => "RESULT: PROVEN, complete and unaltered as far as the logs above reach".to_owned(),
        Verdict::Contradiction => "RESULT: ALTERED, the evidence contradicts itself".to_owned(),
        Verdict::Incomplete if report.nodes.is_empty() => "RESULT: INCOMPLETE, there is no log at all".to_owned(),
        Verdict::Incomplete => "RESULT: INCOMPLETE, nothing can be concluded about what is missing".to_owned(),
    }
}

/// A record that is proven.
pub(super) fn proven(proven: &Proven, format: Format, out: &mut dyn Write) -> io::Result<()> {
    let head = &proven.checkpoint.head;
    if format != Format::Table {
        let value = json!({
            "verdict": Verdict::Proven,
            "origin": proven.checkpoint.origin,
            "log_size": head.size,
            "segment": proven.segment,
            "keys": proven.keys,
            "leaf": proven.leaf.to_string(),
            "record": proven.record,
        });
        let text = if format == Format::Json { serde_json::to_string_pretty(&value)? } else { value.to_string() };
        return writeln!(out, "{}", escaped_in_json(&text));
    }
    for (name, value) in &proven.record {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        line(out, name, &text)?;
    }
    line(out, "log", &format!("{}, segment {} of {}", proven.checkpoint.origin, proven.segment, head.size))?;
    for key in &proven.keys {
        line(out, "key", key)?;
    }
    writeln!(out, "RESULT: PROVEN, this record is in the signed log")
}

/// A proof that proves nothing.
pub(super) fn not_proven(problem: &NotProven, format: Format, out: &mut dyn Write) -> io::Result<Exit> {
    let untrusted = problem.is_untrusted();
    let verdict = if untrusted { Verdict::Incomplete } else { Verdict::Contradiction };
    if format == Format::Table {
        writeln!(out, "  {}", shown(&problem.to_string(), Lines::Shown))?;
        let said = if untrusted { "INCOMPLETE, no key that signed it is trusted" } else { "NOT PROVEN" };
        writeln!(out, "RESULT: {said}")?;
    } else {
        let value = json!({ "verdict": verdict, "problem": problem.to_string() });
        writeln!(out, "{}", escaped_in_json(&value.to_string()))?;
    }
    Ok(verdict.into())
}

fn line(out: &mut dyn Write, name: &str, text: &str) -> io::Result<()> {
    writeln!(out, "{}", shown(&format!("{name:<16} {text}"), Lines::Shown))
}

fn size(bytes: u64) -> String {
    super::super::query::size(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::verify::Class;

    fn report() -> Report {
        let finding = |weight, class, object: &str, detail: &str| Finding {
            weight,
            class,
            object: object.to_owned(),
            node: Some("node-1".to_owned()),
            segment: Some(3),
            detail: detail.to_owned(),
        };
        let node = NodeCoverage {
            node: "node-1".to_owned(),
            segments: 4,
            signed: 3,
            keys: vec!["hansard/node-1+530d903a+AAAA".to_owned()],
            first_time: Some("2026-11-24T14:10:52.117000Z".to_owned()),
            last_time: Some("2026-11-24T15:00:00.000000Z".to_owned()),
            stamps_unchecked: 2,
            ..NodeCoverage::default()
        };
        let mut report = Report::default();
        report.findings = vec![
            finding(Weight::Contradiction, Class::Altered, "statements/x\u{1b}[2J.parquet", "it is\nchanged"),
            finding(Weight::Note, Class::DeclaredGap, "entry 7 of node-1", "recovered"),
        ];
        report.nodes = vec![node];
        (report.files, report.bytes, report.records) = (1, 2_500, 7);
        report
    }

    #[test]
    fn people_read_what_was_looked_at_what_was_found_and_what_it_comes_to() {
        let mut out = Vec::new();
        people(&report(), &Request::default(), &mut out).unwrap();
        let expected = "\
node-1           4 segments, signed up to segment 3
  key            hansard/node-1+530d903a+AAAA
  time           2026-11-24 14:10:52.117 UTC to 2026-11-24 15:00:00.000 UTC
  end            open: whether more came after it, only a checkpoint kept elsewhere can tell
  stamps         2 timestamps not looked at; --timestamp-authorities names who is trusted
files            1 file, 2.5 kB read
rows             7 rows fit the signed roots
  altered         statements/x␛[2J.parquet  (node-1, segment 3)
      it is␊changed
  note: declared_gap    entry 7 of node-1  (node-1, segment 3)
      recovered
RESULT: ALTERED, the evidence contradicts itself
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn programs_read_the_verdict_first_and_every_finding() {
        for format in [Format::Json, Format::Ndjson] {
            let mut out = Vec::new();
            json(&report(), &Request::default(), format, &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text.lines().count() == 1, format == Format::Ndjson);
            assert!(!text.contains('\u{1b}'));
            let read: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(read["verdict"], "contradiction");
            assert_eq!(read["findings"][0]["class"], "altered");
            assert_eq!(read["findings"][0]["object"], "statements/x\u{1b}[2J.parquet");
            assert_eq!(read["nodes"][0]["signed"], 3);
        }
    }
}
