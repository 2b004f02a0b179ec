//! Where people's tools learn how to sign in and where the databases are: one document, the same to everybody.
//!
//! It promises: what is told is the configuration's and nothing else.

use axum::Router;
use axum::http::header;
use axum::routing::get;

use crate::config::{self, ClientToken, Config, Listener, Target};
use crate::identity::KeysAt;
use crate::sign_in::Target as Told;
use crate::sign_in::{Document, Issuer, PATH, TokenKind, VERSION};

/// What the configuration has people told.
pub(super) fn document(config: &Config) -> Document {
    let issuer = |issuer: &config::Issuer| {
        let (client, settings) = (issuer.client.as_ref()?, &issuer.settings);
        Some(Issuer {
            name: settings.name.clone(),
            issuer: match &settings.keys {
                KeysAt::Discovery(url) => url.trim_end_matches("/.well-known/openid-configuration").to_owned(),
                KeysAt::File(_) => settings.accepted().into_iter().next()?,
            },
            client_id: client.id.clone(),
            scopes: client.scopes.clone(),
            resource: client.resource.clone(),
            prompt: client.prompt.clone(),
            redirect: client.redirect.clone(),
            token: match client.token {
                ClientToken::Access => TokenKind::Access,
                ClientToken::Id => TokenKind::Id,
            },
        })
    };
    let target = |described: &Target| {
        // These tools send the token as the password.
        let by_password = config.listeners.iter().filter(|listener| listener.oauth_bearer.is_none());
        let reached = by_password.into_iter().find_map(|listener| told(described, listener));
        reached.map(|(host, port)| Told {
            name: described.name.clone(),
            engine: described.engine.as_str().to_owned(),
            host,
            port,
            databases: databases(described),
        })
    };
    Document {
        hansard: VERSION,
        issuers: config.issuers.iter().filter_map(issuer).collect(),
        targets: config.targets.iter().filter_map(target).collect(),
    }
}

/// Host and port by which people reach the target at this listener, if they do.
fn told(target: &Target, listener: &Listener) -> Option<(Option<String>, u16)> {
    let behind = listener.targets.iter().find(|behind| behind.target == target.name)?;
    let public = listener.public.as_ref();
    // A target with host names of its own is reached by these alone.
    let host = behind.server_names.first().cloned().or_else(|| public.map(|public| public.host.clone()));
    Some((host, public.map_or(listener.address.port(), |public| public.port)))
}

/// The names of databases that lead to a target. Its own name is one of a database only if nothing else is said.
fn databases(target: &Target) -> Vec<String> {
    let names = &target.databases;
    if names.is_empty() || names.contains_key(&target.name) {
        target.database_names().map(str::to_owned).collect()
    } else {
        names.keys().cloned().collect()
    }
}

/// Tells it at its path.
///
/// # Errors
///
/// It cannot be written as JSON.
pub(super) fn told_at_its_path(document: &Document) -> Result<Router, serde_json::Error> {
    let body = serde_json::to_string(document)?;
    let head = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    Ok(Router::new().route(PATH, get(move || async move { (head, body) })))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn told_of(text: &str) -> Document {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hansard.toml");
        std::fs::write(&path, text).unwrap();
        let document = document(&Config::load(Path::new(&path)).unwrap());
        assert_eq!(document.problem().filter(|_| !document.issuers.is_empty()), None);
        document
    }

    const MINIMAL: &str = include_str!("../../fixtures/config/minimal.toml");

    #[test]
    fn people_are_told_the_client_and_the_way_to_each_target() {
        let client = "audience  = \"api://hansard\"\nclient = { id = \"cli\", scopes = \"offline_access\" }\n";
        let document = told_of(&MINIMAL.replace("audience  = \"api://hansard\"\n", client));
        let [issuer] = document.issuers.as_slice() else { panic!("{document:?}") };
        assert_eq!((issuer.issuer.as_str(), issuer.client_id.as_str()), ("https://login.example/tenant/v2.0", "cli"));
        let app = document.target("app").unwrap();
        assert_eq!((app.host.as_deref(), app.port, app.databases.as_slice()), (None, 6432, &["app".to_owned()][..]));
        assert!(told_of(MINIMAL).issuers.is_empty(), "without a client nobody signs in");
    }

    #[test]
    fn a_target_is_told_by_its_outside_name_and_by_its_databases() {
        let target = |login: &str| format!("{MINIMAL}{login}");
        let public = "[listener.main]\ntargets = [\"app\"]\npublic = \"db.example.com:5432\"\n";
        let app = told_of(&target(public)).targets.remove(0);
        assert_eq!((app.host.as_deref(), app.port), (Some("db.example.com"), 5432));
        let by_host = "[listener.main]\ntargets = [{ name = \"app\", sni = \"App.example.com\" }]\n";
        let app = told_of(&target(by_host)).targets.remove(0);
        assert_eq!((app.host.as_deref(), app.port), (Some("app.example.com"), 6432));
        for (databases, names) in [
            ("{ clinic = \"prod\" }", &["clinic"][..]),
            ("{ clinic = \"prod\", app = \"prod\" }", &["app", "clinic"][..]),
        ] {
            let upstream = "upstream = \"pg.internal:5432\"\n";
            let text = MINIMAL.replace(upstream, &format!("{upstream}databases = {databases}\n"));
            assert_eq!(told_of(&text).targets.remove(0).databases, names);
        }
    }
}
