//! Asking a database about itself, through the target's own login.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::questions;
use crate::gateway::Target;
use crate::gateway::upstream::{self, Upstream, UpstreamError};
use crate::wire::postgres::answers::{Answer, NoAnswer, Row, question};

/// How long a look may take, login included. The first session of a database waits for it.
pub(in crate::gateway) const LIMIT: Duration = Duration::from_secs(20);
/// The longest answer to one question: some hundred thousand tables; and the most that all definitions of views may have
/// together. Above it there is no catalog.
pub(super) const MAX_ANSWER: usize = 64 << 20;

/// Why there is no catalog.
#[derive(Debug, thiserror::Error)]
pub(in crate::gateway) enum Blind {
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error("the connection failed: {0}")]
    Connection(#[from] std::io::Error),
    #[error(transparent)]
    Answer(#[from] NoAnswer),
    #[error("it took longer than {} s", LIMIT.as_secs())]
    TooSlow,
    #[error("a definition could not be read: the program is stopping")]
    Stopping,
}

/// Logs in, under a name for the server's own lists.
pub(in crate::gateway) async fn open(target: &Target, database: &str, application: &str) -> Result<Upstream, Blind> {
    let parameters =
        [("application_name".to_owned(), application.to_owned()), ("client_encoding".to_owned(), "UTF8".to_owned())];
    Ok(upstream::connect(target, database, &parameters).await?)
}

/// Begins a look: one snapshot that nothing can change. The path that the session began with, the server's own schema in
/// its place in it.
pub(in crate::gateway) async fn begin(upstream: &mut Upstream) -> Result<Vec<String>, Blind> {
    let path = ask(upstream, questions::PATH).await?;
    ask(upstream, questions::BEGIN).await?;
    Ok(rows::<1>(path).map(|[schema]| schema).collect())
}

/// `Terminate`. A server that does not take it ends the session all the same when the socket closes.
pub(in crate::gateway) async fn close(mut upstream: Upstream) {
    upstream.socket.write_all(b"X\0\0\0\x04").await.ok();
}

/// Asks one question.
pub(in crate::gateway) async fn ask(upstream: &mut Upstream, text: &str) -> Result<Vec<Row>, Blind> {
    send(upstream, &[text]).await?;
    answer(upstream).await
}

/// Sends questions, each a transaction of its own; [`answer`] gives the answers in their order. Some dozens of short ones at a
/// time: nobody reads answers meanwhile.
pub(in crate::gateway) async fn send(upstream: &mut Upstream, texts: &[impl AsRef<str>]) -> Result<(), Blind> {
    let frames: Vec<_> = texts.iter().map(|text| question(text.as_ref())).collect();
    upstream.socket.write_all(&frames.concat()).await?;
    upstream.socket.flush().await?;
    Ok(())
}

/// The answer to the next question that was sent.
pub(in crate::gateway) async fn answer(upstream: &mut Upstream) -> Result<Vec<Row>, Blind> {
    let mut answer = Answer::new(MAX_ANSWER);
    loop {
        if let Some(rows) = answer.take(&mut upstream.buffer)? {
            return Ok(rows);
        }
        if upstream.socket.read_buf(&mut upstream.buffer).await? == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
    }
}

/// Rows of as many values as are expected; a null is an empty text, which no name is.
pub(in crate::gateway) fn rows<const N: usize>(rows: Vec<Row>) -> impl Iterator<Item = [String; N]> {
    rows.into_iter().filter_map(|row| {
        let values: Vec<String> = row.into_iter().map(Option::unwrap_or_default).collect();
        values.try_into().ok()
    })
}
