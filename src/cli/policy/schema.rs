//! `hansard policy schema`: what rules can speak about.

use std::io::{self, Write as _};
use std::path::PathBuf;

use super::super::render::{Lines, quiet_if_closed, shown};
use super::{Exit, Stop};
use crate::config::Config;
use crate::policy::Policy;

const EXAMPLES: &str = "\
Examples:
  hansard policy schema > rules/hansard.cedarschema    for an editor that knows Cedar
  hansard policy schema -c hansard.toml                with the claims that this configuration keeps";

/// Print the Cedar schema that rules are checked against
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct SchemaArgs {
    /// The configuration that says which claims are kept
    #[arg(short = 'c', long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(args: &SchemaArgs) -> Result<Exit, Stop> {
    let load = |path: &PathBuf| Config::load(path).map_err(|problems| Stop::invalid(vec![problems.to_string()]));
    let config = args.config.as_ref().map(load).transpose()?;
    let claims = config.as_ref().map(Config::kept_claims);
    let text = Policy::schema_text(claims.as_deref());
    let mut out = io::stdout().lock();
    quiet_if_closed(out.write_all(shown(&text, Lines::Kept).as_bytes()).and_then(|()| out.flush()))?;
    Ok(Exit::Done)
}
