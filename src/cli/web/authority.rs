//! What it takes to end sessions from outside, and to put it on record.
//!
//! It promises: who is to leave is told at once, whatever else fails; what was done is on record before it is confirmed; who
//! is barred is kept for the next start before it is confirmed.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::barred;
use super::passing::Passing;
use crate::config::Operators;
use crate::gateway::{Bar, Order, Roster, TooManyBars, Whom};
use crate::identity::{Ended, Verifier};
use crate::journal::{Journal, JournalError};
use crate::model::{
    Clock, Credential, Entry, EventDetails, NodeName, Principal, RecorderEvent, RecorderEventKind, Session,
};

/// Everything that ends sessions acts by this.
#[derive(Debug)]
pub(in super::super) struct Authority {
    pub(in super::super) roster: Arc<Roster>,
    pub(in super::super) verifier: Arc<Verifier>,
    pub(in super::super) journal: Journal,
    pub(in super::super) clock: Arc<dyn Clock>,
    pub(in super::super) node: NodeName,
    pub(in super::super) operators: Option<Operators>,
    /// The file that says who is barred.
    pub(in super::super) barred: PathBuf,
    /// Held by whoever writes it.
    pub(in super::super) writing: Mutex<()>,
    /// The other nodes, if there are any to be told.
    pub(in super::super) passing: Option<Passing>,
}

/// Why something was done in part only.
#[derive(Debug, thiserror::Error)]
pub(super) enum Halted {
    #[error("it could not be put on record: {0}")]
    Unrecorded(#[from] JournalError),
    #[error(transparent)]
    Crowded(#[from] TooManyBars),
    #[error("it holds, but would be forgotten at a restart: {0}")]
    Unkept(String),
}

/// Why somebody is not let do what operators may.
#[derive(Debug)]
pub(super) enum NoOperator {
    /// Nobody, as far as is known: the token proves none.
    Unknown(String),
    /// Somebody else.
    Forbidden(String),
}

impl Authority {
    /// Ends what an issuer said ended. Gives how many sessions that were.
    pub(super) async fn revoke(&self, ended: Vec<Ended>) -> Result<usize, Halted> {
        let now = self.clock.now();
        let (mut closed, mut halted) = (0, None);
        for Ended { holder, issued_by, issuer, why, jti } in ended {
            // Barred before told: who is just coming in is seen by one of the two.
            let bar = Bar::taken_back(holder.clone(), issued_by, (&issuer, &why), now);
            if let Err(crowded) = self.roster.bar(bar, now) {
                tracing::error!(%crowded, "a token that was taken back can come again");
                halted = Some(Halted::from(crowded));
            }
            let order = Order::Revoke { issuer: issuer.clone(), why };
            let told = self.roster.end(&Whom::Holders(holder.clone(), Some(issued_by)), &order);
            closed += told.len();
            let by = jti.map(|jti| format!(", by {}", shown(&jti))).unwrap_or_default();
            let detail = format!(
                "issuer {issuer}: access issued up to {issued_by} ended{by}; sessions closed: {}",
                listed(&told)
            );
            let more = EventDetails { question: serde_json::to_string(&holder).ok(), ..EventDetails::default() };
            self.record(RecorderEventKind::AccessRevoked, detail, more).await?;
        }
        self.keep().await?;
        halted.map_or(Ok(closed), Err)
    }

    /// Somebody said that access ended who is not believed.
    pub(super) async fn disbelieved(&self, detail: String) -> Result<(), Halted> {
        self.record(RecorderEventKind::RevocationRefused, detail, EventDetails::default()).await
    }

    /// Who asks for what operators may.
    pub(super) async fn operator(&self, token: Option<&str>) -> Result<Principal, NoOperator> {
        let Some(operators) = &self.operators else {
            return Err(NoOperator::Forbidden("there are no operators here".to_owned()));
        };
        let Some(token) = token else { return Err(NoOperator::Unknown("no token came".to_owned())) };
        let principal = self.verifier.verify(Credential::new(token.as_bytes().to_vec())).await;
        let principal = principal.map_err(|refusal| NoOperator::Unknown(refusal.sentence))?;
        if let Some(bar) = self.roster.bar_of(&principal, self.clock.now()) {
            return Err(NoOperator::Unknown(format!("access was ended, {}", bar.why)));
        }
        let issuer = self.verifier.issuer_named(&principal.issuer);
        let is_named = || issuer.is_some_and(|issuer| operators.issuers.iter().any(|name| name == issuer));
        let is_of_ours = operators.issuers.is_empty() || is_named();
        if is_of_ours && principal.roles.iter().any(|role| operators.roles.contains(role)) {
            return Ok(principal);
        }
        let detail = format!("{} is no operator", shown(principal.name()));
        let refused = self.by(&principal, RecorderEventKind::OperatorRefused, detail, None).await;
        if let Err(error) = refused {
            tracing::error!(%error, "that somebody was refused what operators may is not on record");
        }
        Err(NoOperator::Forbidden(format!("{} is not an operator here", principal.name())))
    }

    /// Records what an operator did, and `to` what or whom.
    pub(super) async fn by(
        &self,
        operator: &Principal,
        kind: RecorderEventKind,
        detail: String,
        to: Option<String>,
    ) -> Result<(), Halted> {
        let operator = Some(format!("{}|{}", operator.issuer, operator.subject));
        self.record(kind, detail, EventDetails { operator, question: to, ..EventDetails::default() }).await
    }

    async fn record(&self, kind: RecorderEventKind, detail: String, more: EventDetails) -> Result<(), Halted> {
        tracing::info!(kind = kind.as_str(), detail, "access");
        let event = RecorderEvent::new(self.clock.now(), self.node.clone(), kind, detail).with(more);
        self.journal.append(vec![Entry::Event(event)]).await?;
        Ok(())
    }

    /// Keeps who is barred for the next start.
    pub(super) async fn keep(&self) -> Result<(), Halted> {
        let _writing = self.writing.lock().await;
        let (path, bars) = (self.barred.clone(), self.roster.bars(self.clock.now()));
        let written = tokio::task::spawn_blocking(move || barred::write(&path, &bars)).await;
        let problem = match written {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!(problem, "who is barred could not be kept for the next start");
        Err(Halted::Unkept(problem))
    }
}

/// The names of sessions, for a sentence.
pub(super) fn listed(sessions: &[Arc<Session>]) -> String {
    /// More would make no sentence; each has its own end on record.
    const NAMED: usize = 20;
    let names: Vec<String> = sessions.iter().take(NAMED).map(|session| session.id.to_string()).collect();
    match sessions.len() {
        0 => "none".to_owned(),
        count if count > NAMED => format!("{} and {} more", names.join(" "), count - NAMED),
        _ => names.join(" "),
    }
}

/// A text of somebody else, fit for a sentence.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 200;
    text.chars().take(LONGEST).flat_map(char::escape_debug).collect()
}
