//! `hansard sessions`: who is here, and having them leave. For operators; their own sign-in says who they are.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use serde_json::{Value, json};

use super::super::Globals;
use super::super::exit::Exit;
use super::super::render::{Format, Lines, Table, escaped_in_json, quiet_if_closed, say, shown};
use super::fresh::fresh;
use super::kept::{Server, Store};
use super::run as run_command;
use super::trouble::Trouble;
use crate::config::duration;
use crate::sign_in::{Asked, Hidden, operate};

const EXAMPLES: &str = "\
Examples:
  hansard sessions ls                                             who is here
  hansard sessions show K7Q4M2XKDT                                one session, with its claims and rules
  hansard sessions kill K7Q4M2XKDT --reason \"CHG-1182 freeze\"     end it; its client reads the reason
  hansard sessions kill --who ana@contoso.com --reason … --block 30m
  hansard sessions blocks                                         who is kept out
  hansard sessions unblock SUBJECT                                let somebody in again

What you do is on record under your name. Nodes that know each other \
act together; one that could not be asked is named.";

/// Look at open sessions, end them, and keep people out
#[derive(Debug, clap::Subcommand)]
#[command(after_help = EXAMPLES)]
pub(in super::super) enum SessionsCommand {
    /// Who is here
    Ls(LsArgs),
    /// One session, with the claims and rules that let it in
    Show(ShowArgs),
    /// End a session, or all of somebody
    Kill(KillArgs),
    /// Who is kept out, until when and why
    Blocks(AtArgs),
    /// Let somebody in again who was blocked
    Unblock(UnblockArgs),
}

/// Which recorder.
#[derive(Debug, clap::Args)]
pub(in super::super) struct AtArgs {
    /// The Hansard, if not the last one signed in at
    #[arg(long, value_name = "ADDRESS")]
    server: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(in super::super) struct LsArgs {
    /// Only of who is called so: name, e-mail address or subject
    #[arg(long, value_name = "NAME")]
    who: Option<String>,

    /// Only at this target
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,

    #[command(flatten)]
    at: AtArgs,
}

#[derive(Debug, clap::Args)]
pub(in super::super) struct ShowArgs {
    /// The session, as references name it: K7Q4M2XKDT
    session: String,

    #[command(flatten)]
    at: AtArgs,
}

#[derive(Debug, clap::Args)]
pub(in super::super) struct KillArgs {
    /// The session, as references name it: K7Q4M2XKDT
    #[arg(required_unless_present = "who", conflicts_with = "who")]
    session: Option<String>,

    /// All of who is called so: name, e-mail address or subject
    #[arg(long, value_name = "NAME")]
    who: Option<String>,

    /// Why; the client reads it, and it is on record
    #[arg(long)]
    reason: String,

    /// Keep them out for so long: 30m, 8h, at most 30d
    #[arg(long, value_name = "TIME", value_parser = time)]
    block: Option<Duration>,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,

    #[command(flatten)]
    at: AtArgs,
}

#[derive(Debug, clap::Args)]
pub(in super::super) struct UnblockArgs {
    /// Who, by the subject
    subject: String,

    /// Who vouches, if several have that subject
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,

    #[command(flatten)]
    at: AtArgs,
}

fn time(text: &str) -> Result<Duration, String> {
    duration(text).ok_or_else(|| "a time has its unit, such as 30m or 8h".to_owned())
}

pub(in super::super) fn run(command: &SessionsCommand, globals: &Globals) -> Exit {
    run_command(sessions(command, globals))
}

async fn sessions(command: &SessionsCommand, globals: &Globals) -> Result<(), Trouble> {
    let format = globals.format();
    match command {
        SessionsCommand::Ls(args) => ls(args, format, globals.quiet).await,
        SessionsCommand::Show(args) => {
            let told = Desk::at(&args.at).await?.look(&path_of(&args.session)).await?;
            quiet_if_closed(whole(&told, format)).map_err(Trouble::Output)
        }
        SessionsCommand::Kill(args) => kill(args, format, globals.quiet).await,
        SessionsCommand::Blocks(args) => {
            let told = Desk::at(args).await?.look("/operator/blocks").await?;
            let columns = ["who", "issued_by", "until", "by", "why"];
            table(&columns, list(&told, "blocks")).print(format).map_err(Trouble::Output)
        }
        SessionsCommand::Unblock(args) => {
            let asked = json!({ "subject": args.subject, "issuer": args.issuer });
            let done = Desk::at(&args.at).await?.act("/operator/unblock", &asked).await?;
            say_away(&done);
            if !globals.quiet {
                say(format_args!("{} may come in again", shown(&args.subject, Lines::Shown)));
            }
            Ok(())
        }
    }
}

/// The way to a recorder, for somebody who is signed in there.
struct Desk {
    server: Server,
    token: Hidden,
}

impl Desk {
    async fn at(args: &AtArgs) -> Result<Self, Trouble> {
        let store = Store::of_person()?;
        let address = store.read()?.meant(args.server.as_deref(), None)?.address.clone();
        let (server, token) = fresh(&store, &address).await?;
        Ok(Self { server, token })
    }

    async fn ask(&self, asked: Asked<'_>) -> Result<Value, Trouble> {
        let authorities = self.server.authorities()?;
        Ok(operate((&self.server.address, authorities.as_deref()), &self.token, asked).await?)
    }

    async fn look(&self, path: &str) -> Result<Value, Trouble> {
        self.ask(Asked::Look(path)).await
    }

    async fn act(&self, path: &str, what: &Value) -> Result<Value, Trouble> {
        self.ask(Asked::Do(path, what)).await
    }
}

/// Where a session is told of. What is no name of a session stays in its place in the path.
fn path_of(session: &str) -> String {
    let named: String = session.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("/operator/sessions/{named}")
}

async fn ls(args: &LsArgs, format: Format, quiet: bool) -> Result<(), Trouble> {
    let told = Desk::at(&args.at).await?.look("/operator/sessions").await?;
    let is = |session: &Value, column: &str, wanted: &str| {
        session.get(column).and_then(Value::as_str).is_some_and(|given| given.eq_ignore_ascii_case(wanted))
    };
    let is_meant = |session: &&Value| {
        args.target.as_deref().is_none_or(|target| is(session, "target", target))
            && args.who.as_deref().is_none_or(|who| ["who", "subject"].iter().any(|column| is(session, column, who)))
    };
    let sessions: Vec<&Value> = list(&told, "sessions").iter().filter(is_meant).collect();
    let nodes = told.get("nodes").and_then(Value::as_u64).unwrap_or(1);
    let count = sessions.len();
    let columns: &[&str] = if format == Format::Table {
        &[
            "session",
            "who",
            "kind",
            "roles",
            "target",
            "database",
            "application",
            "client",
            "opened",
            "statements",
            "state",
        ]
    } else {
        &[
            "session",
            "who",
            "issuer",
            "subject",
            "kind",
            "roles",
            "target",
            "database",
            "database_user",
            "application",
            "client",
            "opened",
            "statements",
            "state",
            "running",
            "since_seconds",
        ]
    };
    let mut table = table(columns, sessions.iter().copied());
    if format == Format::Table {
        for (row, session) in table.rows.iter_mut().zip(&sessions) {
            if let Some(state) = row.last_mut() {
                *state = Value::from(state_of(session));
            }
        }
    }
    table.print(format).map_err(Trouble::Output)?;
    if !quiet && format == Format::Table {
        let plural = |count: u64| if count == 1 { "" } else { "s" };
        let (of, at) = (plural(u64::try_from(count).unwrap_or(0)), plural(nodes));
        say(format_args!("{count} open session{of} on {nodes} node{at}"));
    }
    say_away(&told);
    Ok(())
}

/// Says which nodes could not be asked; what is there is not known.
fn say_away(told: &Value) {
    for node in list(told, "away").iter().filter_map(Value::as_str) {
        say(format_args!("node {} could not be asked", shown(node, Lines::Shown)));
    }
}

/// `idle 40 s`, `active K7Q4M2XKDT.42 3 s`.
fn state_of(session: &Value) -> String {
    let text = |name: &str| session.get(name).and_then(Value::as_str);
    let since = session.get("since_seconds").and_then(Value::as_u64).unwrap_or_default();
    let state = text("state").unwrap_or_default();
    match text("running") {
        Some(running) => format!("{state} {running} {since} s"),
        None => format!("{state} {since} s"),
    }
}

fn list<'v>(told: &'v Value, name: &str) -> &'v [Value] {
    told.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn table<'v>(columns: &[&str], rows: impl IntoIterator<Item = &'v Value>) -> Table {
    let row = |told: &Value| columns.iter().map(|column| told.get(*column).cloned().unwrap_or_default()).collect();
    Table {
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        rows: rows.into_iter().map(row).collect(),
    }
}

/// Everything about a session, a line each for people.
fn whole(told: &Value, format: Format) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let Some(members) = told.as_object().filter(|_| format == Format::Table) else {
        return writeln!(out, "{}", escaped_in_json(&told.to_string()));
    };
    for (name, value) in members {
        let line = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            Value::Array(many) if many.iter().all(Value::is_string) => {
                many.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
            }
            other => other.to_string(),
        };
        writeln!(out, "{:<20} {}", name.replace('_', " "), shown(&line, Lines::Shown))?;
    }
    out.flush()
}

async fn kill(args: &KillArgs, format: Format, quiet: bool) -> Result<(), Trouble> {
    let desk = Desk::at(&args.at).await?;
    if !args.yes && io::stdin().is_terminal() && !is_meant(args, &desk).await? {
        say("nothing was done");
        return Ok(());
    }
    let asked = json!({
        "session": args.session,
        "who": args.who,
        "reason": args.reason,
        "block_seconds": args.block.map(|block| block.as_secs()),
    });
    let done = desk.act("/operator/kill", &asked).await?;
    say_away(&done);
    if format != Format::Table {
        let written = writeln!(io::stdout().lock(), "{}", escaped_in_json(&done.to_string()));
        return quiet_if_closed(written).map_err(Trouble::Output);
    }
    if !quiet {
        let text = |name: &str| done.get(name).and_then(Value::as_str).map(|text| shown(text, Lines::Shown));
        let closed: Vec<&str> = list(&done, "closed").iter().filter_map(Value::as_str).collect();
        match (closed.as_slice(), text("read")) {
            ([], _) => say("No session was open."),
            (closed, Some(read)) => say(format_args!("Closed {}. Its client reads: {read}", closed.join(" "))),
            (closed, None) => say(format_args!("Closed {}.", closed.join(" "))),
        }
        match text("blocked_until") {
            Some(until) => say(format_args!("Blocked until {until}.")),
            None => say("To keep them from coming back: --block 30m"),
        }
    }
    Ok(())
}

/// Asks whether that is meant, and says what it is.
async fn is_meant(args: &KillArgs, desk: &Desk) -> Result<bool, Trouble> {
    let question = match (&args.session, &args.who) {
        (Some(session), _) => {
            let told = desk.look(&path_of(session)).await?;
            let text = |name: &str| told.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
            let (who, target) = (text("who"), text("target"));
            let application = told.get("application").and_then(Value::as_str).unwrap_or("no application");
            format!("Close {session}: {who} on {target} ({application}, {})?", state_of(&told))
        }
        (None, who) => format!("Close every session of {}?", who.as_deref().unwrap_or("?")),
    };
    let mut terminal = io::stderr().lock();
    write!(terminal, "{} [y/N] ", shown(&question, Lines::Shown))
        .and_then(|()| terminal.flush())
        .map_err(Trouble::Output)?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(Trouble::Output)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
