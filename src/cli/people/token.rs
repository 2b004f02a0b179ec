//! `hansard token`: one token on standard output, and nothing else there.

use std::io::{self, Write};

use super::super::exit::Exit;
use super::super::render::quiet_if_closed;
use super::fresh::{fresh, having};
use super::kept::Store;
use super::run as run_command;
use super::trouble::Trouble;

const EXAMPLES: &str = "\
Examples:
  hansard token                                    the token of where you signed in last
  PGPASSWORD=$(hansard token clinic) psql …        as the password of any client

It never asks anything: exit code 4 says that only you can go on, with hansard login.";

/// Print a token that is good now; it is the password of any client
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in super::super) struct TokenArgs {
    /// The target that it is for [default: any of where you signed in last]
    target: Option<String>,

    /// The Hansard that it is for, if several have that target
    #[arg(long, value_name = "ADDRESS")]
    server: Option<String>,
}

pub(in super::super) fn run(args: &TokenArgs) -> Exit {
    run_command(token(args))
}

async fn token(args: &TokenArgs) -> Result<(), Trouble> {
    let store = Store::of_person()?;
    let server = args.server.as_deref();
    let address = match &args.target {
        Some(target) => having(&store, server, target).await?.address,
        None => store.read()?.meant(server, None)?.address.clone(),
    };
    let (_, token) = fresh(&store, &address).await?;
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{}", token.reveal()).and_then(|()| out.flush());
    quiet_if_closed(written).map_err(Trouble::Output)
}
