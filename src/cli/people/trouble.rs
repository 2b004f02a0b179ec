//! What stands in the way of somebody who wants to sign in or connect, and what to do about it.

use std::io;
use std::path::PathBuf;

use super::super::exit::Exit;
use super::super::private_file::PrivateFileError;
use crate::sign_in::SignInError;

/// Why it does not go on, in words for the person.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    SignIn(#[from] SignInError),
    #[error(transparent)]
    File(#[from] PrivateFileError),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} does not hold what was written there; remove it and sign in again", path.display())]
    Damaged { path: PathBuf },
    #[error("neither XDG_STATE_HOME nor HOME is set, so there is no place to keep a sign-in")]
    NoHome,
    #[error("sign-in needed: hansard login {address}")]
    SignInNeeded { address: String },
    #[error("sign-in needed: hansard login ADDRESS, with the address of your Hansard, such as https://hansard.example")]
    NeverSignedIn,
    #[error("say which Hansard: hansard login ADDRESS, such as https://hansard.example")]
    NoAddress,
    #[error("there is no target \"{name}\"{known}")]
    NoTarget { name: String, known: String },
    #[error("more than one Hansard has a target \"{name}\"; say which with --server: {}", servers.join(", "))]
    Ambiguous { name: String, servers: Vec<String> },
    #[error("{address} has no issuer \"{name}\" that people sign in at; there are {known}")]
    NoIssuer { address: String, name: String, known: String },
    #[error("the redirect {redirect} of this sign-in cannot be listened at: {reason}")]
    Redirect { redirect: String, reason: String },
    #[error("nobody signed in within {minutes} minutes")]
    Late { minutes: u64 },
    #[error(
        "the system's certificate authorities were not found; name those of your Hansard: \
         hansard login {address} --ca-file FILE"
    )]
    NoAuthorities { address: String },
    #[error(
        "psql is not on this machine; install PostgreSQL's client (postgresql-client), or see hansard connect --print"
    )]
    NoClient,
    #[error("{program} cannot be run: {source}")]
    Client { program: &'static str, source: io::Error },
    #[error("{target}: {reason}")]
    Proxy { target: String, reason: String },
    #[error("standard output cannot be written: {0}")]
    Output(#[source] io::Error),
}

impl Trouble {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::SignIn(error) => match error {
                SignInError::Address { .. } | SignInError::NoDevices { .. } | SignInError::Authorities { .. } => {
                    Exit::Usage
                }
                SignInError::Unfit { .. } => Exit::Usage,
                SignInError::NotHansard { .. } | SignInError::Nothing { .. } => Exit::NotFound,
                SignInError::Forbidden { .. } => Exit::Forbidden,
                SignInError::Away { .. } | SignInError::Unusable { .. } => Exit::DependencyAway,
                SignInError::Unbelieved { .. }
                | SignInError::Refused { .. }
                | SignInError::Ended { .. }
                | SignInError::Foreign { .. } => Exit::SignInNeeded,
            },
            Self::SignInNeeded { .. } | Self::NeverSignedIn | Self::Late { .. } => Exit::SignInNeeded,
            Self::NoHome
            | Self::NoAddress
            | Self::Proxy { .. }
            | Self::Ambiguous { .. }
            | Self::NoAuthorities { .. } => Exit::Usage,
            Self::NoTarget { .. } | Self::NoIssuer { .. } | Self::NoClient => Exit::NotFound,
            Self::File(_)
            | Self::Io { .. }
            | Self::Damaged { .. }
            | Self::Redirect { .. }
            | Self::Client { .. }
            | Self::Output(_) => Exit::Unexpected,
        }
    }
}
