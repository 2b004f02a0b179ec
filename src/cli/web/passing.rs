//! What was said at this node is said at the others.
//!
//! What an issuer says is on its way until every node has it or cannot be told any more: a node that is away for a moment is told
//! when it is back. Operators learn at once which node could not be asked.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use futures::future::join_all;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use crate::identity::{Others, PASSED_ON, Repeated};

/// After so long nobody takes a logout token any more.
const GIVE_UP: Duration = Duration::from_secs(600);
/// The first pause before it is tried again, and the longest.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// Messages that wait for a node to come back, each some kilobytes. The next one is told to it once.
const WAITING: usize = 1_024;

/// The other nodes, and what is on its way to them.
#[derive(Debug)]
pub(in super::super) struct Passing {
    others: Arc<Others>,
    waiting: Arc<Semaphore>,
}

/// Whether it came from another node.
pub(super) fn is_passed_on(headers: &HeaderMap) -> bool {
    headers.contains_key(PASSED_ON)
}

impl Passing {
    pub(in super::super) fn new(others: Others) -> Self {
        Self { others: Arc::new(others), waiting: Arc::new(Semaphore::new(WAITING)) }
    }

    /// Has what an issuer said told to every other node, however long it takes.
    pub(super) fn tell(&self, said: Repeated) {
        let said = Arc::new(said);
        let names: Vec<String> = self.others.names().map(str::to_owned).collect();
        for node in names {
            let (others, said, place) =
                (Arc::clone(&self.others), Arc::clone(&said), Arc::clone(&self.waiting).try_acquire_owned());
            tokio::spawn(async move {
                let until = Instant::now() + GIVE_UP;
                let mut pause = PAUSE;
                loop {
                    let trouble = match others.say(&node, &said).await {
                        Ok((200..=299, _)) => return,
                        // It heard it, and does not believe it: saying it again changes nothing.
                        Ok((status @ 400..=499, _)) => {
                            tracing::error!(node, status, "another node does not believe that access ended");
                            return;
                        }
                        Ok((status, _)) => format!("it answers {status}"),
                        Err(error) => error,
                    };
                    if place.is_err() || Instant::now() + pause > until {
                        tracing::error!(node, trouble, "another node was not told that access ended");
                        return;
                    }
                    tracing::warn!(node, trouble, "another node could not be told yet that access ended");
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            });
        }
    }

    /// Asks every other node at once: what each said, and which could not be asked.
    pub(super) async fn ask(&self, said: &Repeated) -> (Vec<(u16, Value)>, Vec<String>) {
        let asked = self.others.names().map(|node| async move { (node.to_owned(), self.others.say(node, said).await) });
        let (mut answers, mut away) = (Vec::new(), Vec::new());
        for (node, answer) in join_all(asked).await {
            match answer {
                Ok(answer) => answers.push(answer),
                Err(error) => {
                    tracing::warn!(node, error, "another node could not be asked");
                    away.push(node);
                }
            }
        }
        (answers, away)
    }
}
