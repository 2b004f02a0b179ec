//! A token that is good now: the one that is kept, or the next one.

use std::sync::Arc;
use std::time::Duration;

use super::super::system::SystemClock;
use super::kept::{Kept, Server, Store, target};
use super::trouble::Trouble;
use crate::model::Clock;
use crate::sign_in::{self, Hidden, SignIn, SignInError, Tokens};

/// How long a token must still be good, for a client to start and sign in with it.
pub(super) const LONGER: Duration = Duration::from_secs(60);

/// A sign-in with a token that is good now, renewed if it has to be.
///
/// # Errors
///
/// [`Trouble::SignInNeeded`] if only the person can go on; else what stood in the way.
pub(super) async fn fresh(store: &Store, address: &str) -> Result<(Server, Hidden), Trouble> {
    if let Some(good) = good(store.read()?.at(address)?, LONGER) {
        return Ok(good);
    }
    // Who waited here finds what the one before has got.
    let held = store.hold().await?;
    let mut kept = held.read()?;
    let server = kept.at(address)?;
    if let Some(good) = good(server, LONGER) {
        return Ok(good);
    }
    let needed = || Trouble::SignInNeeded { address: address.to_owned() };
    let Some(refresh) = server.refresh.clone() else {
        return good(server, Duration::ZERO).ok_or_else(needed);
    };
    match renewed(server, &refresh).await {
        Ok(tokens) => {
            server.take(tokens);
            // Whatever its end: it is the newest there is.
            let token = server.token.clone().ok_or_else(needed)?;
            let server = server.clone();
            held.write(&kept)?;
            Ok((server, token))
        }
        Err(Trouble::SignIn(SignInError::Ended { .. })) => {
            server.forget();
            held.write(&kept)?;
            Err(needed())
        }
        // The issuer may be away for longer than a client needs.
        Err(trouble) => match server.good_token(SystemClock.now(), Duration::ZERO).cloned() {
            Some(token) => Ok((server.clone(), token)),
            None => Err(trouble),
        },
    }
}

fn good(server: &Server, longer: Duration) -> Option<(Server, Hidden)> {
    let token = server.good_token(SystemClock.now(), longer)?.clone();
    Some((server.clone(), token))
}

/// The recorder that has this target, by what it told at the login, else by what it tells now: targets come and go. Of the
/// issuers only a login learns, so that a token that renews others goes nowhere else than where somebody signed in.
///
/// # Errors
///
/// No recorder has it, or several.
pub(super) async fn having(store: &Store, server: Option<&str>, name: &str) -> Result<Server, Trouble> {
    let find = |kept: &Kept| {
        let meant = kept.meant(server, Some(name))?;
        target(meant, name).map(|_| meant.clone())
    };
    let unknown = match find(&store.read()?) {
        Err(unknown @ Trouble::NoTarget { .. }) => unknown,
        settled => return settled,
    };
    let meant = store.read()?.meant(server, None)?.clone();
    let Ok(told) = sign_in::document(&meant.address, meant.authorities()?.as_deref()).await else {
        return Err(unknown);
    };
    let held = store.hold().await?;
    let mut kept = held.read()?;
    kept.at(&meant.address)?.document.targets = told.targets;
    held.write(&kept)?;
    find(&kept)
}

async fn renewed(server: &Server, refresh: &Hidden) -> Result<Tokens, Trouble> {
    let authorities = server.authorities()?;
    let issuer = SignIn::at(server.issuer()?, authorities.as_deref(), Arc::new(SystemClock)).await?;
    Ok(issuer.refresh(refresh).await?)
}
