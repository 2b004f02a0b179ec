//! `hansard why`: what became of one statement, or of one refused login.

use std::io::{self, BufWriter, IsTerminal, Write};

use super::Globals;
use super::exit::Exit;
use super::reading::{self, Asked, Stop, Where, bound, moment, took};
use super::render::{Format, Lines, Table, say, shown};
use crate::archive::{Archive, EffectRow, SessionRow, StatementRow, What, Which};
use crate::model::{PrincipalKind, RuleId};

const EXAMPLES: &str = "\
Examples:
  hansard why -c hansard.toml K7Q4M2XKDT.42                     the reference that the error text named
  hansard why --archive ./archive K7Q4M2XKDT.42 -o json         every column of its record";

/// Explain what was decided about a statement or a sign-in, and by which rules
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct WhyArgs {
    /// A reference (K7Q4M2XKDT.42), or the session that a refused sign-in named (K7Q4M2XKDT)
    #[arg(value_name = "REF")]
    which: Which,

    #[command(flatten)]
    place: Where,
}

pub(super) fn run(args: &WhyArgs, globals: &Globals) -> Exit {
    if args.which == Which::Latest {
        say("`why` explains one reference, such as K7Q4M2XKDT.42");
        return Exit::Usage;
    }
    reading::run(globals, async {
        let archive =
            args.place.open(Asked { command: "why", question: &args.which.to_string(), quiet: globals.quiet })?;
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let mut out = BufWriter::new(stdout.lock());
        why(&archive, args.which, (globals.format(), terminal), &mut out).await?;
        Ok(Exit::Done)
    })
}

async fn why(
    archive: &Archive,
    which: Which,
    (format, terminal): (Format, bool),
    out: &mut dyn Write,
) -> Result<(), Stop> {
    let explanation = archive.why(which).await?;
    if format != Format::Table {
        let table = Table { columns: explanation.columns, rows: vec![explanation.row] };
        return Ok(table.write(format, terminal, out)?);
    }
    match &explanation.what {
        What::Statement(row) => statement(row, out)?,
        What::Session(row) => session(row, out)?,
    }
    Ok(out.flush()?)
}

fn statement(row: &StatementRow, out: &mut dyn Write) -> io::Result<()> {
    let verdict = if row.decision == "allow" { "ALLOWED" } else { "DENIED" };
    let who = named(row.who(), &row.roles, row.principal_kind.as_deref());
    let from = [row.application.as_deref().unwrap_or("application unknown"), &row.client_address].join(", ");
    let head = format!("{verdict}  {}  {who} → {}/{}   ({from})", moment(&row.time), row.target, row.database);
    writeln!(out, "{}\n", shown(&head, Lines::Shown))?;
    for line in shown(row.sql(), Lines::Kept).split('\n') {
        writeln!(out, "  {line}")?;
    }
    writeln!(out)?;
    line(out, "reference", &row.reference)?;
    let reported = |rule: &&String| rule.starts_with(RuleId::WOULD_DENY);
    let deciding: Vec<String> = row.rules.iter().filter(|rule| !reported(rule)).cloned().collect();
    line(out, if deciding.len() == 1 { "rule" } else { "rules" }, &rules(&deciding, &row.decision))?;
    let reported = row.rules.iter().filter_map(|rule| rule.strip_prefix(RuleId::WOULD_DENY)).collect::<Vec<_>>();
    optional(out, "report", (!reported.is_empty()).then(|| would_deny(&reported)).as_deref())?;
    line(out, "policy", &row.policy_version)?;
    optional(out, "problem", row.problem.as_deref())?;
    optional(out, "message", row.message.as_deref())?;
    optional(out, "to fix", row.hint.as_deref())?;
    for (at, effect) in row.effects.iter().enumerate() {
        line(out, if at == 0 { "effects" } else { "" }, &described(effect))?;
    }
    for (at, param) in row.params.iter().enumerate() {
        line(out, if at == 0 { "values" } else { "" }, &bound(param))?;
    }
    let written =
        |word: &str| format!("{word}: sent before its record was on stable storage, as the target is configured");
    optional(out, "recorded", row.recorded.as_deref().map(written).as_deref())?;
    optional(out, "acted as", acted_as(row).as_deref())?;
    line(out, "outcome", &outcome(row))
}

/// As whom it ran at the database, where that is another than the login: by a role that it had taken, or as another user.
fn acted_as(row: &StatementRow) -> Option<String> {
    let role = row.role.as_ref().filter(|role| *role != "none").map(|role| format!("role {role}"));
    let user = row.session_user.as_ref().filter(|user| **user != row.database_user).map(|user| format!("user {user}"));
    let parts: Vec<String> = role.into_iter().chain(user).collect();
    (!parts.is_empty()).then(|| parts.join(", session "))
}

fn session(row: &SessionRow, out: &mut dyn Write) -> io::Result<()> {
    let verdict = if row.is_refused() { "REFUSED" } else { "ENDED" };
    let kind = row.principal_kind.as_deref();
    let who = row.who().map_or_else(|| "nobody".to_owned(), |who| named(who, &row.roles, kind));
    let from = [row.application.as_deref().unwrap_or("application unknown"), &row.client_address].join(", ");
    let to = format!("{}/{}", row.target, row.database.as_deref().unwrap_or("?"));
    let head = format!("{verdict}  {}  {who} → {to}   ({from})", moment(&row.time));
    writeln!(out, "{}\n", shown(&head, Lines::Shown))?;
    line(out, "session", &row.session_id)?;
    line(out, "reason", &row.reason)?;
    optional(out, "detail", row.detail.as_deref())?;
    optional(out, "sqlstate", row.sqlstate.as_deref())?;
    optional(out, "user", row.database_user.as_deref())?;
    if !row.rules.is_empty() {
        line(out, "rules", &row.rules.join(", "))?;
    }
    optional(out, "policy", row.policy_version.as_deref())?;
    optional(out, "opened", row.opened.as_deref().map(moment).as_deref())?;
    optional(out, "statements", row.statements.map(|count| count.to_string()).as_deref())
}

fn line(out: &mut dyn Write, name: &str, text: &str) -> io::Result<()> {
    writeln!(out, "  {name:<10} {}", shown(text, Lines::Shown))
}

fn optional(out: &mut dyn Write, name: &str, text: Option<&str>) -> io::Result<()> {
    text.map_or(Ok(()), |text| line(out, name, text))
}

fn named(who: &str, roles: &[String], kind: Option<&str>) -> String {
    let marked = if kind == Some(PrincipalKind::Workload.as_str()) { ", a workload" } else { "" };
    let roles = if roles.is_empty() { String::new() } else { format!(" ({})", roles.join(", ")) };
    format!("{who}{marked}{roles}")
}

fn rules(rules: &[String], decision: &str) -> String {
    match (rules.is_empty(), decision) {
        (false, _) => rules.join(", "),
        (true, "allow") => "none named".to_owned(),
        (true, _) => "none: what no rule permits is denied".to_owned(),
    }
}

fn would_deny(reported: &[&str]) -> String {
    format!("would be denied by {}, in report mode", reported.join(", "))
}

/// `select on table clinical.patients, without WHERE`
fn described(effect: &EffectRow) -> String {
    let object = effect.name.as_ref().map(|name| {
        let schema = effect.schema.as_ref().map_or_else(String::new, |schema| format!("{schema}."));
        format!(" on {} {schema}{name}", effect.object_kind.as_deref().unwrap_or("object"))
    });
    let bare = matches!(effect.action.as_str(), "select" | "update" | "delete") && !effect.has_where;
    format!("{}{}{}", effect.action, object.unwrap_or_default(), if bare { ", without WHERE" } else { "" })
}

fn outcome(row: &StatementRow) -> String {
    if row.decision != "allow" {
        let code = row.sqlstate.as_deref().unwrap_or("without a code");
        return format!("denied, {code}; nothing was sent to the database");
    }
    let parts = [
        Some(row.status.clone()),
        row.sqlstate.clone(),
        row.command_tag.clone(),
        Some(format!("{} returned", row.rows_returned)),
        row.rows_affected.map(|rows| format!("{rows} affected")),
        row.total_us.map(|us| took(Some(us))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::archive::testing::{Shelf, denied, record, refused};
    use crate::model::{Acting, Reference, SessionId};
    use crate::segment::Rows;

    async fn explained(number: u64, statement: u64, format: Format) -> String {
        let mut shelf = Shelf::new();
        let records = vec![
            record(7, 1, 0, "select 1"),
            denied(record(7, 2, 16_285_000, "SELECT *\nFROM clinical.patients \u{1b}[2J")),
        ];
        shelf.seal(Rows { records, sessions: vec![refused(8)], ..Rows::default() }).await;
        let session = SessionId::from_bits(number);
        let reference = Which::Statement(Reference { session, statement });
        let which = if statement == 0 { Which::Session(session) } else { reference };
        let mut out = Vec::new();
        why(&shelf.archive(), which, (format, true), &mut out).await.unwrap();
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn a_denial_names_the_rule_the_reason_and_the_way_out() {
        let id = SessionId::from_bits(7);
        let expected = format!(
            "\
DENIED  2026-11-24 14:11:08.402 UTC  ana@contoso.com (analyst) → clinic/clinical   (psql, 10.4.0.17)

  SELECT *
  FROM clinical.patients ␛[2J

  reference  {id}.2
  rule       no-bulk-pii-export
  policy     3f9c1a2
  message    Analysts may read patients only one at a time.
  to fix     Add WHERE patient_id = …
  effects    select on table clinical.patients
  outcome    denied, 42501; nothing was sent to the database
"
        );
        assert_eq!(explained(7, 2, Format::Table).await, expected);
    }

    #[tokio::test]
    async fn an_allowed_statement_and_a_refused_sign_in_are_explained_too() {
        let allowed = explained(7, 1, Format::Table).await;
        assert!(allowed.starts_with("ALLOWED  2026-11-24 14:10:52.117 UTC"), "{allowed}");
        assert!(allowed.ends_with("  outcome    ok, 1 returned, 3.0 ms\n"), "{allowed}");
        let refused = explained(8, 0, Format::Table).await;
        assert!(refused.starts_with("REFUSED  2026-11-24 14:10:52.117 UTC  nobody → clinic/clinical"), "{refused}");
        assert!(refused.contains("  reason     expired\n  sqlstate   28P01\n"), "{refused}");
    }

    #[tokio::test]
    async fn as_whom_a_statement_ran_is_told_where_that_is_not_the_login() {
        let mut shelf = Shelf::new();
        let acts = |number, user: &str, role: Option<&str>| {
            let mut record = record(7, number, 0, "select 1");
            let role = role.map(str::to_owned);
            let user = if user.is_empty() { record.session.database_user.clone() } else { user.to_owned() };
            Arc::make_mut(&mut record.intent).acting = Arc::new(Acting { session_user: Some(user), role });
            record
        };
        let records = vec![acts(1, "", Some("none")), acts(2, "", Some("clerk")), acts(3, "boss", Some("clerk"))];
        shelf.seal(Rows { records, ..Rows::default() }).await;
        for (statement, wanted) in [(1, None), (2, Some("role clerk")), (3, Some("role clerk, session user boss"))] {
            let which = Which::Statement(Reference { session: SessionId::from_bits(7), statement });
            let mut out = Vec::new();
            why(&shelf.archive(), which, (Format::Table, true), &mut out).await.unwrap();
            let text = String::from_utf8(out).unwrap();
            let told = text.lines().find_map(|line| line.trim().strip_prefix("acted as")).map(str::trim);
            assert_eq!(told, wanted, "{text}");
        }
    }

    #[tokio::test]
    async fn a_workload_is_told_from_a_person() {
        let mut shelf = Shelf::new();
        let mut record = record(7, 1, 0, "select 1");
        Arc::make_mut(&mut record.session).principal.kind = PrincipalKind::Workload;
        shelf.seal(Rows { records: vec![record], ..Rows::default() }).await;
        let which = Which::Statement(Reference { session: SessionId::from_bits(7), statement: 1 });
        let mut out = Vec::new();
        why(&shelf.archive(), which, (Format::Table, true), &mut out).await.unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("  ana@contoso.com, a workload (analyst) → clinic/clinical"), "{text}");
    }

    #[tokio::test]
    async fn programs_get_the_whole_record() {
        let json = explained(7, 2, Format::Json).await;
        let rows: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(rows[0]["rules"], serde_json::json!(["no-bulk-pii-export"]));
        assert_eq!(rows[0]["status"], "denied");
    }
}
