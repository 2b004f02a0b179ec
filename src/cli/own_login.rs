//! Our own login at a target, made of what the configuration says: a password that is read now, or where tokens are had of.

use std::sync::Arc;

use super::assembly::Problems;
use crate::config::{self, LoginProof, LoginToken, Secret, TokenIssuer, entra_endpoint};
use crate::gateway::{Credentials, Proof, Shown};
use crate::identity::{AZURE_MACHINE, ClientProof, Grant, Reading, TokenSettings, TokenSource};

/// The login, or what is wrong with it noted.
pub(super) fn credentials(target: &str, login: &config::Login, problems: &mut Problems) -> Option<Credentials> {
    let key = format!("target.{target}.login");
    let shown = match &login.proof {
        LoginProof::Password(password) => {
            let password = problems.take(&format!("{key}.password"), password.reveal())?;
            Shown::Password(password.into_string().into())
        }
        LoginProof::Token(token) => {
            let key = format!("{key}.token");
            let settings = settings(&key, token, problems)?;
            let source = TokenSource::new(settings).map_err(|error| error.to_string());
            let source = problems.take(&key, source.map_err(|error| stripped(&error, &key)))?;
            Shown::Token(Arc::new(source))
        }
    };
    let required = match login.require {
        config::Require::Any => Proof::Any,
        config::Require::Password => Proof::Password,
        config::Require::Md5 => Proof::Md5,
        config::Require::ScramSha256 => Proof::Scram,
        config::Require::ScramSha256Plus => Proof::ScramPlus,
    };
    Some(Credentials::new(login.user.clone(), shown, required))
}

/// A message that begins with the key, without it: it is named in front.
fn stripped(message: &str, key: &str) -> String {
    message.strip_prefix(&format!("{key}: ")).unwrap_or(message).to_owned()
}

fn settings(key: &str, token: &LoginToken, problems: &mut Problems) -> Option<TokenSettings> {
    let LoginToken { of, scope, resource, ca_file } = token;
    // The three are what Azure's webhook sets in a pod.
    let variable = |name: &str| std::env::var(name).map_err(|_unset| format!("{name} is not set in the environment"));
    let (endpoint, grant) = match of {
        TokenIssuer::ClientCredentials { endpoint, client_id, secret } => {
            let proof = ClientProof::Secret(reading(secret));
            (endpoint.clone(), Grant::Client { id: client_id.clone(), proof })
        }
        TokenIssuer::WorkloadIdentity { endpoint, client_id, assertion } => {
            let of_tenant = || variable("AZURE_TENANT_ID").map(|tenant| entra_endpoint(&tenant));
            let endpoint = problems.take(key, endpoint.clone().map_or_else(of_tenant, Ok));
            let id = problems.take(key, client_id.clone().map_or_else(|| variable("AZURE_CLIENT_ID"), Ok));
            let assertion = match assertion {
                Some(assertion) => Some(assertion.clone()),
                None => {
                    let file = problems.take(key, variable("AZURE_FEDERATED_TOKEN_FILE"));
                    file.map(|file| Secret::in_file(format!("{key}.assertion_file"), file))
                }
            };
            (endpoint?, Grant::Client { id: id?, proof: ClientProof::Assertion(reading(&assertion?)) })
        }
        TokenIssuer::ManagedIdentity { endpoint, client_id } => {
            (endpoint.clone().unwrap_or_else(|| AZURE_MACHINE.to_owned()), Grant::Machine { id: client_id.clone() })
        }
    };
    let (scope, resource, ca_file) = (scope.clone(), resource.clone(), ca_file.clone());
    Some(TokenSettings { name: key.to_owned(), endpoint, grant, scope, resource, ca_file })
}

/// Reads it each time: what proves us changes while we run.
fn reading(secret: &Secret) -> Reading {
    let secret = secret.clone();
    Arc::new(move || secret.reveal().map(config::Revealed::into_string).map_err(|error| error.to_string()))
}
