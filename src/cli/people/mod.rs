//! For people who connect: sign in once, then have a token whenever one is needed, and a client with everything set.
//!
//! Promises: a token or what renews it is written to one file that nobody else can read, to standard output where it was asked
//! for, and nowhere else; never on a command line, in a message or in a log. Two commands at once never use the same refresh
//! token: many issuers end a sign-in when one is used twice. A sign-in that came about is never lost for what comes after it.
//!
//! Kept in a file and not in the system's keyring: on Linux that is a service which servers and containers do not have, and
//! its clients bring D-Bus with them. Where it is kept is said at each login.

mod browser;
mod connect;
mod fresh;
mod kept;
mod login;
mod proxy;
mod sessions;
mod settings;
mod token;
mod trouble;
mod whoami;

use super::exit::Exit;
use super::render::say;
use trouble::Trouble;

pub(super) use connect::ConnectArgs;
pub(super) use login::LoginArgs;
pub(super) use proxy::ProxyArgs;
pub(super) use sessions::SessionsCommand;
pub(super) use token::TokenArgs;
pub(super) use whoami::WhoamiArgs;

pub(super) use connect::run as connect;
pub(super) use login::run as login;
pub(super) use proxy::run as proxy;
pub(super) use sessions::run as sessions;
pub(super) use token::run as token;
pub(super) use whoami::run as whoami;

/// Runs a command to its end. What stood in its way is said, and becomes the exit code.
fn run(command: impl Future<Output = Result<(), Trouble>>) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(format_args!("the runtime could not be started: {error}"));
            return Exit::Unexpected;
        }
    };
    match runtime.block_on(command) {
        Ok(()) => Exit::Done,
        Err(trouble) => {
            say(&trouble);
            trouble.exit()
        }
    }
}
