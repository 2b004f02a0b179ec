//! A sign-in by the browser of this machine: it is sent to the issuer, and comes back to a door on loopback that is open for
//! that long.
//!
//! Nothing but the answer to what was begun ends the wait: whatever else knocks is told that it is wrong here.

use std::env;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};
use std::time::Duration;

use axum::Router;
use axum::extract::Form;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::super::render::say;
use super::trouble::Trouble;
use crate::sign_in::{Answer, Begun, SignIn, Tokens};

/// How long somebody may take to sign in.
const LIMIT: Duration = Duration::from_secs(600);
/// How long the browser may take to fetch the last page.
const LAST_PAGE: Duration = Duration::from_secs(2);

/// Whether a browser of this machine can be expected to open before the person's eyes.
pub(super) fn is_here() -> bool {
    let set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_remote = set("SSH_CONNECTION") || set("SSH_TTY");
    !is_remote && (cfg!(target_os = "macos") || set("DISPLAY") || set("WAYLAND_DISPLAY") || set("BROWSER"))
}

/// An answer that a browser brought, and where to say what became of it.
type Brought = (Answer, oneshot::Sender<Page>);

/// What a browser shows at the end.
#[derive(Debug, Clone, Copy)]
enum Page {
    SignedIn,
    Refused,
    Foreign,
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::SignedIn => (StatusCode::OK, "You are signed in. This page can be closed."),
            Self::Refused => (StatusCode::OK, "You are not signed in. The terminal says why."),
            Self::Foreign => (StatusCode::BAD_REQUEST, "This belongs to another sign-in."),
        };
        let head = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
        (status, head, format!("hansard: {text}\n")).into_response()
    }
}

/// Signs somebody in by a browser, which the issuer sends back to `redirect`.
pub(super) async fn sign_in(issuer: &SignIn, redirect: &str) -> Result<Tokens, Trouble> {
    let (listener, redirect, path) = door(redirect).await?;
    let (to, mut from) = mpsc::channel::<Brought>(1);
    let ended = CancellationToken::new();
    let app = Router::new().route(&path, get(move |Form(answer): Form<Answer>| brought(answer, to)));
    let server = axum::serve(listener, app).with_graceful_shutdown(ended.clone().cancelled_owned());
    let server = tokio::spawn(server.into_future());

    let begun = issuer.begin(&redirect)?;
    if open(&begun.url) {
        say("Opening your browser to sign in. If it does not open, go to:");
    } else {
        say("No browser could be opened. To sign in, go to:");
    }
    say(format_args!("  {}", begun.url));
    let late = Trouble::Late { minutes: LIMIT.as_secs() / 60 };
    let tokens = match timeout(LIMIT, answered(issuer, begun, &mut from)).await {
        Ok(ended) => ended,
        Err(_elapsed) => Err(late),
    };
    ended.cancel();
    if timeout(LAST_PAGE, server).await.is_err() {
        tracing::debug!("a browser did not fetch the last page in time");
    }
    tokens
}

/// Opens the door that a browser is sent back to: where it is, as the issuer is told it, and the path of the answer.
async fn door(redirect: &str) -> Result<(TcpListener, String, String), Trouble> {
    let wrong = |reason: String| Trouble::Redirect { redirect: redirect.to_owned(), reason };
    let uri = redirect.parse::<Uri>().map_err(|error| wrong(error.to_string()))?;
    let host = uri.host().unwrap_or_default();
    let address = match host.trim_start_matches('[').trim_end_matches(']') {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        "::1" => IpAddr::V6(Ipv6Addr::LOCALHOST),
        other => other.parse::<IpAddr>().map_err(|error| wrong(error.to_string()))?,
    };
    if !address.is_loopback() || uri.scheme_str() != Some("http") {
        return Err(wrong("it does not lead to this machine".to_owned()));
    }
    let listener = TcpListener::bind((address, uri.port_u16().unwrap_or(0))).await;
    let listener = listener.map_err(|error| wrong(error.to_string()))?;
    let port = listener.local_addr().map_err(|error| wrong(error.to_string()))?.port();
    let path = uri.path().to_owned();
    if path.contains(['{', '}', '*', ':']) {
        return Err(wrong("its path has characters that have no place there".to_owned()));
    }
    Ok((listener, format!("http://{host}:{port}{path}"), path))
}

/// Hands an answer on, and shows what became of it.
async fn brought(answer: Answer, to: mpsc::Sender<Brought>) -> Page {
    let (reply, replied) = oneshot::channel();
    if to.send((answer, reply)).await.is_err() {
        return Page::Foreign;
    }
    replied.await.unwrap_or(Page::Foreign)
}

/// Waits for the answer to what was begun, and ends the sign-in with it.
async fn answered(issuer: &SignIn, begun: Begun, from: &mut mpsc::Receiver<Brought>) -> Result<Tokens, Trouble> {
    let show = |page: Page, at: oneshot::Sender<Page>| {
        if at.send(page).is_err() {
            tracing::debug!("a browser went away before its page");
        }
    };
    while let Some((answer, reply)) = from.recv().await {
        if !begun.is_answered_by(&answer) {
            show(Page::Foreign, reply);
            continue;
        }
        let tokens = issuer.finish(begun, answer).await;
        show(if tokens.is_ok() { Page::SignedIn } else { Page::Refused }, reply);
        return Ok(tokens?);
    }
    Err(Trouble::Late { minutes: 0 })
}

/// Has a browser open a page: that of BROWSER in the environment, else the desktop's.
fn open(url: &str) -> bool {
    let named = env::var("BROWSER").unwrap_or_default();
    let own = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let programs = named.split(':').filter(|program| !program.is_empty()).chain([own]);
    let runs = |program: &str| {
        let mut command = Command::new(program);
        command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().is_ok()
    };
    programs.into_iter().any(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_door_is_on_this_machine_and_where_the_issuer_was_told() {
        let (listener, redirect, path) = door("http://127.0.0.1/callback").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!((redirect, path), (format!("http://127.0.0.1:{port}/callback"), "/callback".to_owned()));
        let (_, redirect, path) = door("http://localhost").await.unwrap();
        assert!(redirect.starts_with("http://localhost:") && redirect.ends_with('/') && path == "/", "{redirect}");
        let taken = format!("http://127.0.0.1:{port}/");
        assert!(matches!(door(&taken).await, Err(Trouble::Redirect { .. })), "a port that is taken is not had");
        for elsewhere in ["http://10.0.0.1/", "https://127.0.0.1/", "http://hansard.example/", "x", ""] {
            assert!(door(elsewhere).await.is_err(), "{elsewhere}");
        }
    }
}
