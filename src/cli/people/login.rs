//! `hansard login`: from one address to a sign-in that renews itself.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::super::Globals;
use super::super::exit::Exit;
use super::super::render::say;
use super::super::system::SystemClock;
use super::kept::{Server, Store};
use super::trouble::Trouble;
use super::{browser, run as run_command};
use crate::model::{Clock, Timestamp};
use crate::sign_in::{self, Claims, Document, Issuer, SignIn, Tokens};

const EXAMPLES: &str = "\
Examples:
  hansard login https://hansard.example        once; then: hansard connect TARGET
  hansard login                                again, where you were last
  hansard login --device                       by a code, on a phone or another machine";

/// Sign in at your identity provider, by browser or by a code on another device
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in super::super) struct LoginArgs {
    /// The address of a Hansard, such as https://hansard.example [default: the last one]
    address: Option<String>,

    /// By a code that is entered on another device [default: over SSH, and where there is no display]
    #[arg(long)]
    device: bool,

    /// By a browser on this machine, whatever it looks like
    #[arg(long, conflicts_with = "device")]
    browser: bool,

    /// The issuer, where there are several [default: the first]
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,

    /// PEM file of authorities to trust beside the system's, for the Hansard, its targets and the issuer; it is remembered
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

pub(in super::super) fn run(args: &LoginArgs, globals: &Globals) -> Exit {
    run_command(login(args, globals.quiet))
}

async fn login(args: &LoginArgs, quiet: bool) -> Result<(), Trouble> {
    let store = Store::of_person()?;
    let mut before = store.read()?;
    let address = match (&args.address, before.current()) {
        (Some(given), _) => sign_in::address(given)?,
        (None, Some(current)) => current.to_owned(),
        (None, None) => return Err(Trouble::NoAddress),
    };
    let ca_file = args.ca_file.clone().or_else(|| before.at(&address).ok()?.ca_file.clone());
    let read = |path: &PathBuf| fs::read(path).map_err(|source| Trouble::Io { path: path.clone(), source });
    let authorities = ca_file.as_ref().map(read).transpose()?;
    let document = sign_in::document(&address, authorities.as_deref()).await?;
    let issuer = chosen(&address, &document, args.issuer.as_deref())?;
    let door = SignIn::at(issuer, authorities.as_deref(), Arc::new(SystemClock)).await?;
    let tokens = ask(args, &door, issuer).await?;

    let ca_file = match ca_file {
        Some(given) if args.ca_file.is_some() => Some(store.keep_authorities(&address, &given)?),
        kept => kept,
    };
    let mut server = Server {
        address,
        issuer: issuer.name.clone(),
        document: document.clone(),
        ca_file,
        token: None,
        expires: None,
        refresh: None,
        claims: Claims::new(),
    };
    server.take(tokens);
    let held = store.hold().await?;
    let mut kept = held.read()?;
    kept.put(server.clone());
    held.write(&kept)?;
    drop(held);
    if !quiet {
        tell(&server, &store, SystemClock.now());
    }
    Ok(())
}

fn chosen<'d>(address: &str, document: &'d Document, name: Option<&str>) -> Result<&'d Issuer, Trouble> {
    let found = match name {
        Some(name) => document.issuer(name),
        None => document.issuers.first(),
    };
    found.ok_or_else(|| {
        let known: Vec<&str> = document.issuers.iter().map(|issuer| issuer.name.as_str()).collect();
        let name = name.unwrap_or_default().to_owned();
        Trouble::NoIssuer { address: address.to_owned(), name, known: known.join(", ") }
    })
}

/// Has the person sign in, in the way that fits where they sit.
async fn ask(args: &LoginArgs, door: &SignIn, issuer: &Issuer) -> Result<Tokens, Trouble> {
    let wants_device = args.device || (!args.browser && !browser::is_here());
    if wants_device && (args.device || door.has_devices()) {
        return by_device(door).await;
    }
    browser::sign_in(door, &issuer.redirect).await
}

async fn by_device(door: &SignIn) -> Result<Tokens, Trouble> {
    let device = door.device().await?;
    let left = spoken(device.lasts());
    say(format_args!("To sign in, open {} and enter  {}   (within {left})", device.url(), device.code()));
    Ok(door.wait(&device).await?)
}

/// Says who signed in, for how long, where it is kept and what can be done now.
fn tell(server: &Server, store: &Store, now: Timestamp) {
    let who = server.claim(&["preferred_username", "upn", "email", "name", "sub"]).unwrap_or("somebody");
    let roles = roles(&server.claims);
    let roles = if roles.is_empty() { String::new() } else { format!(", roles: {}", roles.join(", ")) };
    say(format_args!("Signed in as {who} by {}{roles}", server.issuer().map_or("", |issuer| issuer.issuer.as_str())));
    let until = server.expires.map(|expires| format!("the token is good for {}", spoken(between(now, expires))));
    let renewed = if server.refresh.is_some() { "is renewed by itself" } else { "cannot be renewed without you" };
    say(format_args!("  {} and {renewed}", until.unwrap_or_else(|| "the token does not say its end".to_owned())));
    say(format_args!("  kept in: {} (a file for you alone)", store.file().display()));
    let targets: Vec<&str> = server.document.targets.iter().map(|target| target.name.as_str()).collect();
    if let Some(first) = targets.first() {
        say(format_args!("Databases behind {}: {}", server.address, targets.join(", ")));
        say(format_args!("Next: hansard connect {first}"));
    }
}

/// The roles among the claims, where they are called so.
pub(super) fn roles(claims: &Claims) -> Vec<&str> {
    let listed = claims.get("roles").and_then(serde_json::Value::as_array);
    listed.into_iter().flatten().filter_map(serde_json::Value::as_str).collect()
}

fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::from_micros(later.micros_since(earlier))
}

/// A length of time as people say it.
pub(super) fn spoken(length: Duration) -> String {
    match length.as_secs() {
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds if seconds < 7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}
