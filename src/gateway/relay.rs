//! Moves the bytes of one session, both ways at once, until either side leaves or the session must end.
//!
//! Towards the database each readable chunk is cut into frames, judged, recorded with one flush and sent with one write.
//! Towards the client whole chunks are passed on as they came; only an error that stands for one of ours is replaced.
//! Buffers hold what was read and is not sent yet, at most one chunk or the one frame that is larger, for which there must be
//! room ([`super::budget`]); COPY data and rows are never assembled. Bytes are read into memory that the sessions of a
//! thread share ([`reading`]), so that one that waits holds no buffer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Notify;

use super::budget::{NoRoom, Reserved, STALL_LIMIT};
use super::cancel::Theirs;
use super::client::{Socket, hang_up};
use super::ending::{Course, cut_by, upstream_lost};
use super::names::Names;
use super::patience::Stamps;
use super::reading::{CHUNK, read_some};
use super::roster::{Here, State};
use super::settle::{Judge, settle};
use super::{Drain, Site, handover};
use crate::journal::JournalError;
use crate::model::{CloseReason, Entry, Outcome, Session, SessionId, Timestamp};
use crate::wire::Violation;
use crate::wire::postgres::exchange::{Exchange, Reply, Request};
use crate::wire::postgres::frame::{Framer, Side, Step};

/// A batch of this size is recorded and sent before more is read: it bounds what one session holds.
const BATCH_BYTES: usize = 1 << 20;
/// How long a client may take to read why its session ends.
const FAREWELL_LIMIT: Duration = Duration::from_secs(5);

/// Why the relay stopped in the middle.
#[derive(Debug, thiserror::Error)]
pub(super) enum RelayError {
    #[error("the client broke the protocol: {0}")]
    Client(Violation),
    #[error("the database broke the protocol: {0}")]
    Server(Violation),
    #[error("the client's connection failed: {0}")]
    ClientGone(std::io::Error),
    #[error("the database's connection failed: {0}")]
    UpstreamGone(std::io::Error),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("a statement was about to leave without its permit")]
    Unpermitted,
}

/// How a session ended.
#[derive(Debug)]
pub(super) struct End {
    pub(super) reason: CloseReason,
    pub(super) detail: Option<String>,
    pub(super) statements: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) server_version: Option<String>,
}

/// What both directions share, and whoever looks at the session from outside.
#[derive(Debug)]
pub(super) struct Shared {
    exchange: Mutex<Exchange>,
    /// The database answered something.
    answered: Notify,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    statements: AtomicU64,
    /// Whether the client could be sent a frame of ours now: the last one ended.
    at_boundary: std::sync::atomic::AtomicBool,
    /// Set when the session is to end as soon as it is idle.
    pub(super) ending: std::sync::atomic::AtomicBool,
    pub(super) stamps: Stamps,
    /// Whether nothing is to be sent to the database at present.
    held_back: std::sync::atomic::AtomicBool,
    released: Notify,
}

impl Shared {
    fn new(exchange: Exchange) -> Self {
        Self {
            exchange: Mutex::new(exchange),
            answered: Notify::new(),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            statements: AtomicU64::new(0),
            at_boundary: true.into(),
            ending: false.into(),
            stamps: Stamps::new(),
            held_back: false.into(),
            released: Notify::new(),
        }
    }

    /// How many statements there were.
    pub(super) fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    /// What the session is at, and for how long.
    pub(super) fn state(&self) -> (State, Duration) {
        let exchange = self.exchange();
        let state = match (exchange.running(), exchange.transaction()) {
            (Some(running), _) => return (State::Active(running), self.stamps.since_turned()),
            (None, 'T') => State::InTransaction,
            (None, 'E') => State::InFailedTransaction,
            (None, _) => State::Idle,
        };
        (state, self.stamps.since_moved())
    }

    /// Holds back what is to be sent to the database, or lets it go.
    pub(super) fn hold_back(&self, hold: bool) {
        self.held_back.store(hold, Ordering::Relaxed);
        if !hold {
            self.released.notify_waiters();
        }
    }

    async fn is_released(&self) {
        while self.held_back.load(Ordering::Relaxed) {
            let released = self.released.notified();
            if self.held_back.load(Ordering::Relaxed) {
                released.await;
            }
        }
    }

    pub(super) fn exchange(&self) -> MutexGuard<'_, Exchange> {
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way to the database.
pub(super) struct Lane<'a> {
    pub(super) site: &'a Site,
    pub(super) session: SessionId,
    shared: &'a Shared,
    upstream: WriteHalf<Box<dyn Socket>>,
}

impl Lane<'_> {
    pub(super) fn exchange(&self) -> MutexGuard<'_, Exchange> {
        self.shared.exchange()
    }

    /// What was recorded is about to leave. If the database is at nothing, it comes to the first of it now. Gives outcomes
    /// that waited for the end of their batch and are too many.
    pub(super) fn leaves(&self, now: Timestamp) -> Vec<Outcome> {
        let mut exchange = self.exchange();
        if exchange.running().is_none() {
            self.shared.stamps.turned();
        }
        exchange.sent(now)
    }

    /// Sends what was released.
    pub(super) async fn send(&mut self, frames: Vec<Bytes>) -> Result<(), RelayError> {
        self.shared.is_released().await;
        let total: usize = frames.iter().map(Bytes::len).sum();
        match frames.as_slice() {
            [one] => self.upstream.write_all(one).await,
            many if total <= CHUNK => self.upstream.write_all(&many.concat()).await,
            many => {
                for frame in many {
                    self.upstream.write_all(frame).await.map_err(RelayError::UpstreamGone)?;
                }
                Ok(())
            }
        }
        .map_err(RelayError::UpstreamGone)?;
        self.upstream.flush().await.map_err(RelayError::UpstreamGone)
    }
}

/// The two ends, as the handshakes left them.
pub(super) struct Ends {
    pub(super) client: Box<dyn Socket>,
    pub(super) client_buffer: BytesMut,
    pub(super) upstream: Box<dyn Socket>,
    pub(super) upstream_buffer: BytesMut,
    /// How a statement of the session is cancelled.
    pub(super) theirs: Option<Theirs>,
}

/// Relays until the session ends, and says how it ended.
pub(super) async fn run(
    ends: Ends,
    exchange: Exchange,
    (here, session, names): (&Here, &Session, Names<'_>),
    site: &Site,
    drain: &Drain,
) -> End {
    let shared = Arc::new(Shared::new(exchange));
    here.goes_on(&shared);
    let course = Course { here, session, site, drain, shared: &shared, theirs: ends.theirs.as_ref() };
    let (mut client_read, mut client_write) = tokio::io::split(ends.client);
    let (upstream_read, upstream_write) = tokio::io::split(ends.upstream);
    let lane = Lane { site, session: session.id, shared: &shared, upstream: upstream_write };
    let (reason, detail, refusal) = {
        let up = from_client(&mut client_read, ends.client_buffer, (here, names), lane);
        let down = from_database(upstream_read, ends.upstream_buffer, &mut client_write, site, &shared);
        course.race(up, down).await
    };
    let refusal = match reason {
        // Its own last words are better than ours, and a client should read either.
        CloseReason::UpstreamGone => (!shared.exchange().said_goodbye()).then(|| upstream_lost(session.id)),
        _ => refusal,
    };
    let refusal = refusal.filter(|_| shared.at_boundary.load(Ordering::Relaxed));
    let farewell = async {
        if let Some(refusal) = &refusal {
            let told = async {
                client_write.write_all(&refusal.frame()).await?;
                client_write.flush().await
            };
            // A client that does not read its farewell loses only that.
            tokio::time::timeout(FAREWELL_LIMIT, told).await.ok();
        }
        hang_up(&mut client_read, &mut client_write).await;
    };
    tokio::join!(farewell, course.leave_nothing_behind(reason));
    let cut = (cut_by(reason), refusal.map(|refusal| refusal.sqlstate));
    let rest = shared.exchange().finish(cut, site.clock.now());
    for outcome in rest {
        site.counters.statement_ended(outcome.status);
        if let Err(error) = site.journal.note(Entry::Outcome(Box::new(outcome))).await {
            tracing::error!(%error, session = %session.id, "an outcome could not be recorded");
        }
    }
    let server_version = shared.exchange().server_version().map(str::to_owned);
    End {
        reason,
        detail,
        statements: shared.statements(),
        bytes_in: shared.bytes_in.load(Ordering::Relaxed),
        bytes_out: shared.bytes_out.load(Ordering::Relaxed),
        server_version,
    }
}

/// Client → database. Ends when the client has said all.
async fn from_client(
    client: &mut ReadHalf<Box<dyn Socket>>,
    mut buffer: BytesMut,
    (here, names): (&Here, Names<'_>),
    mut lane: Lane<'_>,
) -> Result<CloseReason, RelayError> {
    let (site, shared) = (lane.site, lane.shared);
    let mut framer = Framer::new(Side::Client, site.target.max_message);
    let mut judge = Judge::new(site, here.session(), names);
    let mut room: Option<Reserved> = None;
    // Whether what comes belongs to a message that was refused.
    let mut is_refused = false;
    loop {
        let wanted = loop {
            let step = framer.step(&buffer).map_err(RelayError::Client)?;
            match step {
                Step::Frame { kind, len } => {
                    let mut frame = buffer.split_to(len).freeze();
                    if let Some(room) = room.take() {
                        frame = room.holds(frame);
                        // What follows it came into the same memory.
                        buffer = BytesMut::from(buffer.as_ref());
                    }
                    shared.bytes_in.fetch_add(len as u64, Ordering::Relaxed);
                    if take(kind, frame, here, (&mut judge, &mut lane)).await? {
                        settle(&mut judge.batch, &mut lane).await?;
                        return farewell(lane).await;
                    }
                    shared.statements.store(judge.statements(), Ordering::Relaxed);
                }
                Step::Start { len, .. } | Step::More { len } => {
                    let data = buffer.split_to(len).freeze();
                    shared.bytes_in.fetch_add(len as u64, Ordering::Relaxed);
                    if is_refused {
                        is_refused = !framer.at_boundary();
                        continue;
                    }
                    let mut exchange = shared.exchange();
                    if !exchange.discards_copy() {
                        exchange.copied_in(len);
                        judge.batch.pass(data);
                    }
                }
                Step::Wait { wanted } => break wanted,
            }
            if judge.batch.bytes() >= BATCH_BYTES {
                settle(&mut judge.batch, &mut lane).await?;
            }
        };
        settle(&mut judge.batch, &mut lane).await?;
        while shared.exchange().crowded() {
            let answered = shared.answered.notified();
            if shared.exchange().crowded() {
                answered.await;
            }
        }
        match read_on(client, &mut buffer, wanted, (&mut room, site)).await {
            Err(why) => {
                (room, is_refused) = (None, true);
                turn_away((&mut framer, &buffer, wanted), why, &mut judge, shared)?;
            }
            Ok(Ok(0)) => {
                // Half-closed: what was asked is still answered, as by a server.
                lane.upstream.shutdown().await.map_err(RelayError::UpstreamGone)?;
                return Ok(CloseReason::ClientGone);
            }
            Ok(Ok(_)) => shared.stamps.moved(),
            Ok(Err(error)) => {
                // The database sees the client go, and ends as it would have by itself.
                lane.upstream.shutdown().await.map_err(RelayError::UpstreamGone)?;
                tracing::debug!(%error, session = %lane.session, "the client's connection failed");
                return Ok(CloseReason::ClientGone);
            }
        }
    }
}

/// Reads more. A message that does not come in one read needs room before it is read on, and whoever has it reserved is not
/// waited for without end.
async fn read_on(
    client: &mut ReadHalf<Box<dyn Socket>>,
    buffer: &mut BytesMut,
    wanted: usize,
    (room, site): (&mut Option<Reserved>, &Site),
) -> Result<std::io::Result<usize>, NoRoom> {
    if wanted > CHUNK && room.is_none() {
        *room = Some(site.budget.reserve(wanted).await?);
        buffer.reserve(wanted.saturating_sub(buffer.len()));
    }
    let missing = wanted.saturating_sub(buffer.len()).min(BATCH_BYTES);
    let reading = read_some(client, buffer, missing);
    if room.is_some() {
        return tokio::time::timeout(STALL_LIMIT, reading).await.or(Err(NoRoom::Stalled));
    }
    Ok(reading.await)
}

/// Refuses the message that stands next. What is still to come of it is read and dropped.
fn turn_away(
    (framer, buffer, wanted): (&mut Framer, &[u8], usize),
    why: NoRoom,
    judge: &mut Judge<'_>,
    shared: &Shared,
) -> Result<(), RelayError> {
    framer.pass_over(wanted);
    let mut exchange = shared.exchange();
    if exchange.turns_away().map_err(RelayError::Client)? {
        judge.turn_away(buffer, wanted, why, &mut exchange);
        shared.statements.store(judge.statements(), Ordering::Relaxed);
    }
    Ok(())
}

/// What became of a frame.
enum Taken {
    Judged,
    Goodbye,
    /// It has to wait for an answer.
    Waits(Bytes),
}

/// Takes one frame; true when the client says goodbye.
async fn take(
    kind: u8,
    mut frame: Bytes,
    here: &Here,
    (judge, lane): (&mut Judge<'_>, &mut Lane<'_>),
) -> Result<bool, RelayError> {
    let shared = lane.shared;
    if handover::concerns(kind, &frame, here) {
        // Boxed: seldom, and large.
        match Box::pin(handover::before(kind, frame, here, judge, lane)).await? {
            Some(without) => frame = without,
            None => return Ok(false),
        }
    }
    match try_take(kind, frame, judge, shared)? {
        Taken::Judged => return Ok(false),
        Taken::Goodbye => return Ok(true),
        Taken::Waits(again) => frame = again,
    }
    loop {
        // Listened for before it is tried again: the answer may come in between.
        let answered = shared.answered.notified();
        tokio::pin!(answered);
        answered.as_mut().enable();
        match try_take(kind, frame, judge, shared)? {
            Taken::Judged => return Ok(false),
            Taken::Goodbye => return Ok(true),
            Taken::Waits(again) => frame = again,
        }
        if judge.batch.is_empty() {
            answered.await;
        } else {
            settle(&mut judge.batch, lane).await?;
        }
    }
}

fn try_take(kind: u8, frame: Bytes, judge: &mut Judge<'_>, shared: &Shared) -> Result<Taken, RelayError> {
    let mut exchange = shared.exchange();
    Ok(match exchange.take(kind, frame).map_err(RelayError::Client)? {
        Request::Terminate => Taken::Goodbye,
        Request::Wait(again) => Taken::Waits(again),
        request => {
            judge.judge(request, kind, &mut exchange);
            Taken::Judged
        }
    })
}

/// Says goodbye to the database as well.
async fn farewell(mut lane: Lane<'_>) -> Result<CloseReason, RelayError> {
    const TERMINATE: &[u8] = b"X\0\0\0\x04";
    lane.send(vec![Bytes::from_static(TERMINATE)]).await?;
    lane.upstream.shutdown().await.map_err(RelayError::UpstreamGone)?;
    Ok(CloseReason::ClientTerminated)
}

/// Database → client. Ends when the database closes, or the session is to end and is idle.
async fn from_database(
    mut upstream: ReadHalf<Box<dyn Socket>>,
    mut buffer: BytesMut,
    client: &mut WriteHalf<Box<dyn Socket>>,
    site: &Site,
    shared: &Shared,
) -> Result<(), RelayError> {
    let mut framer = Framer::new(Side::Server, 0);
    loop {
        let (out, used, outcomes) = observe(&mut framer, &buffer, site, shared)?;
        note(outcomes, site).await?;
        if used > 0 {
            shared.at_boundary.store(false, Ordering::Relaxed);
            for piece in out {
                let bytes = match &piece {
                    Piece::Through(range) => buffer.get(range.clone()).unwrap_or_default(),
                    Piece::Ours(frame) => frame,
                };
                deliver(client, bytes, shared).await.map_err(RelayError::ClientGone)?;
                shared.bytes_out.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
            client.flush().await.map_err(RelayError::ClientGone)?;
            shared.stamps.holds_nothing();
            shared.at_boundary.store(framer.at_boundary(), Ordering::Relaxed);
            buffer.advance(used);
            shared.answered.notify_waiters();
        }
        if shared.ending.load(Ordering::Relaxed) && shared.exchange().idle() {
            return Ok(());
        }
        if read_some(&mut upstream, &mut buffer, 0).await.map_err(RelayError::UpstreamGone)? == 0 {
            return Ok(());
        }
        shared.stamps.moved();
    }
}

/// Writes bytes to the client, and leaves a stamp each time that it takes some.
async fn deliver(client: &mut WriteHalf<Box<dyn Socket>>, mut bytes: &[u8], shared: &Shared) -> std::io::Result<()> {
    while !bytes.is_empty() {
        shared.stamps.holds();
        match client.write(bytes).await? {
            0 => return Err(std::io::ErrorKind::WriteZero.into()),
            taken => bytes = bytes.get(taken..).unwrap_or_default(),
        }
    }
    Ok(())
}

/// Counts outcomes and hands them to the journal.
pub(super) async fn note(outcomes: Vec<Outcome>, site: &Site) -> Result<(), RelayError> {
    for outcome in outcomes {
        site.counters.statement_ended(outcome.status);
        site.journal.note(Entry::Outcome(Box::new(outcome))).await?;
    }
    Ok(())
}

/// What goes to the client, in order.
enum Piece {
    /// Bytes of the buffer, as they came.
    Through(std::ops::Range<usize>),
    /// A frame of ours in place of one.
    Ours(Bytes),
}

type Observed = (Vec<Piece>, usize, Vec<Outcome>);

/// Looks at what came from the database: what to pass on, how many bytes that takes, and which statements ended.
fn observe(framer: &mut Framer, buffer: &[u8], site: &Site, shared: &Shared) -> Result<Observed, RelayError> {
    let now = site.clock.now();
    let mut exchange = shared.exchange();
    let running = exchange.running();
    let (mut start, mut at) = (0, 0);
    let mut out = Vec::new();
    loop {
        let rest = buffer.get(at..).unwrap_or_default();
        match framer.step(rest).map_err(RelayError::Server)? {
            Step::Start { kind, len } => {
                exchange.stream(Some(kind), len, now).map_err(RelayError::Server)?;
                at += len;
            }
            Step::More { len } => {
                exchange.stream(None, len, now).map_err(RelayError::Server)?;
                at += len;
            }
            Step::Frame { kind, len } => {
                let frame = rest.get(..len).unwrap_or_default();
                if let Reply::Replace(ours) = exchange.answer(kind, frame, now).map_err(RelayError::Server)? {
                    out.push(Piece::Through(start..at));
                    out.push(Piece::Ours(ours));
                    start = at + len;
                }
                at += len;
            }
            Step::Wait { .. } => break,
        }
    }
    out.push(Piece::Through(start..at));
    if exchange.running() != running {
        shared.stamps.turned();
    }
    Ok((out, at, exchange.outcomes()))
}
