//! The command line: flags as data, dispatch, exit codes.
//!
//! Each command is a file with its arguments and its `run`, which returns an [`exit::Exit`]. Data goes to standard
//! output through [`render`], the rest to standard error.

mod assembly;
pub mod certificate;
pub mod demo;
pub mod exit;
mod files;
mod health;
mod keyring;
mod keys;
mod operator;
mod own_login;
mod people;
mod policy;
mod private_file;
mod query;
mod reading;
mod recorder;
mod reload;
pub mod render;
mod renewal;
mod replay;
mod restart;
mod serve;
mod sign_in_door;
mod signals;
mod sockets;
pub mod system;
mod verify;
mod web;
mod why;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Log, LogFormat, LogLevel};
use crate::telemetry;
use exit::Exit;
use render::Format;

/// The word-for-word record of who said what to a database
#[derive(Debug, Parser)]
#[command(name = "hansard", version, arg_required_else_help = true, after_long_help = exit::TABLE)]
#[command(disable_help_subcommand = true, infer_subcommands = false)]
struct Arguments {
    #[command(flatten)]
    globals: Globals,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Serve(serve::ServeArgs),
    Login(people::LoginArgs),
    Whoami(people::WhoamiArgs),
    Token(people::TokenArgs),
    Connect(people::ConnectArgs),
    Proxy(people::ProxyArgs),
    #[command(subcommand)]
    Sessions(people::SessionsCommand),
    Query(query::QueryArgs),
    Replay(replay::ReplayArgs),
    Why(why::WhyArgs),
    Verify(verify::VerifyArgs),
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
}

/// What every command takes.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Globals {
    /// The form of data on standard output [default: table on a terminal, else ndjson]
    #[arg(short, long, global = true, value_name = "FORM")]
    output: Option<Format>,

    /// No colour; also by NO_COLOR in the environment
    #[arg(long, global = true)]
    no_color: bool,

    /// Say only what went wrong
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,

    /// Say more; twice, still more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

impl Globals {
    /// The form that data on standard output takes.
    pub fn format(&self) -> Format {
        Format::or_default(self.output)
    }

    /// Whether text on standard error may be coloured.
    pub fn color(&self) -> bool {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        !self.no_color && !set("NO_COLOR") && !dumb && std::io::stderr().is_terminal()
    }

    /// The log's settings: flags go before the configuration. Commands without one pass `None` and log warnings only.
    pub fn telemetry(&self, log: Option<Log>) -> telemetry::Settings {
        let level = match (self.quiet, self.verbose, log.map(|log| log.level)) {
            (true, _, _) | (_, 0, Some(LogLevel::Error)) => tracing::Level::ERROR,
            (_, 0, None | Some(LogLevel::Warn)) => tracing::Level::WARN,
            (_, 0, Some(LogLevel::Info)) => tracing::Level::INFO,
            (_, 0, Some(LogLevel::Debug)) | (_, 1, _) => tracing::Level::DEBUG,
            (_, 0, Some(LogLevel::Trace)) | (_, 2.., _) => tracing::Level::TRACE,
        };
        let format = log.and_then(|log| log.format).map(|format| match format {
            LogFormat::Text => telemetry::Format::Text,
            LogFormat::Json => telemetry::Format::Json,
        });
        telemetry::Settings { format, levels: telemetry::Levels::all(level), color: self.color() }
    }
}

/// Runs the command that the arguments name and returns its exit code.
pub fn main() -> ExitCode {
    say_only_where_on_panic();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors. If nobody reads them, nobody can be told.
            error.print().unwrap_or_default();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    let globals = &arguments.globals;
    match &arguments.command {
        Command::Demo(args) => demo::run(args, globals).into(),
        Command::Serve(args) => serve::run(args, globals).into(),
        Command::Login(args) => people::login(args, globals).into(),
        Command::Whoami(args) => people::whoami(args, globals).into(),
        Command::Token(args) => people::token(args).into(),
        Command::Connect(args) => people::connect(args, globals).into(),
        Command::Proxy(args) => people::proxy(args, globals).into(),
        Command::Sessions(command) => people::sessions(command, globals).into(),
        Command::Query(args) => query::run(args, globals).into(),
        Command::Replay(args) => replay::run(args, globals).into(),
        Command::Why(args) => why::run(args, globals).into(),
        Command::Verify(args) => verify::run(args, globals).into(),
        Command::Keys(command) => keys::run(command, globals).into(),
        Command::Policy(command) => policy::run(command, globals).into(),
    }
}

/// A panic's own words may quote what was being read, so only its place is said.
fn say_only_where_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        if crate::archive::among_hostile_bytes() {
            // A library gave up on a file that was harmed; whoever had it read says which.
            return;
        }
        let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        if tracing::dispatcher::has_been_set() {
            tracing::error!(place, "a part failed where it should not; please report this");
        } else {
            render::say(format_args!("hansard failed where it should not, at {place}; please report this"));
        }
    }));
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_one_another() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_leads_its_help_with_an_example() {
        for command in Arguments::command().get_subcommands() {
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(after.contains(&format!("hansard {}", command.get_name())), "{}", command.get_name());
        }
    }

    #[test]
    fn flags_go_before_the_configured_level() {
        let log = Log { format: Some(LogFormat::Json), level: LogLevel::Warn };
        let level = |quiet, verbose| {
            let settings = Globals { quiet, verbose, ..Globals::default() }.telemetry(Some(log));
            assert_eq!(settings.format, Some(telemetry::Format::Json));
            settings.levels
        };
        assert_eq!(level(false, 0), telemetry::Levels::all(tracing::Level::WARN));
        assert_eq!(level(true, 0), telemetry::Levels::all(tracing::Level::ERROR));
        assert_eq!(level(false, 1), telemetry::Levels::all(tracing::Level::DEBUG));
        assert_eq!(level(false, 2), telemetry::Levels::all(tracing::Level::TRACE));
    }
}
