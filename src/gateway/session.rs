//! One session from start to end: the story.
//!
//! ```text
//! origin → greet (TLS, startup) → token → admit (verify, rules, journal: opened) → upstream login → relay → journal: closed
//! ```

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::admission::{Admitted, Door, SessionKind};
use super::arrival::{Greeted, greet};
use super::client::{Client, ClientError};
use super::names::Names;
use super::origin::OriginError;
use super::places::{COURTESY_LIMIT, Place};
use super::relay::{End, Ends};
use super::roster::{Here, Order};
use super::upstream::{Upstream, UpstreamError};
use super::{Drain, Listener, Logins, Site, cancel, origin, relay, upstream, wall};
use crate::model::{CloseReason, Credential, Entry, Replication, Session, SessionClosed};
use crate::wire::postgres::exchange::Exchange;
use crate::wire::postgres::handshake::Bearer;
use crate::wire::postgres::message::{self, Refusal};

/// Runs one client's connection. However it ends, the end is recorded.
pub(super) async fn run(
    (mut socket, peer): (TcpStream, SocketAddr),
    listener: &Listener,
    place: &Place,
    drain: &Drain,
) {
    let origin = origin::of(&mut socket, peer, &listener.balancers);
    let origin = match drain.admits(Box::pin(origin)).await {
        None => return,
        Some(Ok(origin)) => origin,
        Some(Err(OriginError::Nobody)) => return,
        Some(Err(error)) => {
            return tracing::warn!(%peer, listener = listener.name, %error, "a connection was closed");
        }
    };
    let address = origin.client;
    let limit = if place.is_over().is_some() { COURTESY_LIMIT } else { listener.desk.sign_in_limit };
    let greeting = tokio::time::timeout(limit, Box::pin(greet(socket, origin, listener)));
    let Some(greeted) = drain.admits(greeting).await else { return };
    match greeted {
        Ok(Ok(Greeted::Client(client))) if drain.begun().is_cancelled() => client.refuse(&stopping()).await,
        // RFC 7628 §4: nobody's token goes in the clear, on this machine either.
        Ok(Ok(Greeted::Client(client))) if listener.bearer.is_some() && client.peer.tls_version.is_none() => {
            let refusal = door(&client, listener).without_tls().await;
            client.refuse(&refusal).await;
        }
        Ok(Ok(Greeted::Client(client))) => match place.is_over() {
            Some(limit) => {
                let refusal = door(&client, listener).without_place(limit).await;
                client.refuse(&refusal).await;
            }
            None => converse(*client, listener, drain).await,
        },
        Ok(Ok(Greeted::Cancel(asked))) => cancel::serve(asked, &listener.desk).await,
        Ok(Ok(Greeted::Plain(client))) => {
            let refusal = door(&client, listener).without_tls().await;
            client.refuse(&refusal).await;
        }
        Ok(Ok(Greeted::Uncertified(client))) => {
            let refusal = door(&client, listener).without_certificate().await;
            client.refuse(&refusal).await;
        }
        Ok(Ok(Greeted::Nobody)) => {}
        Ok(Err(error)) => tracing::info!(client = %address, %error, "a connection ended before its startup packet"),
        Err(_elapsed) => tracing::info!(client = %address, "a connection sent no startup packet in time"),
    }
}

/// What a client reads that came too late.
fn stopping() -> Refusal {
    Refusal::fatal("57P03", "the recorder is being stopped").hint(Some("Connect again in a moment.".to_owned()))
}

/// The door in front of the target that the client asks for.
fn door<'c, 'l>(client: &'c Client, listener: &'l Listener) -> Door<'c, 'l> {
    let database = client.startup.database();
    let logins = listener.routes.choose(client.server_name.as_deref(), database).map(Arc::as_ref);
    let (desk, login) = (&listener.desk, logins.and_then(Logins::only));
    Door { desk, logins, login, id: desk.ids.session(), peer: &client.peer, startup: &client.startup }
}

/// From the startup packet to the end: sign in, then statements until either side leaves.
async fn converse(mut client: Client, listener: &Listener, drain: &Drain) {
    if let Err(error) = listener.desk.journal.room_for_session() {
        tracing::error!(%error, "a session was refused: there is no room to record it");
        door(&client, listener).counters().session_unrecorded();
        let text = "recording is not possible right now, so no session can start";
        return client.refuse(&Refusal::fatal("57P03", text)).await;
    }
    let asking = tokio::time::timeout(listener.desk.sign_in_limit, token_of(&mut client, listener));
    let asked = drain.begun().run_until_cancelled(asking).await;
    let credential = match asked {
        Some(Ok(Ok(Some(credential)))) => credential,
        Some(Ok(Ok(None))) => return send_to_issuer(client, listener).await,
        Some(Ok(Err(ClientError::Violation(flaw)))) => {
            let refusal = door(&client, listener).without_token(&flaw).await;
            return client.refuse(&refusal).await;
        }
        Some(Ok(Err(error))) => {
            // As psql does before it asks a person for the password.
            tracing::info!(client = %client.peer.address, %error, "a connection ended before its token");
            return;
        }
        Some(Err(_elapsed)) => {
            let refusal = door(&client, listener).without_answer().await;
            return client.refuse(&refusal).await;
        }
        None => return client.refuse(&stopping()).await,
    };
    // Boxed, here and below: what is over soon leaves no room behind in what lives for hours.
    let admitted = Box::pin(door(&client, listener).admit(credential)).await;
    let Admitted { site, here, parameters, kind } = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => match &listener.bearer {
            Some(at) => return client.refuse_bearer(at, &refusal).await,
            None => return client.refuse(&refusal).await,
        },
    };
    let session = here.session();
    let _open = site.counters.session_opened();
    let (id, target, address) = (&session.id, &session.target, &session.peer.address);
    tracing::info!(session = %id, target, client = %address, read_only = kind.is_walled, "session opened");
    let connecting = Box::pin(upstream::connect(&site.target, &session.database, &parameters));
    let arrived = tokio::select! {
        biased;
        order = here.ordered() => Arrived::Ordered(order),
        () = drain.begun().cancelled() => Arrived::Stopping,
        connected = connecting => Arrived::Connected(connected),
    };
    let end = match arrived {
        Arrived::Connected(Ok(upstream)) => {
            let names = Names::new(site, &session, &parameters);
            attend(client, upstream, (&here, &session, names, kind), site, drain).await
        }
        Arrived::Ordered(order) => {
            client.refuse(&order.refusal(session.id)).await;
            End { reason: order.reason(), detail: Some(order.detail()), ..nothing_happened() }
        }
        Arrived::Stopping => {
            client.refuse(&stopping()).await;
            End { reason: CloseReason::Shutdown, ..nothing_happened() }
        }
        Arrived::Connected(Err(error)) => {
            client.refuse(&unreachable_database(&error, (&session, kind.is_walled))).await;
            never_began(&error)
        }
    };
    close(&session, end, site).await;
}

/// The client's token; nothing, if it has none and asks where to get one.
async fn token_of(client: &mut Client, listener: &Listener) -> Result<Option<Credential>, ClientError> {
    if listener.bearer.is_none() {
        return client.credential().await.map(Some);
    }
    match client.bearer().await? {
        Bearer::Token(credential) => Ok(Some(credential)),
        Bearer::AsksWhere => Ok(None),
    }
}

/// Tells a client where it gets a token. Nobody was refused: it comes again with one.
async fn send_to_issuer(client: Client, listener: &Listener) {
    let Some(at) = &listener.bearer else { return };
    tracing::info!(client = %client.peer.address, "a client asked where to sign in");
    let text = format!("sign in at {} and connect again", at.configuration);
    client.refuse_bearer(at, &Refusal::fatal("28000", text)).await;
}

/// What came of a session on its way to the database.
enum Arrived<'a> {
    Connected(Result<Upstream, UpstreamError>),
    Ordered(&'a Order),
    Stopping,
}

/// Hands the database's greeting on and relays until the end.
async fn attend(
    mut client: Client,
    upstream: Upstream,
    (here, session, names, kind): (&Here, &Session, Names<'_>, SessionKind),
    site: &Site,
    drain: &Drain,
) -> End {
    let Upstream { spot, socket, greeting, buffer } = upstream;
    let theirs = greeting.key.clone().map(|(pid, secret)| (spot, pid, secret));
    let takes_long = client.startup.takes_long_keys();
    let key = site.cancels.give(&*site.ids, takes_long, (session.id, &site.target), theirs.clone());
    let mut welcome = message::authentication_ok().to_vec();
    for frame in &greeting.frames {
        welcome.extend_from_slice(frame);
    }
    welcome.extend_from_slice(&message::backend_key(key.pid, &key.secret));
    welcome.extend_from_slice(&message::ready('I'));
    let welcomed = async {
        client.socket.write_all(&welcome).await?;
        client.socket.flush().await
    };
    if let Err(error) = welcomed.await {
        return End { reason: CloseReason::ClientGone, detail: Some(error.to_string()), ..nothing_happened() };
    }
    // The log of the server belongs to no database whose names could mean something.
    if kind.replication != Some(Replication::Server) {
        site.memory.catalogs.prepare(&site.target, &session.database).await;
    }
    let mut exchange = Exchange::new(&greeting.parameters);
    if kind.replication.is_some() {
        exchange.replicate();
    } else if let Some(catalog) = site.memory.catalogs.current(&site.target, &session.database) {
        exchange.began_with_role(Some(catalog.role.as_str()).filter(|role| !role.is_empty()));
    }
    match (kind.is_walled, wall::stands(&greeting.parameters)) {
        (true, true) => exchange.wall_off(),
        (true, false) => tracing::warn!(session = %session.id, "the database did not open the session read-only"),
        (false, _) => {}
    }
    let Client { socket: client, buffer: client_buffer, .. } = client;
    let ends = Ends { client, client_buffer, upstream: socket, upstream_buffer: buffer, theirs };
    relay::run(ends, exchange, (here, session, names), site, drain).await
}

/// What the client reads when the database is not there: never its address, never our login.
fn unreachable_database(error: &UpstreamError, (session, read_only): (&Session, bool)) -> Refusal {
    tracing::error!(session = %session.id, target = session.target, read_only, %error, "the database did not take a session");
    let what = match error {
        UpstreamError::Login(_) => "did not take the session",
        UpstreamError::NoToken(_) => "cannot be signed in to from hansard right now",
        _ => "cannot be reached from hansard",
    };
    Refusal::fatal(error.sqlstate(), format!("{} {what} (ref {})", session.target, session.id))
}

fn nothing_happened() -> End {
    End {
        reason: CloseReason::UpstreamRefused,
        detail: None,
        statements: 0,
        bytes_in: 0,
        bytes_out: 0,
        server_version: None,
    }
}

fn never_began(error: &UpstreamError) -> End {
    End { detail: Some(error.to_string()), ..nothing_happened() }
}

async fn close(session: &Session, end: End, site: &Site) {
    let End { reason, detail, statements, bytes_in, bytes_out, server_version } = end;
    tracing::info!(session = %session.id, reason = reason.as_str(), statements, "session closed");
    let closed = SessionClosed {
        session: session.id,
        closed: site.clock.now(),
        reason,
        detail,
        statements,
        bytes_in,
        bytes_out,
        server_version,
    };
    let closed = Entry::SessionClosed(closed);
    let Err(error) = site.journal.append(vec![closed.clone()]).await else { return };
    // A disk that is full now has room again some day; until then the writer keeps it in memory and tries again.
    tracing::error!(%error, session = %session.id, "a session's end could not be recorded yet");
    if let Err(error) = site.journal.note(closed).await {
        tracing::error!(%error, session = %session.id, "a session's end could not be recorded; the next start will");
    }
}
