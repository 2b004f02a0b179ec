//! `hansard serve`: the recorder.

use std::path::{Path, PathBuf};

use super::Globals;
use super::exit::Exit;
use super::render::say;
use crate::config::Config;

const EXAMPLES: &str = "\
Examples:
  hansard serve -c /etc/hansard/hansard.toml --check    look for problems, listen on nothing";

/// Stand between clients and a database: verify, judge, record
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ServeArgs {
    /// The configuration
    #[arg(short = 'c', long, value_name = "FILE")]
    config: PathBuf,

    /// Report every problem of the configuration and of what it refers to, then end: 0 without any, else 3
    #[arg(long, required = true)]
    check: bool,
}

pub(super) fn run(args: &ServeArgs, globals: &Globals) -> Exit {
    match check(&args.config) {
        Ok(config) => {
            if !globals.quiet {
                let (listeners, targets) = (config.listeners.len(), config.targets.len());
                let what =
                    format!("configuration valid; node {}, listeners {listeners}, targets {targets}", config.node);
                say(format_args!("{}: {what}", args.config.display()));
            }
            Exit::Done
        }
        Err(problems) => {
            problems.iter().for_each(say);
            Exit::Invalid
        }
    }
}

/// The configuration at `path`, if nothing is wrong with it nor with the secrets and files that it refers to.
fn check(path: &Path) -> Result<Config, Vec<String>> {
    let config = Config::load(path).map_err(|problems| vec![problems.to_string()])?;
    let of_file = |problem: &dyn std::fmt::Display| format!("{}: {problem}", path.display());
    let secrets = config.secrets().into_iter().filter_map(|secret| secret.reveal().err());
    let mut problems: Vec<String> = secrets.map(|problem| of_file(&problem)).collect();
    for (key, file) in config.files() {
        if let Err(error) = std::fs::metadata(file) {
            problems.push(of_file(&format_args!("{key}: {} cannot be read: {error}", file.display())));
        }
    }
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = include_str!("../../fixtures/config/minimal.toml");

    #[test]
    fn a_check_finds_what_the_configuration_refers_to_and_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hansard.toml");
        let text = MINIMAL.replace("/run/secrets/pg", "pw").replace("/etc/hansard/policies", "rules");
        std::fs::write(&path, text).unwrap();
        let problems = check(&path).unwrap_err();
        let place = |name: &str| dir.path().join(name).display().to_string();
        let gone = "cannot be read: No such file or directory (os error 2)";
        let expected = [
            format!("{}: target.app.login.password: the file {} {gone}", path.display(), place("pw")),
            format!("{}: policy.path: {} {gone}", path.display(), place("rules")),
        ];
        assert_eq!(problems, expected);
        std::fs::write(dir.path().join("pw"), "hunter2\n").unwrap();
        std::fs::create_dir(dir.path().join("rules")).unwrap();
        assert!(check(&path).is_ok());
    }
}
