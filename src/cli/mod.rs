//! The command line: flags as data, dispatch, exit codes.

pub mod demo;

use std::process::ExitCode;

/// Runs the command that the arguments name and returns its exit code.
pub fn main() -> ExitCode {
    ExitCode::from(2)
}
