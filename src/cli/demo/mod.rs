//! `hansard demo`: everything on one machine, trusted by nobody else.
//!
//! It promises: one folder and nothing outside of it (but for the database of root, which nobody else could reach there);
//! nothing that listens elsewhere than on loopback; what it prints has happened; all of it ends with it, and what a
//! killed one left is stopped by the next.
//!
//! [`run`] reads as the story: a folder, a database, an issuer, a recorder; then people come, and the record is held
//! against what they did.

mod check;
mod find;
mod home;
pub mod issuer;
mod node;
mod postgres;
mod program;
mod screen;
mod story;

use std::io;
use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;

use super::Globals;
use super::exit::Exit;
use super::render::say;
use super::system::SystemClock;
use crate::archive::ArchiveError;
use crate::archive::verify::Verdict;
use crate::config::{Log, LogLevel};
use crate::model::Clock;
use crate::telemetry;
use check::Record;
use home::Home;
use issuer::DevelopmentIssuerError;
use node::Node;
use postgres::Database;
use screen::{Offer, Screen, counted};
use story::{Stage, Story};

const EXAMPLES: &str = "\
Examples:
  hansard demo                        start it, look around, Ctrl-C
  hansard demo --exit                 play and check the story, then end: 0 if all is on record, else 8
  hansard demo --dir /tmp/demo        in a folder of your choice";

/// See it work: a database, four people, one of them refused, all on record
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DemoArgs {
    /// The folder for everything [default: $XDG_STATE_HOME/hansard/demo, else ~/.local/state/hansard/demo]
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,

    /// Keep database, journal and archive of the demo before; without it the folder is emptied first
    #[arg(long)]
    keep: bool,

    /// End after the story: 0 if every statement is on record as it was, else 8
    #[arg(long)]
    exit: bool,

    /// The folder with initdb and postgres [default: searched for]
    #[arg(long, value_name = "FOLDER")]
    postgres_bin: Option<PathBuf>,
}

/// Why the demo cannot go on, and what to do.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each says itself what it means")]
pub enum DemoError {
    #[error(
        "no PostgreSQL server is on this machine, and the demo starts one of its own.\n\
         Install it (Debian, Ubuntu: apt-get install postgresql; Fedora: dnf install postgresql-server; \
         macOS: brew install postgresql), or say where it is with --postgres-bin."
    )]
    NoServer,
    #[error("{} has no initdb and postgres; give the right folder with --postgres-bin, or leave it out", folder.display())]
    NoServerIn { folder: PathBuf },
    #[error(
        "psql is not on this machine, and the demo's people use it; install PostgreSQL's client (postgresql-client)"
    )]
    NoClient,
    #[error("{} does not say its version; give another folder with --postgres-bin", program.display())]
    Unusable { program: PathBuf },
    #[error("PostgreSQL does not run as root, and there is no user postgres or nobody; run the demo as another user")]
    NobodyElse,
    #[error("neither XDG_STATE_HOME nor HOME is set; say where the demo may live with --dir")]
    NoHome,
    #[error("{} holds files that are not a demo's, and would be emptied; choose another folder with --dir", path.display())]
    NotOurs { path: PathBuf },
    #[error("another demo runs in {}; stop it, or choose another folder with --dir", path.display())]
    InUse { path: PathBuf },
    #[error("{} has characters that a configuration cannot name; choose another folder with --dir", path.display())]
    Unwritable { path: PathBuf },
    #[error("{}: {source}; make it writable, or choose another folder with --dir", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the demo's PostgreSQL: {problem}")]
    Database { problem: String },
    #[error(transparent)]
    Issuer(#[from] DevelopmentIssuerError),
    #[error("no port from 6432 on is free on 127.0.0.1 (tried up to {port}): {source}; free one and start again")]
    Listen { port: u16, source: io::Error },
    #[error("{problems}")]
    Unfit { problems: String },
    #[error("the recorder of the demo: {problem}")]
    Recorder { problem: String },
    #[error("{} cannot be run: {source}", program.display())]
    Client { program: PathBuf, source: io::Error },
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("signals cannot be waited for: {0}")]
    Signals(#[source] io::Error),
    #[error("stopped before the story was told")]
    Interrupted,
}

impl DemoError {
    fn exit(&self) -> Exit {
        match self {
            Self::NoServerIn { .. }
            | Self::NoHome
            | Self::NotOurs { .. }
            | Self::InUse { .. }
            | Self::Unwritable { .. } => Exit::Usage,
            Self::NoServer
            | Self::NoClient
            | Self::Unusable { .. }
            | Self::NobodyElse
            | Self::Database { .. }
            | Self::Listen { .. } => Exit::DependencyAway,
            _ => Exit::Unexpected,
        }
    }
}

pub(super) fn run(args: &DemoArgs, globals: &Globals) -> Exit {
    // Refused logins are part of the story, and warnings to an operator: they would stand between the lines.
    let log = Log { format: None, level: LogLevel::Error };
    if let Err(error) = telemetry::start(&globals.telemetry(Some(log))) {
        say(error);
        return Exit::Unexpected;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(format_args!("the runtime could not be started: {error}"));
            return Exit::Unexpected;
        }
    };
    let ended = runtime.block_on(async {
        let stop = stop_on_signals()?;
        perform(args, Screen::new(globals.quiet), &stop).await
    });
    ended.unwrap_or_else(|error: DemoError| {
        say(&error);
        error.exit()
    })
}

/// Cancelled by SIGINT, SIGTERM or SIGHUP: closing the terminal ends the demo too.
fn stop_on_signals() -> Result<CancellationToken, DemoError> {
    let stop = CancellationToken::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let mut signal = signal(kind).map_err(DemoError::Signals)?;
        let stop = stop.clone();
        tokio::spawn(async move {
            signal.recv().await;
            stop.cancel();
        });
    }
    Ok(stop)
}

/// From the folder to the last stop. Whatever was started is stopped, whichever way it ends.
async fn perform(args: &DemoArgs, mut screen: Screen, stop: &CancellationToken) -> Result<Exit, DemoError> {
    let programs = block_in_place(|| find::programs(args.postgres_bin.as_deref()))?;
    let owner = find::owner()?;
    let home = Home::take(args.dir.as_deref())?;
    block_in_place(|| {
        home.database().map_or(Ok(()), |folder| postgres::stop_leftover(&folder))?;
        if args.keep { Ok(()) } else { home.clear() }
    })?;
    let (version, path) = (env!("CARGO_PKG_VERSION"), home.path().display());
    screen.say(format_args!("hansard {version} demo: nothing leaves this computer; everything is in {path}"));
    let database = block_in_place(|| Database::start(&programs, &home, owner.as_ref()))?;
    let folder = database.folder();
    if !folder.starts_with(home.path()) {
        let (name, folder) = (owner.as_ref().map_or("nobody", |owner| owner.name.as_str()), folder.display());
        screen.say(format_args!("(the database is in {folder}, because it runs as the user {name})"));
    }
    let (server, address) = (&programs.version, database.address());
    screen.say("");
    screen.done("database", format_args!("PostgreSQL {server} on {address}, started for this demo"));
    let ended = on_stage(args, &mut screen, stop, (&programs, &home, &database)).await;
    drop(database);
    if !args.keep {
        home.clear_elsewhere()?;
    }
    if ended.is_ok() {
        let store = home.path().join("store");
        screen.say(format_args!("Stopped. The record stays in {} until the next demo.", store.display()));
    }
    ended
}

/// With the database up: issuer, recorder, story, and then whatever people do until it is stopped.
async fn on_stage(
    args: &DemoArgs,
    screen: &mut Screen,
    stop: &CancellationToken,
    (programs, home, database): (&find::Programs, &Home, &Database),
) -> Result<Exit, DemoError> {
    let issuer = node::issuer().await?;
    let url = issuer.url();
    screen.done("identities", format_args!("development issuer at {url}, trusted by this demo only"));
    let node = Node::start(home, database, &issuer).await?;
    node::scripts(home, &node, url, &programs.psql)?;
    screen.done("rules", format_args!("{} rules; what none of them permits is denied", node.rules));
    screen.done("proxy", format_args!("{} (TLS, self-signed), in front of the database", node.address));
    let stage = Stage { programs, home, node: &node, issuer: &issuer };
    let ended = tokio::select! {
        biased;
        () = stop.cancelled() => Err(DemoError::Interrupted),
        told = tell(args, &stage, screen) => told,
    };
    if matches!(ended, Ok(Exit::Done)) && !args.exit {
        stop.cancelled().await;
    }
    node.stop().await;
    ended
}

/// The story, its record, and what there is to try.
async fn tell(args: &DemoArgs, stage: &Stage<'_>, screen: &mut Screen) -> Result<Exit, DemoError> {
    let since = SystemClock.now();
    let story = stage.play().await?;
    screen.done("story", told(&story));
    let record = Record::of(stage.node, since, &story).await?;
    let problems = record.against(&story);
    let Some(reference) = record.reference().filter(|_| problems.is_empty()) else {
        say("the record is not what the clients saw; please report this with what follows");
        problems.iter().for_each(say);
        return Ok(Exit::Found);
    };
    let report = stage.node.verified().await?;
    if report.verdict() != Verdict::Proven {
        say("the archive does not verify; please report this with what follows");
        report.findings.iter().for_each(|finding| say(format_args!("{}: {}", finding.object, finding.detail)));
        return Ok(Exit::Found);
    }
    let segments = report.nodes.iter().map(|node| node.signed).sum();
    let (segments, rows) = (counted(segments, "segment"), counted(report.records, "row"));
    screen.done(
        "evidence",
        format_args!(
            "{segments} of Parquet, signed; {rows} verified: complete, unaltered, each statement once, by name"
        ),
    );
    screen.refused(&story.refusal);
    if !args.exit {
        let (home, config) = (stage.home.path(), stage.node.config.as_path());
        screen.offer(&Offer { home, config, reference });
    }
    Ok(Exit::Done)
}

fn told(story: &Story) -> String {
    let ((statements, denied), (sessions, refused)) = (story.statements(), story.sessions());
    let people = story.people();
    let allowed = statements - denied;
    format!(
        "{people} people, {sessions} sessions, {statements} statements: {allowed} allowed, {denied} denied; \
         {refused} logins refused"
    )
}
