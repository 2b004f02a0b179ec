//! Who may not come in, and until when: those whom an operator blocked, and tokens whose issuer took them back while they
//! still look good.
//!
//! Promises: a token that was taken back lets nobody in for as long as any could live; a bar ends by itself; their number is
//! bounded, and one that finds no room is refused to who sets it, not another one forgotten.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::is_issued_by;
use crate::model::{Holder, Principal, Timestamp};

/// How many there may be, some 300 bytes each. One holder has one, so it takes as many people who log out in a day.
const MOST: usize = 100_000;
/// How long a token that was taken back is remembered. The longest-lived that issuers are known to give for a resource are
/// Entra's for clients that take its word back at any time: 28 hours.
pub(super) const REMEMBERED: Duration = Duration::from_secs(48 * 3_600);

/// Somebody who may not come in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bar {
    /// Who.
    pub holder: Holder,
    /// If it is about tokens that were issued no later, and not about whoever comes.
    pub issued_by: Option<Timestamp>,
    /// Until when.
    pub until: Timestamp,
    /// Who set it: an operator's name, or the issuer's in config.
    pub by: String,
    /// Why.
    pub why: String,
}

impl Bar {
    /// The issuer takes back what it issued to a holder up to a moment.
    pub fn taken_back(holder: Holder, issued_by: Timestamp, (issuer, why): (&str, &str), now: Timestamp) -> Self {
        let (by, why) = (issuer.to_owned(), why.to_owned());
        Self { holder, issued_by: Some(issued_by), until: after(now, REMEMBERED), by, why }
    }

    /// An operator blocks a holder for so long.
    pub fn blocked(holder: Holder, (operator, why): (&str, &str), now: Timestamp, lasts: Duration) -> Self {
        let (by, why) = (operator.to_owned(), why.to_owned());
        Self { holder, issued_by: None, until: after(now, lasts), by, why }
    }

    fn holds(&self, principal: &Principal, now: Timestamp) -> bool {
        now < self.until
            && self.holder.is(principal)
            && self.issued_by.is_none_or(|moment| is_issued_by(principal, moment))
    }
}

fn after(now: Timestamp, lasts: Duration) -> Timestamp {
    Timestamp(now.0.saturating_add(i64::try_from(lasts.as_micros()).unwrap_or(i64::MAX)))
}

/// As many are barred as can be remembered.
#[derive(Debug, thiserror::Error)]
#[error("{MOST} are barred already, and there is no room for another")]
pub struct TooManyBars;

/// All bars: of each holder at most one of either kind.
#[derive(Debug, Default)]
pub(super) struct Bars {
    /// By the holder, and whether it is about tokens that were issued up to a moment.
    all: HashMap<(Holder, bool), Bar>,
}

impl Bars {
    pub(super) fn new(bars: Vec<Bar>) -> Self {
        Self { all: bars.into_iter().take(MOST).map(|bar| (key(&bar), bar)).collect() }
    }

    pub(super) fn put(&mut self, bar: Bar, now: Timestamp) -> Result<(), TooManyBars> {
        if self.all.len() >= MOST {
            self.all.retain(|_, bar| now < bar.until);
        }
        let is_new = !self.all.contains_key(&key(&bar));
        if is_new && self.all.len() >= MOST {
            return Err(TooManyBars);
        }
        let known = self.all.entry(key(&bar)).or_insert_with(|| bar.clone());
        // What comes late says less than what was said before.
        if known.issued_by <= bar.issued_by {
            *known = bar;
        }
        Ok(())
    }

    pub(super) fn lift(&mut self, holder: &Holder) -> bool {
        self.all.remove(&(holder.clone(), false)).is_some()
    }

    pub(super) fn list(&mut self, now: Timestamp) -> Vec<Bar> {
        self.all.retain(|_, bar| now < bar.until);
        let mut all: Vec<Bar> = self.all.values().cloned().collect();
        all.sort_by(|one, other| (one.until, &one.by).cmp(&(other.until, &other.by)));
        all
    }

    /// The one that keeps this principal out, an operator's before an issuer's.
    pub(super) fn of(&self, principal: &Principal, now: Timestamp) -> Option<Bar> {
        let named = names_of(principal);
        let of_kind = |is_of_tokens: bool| {
            let mut bars = named.iter().filter_map(move |holder| self.all.get(&(holder.clone(), is_of_tokens)));
            bars.find(|bar| bar.holds(principal, now)).cloned()
        };
        of_kind(false).or_else(|| of_kind(true))
    }
}

fn key(bar: &Bar) -> (Holder, bool) {
    (folded(bar.holder.clone()), bar.issued_by.is_some())
}

/// E-mail addresses are compared whatever their case.
fn folded(holder: Holder) -> Holder {
    match holder {
        Holder::Email { issuer, email } => Holder::Email { issuer, email: email.to_ascii_lowercase() },
        other => other,
    }
}

/// Every way in which a principal could be named.
fn names_of(principal: &Principal) -> Vec<Holder> {
    let issuer = || principal.issuer.clone();
    let at_issuer = &principal.token.at_issuer;
    let subject = Holder::Subject { issuer: issuer(), subject: principal.subject.clone() };
    let account = at_issuer.sub.clone().map(|sub| Holder::Account { issuer: issuer(), sub });
    let untold = at_issuer.sub.clone().filter(|_| at_issuer.sid.is_none());
    let untold = untold.map(|sub| Holder::Untold { issuer: issuer(), sub });
    let sign_in = at_issuer.sid.clone().map(|sid| Holder::SignIn { issuer: issuer(), sid });
    let email = principal.email.clone().map(|email| folded(Holder::Email { issuer: issuer(), email }));
    [Some(subject), account, untold, sign_in, email].into_iter().flatten().collect()
}
