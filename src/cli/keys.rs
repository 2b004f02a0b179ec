//! `hansard keys`: the keys that sign a recorder's log, and what others check them by.

use std::path::PathBuf;

use super::Globals;
use super::exit::Exit;
use super::keyring::{KeyFolder, KeyFolderError};
use super::render::{quiet_if_closed, say};
use crate::config::{Config, Place};
use crate::seal::note::VerifierKey;

const EXAMPLES: &str = "\
Examples:
  hansard keys new -c hansard.toml                     make the first key; `serve` does it at its first start as well
  hansard keys export -c hansard.toml > contoso.keys   what an auditor needs: hansard verify --trust contoso.keys
  hansard keys rotate -c hansard.toml                  make the next key; it signs from the next segment on

A key never leaves its file. `export` prints verifier keys, which are public: hand them over before they are needed, by a
way that whoever can change the archive cannot change.";

/// Make, change and hand out the keys that sign a recorder's log
#[derive(Debug, clap::Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum KeysCommand {
    /// Make the first key and print its verifier key
    New(Which),
    /// Make the key that shall follow and print its verifier key
    Rotate(Which),
    /// Print the verifier keys, one a line
    Export(Which),
}

/// Whose keys.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// The configuration of the recorder
    #[arg(short = 'c', long, value_name = "FILE")]
    config: PathBuf,
}

pub(super) fn run(command: &KeysCommand, globals: &Globals) -> Exit {
    let (KeysCommand::New(which) | KeysCommand::Rotate(which) | KeysCommand::Export(which)) = command;
    let config = match Config::load(&which.config) {
        Ok(config) => config,
        Err(problems) => {
            say(problems);
            return Exit::Invalid;
        }
    };
    let folder = &config.evidence.keys;
    let open = || KeyFolder::open(folder, &config.node);
    let done = match command {
        KeysCommand::New(_) if let Some(exposed) = exposed(&config) => {
            say(exposed);
            return Exit::Invalid;
        }
        KeysCommand::New(_) => KeyFolder::make(folder, &config.node).map(|key| vec![key]),
        KeysCommand::Rotate(_) => open().and_then(|keys| keys.rotate()).map(|key| {
            if !globals.quiet {
                say("it signs from the next segment on, after a hand-over that both keys sign");
            }
            vec![key]
        }),
        KeysCommand::Export(_) => open().and_then(|keys| keys.verifiers()),
    };
    match done {
        Ok(keys) => print(&keys),
        Err(error) => {
            say(&error);
            match error {
                KeyFolderError::Missing { .. } => Exit::NotFound,
                KeyFolderError::There { .. } => Exit::Found,
                _ => Exit::Invalid,
            }
        }
    }
}

/// Why the keys must not be where the configuration has them, if so.
pub(super) fn exposed(config: &Config) -> Option<String> {
    let keys = &config.evidence.keys;
    let within = |place: &Place| matches!(place, Place::Folder(folder) if keys.starts_with(folder));
    let why = if within(&config.storage.place) {
        "the archive's folder: whoever can change the archive could sign it again"
    } else if config.evidence.copy.as_ref().is_some_and(within) {
        "the folder that checkpoints are copied to: whoever holds the copies could sign others"
    } else {
        return None;
    };
    Some(format!("evidence.keys: {} is in {why}", keys.display()))
}

fn print(keys: &[VerifierKey]) -> Exit {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let written = keys.iter().try_for_each(|key| writeln!(out, "{key}")).and_then(|()| out.flush());
    match quiet_if_closed(written) {
        Ok(()) => Exit::Done,
        Err(error) => {
            say(format_args!("standard output cannot be written: {error}"));
            Exit::Unexpected
        }
    }
}
