//! `hansard replay`: a session again, as a transcript.

use std::io::{self, BufWriter, Write};

use serde_json::{Value, json};

use super::Globals;
use super::exit::Exit;
use super::reading::{self, Asked, Stop, Where, bound, clock, counted, day, took};
use super::render::{Format, Lines, object, say, shown};
use crate::archive::{Archive, Replay, SessionRow, StatementRow, Which};
use crate::model::RuleId;

const EXAMPLES: &str = "\
Examples:
  hansard replay -c hansard.toml latest
  hansard replay -c hansard.toml K7Q4M2XKDT.42                       the session of a statement, which is marked
  hansard replay --archive ./archive K7Q4M2XKDT --format ndjson      every column of its statements";

/// Where the text of a statement begins; its other lines and what is said of it begin there too, so that no line of a
/// statement can pass for another statement.
const MARGIN: usize = 48;

/// The form of a transcript.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// Lines for people.
    Text,
    /// One object: session, statements, missing.
    Json,
    /// One statement a line.
    Ndjson,
}

/// Print the statements of a session in order, with decision, time, rows and values
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ReplayArgs {
    /// A session (K7Q4M2XKDT), a reference (K7Q4M2XKDT.42), or `latest`
    #[arg(value_name = "SESSION|REF|latest")]
    which: Which,

    #[command(flatten)]
    place: Where,

    /// The form of the transcript [default: text]
    #[arg(long, value_enum, value_name = "FORM")]
    format: Option<Form>,

    /// Show what the client asks of the database's own catalog, too, which is counted only
    #[arg(long)]
    all: bool,
}

pub(super) fn run(args: &ReplayArgs, globals: &Globals) -> Exit {
    let form = match (args.format, globals.output) {
        (Some(form), _) => form,
        (None, None | Some(Format::Table)) => Form::Text,
        (None, Some(Format::Json)) => Form::Json,
        (None, Some(Format::Ndjson)) => Form::Ndjson,
        (None, Some(Format::Csv)) => {
            say("a transcript is text, json or ndjson; for CSV use `hansard query`");
            return Exit::Usage;
        }
    };
    reading::run(globals, async {
        let archive =
            args.place.open(Asked { command: "replay", question: &args.which.to_string(), quiet: globals.quiet })?;
        let mut out = BufWriter::new(io::stdout().lock());
        let missing = replay(&archive, args.which, form, args.all, &mut out).await?;
        if missing.is_empty() {
            return Ok(Exit::Done);
        }
        say(format_args!("not in the archive, or not yet: {}", ranges(&missing)));
        Ok(Exit::Incomplete)
    })
}

/// What is said of a session whose statements were released before the flush.
const WRITTEN: &str = "recorded = written: statements were released before their intents were on stable storage";

/// Writes the transcript and returns which statements are missing.
async fn replay(
    archive: &Archive,
    which: Which,
    form: Form,
    all: bool,
    out: &mut dyn Write,
) -> Result<Vec<(i64, i64)>, Stop> {
    let mut replay = archive.replay(which).await?;
    match form {
        Form::Text => text(&mut replay, all, out).await?,
        Form::Json => whole(&mut replay, out).await?,
        Form::Ndjson => {
            while let Some(rows) = replay.next().await? {
                for row in rows {
                    writeln!(out, "{}", object(replay.columns(), &row)?)?;
                }
            }
        }
    }
    out.flush()?;
    Ok(replay.missing())
}

async fn whole(replay: &mut Replay, out: &mut dyn Write) -> Result<(), Stop> {
    let session = match replay.session_row() {
        Some((columns, row)) => object(columns, row)?,
        None => "null".to_owned(),
    };
    let id = replay.id();
    write!(out, "{{\"session_id\":\"{id}\",\n\"session\":{session},\n\"statements\":[")?;
    let mut before = "\n";
    while let Some(rows) = replay.next().await? {
        for row in rows {
            write!(out, "{before}{}", object(replay.columns(), &row)?)?;
            before = ",\n";
        }
    }
    let missing: Vec<Value> = replay.missing().into_iter().map(|(from, to)| json!([from, to])).collect();
    writeln!(out, "],\n\"missing\":{}}}", Value::Array(missing))?;
    Ok(())
}

async fn text(replay: &mut Replay, all: bool, out: &mut dyn Write) -> Result<(), Stop> {
    let mut today: Option<String> = None;
    if let Some(session) = replay.session() {
        writeln!(out, "{}", head_of_session(replay, session))?;
    }
    let mut headed = replay.session().is_some();
    let (mut folded, mut marked) = (0_u64, false);
    while let Some(rows) = replay.next().await? {
        for row in rows {
            let row = StatementRow::of(replay.columns(), row)?;
            if !headed {
                writeln!(out, "{}", head_of_statement(replay, &row))?;
                headed = true;
            }
            // The target's configuration says it, so it is the same for the whole session.
            if !std::mem::replace(&mut marked, true) && row.recorded.as_deref() == Some("written") {
                writeln!(out, "{WRITTEN}")?;
            }
            let asked = replay.asked().is_some_and(|asked| u64::try_from(row.statement_seq) == Ok(asked.statement));
            if !all && !asked && is_chatter(&row) {
                folded += 1;
                continue;
            }
            chatter(std::mem::take(&mut folded), out)?;
            if today.as_deref() != Some(day(&row.time)) {
                writeln!(out, "{} UTC", day(&row.time))?;
                today = Some(day(&row.time).to_owned());
            }
            statement(&row, asked, out)?;
        }
    }
    chatter(folded, out)?;
    let missing = replay.missing();
    if !missing.is_empty() {
        writeln!(out, "not in the archive, or not yet: {}", ranges(&missing))?;
    }
    Ok(())
}

/// Whether it is what clients ask by themselves, and went as it does every day.
fn is_chatter(row: &StatementRow) -> bool {
    row.tag.is_some() && row.decision == "allow" && row.status == "ok" && notes(row).is_empty()
}

fn chatter(folded: u64, out: &mut dyn Write) -> io::Result<()> {
    match folded {
        0 => Ok(()),
        folded => {
            let statements = counted(folded, "statement");
            writeln!(out, "{:MARGIN$}… {statements} on the database's own catalog (--all shows them)", "")
        }
    }
}

fn head_of_session(replay: &Replay, row: &SessionRow) -> String {
    let application = row.application.as_deref();
    let to = format!("{}/{}", row.target, row.database.as_deref().unwrap_or("?"));
    let who = row.who().map_or_else(|| "nobody".to_owned(), |who| named(who, &row.roles));
    let detail = row.detail.as_deref().map_or_else(String::new, |detail| format!(" ({detail})"));
    let end = if row.is_refused() {
        let code = row.sqlstate.as_deref().unwrap_or("");
        format!("{} UTC   refused: {} {code}{detail}", span(&row.time, None), row.reason)
    } else {
        let opened = row.opened.as_ref().unwrap_or(&row.time);
        let statements = counted(replay.len() as u64, "statement");
        format!("{} UTC   {statements}   ended: {}{detail}", span(opened, Some(&row.time)), row.reason)
    };
    head(replay, &format!("{who} → {to}"), application, &format!("{}   {end}", row.client_address))
}

/// Before the end of a session is shipped, only its statements tell of it.
fn head_of_statement(replay: &Replay, row: &StatementRow) -> String {
    let who = named(row.who(), &row.roles);
    let (first, last) = replay.times().unwrap_or((&row.time, &row.time));
    let statements = counted(replay.len() as u64, "statement");
    let rest =
        format!("{}   {} UTC   {statements} so far   end not known yet", row.client_address, span(first, Some(last)));
    head(replay, &format!("{who} → {}/{}", row.target, row.database), row.application.as_deref(), &rest)
}

fn head(replay: &Replay, who: &str, application: Option<&str>, rest: &str) -> String {
    let application = application.filter(|name| !name.is_empty()).unwrap_or("application unknown");
    shown(&format!("{}  {who}   {application}   {rest}", replay.id()), Lines::Shown).into_owned()
}

fn named(who: &str, roles: &[String]) -> String {
    if roles.is_empty() { who.to_owned() } else { format!("{who} ({})", roles.join(", ")) }
}

/// `2026-11-24 14:10:51.117–14:31:02.000`, with the second day if it is another.
fn span(from: &str, to: Option<&str>) -> String {
    let from_text = format!("{} {}", day(from), clock(from));
    match to {
        None => from_text,
        Some(to) if day(to) == day(from) => format!("{from_text}–{}", clock(to)),
        Some(to) => format!("{from_text} – {} {}", day(to), clock(to)),
    }
}

fn statement(row: &StatementRow, asked: bool, out: &mut dyn Write) -> io::Result<()> {
    let verdict = if row.decision == "allow" { "allow" } else { "DENY" };
    let number = format!("#{}", row.statement_seq);
    let (took, rows) = if row.decision == "allow" { (took(row.total_us), rows(row)) } else { Default::default() };
    let mark = if asked { '>' } else { ' ' };
    let line = format!("{mark}{}  {number:<6} {verdict:<5} {took:>8} {rows:>10}", clock(&row.time));
    let sql = shown(row.sql(), Lines::Kept);
    for (at, text) in sql.split('\n').enumerate() {
        let before = if at == 0 { line.as_str() } else { "" };
        writeln!(out, "{}", format!("{before:<width$} {text}", width = MARGIN - 1).trim_end())?;
    }
    let notes = row.params.iter().map(bound).chain(notes(row));
    for note in notes {
        writeln!(out, "{:MARGIN$}{}", "", shown(&note, Lines::Shown))?;
    }
    Ok(())
}

/// What became of it, where that is more than done.
fn notes(row: &StatementRow) -> Vec<String> {
    let code = row.sqlstate.as_deref().unwrap_or("without a code");
    let reported = row.rules.iter().filter_map(|rule| rule.strip_prefix(RuleId::WOULD_DENY)).collect::<Vec<_>>();
    let reported = (!reported.is_empty()).then(|| format!("would be denied by {}", reported.join(", ")));
    if row.decision != "allow" {
        let deciding: Vec<&str> =
            row.rules.iter().map(String::as_str).filter(|rule| !rule.starts_with(RuleId::WOULD_DENY)).collect();
        let rules = match deciding.as_slice() {
            [] => "no rule permits it".to_owned(),
            [rule] => format!("rule {rule}"),
            rules => format!("rules {}", rules.join(", ")),
        };
        let problem = row.problem.as_ref().map(|problem| format!("not understood: {problem}"));
        return [Some(format!("{rules} · nothing was sent")), problem, row.message.clone(), reported]
            .into_iter()
            .flatten()
            .collect();
    }
    let ended = match row.status.as_str() {
        "ok" => None,
        "error" => Some(format!("error {code}, from the database")),
        "cancelled" => Some(format!("cancelled at somebody's request, {code}")),
        "timeout" => Some(format!("ended by a time limit, {code}")),
        "killed" => Some(format!("its session was ended while it ran, {code}")),
        "connection_lost" => {
            Some("the connection broke while it ran; how the database ended it is not known".to_owned())
        }
        "skipped" => Some("skipped by the database after an earlier error".to_owned()),
        _ => Some("permitted and perhaps sent; how it ended is not known".to_owned()),
    };
    ended.into_iter().chain(reported).collect()
}

fn rows(row: &StatementRow) -> String {
    match (u64::try_from(row.rows_returned), row.rows_affected.map(u64::try_from)) {
        (Ok(returned @ 1..), _) => counted(returned, "row"),
        (_, Some(Ok(affected))) => format!("{affected} affected"),
        _ => String::new(),
    }
}

fn ranges(missing: &[(i64, i64)]) -> String {
    let each = missing.iter().map(|(from, to)| if from == to { format!("#{from}") } else { format!("#{from}–#{to}") });
    each.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::testing::{DAY, Shelf, closed, denied, record, refused, with_values};
    use std::sync::Arc;

    use crate::model::{Action, Effect, Object, ObjectKind, OutcomeStatus, Reference, SessionId};
    use crate::segment::Rows;

    async fn shelf() -> Shelf {
        let mut failed = record(7, 4, DAY, "select\n  1/0\n\u{1b}[2Jforged");
        failed.outcome.status = OutcomeStatus::Error;
        failed.outcome.sqlstate = Some("22012".to_owned());
        failed.outcome.rows_returned = 0;
        let records = vec![
            with_values(record(7, 1, 0, "select $1")),
            denied(record(7, 2, 16_285_000, "SELECT * FROM clinical.patients")),
            failed,
        ];
        let mut shelf = Shelf::new();
        let rows = Rows { records, sessions: vec![closed(7, DAY + 1_000_000, 5), refused(8)], ..Rows::default() };
        shelf.seal(rows).await;
        shelf
    }

    async fn written(which: Which, form: Form) -> (String, Vec<(i64, i64)>) {
        let mut out = Vec::new();
        let missing = replay(&shelf().await.archive(), which, form, false, &mut out).await.unwrap();
        (String::from_utf8(out).unwrap(), missing)
    }

    #[tokio::test]
    async fn a_transcript_says_who_what_and_what_became_of_it() {
        let asked = Which::Statement(Reference { session: SessionId::from_bits(7), statement: 2 });
        let (text, missing) = written(asked, Form::Text).await;
        let id = SessionId::from_bits(7);
        let expected = format!(
            "\
{id}  ana@contoso.com (analyst) → clinic/clinical   psql   10.4.0.17   2026-11-24 14:10:51.117 – 2026-11-25 14:10:53.117 UTC   3 statements   ended: client_terminated
2026-11-24 UTC
 14:10:52.117  #1     allow   3.0 ms      1 row select $1
                                                $1 = int4 88123
                                                $2 = text NULL
                                                $3 = type 16500 binary \\x01ff
                                                $4 = text 'it''s ␛[2J'
>14:11:08.402  #2     DENY                      SELECT * FROM clinical.patients
                                                rule no-bulk-pii-export · nothing was sent
                                                Analysts may read patients only one at a time.
2026-11-25 UTC
 14:10:52.117  #4     allow   3.0 ms            select
                                                  1/0
                                                ␛[2Jforged
                                                error 22012, from the database
not in the archive, or not yet: #3, #5
"
        );
        assert_eq!(text, expected);
        assert_eq!(missing, [(3, 3), (5, 5)]);
    }

    #[tokio::test]
    async fn a_refused_login_has_a_head_and_no_statements() {
        let (text, missing) = written(Which::Session(SessionId::from_bits(8)), Form::Text).await;
        let id = SessionId::from_bits(8);
        let head = format!(
            "{id}  nobody → clinic/clinical   psql   10.4.0.17   2026-11-24 14:10:52.117 UTC   refused: expired 28P01\n"
        );
        assert_eq!((text, missing), (head, vec![]));
    }

    #[tokio::test]
    async fn programs_get_every_column() {
        let (lines, _) = written(Which::Latest, Form::Ndjson).await;
        let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[2]["text"], "select\n  1/0\n\u{1b}[2Jforged");
        assert!(!lines.contains('\u{1b}'));
        let (whole, _) = written(Which::Latest, Form::Json).await;
        let whole: Value = serde_json::from_str(&whole).unwrap();
        assert_eq!(whole["statements"], Value::Array(rows));
        assert_eq!(whole["session"]["reason"], "client_terminated");
        assert_eq!(whole["missing"], json!([[3, 3], [5, 5]]));
    }

    #[tokio::test]
    async fn a_session_that_is_still_open_is_told_from_its_statements() {
        let mut shelf = Shelf::new();
        let rows = Rows { records: vec![record(9, 1, 0, "begin"), record(9, 2, 1_000, "commit")], ..Rows::default() };
        shelf.seal(rows).await;
        let mut out = Vec::new();
        let missing = replay(&shelf.archive(), Which::Latest, Form::Text, false, &mut out).await.unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(missing.is_empty());
        assert!(text.contains("2 statements so far   end not known yet\n"), "{text}");
    }

    #[tokio::test]
    async fn a_session_whose_statements_were_released_before_the_flush_says_so_once() {
        let mut released: Vec<_> = (1..=2).map(|number| record(7, number, 0, "select 1")).collect();
        for record in &mut released {
            Arc::make_mut(&mut record.session).recorded = crate::model::Recorded::Written;
        }
        let mut shelf = Shelf::new();
        shelf.seal(Rows { records: released, ..Rows::default() }).await;
        let mut out = Vec::new();
        replay(&shelf.archive(), Which::Session(SessionId::from_bits(7)), Form::Text, false, &mut out).await.unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches(WRITTEN).count(), 1, "{text}");
        assert!(text.lines().nth(1) == Some(WRITTEN), "{text}");
    }

    #[tokio::test]
    async fn what_a_client_asks_of_the_catalog_is_counted_and_shown_only_if_asked_for() {
        let catalog = |number, text: &str| {
            let mut record = record(9, number, i64::try_from(number).unwrap(), text);
            let facts = &mut Arc::make_mut(&mut Arc::make_mut(&mut record.intent).facts);
            let class =
                Object { kind: ObjectKind::Table, schema: Some("pg_catalog".to_owned()), name: "pg_class".to_owned() };
            facts.effects = vec![Effect { action: Action::Select, object: Some(class), has_where: true }];
            record
        };
        let records = vec![
            catalog(1, "first look"),
            catalog(2, "second look"),
            record(9, 3, 3, "select 1"),
            denied(catalog(4, "third look")),
            catalog(5, "fourth look"),
        ];
        let mut shelf = Shelf::new();
        shelf.seal(Rows { records, ..Rows::default() }).await;
        let archive = shelf.archive();
        let mut out = Vec::new();
        replay(&archive, Which::Latest, Form::Text, false, &mut out).await.unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains("first") && !text.contains("fourth"), "{text}");
        assert!(text.contains("… 2 statements on the database's own catalog (--all shows them)\n"), "{text}");
        assert!(
            text.contains("third look")
                && text.trim_end().ends_with("1 statement on the database's own catalog (--all shows them)"),
            "{text}"
        );
        let mut out = Vec::new();
        replay(&archive, Which::Latest, Form::Text, true, &mut out).await.unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("first look") && !text.contains('…'), "{text}");
    }
}
