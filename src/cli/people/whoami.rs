//! `hansard whoami`: who one is to Hansard, for how long, and what is behind.

use std::io::{self, IsTerminal, Write};

use serde_json::{Value, json};

use super::super::Globals;
use super::super::exit::Exit;
use super::super::render::{Format, Lines, Table, escaped_in_json, quiet_if_closed, shown};
use super::fresh::fresh;
use super::kept::{Server, Store};
use super::login::roles;
use super::run as run_command;
use super::trouble::Trouble;

const EXAMPLES: &str = "\
Examples:
  hansard whoami                 name, roles, how long the token is good, the targets
  hansard whoami --claims        all that the token says of you";

/// Say who you are to Hansard, as your token says it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in super::super) struct WhoamiArgs {
    /// Every claim of the token, as JSON
    #[arg(long)]
    claims: bool,

    /// The Hansard, if not the last one signed in at
    #[arg(long, value_name = "ADDRESS")]
    server: Option<String>,
}

pub(in super::super) fn run(args: &WhoamiArgs, globals: &Globals) -> Exit {
    run_command(whoami(args, globals.format()))
}

async fn whoami(args: &WhoamiArgs, format: Format) -> Result<(), Trouble> {
    let store = Store::of_person()?;
    let kept = store.read()?;
    let address = kept.meant(args.server.as_deref(), None)?.address.clone();
    let (server, _token) = fresh(&store, &address).await?;
    let said = if args.claims { claims(&server) } else { summary(&server, &store, format) };
    quiet_if_closed(said).map_err(Trouble::Output)
}

fn claims(server: &Server) -> io::Result<()> {
    let text = serde_json::to_string_pretty(&server.claims)?;
    writeln!(io::stdout().lock(), "{}", escaped_in_json(&text))
}

fn summary(server: &Server, store: &Store, format: Format) -> io::Result<()> {
    let text = |names: &[&str]| server.claim(names).map_or(Value::Null, Value::from);
    let targets: Vec<&str> = server.document.targets.iter().map(|target| target.name.as_str()).collect();
    let rows = [
        ("name", text(&["preferred_username", "upn", "name", "email"])),
        ("subject", text(&["sub"])),
        ("issuer", server.issuer().map_or(Value::Null, |issuer| json!(issuer.issuer))),
        ("roles", json!(roles(&server.claims))),
        ("server", json!(server.address)),
        ("targets", json!(targets)),
        ("token_ends", server.expires.map_or(Value::Null, |expires| json!(expires.to_string()))),
        ("renews_itself", json!(server.refresh.is_some())),
        ("kept_in", json!(store.file().display().to_string())),
    ];
    if format != Format::Table {
        let (columns, row) = rows.into_iter().map(|(name, value)| (name.to_owned(), value)).unzip();
        return Table { columns, rows: vec![row] }.print(format);
    }
    let terminal = io::stdout().is_terminal();
    let mut out = io::stdout().lock();
    for (name, value) in rows {
        let line = match value {
            Value::Null => continue,
            Value::Array(many) => many.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
            Value::Bool(flag) => if flag { "yes" } else { "no" }.to_owned(),
            Value::String(text) => text,
            other => other.to_string(),
        };
        let line = if terminal { shown(&line, Lines::Shown).into_owned() } else { line };
        writeln!(out, "{:<14} {line}", name.replace('_', " "))?;
    }
    out.flush()
}
