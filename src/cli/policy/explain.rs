//! `hansard policy explain`: what the rules say of one statement of one person, and why.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::super::assembly::whose;
use super::super::render::{Format, Lines, Table, quiet_if_closed, shown};
use super::super::system::SystemClock;
use super::sources::Sources;
use super::trial::{self, Claims, Spoken, Surroundings};
use super::{Exit, Globals, Stop};
use crate::config::{Config, ReadOnly, Target};
use crate::gateway::tls::client_certificate;
use crate::gateway::{denial, no_access, walled};
use crate::model::{ClientCertificate, Clock, Decision, Effect, Facts, Principal, RuleId, Timestamp};
use crate::policy::{Explanation, Place, Policy, PolicyProblem, Told as Answer};

const EXAMPLES: &str = "\
Examples:
  hansard policy explain -c hansard.toml --as ana.json --target clinic \"SELECT * FROM clinic.patients\"
  hansard policy explain --rules rules/ --as ana.json --target clinic --application psql \"TABLE patients\"

The claims are those of a token, as JSON: {\"sub\": \"u-ana\", \"roles\": [\"analyst\"]}. What they mean is what the configuration
says; without one, `sub`, `roles`, `groups` and `email`. When the token was issued and ends is not looked at.";

/// Say what the rules decide about a statement, by which of them, and what the client would read
///
/// Nothing is asked of a database or an issuer, and nothing is recorded.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("rules_of").required(true).args(["config", "rules"]))]
pub(in crate::cli) struct ExplainArgs {
    /// The statement; `-` reads it from standard input
    #[arg(value_name = "SQL", allow_hyphen_values = true)]
    sql: String,

    /// The configuration that names the rules and says what claims mean
    #[arg(short = 'c', long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Rules without a configuration: a file of them or a folder; may be repeated
    #[arg(long, value_name = "FILES")]
    rules: Vec<PathBuf>,

    /// The claims of the person's token, a JSON file
    #[arg(long = "as", value_name = "CLAIMS")]
    claims: PathBuf,

    /// The target
    #[arg(long, value_name = "NAME")]
    target: String,

    /// The database [default: the only one that the target lists, else the target's name]
    #[arg(long, value_name = "NAME")]
    database: Option<String>,

    /// The user at the database [default: that of the login that is theirs, without a configuration `hansard`]
    #[arg(long, value_name = "NAME")]
    database_user: Option<String>,

    /// Which SQL it is; only PostgreSQL is served
    #[arg(long, value_enum, default_value_t, value_name = "DIALECT")]
    dialect: Spoken,

    /// What the client calls itself
    #[arg(long, value_name = "NAME")]
    application: Option<String>,

    /// The certificate that the client shows, in PEM [default: none]
    #[arg(long, value_name = "FILE")]
    client_certificate: Option<PathBuf>,

    /// The client's address
    #[arg(long, value_name = "ADDRESS", default_value_t = Surroundings::HERE)]
    client: IpAddr,

    /// The moment, such as 2026-11-24T09:30:00Z [default: now]
    #[arg(long, value_name = "TIME", value_parser = trial::moment)]
    at: Option<Timestamp>,
}

pub(super) fn run(args: &ExplainArgs, globals: &Globals) -> Result<Exit, Stop> {
    let load = |path: &PathBuf| Config::load(path).map_err(|problems| Stop::invalid(vec![problems.to_string()]));
    let config = args.config.as_ref().map(load).transpose()?;
    let paths = config.as_ref().map_or(args.rules.as_slice(), |config| &config.policy);
    let sources = Sources::read(paths).map_err(Stop::invalid)?;
    let said = |problems: Vec<PolicyProblem>| Stop::invalid(problems.iter().map(ToString::to_string).collect());
    let policy = Policy::load(&sources.rules).map_err(said)?;
    let mut around = around(args, config.as_ref())?;
    let claims = claims(&args.claims)?;
    let who = Claims::of(config.as_ref()).principal(&claims, around.now, around.token_age_seconds);
    let who = who.map_err(|refused| Stop::invalid(vec![format!("{}: {refused}", args.claims.display())]))?;
    let sql = if args.sql == "-" { stdin()? } else { args.sql.clone() };
    let target = config.as_ref().map(|config| described(config, &args.target)).transpose()?;
    if let (Some(config), Some(target), None) = (&config, target, &args.database_user) {
        around.place.database_user = user_of(&who, target, config)?;
    }
    let has_wall = target.is_none_or(|target| target.read_only == ReadOnly::ByRules);
    let told = Told::of(&policy, (who, has_wall), around, trial::facts(&sql, args.dialect));
    match globals.format() {
        Format::Table => {
            let mut out = io::stdout().lock();
            quiet_if_closed(out.write_all(told.text(&policy).as_bytes()).and_then(|()| out.flush()))?;
        }
        format => told.table().print(format)?,
    }
    Ok(Exit::Done)
}

fn around(args: &ExplainArgs, config: Option<&Config>) -> Result<Surroundings, Stop> {
    let target = match config {
        None => None,
        Some(config) => Some(described(config, &args.target)?),
    };
    let none = BTreeMap::new();
    let databases = target.map_or(&none, |target| &target.databases);
    let mut listed: Vec<&String> = databases.values().collect();
    listed.sort();
    listed.dedup();
    let database = match (&args.database, listed.as_slice()) {
        (Some(asked), _) => databases.get(asked).unwrap_or(asked),
        (None, [only]) => only,
        (None, _) => &args.target,
    };
    let user = args.database_user.clone();
    Ok(Surroundings {
        place: Place {
            target: args.target.clone(),
            database: database.clone(),
            database_user: user.unwrap_or_else(|| "hansard".to_owned()),
        },
        client: args.client,
        application: args.application.clone(),
        client_certificate: args.client_certificate.as_deref().map(certificate).transpose()?,
        transaction: 'I',
        now: args.at.unwrap_or_else(|| SystemClock.now()),
        token_age_seconds: 0,
    })
}

/// Who the session would be at the database, if the client asks for no user of its own.
fn user_of(who: &Principal, target: &Target, config: &Config) -> Result<String, Stop> {
    let issuers = config.issuers.iter().map(|issuer| &issuer.settings);
    let issuer = issuers.into_iter().find(|issuer| issuer.accepted().contains(&who.issuer));
    let name = issuer.map(|issuer| issuer.name.as_str());
    let theirs = target.logins.iter().find(|login| whose(login).includes(who, name));
    theirs.map(|login| login.user.clone()).ok_or_else(|| {
        let problem =
            format!("target.{}: there is no database user for {}: no login is theirs", target.name, who.name());
        Stop { exit: Exit::Forbidden, problems: vec![problem] }
    })
}

fn certificate(file: &Path) -> Result<ClientCertificate, Stop> {
    let invalid = |error: &dyn std::fmt::Display| Stop::invalid(vec![format!("{}: {error}", file.display())]);
    let pem = std::fs::read(file).map_err(|error| invalid(&error))?;
    client_certificate(&pem).map_err(|error| invalid(&error))
}

fn described<'c>(config: &'c Config, name: &str) -> Result<&'c Target, Stop> {
    config.targets.iter().find(|target| target.name == name).ok_or_else(|| {
        let names: Vec<&str> = config.targets.iter().map(|target| target.name.as_str()).collect();
        let words = format!("the configuration has no target {name}; it has {}", names.join(", "));
        Stop { exit: Exit::NotFound, problems: vec![words] }
    })
}

fn claims(path: &PathBuf) -> Result<Map<String, Value>, Stop> {
    let bad = |why: &dyn std::fmt::Display| Stop::invalid(vec![format!("{}: {why}", path.display())]);
    let text = std::fs::read_to_string(path).map_err(|error| bad(&error))?;
    match serde_json::from_str(&text) {
        Ok(Value::Object(claims)) => Ok(claims),
        Ok(_) => Err(bad(&"claims are an object, such as {\"sub\": \"u-ana\", \"roles\": [\"analyst\"]}")),
        // Its words quote nothing of the text, which may be a token by mistake.
        Err(error) => Err(bad(&format_args!("no JSON: line {}, column {}", error.line(), error.column()))),
    }
}

fn stdin() -> Result<String, Stop> {
    let mut text = String::new();
    let read = io::stdin().lock().read_to_string(&mut text);
    read.map(|_| text).map_err(|error| Stop {
        exit: Exit::Unexpected,
        problems: vec![format!("standard input cannot be read: {error}")],
    })
}

/// Everything there is to say.
struct Told {
    who: Principal,
    around: Surroundings,
    facts: Facts,
    connect: Decision,
    /// Whether the session would be read-only at the database.
    read_only: bool,
    statement: Explanation,
}

impl Told {
    /// `has_wall`: whether the target has read-only sessions at all.
    fn of(policy: &Policy, (who, has_wall): (Principal, bool), around: Surroundings, facts: Facts) -> Self {
        let (place, moment) = (&around.place, around.moment());
        let connect = policy.decide_connect(&who, place, &moment);
        let mut statement = policy.explain(&who, place, &moment, &facts);
        let read_only = has_wall && !policy.may_write(&who, place);
        if read_only {
            statement.decision = walled(statement.decision, &facts);
        }
        Self { who, around, facts, connect, read_only, statement }
    }

    /// What the client would read, each part of the error by the name that `psql` gives it.
    fn client_reads(&self) -> Vec<(String, String)> {
        const REFERENCE: &str = "…";
        let refusal = if !self.connect.allows() {
            let place = format!("{}/{}", self.around.place.target, self.around.place.database);
            no_access(self.who.name(), &place, self.connect.clone(), &REFERENCE)
        } else if !self.statement.decision.allows() {
            denial(&self.facts, &self.statement.decision, &REFERENCE)
        } else {
            return Vec::new();
        };
        let head = (format!("{} {}", refusal.severity, refusal.sqlstate), refusal.message);
        let detail = refusal.detail.map(|detail| ("DETAIL".to_owned(), detail));
        let hint = refusal.hint.map(|hint| ("HINT".to_owned(), hint));
        std::iter::once(head).chain(detail).chain(hint).collect()
    }

    fn text(&self, policy: &Policy) -> String {
        let mut text = String::new();
        let mut line = |name: &str, words: &str| {
            // Writing to a String cannot fail.
            writeln!(text, "{name:<10} {}", shown(words, Lines::Shown)).unwrap_or_default();
        };
        line("parsed", &parsed(&self.facts));
        line("identity", &identity(&self.who));
        let place = &self.around.place;
        line("place", &format!("{}/{} as {}", place.target, place.database, place.database_user));
        line("connect", &decided(policy, &self.connect));
        if self.read_only {
            line("session", "read-only at the database: no rule could permit this person a write here");
        }
        let mut last = None;
        for (at, answer) in self.statement.answers.iter().enumerate() {
            let name = if at == 0 { "effects" } else { "" };
            let effect = answer.effect.as_ref();
            if effect != last {
                line(name, &effect.map(described_effect).unwrap_or_default());
                last = effect;
            }
            line("", &format!("  {}  {}", answered(policy, answer), answer.resource));
        }
        if self.statement.answers.is_empty() {
            line("effects", "none: whoever may connect may do this");
        }
        line("decision", &decided(policy, &self.statement.decision));
        for (at, (name, words)) in self.client_reads().into_iter().enumerate() {
            line(if at == 0 { "client" } else { "" }, &format!("{name}:  {words}"));
        }
        text
    }

    fn table(&self) -> Table {
        let names = |rules: &[RuleId]| rules.iter().map(|rule| rule.0.clone()).collect::<Vec<_>>();
        let effect = |answer: &Answer| {
            let object = answer.effect.as_ref().and_then(|effect| effect.object.as_ref());
            json!({
                "action": answer.effect.as_ref().map(|effect| effect.action.as_str()),
                "object_kind": object.map(|object| object.kind),
                "schema": object.and_then(|object| object.schema.clone()),
                "name": object.map(|object| object.name.clone()),
                "has_where": answer.effect.as_ref().is_some_and(|effect| effect.has_where),
                "resource": answer.resource,
                "allowed": answer.allowed,
                "rules": names(&answer.rules),
                "excused": answer.excused,
                "failed": answer.failed,
                "would_deny": answer.would_deny.iter().filter_map(RuleId::reported).collect::<Vec<_>>(),
            })
        };
        let decision = |decision: &Decision| {
            json!({
                "decision": decision.verdict.as_str(),
                "rules": names(&decision.rules),
                "message": decision.message,
                "hint": decision.hint,
            })
        };
        let client: Map<String, Value> =
            self.client_reads().into_iter().map(|(name, words)| (name, json!(words))).collect();
        let fields = [
            ("decision", json!(self.statement.decision.verdict.as_str())),
            ("rules", json!(names(&self.statement.decision.rules))),
            ("message", json!(self.statement.decision.message)),
            ("hint", json!(self.statement.decision.hint)),
            ("policy_version", json!(self.statement.decision.policy_version)),
            ("connect", decision(&self.connect)),
            ("read_only", json!(self.read_only)),
            ("client", if client.is_empty() { Value::Null } else { Value::Object(client) }),
            ("effects", self.statement.answers.iter().map(effect).collect()),
            ("kind", json!(self.facts.kind.as_str())),
            ("statement_count", json!(self.facts.statement_count)),
            ("functions", json!(self.facts.functions)),
            ("problem", json!(self.facts.problem)),
            ("issuer", json!(self.who.issuer)),
            ("subject", json!(self.who.subject)),
            ("roles", json!(self.who.roles)),
            ("groups", json!(self.who.groups)),
            ("claims", json!(self.who.claims)),
        ];
        let (columns, row) = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).unzip();
        Table { columns, rows: vec![row] }
    }
}

fn parsed(facts: &Facts) -> String {
    let mut words = vec![facts.kind.as_str().to_owned()];
    if facts.statement_count > 1 {
        words.push(format!("{} statements", facts.statement_count));
    }
    if !facts.functions.is_empty() {
        words.push(format!("names {}", facts.functions.join(", ")));
    }
    words.extend(facts.problem.clone());
    words.join(" · ")
}

fn identity(who: &Principal) -> String {
    let claims: Vec<String> = who.claims.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!(
        "{} ({}, subject {})  roles [{}]  groups [{}]  claims [{}]",
        who.name(),
        who.kind.as_str(),
        who.subject,
        who.roles.join(", "),
        who.groups.join(", "),
        claims.join(", ")
    )
}

/// `select on table clinic.patients, without WHERE`
fn described_effect(effect: &Effect) -> String {
    use crate::model::Action;
    let object = effect.object.as_ref().map(|object| {
        let schema = object.schema.as_ref().map_or_else(String::new, |schema| format!("{schema}."));
        let kind = crate::model::ObjectKind::as_str(object.kind);
        format!(" on {kind} {schema}{}", object.name)
    });
    let bare = matches!(effect.action, Action::Select | Action::Update | Action::Delete) && !effect.has_where;
    let bare = if bare { ", without WHERE" } else { "" };
    format!("{}{}{bare}", effect.action.as_str(), object.unwrap_or_default())
}

fn answered(policy: &Policy, answer: &Answer) -> String {
    let verdict = if answer.allowed || answer.excused { "allow" } else { "deny " };
    let by = match (answer.failed, answer.rules.is_empty()) {
        (true, _) => "a rule failed while it was evaluated".to_owned(),
        (false, true) if answer.excused => "nothing: a view reaches it, which needs no permit of its own".to_owned(),
        (false, true) => "no rule permits it".to_owned(),
        (false, false) => format!("by {}", names(policy, &answer.rules)),
    };
    format!("{verdict} {by}{}", in_report(policy, &answer.would_deny))
}

/// The rules in report mode among these.
fn in_report(policy: &Policy, rules: &[RuleId]) -> String {
    let reported: Vec<RuleId> = rules.iter().filter_map(RuleId::reported).map(|name| RuleId(name.to_owned())).collect();
    if reported.is_empty() { String::new() } else { format!("; would be denied by {}", names(policy, &reported)) }
}

fn decided(policy: &Policy, decision: &Decision) -> String {
    let verdict = decision.verdict.as_str().to_uppercase();
    let deciding: Vec<RuleId> = decision.deciding().cloned().collect();
    let said = match (deciding.is_empty(), &decision.message) {
        (false, _) => format!("{verdict} by {}", names(policy, &deciding)),
        (true, Some(message)) => format!("{verdict}: {message}"),
        (true, None) => verdict,
    };
    said + &in_report(policy, &decision.rules)
}

/// Rules with the places where they stand.
fn names(policy: &Policy, rules: &[RuleId]) -> String {
    let named = |rule: &RuleId| match policy.written().iter().find(|written| written.id == rule.0) {
        Some(written) => format!("\"{}\" ({}:{})", rule.0, written.file, written.line),
        None => format!("\"{}\"", rule.0),
    };
    rules.iter().map(named).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../../fixtures/policy/example.cedar");

    fn told(role: &str, sql: &str) -> (Policy, Told) {
        let policy = Policy::load(&[("example.cedar".to_owned(), EXAMPLE.to_owned())]).unwrap();
        let place = Place { target: "demo".to_owned(), database: "demo".to_owned(), database_user: "app".to_owned() };
        let around = Surroundings {
            place,
            client: Surroundings::HERE,
            application: None,
            client_certificate: None,
            transaction: 'I',
            now: Timestamp::from_seconds(1_795_512_766),
            token_age_seconds: 0,
        };
        let claims = json!({"sub": "u-ana", "roles": [role]});
        let who = Claims::of(None).principal(claims.as_object().unwrap(), around.now, 0).unwrap();
        let told = Told::of(&policy, (who, true), around, trial::facts(sql, Spoken::Postgresql));
        (policy, told)
    }

    #[test]
    fn a_denial_is_explained_effect_by_effect_with_the_words_that_the_client_reads() {
        let (policy, told) = told("analyst", "SELECT p.name FROM clinical.patients p, app.orders o");
        let text = told.text(&policy);
        for words in [
            "parsed     select",
            "connect    ALLOW by \"everyone-connects\" (example.cedar:3)",
            "effects    select on table app.orders, without WHERE",
            "allow by \"analyst-read\" (example.cedar:14)  Table::\"demo/demo/app.orders\"",
            "select on table clinical.patients, without WHERE",
            "deny  by \"no-bulk-patients\" (example.cedar:17)  Table::\"demo/demo/clinical.patients\"",
            "decision   DENY by \"no-bulk-patients\" (example.cedar:17)",
            "client     ERROR 42501:  hansard: denied by rule \"no-bulk-patients\" (ref …)",
            "DETAIL:  Reading all of clinical.patients at once is not allowed. Nothing was sent to the database.",
            "HINT:  Add a WHERE, for example on patient_id, or ask for an extract.",
        ] {
            assert!(text.contains(words), "{words}\n{text}");
        }
        let table = told.table();
        let value = |name: &str| &table.rows[0][table.columns.iter().position(|column| column == name).unwrap()];
        assert_eq!(value("decision"), "deny");
        assert_eq!(value("rules"), &json!(["no-bulk-patients"]));
        assert_eq!(value("effects")[0]["rules"], json!(["analyst-read"]));
        assert_eq!(value("client")["HINT"], "Add a WHERE, for example on patient_id, or ask for an extract.");
    }

    #[test]
    fn who_may_not_connect_would_read_that_and_what_asks_nothing_is_said_to() {
        let (policy, stranger) = told("stranger", "SELECT 1");
        let text = stranger.text(&policy);
        assert!(text.contains("client     FATAL 28000:  hansard: u-ana has no access to demo/demo (ref …)"), "{text}");
        assert!(text.contains("effects    none"), "{text}");
        let (policy, allowed) = told("analyst", "SELECT 1");
        assert!(!allowed.text(&policy).contains("client "), "{}", allowed.text(&policy));
    }

    #[test]
    fn a_name_without_a_schema_is_one_effect_with_an_answer_for_each_schema() {
        let (policy, told) = told("developer", "SELECT * FROM \"\u{1b}[2Jorders\"");
        let text = told.text(&policy);
        assert_eq!(text.matches("select on table").count(), 1, "{text}");
        assert!(told.statement.answers.len() > 2 && text.contains("allow by \"developer-read-write\""), "{text}");
        assert!(text.contains("deny  no rule permits it") && !text.contains('\u{1b}'), "{text}");
    }
}
