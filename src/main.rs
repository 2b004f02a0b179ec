//! The one binary: hands the arguments to [`hansard::cli`] and returns its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    hansard::cli::main()
}
