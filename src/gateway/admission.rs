//! Who comes in: the token is verified, the rules are asked, and either answer is recorded before it is given.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::identity::{Cause, Refusal as TokenRefusal};
use crate::model::{
    Action, Credential, Entry, LoginRefused, Peer, Principal, Replication, RuleId, Session, SessionId, Timestamp,
};
use crate::policy::Moment;
use crate::sql;
use crate::wire::postgres::frame::TOO_LONG;
use crate::wire::postgres::handshake::Startup;
use crate::wire::postgres::message::Refusal;
use crate::wire::postgres::parameters;
use crate::wire::{Violation, postgres};

use super::logins::{Logins, NoLogin};
use super::roster::{Bar, Here, Papers};
use super::words::no_access;
use super::{ApplicationName, Counters, Desk, Site, called, counters, wall};

/// What a client may do once it is in.
#[derive(Debug)]
pub(super) struct Admitted<'a> {
    /// Where it goes.
    pub(super) site: &'a Site,
    /// The session, on the roster.
    pub(super) here: Here,
    /// The startup parameters that go upstream.
    pub(super) parameters: Vec<(String, String)>,
    pub(super) kind: SessionKind,
}

/// What kind of session it is at the database.
#[derive(Debug, Clone, Copy)]
pub(super) struct SessionKind {
    /// Whether it is read-only there.
    pub(super) is_walled: bool,
    /// What it replicates, if it is for that.
    pub(super) replication: Option<Replication>,
}

/// A client that is turned away, while it is found out why.
#[derive(Clone, Copy)]
pub(super) struct Door<'c, 'l> {
    pub(super) desk: &'l Desk,
    /// The target that the client asks for, if there is such a one.
    pub(super) logins: Option<&'l Logins>,
    /// The login there that it gets, once that is known.
    pub(super) login: Option<&'l Arc<Site>>,
    pub(super) id: SessionId,
    pub(super) peer: &'c Peer,
    pub(super) startup: &'c Startup,
}

/// What goes into the record of a refused login, beside what the door knows.
struct Why {
    refusal: Refusal,
    cause: &'static str,
    principal: Option<Principal>,
    rules: Vec<RuleId>,
    policy_version: Option<String>,
}

impl Why {
    fn bare(refusal: Refusal, cause: &'static str) -> Self {
        Self { refusal, cause, principal: None, rules: Vec::new(), policy_version: None }
    }
}

impl<'l> Door<'_, 'l> {
    /// Verifies the token, finds the login at the target, asks the rules, and records the session as opened.
    ///
    /// # Errors
    ///
    /// What the client is to be told; it is recorded.
    pub(super) async fn admit(&self, credential: Credential) -> Result<Admitted<'l>, Refusal> {
        let again = self.desk.verifier.asks_again().then(|| credential.again());
        let principal = match self.desk.verifier.verify(credential).await {
            Ok(principal) => principal,
            Err(refusal) => return Err(self.turn_away(self.bad_token(&refusal)).await),
        };
        let Some(logins) = self.logins else {
            let why = Why { principal: Some(principal), ..self.no_such_database() };
            return Err(self.turn_away(why).await);
        };
        match logins.of(&principal, self.startup.get("user").unwrap_or_default()) {
            Ok(site) => Door { login: Some(site), ..*self }.admit_as(site, (principal, again)).await,
            Err(none) => {
                let why = self.no_login(none, &principal, logins.first());
                Err(self.turn_away(Why { principal: Some(principal), ..why }).await)
            }
        }
    }

    /// Lets somebody in by the login that is theirs.
    async fn admit_as(
        &self,
        site: &'l Arc<Site>,
        (principal, again): (Principal, Option<Credential>),
    ) -> Result<Admitted<'l>, Refusal> {
        let read = parameters::for_upstream(&self.startup.parameters)
            .and_then(|kept| parameters::replicates(&kept).map(|replication| (kept, replication)));
        let (mut parameters, replication) = match read {
            Ok(read) => read,
            Err(error) => {
                let refusal = Refusal::fatal("0A000", format!("{error} (ref {})", self.id));
                let why = Why { principal: Some(principal), ..Why::bare(refusal, counters::STARTUP_PARAMETER) };
                return Err(self.turn_away(why).await);
            }
        };
        let database = self.database();
        let now = self.desk.clock.now();
        let moment = moment(&principal, self.peer, now, 'I');
        let decision = site.policy.current().policy.decide_connect(&principal, &site.place(&database), &moment);
        if !decision.allows() {
            let place = format!("{}/{database}", site.target.name);
            let why = Why {
                rules: decision.rules.clone(),
                policy_version: Some(decision.policy_version.clone()),
                refusal: no_access(principal.name(), &place, decision, &self.id),
                cause: counters::DENIED,
                principal: Some(principal),
            };
            return Err(self.turn_away(why).await);
        }
        let is_walled = wall::is_due(site, &principal, &database);
        if let Some(why) = replication.and_then(|what| self.judge_replication(site, what, &principal, &moment)) {
            return Err(self.turn_away(Why { principal: Some(principal), ..why }).await);
        }
        if let Some(why) = self.judge_settings(site, &parameters, (&principal, is_walled), &database, &moment) {
            return Err(self.turn_away(Why { principal: Some(principal), ..why }).await);
        }
        let session = Session {
            id: self.id,
            node: self.desk.node.clone(),
            opened: now,
            principal,
            peer: self.peer.clone(),
            target: site.target.name.clone(),
            protocol: postgres::NAME.to_owned(),
            database,
            database_user: site.target.credentials.user.clone(),
            rules: decision.rules.into_iter().map(|rule| rule.0).collect(),
            policy_version: decision.policy_version,
            recorded: site.target.recorded,
        };
        if is_walled {
            wall::build(&mut parameters);
        }
        if site.target.application_name == ApplicationName::Session {
            called::name(&mut parameters, self.id);
        }
        // Before it is asked who is barred: whoever is barred from now on finds it there.
        let token = again.filter(|_| self.desk.verifier.introspects(&session.principal).is_some());
        let here = self.desk.roster.enter(session, Papers { site: Arc::downgrade(site), is_walled, token });
        let session = here.session();
        if let Some(limit) = self.desk.roster.over_limit(&session.principal) {
            let (name, id) = (session.principal.name(), self.id);
            let text = format!("{name} has {limit} sessions open, which is as many as one may have (ref {id})");
            let refusal = Refusal::fatal("53300", text).hint(Some("Close one that is not needed any more.".to_owned()));
            let why =
                Why { principal: Some(session.principal.clone()), ..Why::bare(refusal, counters::OVER_OWN_LIMIT) };
            return Err(self.turn_away(why).await);
        }
        if let Some(bar) = self.desk.roster.bar_of(&session.principal, now) {
            return Err(self.turn_away(self.barred(&bar, &session.principal)).await);
        }
        self.record(&session).await?;
        Ok(Admitted { site, here, parameters, kind: SessionKind { is_walled, replication } })
    }

    /// A connection for replication is for nothing else, so whoever may not replicate is told at the door. What it is then
    /// used for is judged command by command.
    fn judge_replication(&self, site: &Site, what: Replication, principal: &Principal, moment: &Moment) -> Option<Why> {
        let place = site.place(&self.database());
        let decision = site.policy.current().policy.decide(principal, &place, moment, &sql::replicating(what));
        if decision.allows() {
            return None;
        }
        let (kind, action) = match what {
            Replication::Database => ("database", Action::Replicate),
            Replication::Server => ("true", Action::CopyServer),
        };
        let text = format!("{} may not connect with replication={kind} (ref {})", principal.name(), self.id);
        let refusal = Refusal::fatal("28000", text)
            .detail(decision.message.unwrap_or_else(|| format!("No rule allows {} here.", action.as_str())))
            .hint(decision.hint);
        let (rules, policy_version) = (decision.rules, Some(decision.policy_version));
        Some(Why { rules, policy_version, ..Why::bare(refusal, counters::DENIED) })
    }

    /// What a client sets in its startup packet it sets before its first statement, and the rules are asked the same.
    fn judge_settings(
        &self,
        site: &Site,
        parameters: &[(String, String)],
        (principal, is_walled): (&Principal, bool),
        database: &str,
        moment: &Moment,
    ) -> Option<Why> {
        let settings = match parameters::settings(parameters) {
            Ok(settings) => settings,
            Err(error) => {
                return Some(Why::bare(Refusal::fatal("0A000", error.to_string()), counters::STARTUP_PARAMETER));
            }
        };
        let facts = sql::settings(settings.iter().map(|(name, value)| (name.as_str(), *value)));
        let decision = site.policy.current().policy.decide(principal, &site.place(database), moment, &facts);
        let is_locked = is_walled && wall::is_lifted_by(&facts);
        if decision.allows() && !is_locked {
            return None;
        }
        let names: Vec<&str> = settings.iter().map(|(name, _)| name.as_str()).collect();
        let text = format!("{} may not set {} at startup (ref {})", principal.name(), names.join(", "), self.id);
        let mut refusal = Refusal::fatal("28000", text).hint(decision.hint);
        refusal.detail = decision.message.or_else(|| is_locked.then(|| wall::LOCKED.to_owned()));
        let (rules, policy_version) = (decision.rules, Some(decision.policy_version));
        Some(Why { rules, policy_version, ..Why::bare(refusal, counters::STARTUP_PARAMETER) })
    }

    /// No session begins that could not be recorded.
    async fn record(&self, session: &Session) -> Result<(), Refusal> {
        let recorded = self.desk.journal.append(vec![Entry::SessionOpened(Box::new(session.clone()))]).await;
        let Err(error) = recorded else { return Ok(()) };
        tracing::error!(%error, session = %self.id, "a session was refused: it could not be recorded");
        self.counters().session_unrecorded();
        let text = format!("recording is not possible right now, so no session can start (ref {})", self.id);
        Err(Refusal::fatal("57P03", text))
    }

    /// A client without TLS where TLS is demanded. Its token was not asked for.
    pub(super) async fn without_tls(&self) -> Refusal {
        let text = format!("this server takes connections over TLS only (ref {})", self.id);
        let refusal = Refusal::fatal("28000", text).hint(Some("Connect with sslmode=require or stricter.".to_owned()));
        self.turn_away(Why::bare(refusal, counters::NO_TLS)).await
    }

    /// A client without a certificate where one is demanded. Its token was not asked for.
    pub(super) async fn without_certificate(&self) -> Refusal {
        let text = format!("this server takes connections with a client certificate only (ref {})", self.id);
        let hint = "Beside the token, connect with a certificate and its key (sslcert and sslkey in libpq).";
        let refusal = Refusal::fatal("28000", text).hint(Some(hint.to_owned()));
        self.turn_away(Why::bare(refusal, counters::NO_CERTIFICATE)).await
    }

    /// A client for whom there is no place: so many are taken. Its token was not asked for.
    pub(super) async fn without_place(&self, limit: usize) -> Refusal {
        let client = &self.peer.address;
        tracing::warn!(reference = %self.id, %client, limit, "a connection over the limit was turned away");
        let text = format!("too many connections: all {limit} places are taken (ref {})", self.id);
        let refusal = Refusal::fatal("53300", text).hint(Some("Connect again when others have left.".to_owned()));
        self.turn_away(Why::bare(refusal, counters::OVER_LIMIT)).await
    }

    /// A client that was asked for its token and said nothing.
    pub(super) async fn without_answer(&self) -> Refusal {
        let refusal = Refusal::fatal("28P01", format!("no token came in time (ref {})", self.id));
        self.turn_away(Why::bare(refusal, counters::LATE)).await
    }

    /// A client that sent something else where its token was due.
    pub(super) async fn without_token(&self, flaw: &Violation) -> Refusal {
        if flaw.0 == TOO_LONG {
            return self.turn_away(self.bad_token(&TokenRefusal::new(Cause::TooLarge, flaw.to_string()))).await;
        }
        tracing::warn!(reference = %self.id, client = %self.peer.address, %flaw, "login refused");
        let text = format!("a token was expected as the password and something else came (ref {})", self.id);
        self.turn_away(Why::bare(Refusal::fatal("08P01", text), counters::OUT_OF_TURN)).await
    }

    /// Counts what happens to this client.
    pub(super) fn counters(&self) -> &'l Counters {
        self.site().map_or(&self.desk.counters, |site| &site.counters)
    }

    /// What is the same for every login at the target that the client asks for.
    fn site(&self) -> Option<&'l Arc<Site>> {
        self.login.or(self.logins.map(Logins::first))
    }

    /// The database that the client asks for, by the name that it has at the target.
    fn database(&self) -> String {
        let asked = self.startup.database();
        let there = self.site().and_then(|site| site.target.databases.get(asked));
        there.map_or(asked, String::as_str).to_owned()
    }

    /// Told only to those whose token is good: strangers do not learn which databases there are.
    fn no_such_database(&self) -> Why {
        let text = format!("there is no database \"{}\" here (ref {})", self.startup.database(), self.id);
        let hint = "Behind this address the name of the database says which server is meant, or the host name does.";
        Why::bare(Refusal::fatal("3D000", text).hint(Some(hint.to_owned())), counters::NO_SUCH_DATABASE)
    }

    /// Somebody who is no user at the database, or not the one that the client asks for.
    fn no_login(&self, none: NoLogin, principal: &Principal, site: &Site) -> Why {
        let (name, target) = (principal.name(), &site.target.name);
        let (text, hint) = match none {
            NoLogin::Nobody => {
                let hint = "Which users there are for whom is said in the configuration of the target, under `whose`.";
                (format!("there is no database user for {name} at {target}"), hint)
            }
            NoLogin::Another => {
                let asked = self.startup.get("user").unwrap_or_default();
                let hint = "Connect with your own name as the user to get the one that is yours.";
                (format!("{name} may not be the database user \"{asked}\" at {target}"), hint)
            }
        };
        let refusal = Refusal::fatal("28000", format!("{text} (ref {})", self.id)).hint(Some(hint.to_owned()));
        Why::bare(refusal, counters::NO_LOGIN)
    }

    /// Somebody who was blocked, or whose token was taken back while it still looks good.
    fn barred(&self, bar: &Bar, principal: &Principal) -> Why {
        let client = &self.peer.address;
        tracing::warn!(reference = %self.id, %client, by = bar.by, "login refused: barred");
        let (refusal, cause) = if bar.issued_by.is_some() {
            let text = format!("your sign-in was ended, {} (ref {})", bar.why, self.id);
            (Refusal::fatal("28P01", text).hint(Some("Sign in again.".to_owned())), counters::REVOKED)
        } else {
            let (name, by, until) = (principal.name(), &bar.by, bar.until);
            let text = format!("{name} is blocked until {until} by {by}: {} (ref {})", bar.why, self.id);
            (Refusal::fatal("28000", text), counters::BLOCKED)
        };
        Why { principal: Some(principal.clone()), ..Why::bare(refusal, cause) }
    }

    fn bad_token(&self, refused: &TokenRefusal) -> Why {
        let client = &self.peer.address;
        tracing::warn!(reference = %self.id, %client, cause = %refused.cause, detail = refused.detail, "login refused");
        // An issuer that is away says nothing about the token: the client may come back.
        let sqlstate = if refused.cause == Cause::IssuerAway { "57P03" } else { "28P01" };
        let refusal = Refusal::fatal(sqlstate, format!("{} (ref {})", refused.sentence, self.id))
            .hint((!refused.hint.is_empty()).then(|| refused.hint.clone()));
        Why::bare(refusal, refused.cause.as_str())
    }

    /// Records a refusal before it goes down. That it could not be recorded is no reason to let somebody in.
    async fn turn_away(&self, why: Why) -> Refusal {
        let pause = if counters::is_failed_attempt(why.cause) {
            self.desk.attempts.failed(self.peer.address.ip(), why.principal.as_ref(), Instant::now())
        } else {
            Duration::ZERO
        };
        let Why { refusal, cause, principal, rules, policy_version } = why;
        self.counters().refused(cause);
        let refused = LoginRefused {
            session: self.id,
            node: self.desk.node.clone(),
            time: self.desk.clock.now(),
            peer: self.peer.clone(),
            principal,
            target: self.site().map(|site| site.target.name.clone()).unwrap_or_default(),
            protocol: postgres::NAME.to_owned(),
            database: Some(self.database()),
            database_user: self.login.map(|site| site.target.credentials.user.clone()),
            sqlstate: refusal.sqlstate.to_owned(),
            cause: cause.to_owned(),
            rules: rules.into_iter().map(|rule| rule.0).collect(),
            policy_version,
        };
        if let Err(error) = self.desk.journal.append(vec![Entry::LoginRefused(Box::new(refused))]).await {
            tracing::error!(%error, reference = %self.id, "a refused login could not be recorded");
        }
        tokio::time::sleep(pause).await;
        refusal
    }
}

/// The rest of what rules may ask about.
pub(super) fn moment(principal: &Principal, peer: &Peer, now: Timestamp, transaction: char) -> Moment {
    let issued = principal.token.issued.unwrap_or(now);
    Moment {
        now,
        client: peer.address.ip(),
        application: peer.application.clone(),
        client_certificate: peer.client_certificate.clone(),
        transaction,
        token_age_seconds: now.seconds().saturating_sub(issued.seconds()).max(0),
    }
}
