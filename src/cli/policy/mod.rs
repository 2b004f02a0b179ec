//! `hansard policy`: the tools of those who write rules.

mod cases;
mod check;
mod diagnostics;
mod explain;
mod grants;
mod junit;
pub(super) mod live;
pub(super) mod run;
mod schema;
pub(super) mod sources;
mod test;
mod trial;

use std::path::PathBuf;

use super::Globals;
use super::exit::Exit;
use super::render::say;
use crate::config::Config;
use sources::Sources;

const EXAMPLES: &str = "\
Examples:
  hansard policy check rules/                          every mistake at once, with its place
  hansard policy explain -c hansard.toml --as ana.json --target clinic \"SELECT 1\"
  hansard policy test rules/                           the tests beside the rules
  hansard policy check -c hansard.toml --target clinic what the target's login may do that the rules forbid

FILES are *.cedar files and folders of them.";

/// Check rules, and try them out, before they are in force
#[derive(Debug, clap::Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum PolicyCommand {
    Check(check::CheckArgs),
    Explain(explain::ExplainArgs),
    Grants(grants::GrantsArgs),
    Schema(schema::SchemaArgs),
    Test(test::TestArgs),
}

pub(super) fn run(command: &PolicyCommand, globals: &Globals) -> Exit {
    let done = match command {
        PolicyCommand::Check(args) => check::run(args, globals),
        PolicyCommand::Explain(args) => explain::run(args, globals),
        PolicyCommand::Grants(args) => grants::run(args, globals),
        PolicyCommand::Schema(args) => schema::run(args),
        PolicyCommand::Test(args) => test::run(args, globals),
    };
    done.unwrap_or_else(|stop| {
        stop.problems.iter().for_each(say);
        stop.exit
    })
}

/// Which rules.
#[derive(Debug, clap::Args)]
struct Which {
    /// Files of rules, and folders of them
    #[arg(value_name = "FILES", required_unless_present = "config", conflicts_with = "config")]
    files: Vec<PathBuf>,

    /// The configuration that names the rules
    #[arg(short = 'c', long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Which {
    /// The configuration, if it is what names the rules.
    fn config(&self) -> Result<Option<Config>, Stop> {
        let load = |path: &PathBuf| Config::load(path).map_err(|problems| Stop::invalid(vec![problems.to_string()]));
        self.config.as_ref().map(load).transpose()
    }

    /// The texts.
    fn sources(&self, config: Option<&Config>) -> Result<Sources, Stop> {
        let paths = config.map_or(self.files.as_slice(), |config| &config.policy);
        Sources::read(paths).map_err(Stop::invalid)
    }
}

/// Why a command ended early.
#[derive(Debug)]
struct Stop {
    exit: Exit,
    problems: Vec<String>,
}

impl Stop {
    fn invalid(problems: Vec<String>) -> Self {
        Self { exit: Exit::Invalid, problems }
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self { exit: Exit::Unexpected, problems: vec![format!("standard output cannot be written: {error}")] }
    }
}
