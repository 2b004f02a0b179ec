//! `hansard verify`: is the archive what was recorded, and all of it?

mod given;
mod shown;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::Globals;
use super::exit::Exit;
use super::reading::{self, Asked, Stop, Where};
use super::render::{Format, say};
use crate::archive::verify::{self, Progress, Report, Request, Verdict};
use crate::model::{NodeName, Reference, Timestamp};
use crate::store::Store;

const EXAMPLES: &str = "\
Examples:
  hansard verify --archive ./archive --trust contoso.keys                     with nothing else at hand
  hansard verify -c hansard.toml --since 2026-10-01 --until 2026-10-31        the recorder's own archive and keys
  hansard verify --archive ./archive --trust contoso.keys --checkpoints ./kept   nothing was cut off since these
  hansard verify --archive ./archive --trust contoso.keys --rows ./export     the same records in other files
  hansard verify --archive ./archive --trust contoso.keys --record K7Q4M2XKDT.42 --proof out.txt
  hansard verify --proof out.txt --trust contoso.keys                         one record, without the archive

Keys come from `hansard keys export`. Exit codes: 0 proven, 9 the evidence contradicts itself, 10 it is not complete.";

/// Before this, nobody waits long enough to want a bar.
const BAR_AFTER: Duration = Duration::from_millis(500);

/// Find any record that was changed, removed, reordered or invented, and say where
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    place: Option<Where>,

    /// A file of verifier keys, one a line; more than one may be given. With -c: else the recorder's own keys
    #[arg(long, value_name = "FILE")]
    trust: Vec<PathBuf>,

    /// Read rows from this moment on only (2026-10-01, or RFC 3339); the log is read from its beginning
    #[arg(long, value_name = "TIME", value_parser = given::since)]
    since: Option<Timestamp>,

    /// Read rows up to this moment only (2026-10-31 includes that day); a log that ends before it is a finding
    #[arg(long, value_name = "TIME", value_parser = given::until)]
    until: Option<Timestamp>,

    /// Only this recorder; more than one may be given [default: all]
    #[arg(long, value_name = "NAME", value_parser = given::node)]
    node: Vec<NodeName>,

    /// The rows stand in other files, such as a compacted copy or an export: a folder, or az://container/prefix
    #[arg(long, value_name = "FOLDER|URL", conflicts_with_all = ["record"])]
    rows: Option<String>,

    /// Checkpoints that were kept elsewhere: a file, a folder, or az://container/prefix; more than one may be given
    #[arg(long, value_name = "FILE|FOLDER|URL")]
    checkpoints: Vec<String>,

    /// Keep the newest checkpoint of each log in this folder, for the next time
    #[arg(long, value_name = "FOLDER")]
    save_checkpoints: Option<PathBuf>,

    /// PEM file of the authorities whose timestamps are taken
    #[arg(long, value_name = "FILE")]
    timestamp_authorities: Option<PathBuf>,

    /// Write the proof of one record to the file that --proof names (`-`: standard output)
    #[arg(long, value_name = "REF", requires = "proof")]
    record: Option<Reference>,

    /// A proof: to check, or with --record to write
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,

    /// The report as JSON; the same as -o json
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &VerifyArgs, globals: &Globals) -> Exit {
    reading::run(globals, async {
        match (&args.proof, args.record) {
            (Some(proof), Some(record)) => make_proof(args, globals, record, proof).await,
            (Some(proof), None) => check_proof(args, globals, proof),
            (None, _) => whole(args, globals).await,
        }
    })
}

impl VerifyArgs {
    fn format(&self, globals: &Globals) -> Format {
        match (self.json, globals.output) {
            (true, _) => Format::Json,
            // A verdict is for people first, also in a log.
            (false, asked) => asked.unwrap_or(Format::Table),
        }
    }

    fn store(&self, globals: &Globals, question: &str) -> Result<Store, Stop> {
        let place = self.place.as_ref().ok_or_else(|| {
            let words = "name what is to be verified: -c FILE, --archive FOLDER or --proof FILE";
            Stop::Said(Exit::Usage, words.to_owned())
        })?;
        place.store(Asked { command: "verify", question, quiet: globals.quiet })
    }

    async fn request(&self) -> Result<Request, Stop> {
        let rows = match &self.rows {
            Some(rows) => Some(reading::opened(rows)?),
            None => None,
        };
        let mut kept = Vec::new();
        for place in &self.checkpoints {
            kept.extend(given::checkpoints(place).await?);
        }
        Ok(Request {
            keys: given::keys(&self.trust, self.place.as_ref())?,
            nodes: self.node.clone(),
            since: self.since,
            until: self.until,
            rows,
            kept,
            authorities: self.timestamp_authorities.as_deref().map(given::authorities).transpose()?,
        })
    }
}

async fn whole(args: &VerifyArgs, globals: &Globals) -> Result<Exit, Stop> {
    let format = args.format(globals);
    if matches!(format, Format::Csv) {
        return Err(Stop::Said(Exit::Usage, "a report is a table or json".to_owned()));
    }
    let request = args.request().await?;
    let store = args.store(globals, &shown::asked(&request))?;
    let bar = Bar::new(globals.quiet);
    let report = verify::verify(&store, &request, &bar).await;
    bar.end();
    let report = report?;
    let mut out = io::stdout().lock();
    match format {
        Format::Json | Format::Ndjson => shown::json(&report, &request, format, &mut out)?,
        _ => shown::people(&report, &request, &mut out)?,
    }
    out.flush()?;
    if let Some(folder) = &args.save_checkpoints {
        save(&store, &report, folder).await?;
    }
    Ok(report.verdict().into())
}

/// Keeps what the next verification may rely on.
async fn save(store: &Store, report: &Report, folder: &Path) -> Result<(), Stop> {
    let failed = |error: io::Error| Stop::Said(Exit::Unexpected, format!("{}: {error}", folder.display()));
    if report.verdict() == Verdict::Contradiction {
        say("no checkpoint is kept of evidence that contradicts itself");
        return Ok(());
    }
    std::fs::create_dir_all(folder).map_err(failed)?;
    for (name, note) in verify::newest_checkpoints(store, report).await? {
        let file = name.replace('/', "_");
        std::fs::write(folder.join(file), note).map_err(failed)?;
    }
    Ok(())
}

async fn make_proof(args: &VerifyArgs, globals: &Globals, record: Reference, to: &Path) -> Result<Exit, Stop> {
    let keys = given::keys(&args.trust, args.place.as_ref())?;
    let store = args.store(globals, &format!("the proof of {record}"))?;
    let proof = verify::prove(&store, record, &keys).await?.to_string();
    if to.as_os_str() == "-" {
        let mut out = io::stdout().lock();
        out.write_all(proof.as_bytes())?;
        out.flush()?;
    } else {
        let failed = |error: io::Error| Stop::Said(Exit::Unexpected, format!("{}: {error}", to.display()));
        std::fs::write(to, proof).map_err(failed)?;
    }
    if !globals.quiet {
        let file = to.display();
        say(format_args!(
            "{record} is proven by {file}; who has the key checks it: hansard verify --proof {file} --trust KEYS"
        ));
    }
    Ok(Exit::Done)
}

fn check_proof(args: &VerifyArgs, globals: &Globals, proof: &Path) -> Result<Exit, Stop> {
    let keys = given::keys(&args.trust, args.place.as_ref())?;
    let bytes = given::read(proof)?;
    let mut out = io::stdout().lock();
    let exit = match verify::check(&bytes, &keys) {
        Ok(proven) => {
            shown::proven(&proven, args.format(globals), &mut out)?;
            Exit::Done
        }
        Err(problem) => shown::not_proven(&problem, args.format(globals), &mut out)?,
    };
    out.flush()?;
    Ok(exit)
}

impl From<Verdict> for Exit {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Proven => Self::Done,
            Verdict::Contradiction => Self::Contradiction,
            Verdict::Incomplete => Self::Incomplete,
        }
    }
}

/// A bar on standard error, if a person looks at it.
struct Bar {
    bar: ProgressBar,
    started: OnceLock<std::time::Instant>,
    quiet: bool,
}

impl Bar {
    fn new(quiet: bool) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
        let rate = |state: &ProgressState, to: &mut dyn std::fmt::Write| {
            let seconds = state.elapsed().as_secs_f64().max(0.001);
            // A bar that cannot be drawn is no loss.
            write!(to, "{:.1} MB/s", state.pos() as f64 / seconds / 1e6).unwrap_or_default();
        };
        let style = ProgressStyle::with_template("verifying [{bar:30}] {percent}%  {rate}  {msg}  {eta} left");
        if let Ok(style) = style {
            bar.set_style(style.with_key("rate", rate).progress_chars("=> "));
        }
        Self { bar, started: OnceLock::new(), quiet }
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for Bar {
    fn expect(&self, bytes: u64) {
        self.bar.inc_length(bytes);
    }

    fn advance(&self, bytes: u64, _rows: u64) {
        let started = self.started.get_or_init(std::time::Instant::now);
        if self.bar.is_hidden() && !self.quiet && started.elapsed() > BAR_AFTER {
            // It draws on a terminal only.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.inc(bytes);
    }
}
