//! A newer token is handed over to an open session: in it, by `SET hansard.token = '…'`, or beside it, over HTTPS.
//!
//! Promises: the token must be of the same issuer, subject and kind, the login at the database must still be theirs, and the
//! rules that let the session in must let it in again by what the new token says; from then on statements are judged and
//! recorded by that. The token itself never reaches the database, the record or a log: a message that holds one is read here
//! first, and goes on without it. What looks like one and stands anywhere else in such a text has it refused whole.
//!
//! What was judged by the old token is recorded before; so a row says what its statement was judged by.
//!
//! Rejected: a message of our own, which no client could send; answering the statement ourselves, because in a transaction,
//! a pipeline or after an error only the database knows what it would say; and refusing every other mention of the setting,
//! which would hit texts that merely speak of it.

use bytes::{BufMut, Bytes, BytesMut};

use super::Site;
use super::admission::moment;
use super::relay::{Lane, RelayError};
use super::roster::{Here, Present};
use super::settle::{Judge, settle};
use crate::identity::Refusal as TokenRefusal;
use crate::journal::JournalError;
use crate::model::{Credential, Entry, EventDetails, Principal, RecorderEvent, RecorderEventKind, Session, SqlText};
use crate::wire::postgres::frame::HEADER_LEN;
use crate::wire::postgres::message::Refusal;

/// The setting that is none of the database's.
const SETTING: &[u8] = b"hansard.token";
/// Where its dot is.
const DOT: usize = 7;
/// What goes on instead. To the database it is a setting of a name that nothing uses.
const WITHOUT: &str = "SET hansard.token = '(not kept)'";
/// A token's first part is JSON that begins so, in base64url: `{"`.
const TOKEN_BEGINS: &[u8] = b"eyJ";
/// What may stand in a token: base64url, its dots, and what other kinds of bearer tokens have (RFC 6750 §2.1).
fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
}

/// A message that hands over a token, or would.
struct HandedOver {
    /// The message without it.
    frame: Bytes,
    /// The token; none, if the text is not what hands one over and holds what looks like one.
    token: Option<Credential>,
}

/// Whether a `Query` or a `Parse` hands over a token.
fn find(kind: u8, frame: &Bytes) -> Option<HandedOver> {
    let body = frame.get(HEADER_LEN..)?;
    let (name, rest) = match kind {
        b'Q' => body.split_at_checked(0)?,
        b'P' => body.split_at_checked(body.iter().position(|byte| *byte == 0)? + 1)?,
        _ => return None,
    };
    let (text, after) = rest.split_at_checked(rest.iter().position(|byte| *byte == 0)?)?;
    if !mentions(text) {
        return None;
    }
    let token = token_of(text);
    if token.is_none() && !text.windows(TOKEN_BEGINS.len()).any(|part| part == TOKEN_BEGINS) {
        return None;
    }
    let length = 4 + name.len() + WITHOUT.len() + after.len();
    let mut without = BytesMut::with_capacity(1 + length);
    without.put_u8(kind);
    without.put_u32(u32::try_from(length).ok()?);
    for part in [name, WITHOUT.as_bytes(), after] {
        without.put_slice(part);
    }
    let token = token.map(|token| Credential::new(token.to_vec()));
    Some(HandedOver { frame: without.freeze(), token })
}

/// Whether a text is what is left of one that handed over a token. It asks for nothing that rules could be about.
pub(super) fn is_what_is_left(text: &SqlText) -> bool {
    text.bytes() == WITHOUT.as_bytes()
}

fn mentions(text: &[u8]) -> bool {
    // Looked for by its dot, which is rarer than its letters: every text is looked through.
    let dots = text.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at);
    let begins = dots.filter_map(|dot| dot.checked_sub(DOT));
    begins.filter_map(|begin| text.get(begin..begin + SETTING.len())).any(|part| part.eq_ignore_ascii_case(SETTING))
}

/// The token, if the text is exactly `SET [SESSION] hansard.token {= | TO} 'TOKEN' [;]`.
fn token_of(text: &[u8]) -> Option<&[u8]> {
    let rest = word(text.trim_ascii(), b"set")?;
    let rest = word(rest, b"session").unwrap_or(rest);
    let (setting, rest) = rest.split_at_checked(SETTING.len())?;
    let rest = Some(rest.trim_ascii_start()).filter(|_| setting.eq_ignore_ascii_case(SETTING))?;
    let rest = rest
        .strip_prefix(b"=")
        .or_else(|| rest.get(..2).filter(|to| to.eq_ignore_ascii_case(b"to")).and(rest.get(2..)))?;
    let rest = rest.trim_ascii().strip_suffix(b";").unwrap_or(rest.trim_ascii()).trim_ascii_end();
    let token = rest.strip_prefix(b"'")?.strip_suffix(b"'")?;
    Some(token).filter(|token| !token.is_empty() && token.iter().all(|byte| is_of_token(*byte)))
}

/// What follows a word and the space after it.
fn word<'t>(text: &'t [u8], word: &[u8]) -> Option<&'t [u8]> {
    let (first, rest) = text.split_at_checked(word.len())?;
    let is_it = first.eq_ignore_ascii_case(word) && rest.first().is_some_and(u8::is_ascii_whitespace);
    is_it.then(|| rest.trim_ascii_start())
}

/// Whether something is due before this message is judged.
pub(super) fn concerns(kind: u8, frame: &Bytes, here: &Here) -> bool {
    here.has_newer() || find(kind, frame).is_some()
}

/// What is due before a message of the client's is judged: a newer token that was taken counts from here on, and one that the
/// message itself hands over is taken. Gives the message without it; nothing, if it was refused and answered.
pub(super) async fn before(
    kind: u8,
    frame: Bytes,
    here: &Here,
    judge: &mut Judge<'_>,
    lane: &mut Lane<'_>,
) -> Result<Option<Bytes>, RelayError> {
    let handed = find(kind, &frame);
    // What a server in this state would not read changes nothing.
    let is_due = handed.is_some() && matches!(lane.exchange().turns_away(), Ok(true));
    if is_due || here.waiting().is_some() {
        settle(&mut judge.batch, lane).await?;
    }
    let frame = match handed {
        None => frame,
        Some(handed) if !is_due => handed.frame,
        Some(HandedOver { frame, token }) => match hand_over(token, here, lane.site).await {
            Ok(()) => frame,
            Err(why) => {
                tracing::info!(session = %lane.session, %why, "a newer token was not taken");
                judge.refuse_token(&frame, SqlText::from(WITHOUT), &why, &mut lane.exchange());
                return Ok(None);
            }
        },
    };
    if let Some(newer) = here.waiting() {
        let entry = Entry::SessionRenewed(Box::new(Session::clone(&newer)));
        lane.site.journal.append(vec![entry]).await?;
        here.goes_on_as(&newer);
        judge.goes_on_as(newer);
    }
    Ok(Some(frame))
}

/// Why a newer token changed nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotTaken {
    /// It proves nobody.
    #[error("{}", .0.sentence)]
    Token(TokenRefusal),
    /// It stands in a text that does more.
    #[error("a token is handed over by one statement alone: SET hansard.token = '…'")]
    Elsewhere,
    /// It is of somebody else.
    #[error("the token is somebody else's: a session is one person's or workload's to the end")]
    Another,
    /// It ends sooner than the one there is.
    #[error("the token ends before the one that the session has")]
    Older,
    /// The one there was has ended.
    #[error("the sign-in of this session ended before the token came")]
    Late,
    /// It lets nobody in.
    #[error("the token was taken back: {0}")]
    Barred(String),
    /// By what it says, nobody would be let in here.
    #[error("by what the token says now there is no access here")]
    NoAccess,
    /// By what it says, the session could not be this user at the database.
    #[error("by what the token says now you are not the database user that this session is: reconnect")]
    NoLogin,
    /// By what it says, the session would have to be another one.
    #[error("by what the token says now the session would have to be read-only: reconnect")]
    Walled,
    /// It could not be recorded.
    #[error("recording is not possible right now")]
    Unrecorded(#[source] JournalError),
}

impl NotTaken {
    /// What the client reads, for a statement of this reference.
    pub(super) fn refusal(&self, reference: &dyn std::fmt::Display) -> Refusal {
        let code = match self {
            Self::Elsewhere => "0A000",
            Self::NoAccess | Self::NoLogin | Self::Walled | Self::Another => "28000",
            Self::Unrecorded(_) => "58030",
            Self::Token(_) | Self::Older | Self::Late | Self::Barred(_) => "28P01",
        };
        let hint = match self {
            Self::Token(refusal) => Some(refusal.hint.clone()).filter(|hint| !hint.is_empty()),
            _ => None,
        };
        Refusal::error(code, format!("no newer token taken: {self} (ref {reference})")).hint(hint)
    }
}

/// Takes a token for a session of the site.
async fn hand_over(token: Option<Credential>, here: &Here, site: &Site) -> Result<(), NotTaken> {
    let token = token.ok_or(NotTaken::Elsewhere)?;
    let again = token.again();
    let principal = site.verifier.verify(token).await.map_err(NotTaken::Token)?;
    take(here, (principal, again), site).await
}

/// Takes what a newer token says for a session: it is judged by that from its next statement on.
pub(super) async fn take(
    present: &Present,
    (principal, token): (Principal, Credential),
    site: &Site,
) -> Result<(), NotTaken> {
    let session = present.newest();
    let (old, now) = (&session.principal, site.clock.now());
    if (&old.issuer, &old.subject, old.kind) != (&principal.issuer, &principal.subject, principal.kind) {
        return Err(NotTaken::Another);
    }
    if old.token.expires <= now {
        return Err(NotTaken::Late);
    }
    if principal.token.expires < old.token.expires {
        return Err(NotTaken::Older);
    }
    if let Some(bar) = site.roster.bar_of(&principal, now) {
        return Err(NotTaken::Barred(bar.why));
    }
    if !site.target.whose.includes(&principal, site.verifier.issuer_named(&principal.issuer)) {
        return Err(NotTaken::NoLogin);
    }
    let place = site.place(&session.database);
    let policy = site.policy.current().policy;
    let decision = policy.decide_connect(&principal, &place, &moment(&principal, &session.peer, now, 'I'));
    if !decision.allows() {
        return Err(NotTaken::NoAccess);
    }
    if !present.is_walled() && super::wall::is_due(site, &principal, &session.database) {
        return Err(NotTaken::Walled);
    }
    record(&session, &principal, site).await.map_err(NotTaken::Unrecorded)?;
    tracing::info!(session = %session.id, expires = %principal.token.expires, "a newer token was taken");
    let rules = decision.rules.into_iter().map(|rule| rule.0).collect();
    let newer = Session { principal, rules, policy_version: decision.policy_version, ..Session::clone(&session) };
    present.hands_over(newer, Some(token));
    Ok(())
}

async fn record(session: &Session, principal: &Principal, site: &Site) -> Result<(), JournalError> {
    let (kind, token) = (RecorderEventKind::TokenRenewed, &principal.token);
    let detail = format!("session {}: a newer token, sha256 {}, ends {}", session.id, token.sha256, token.expires);
    let more = EventDetails { question: Some(session.id.to_string()), ..EventDetails::default() };
    let event = RecorderEvent::new(site.clock.now(), site.node.clone(), kind, detail).with(more);
    site.journal.append(vec![Entry::Event(event)]).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Bytes {
        let mut frame = vec![b'Q'];
        frame.extend_from_slice(&u32::try_from(5 + text.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(text.as_bytes());
        frame.push(0);
        frame.into()
    }

    fn parse(name: &str, text: &str) -> Bytes {
        let body = format!("{name}\0{text}\0\0\0");
        let mut frame = vec![b'P'];
        frame.extend_from_slice(&u32::try_from(4 + body.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(body.as_bytes());
        frame.into()
    }

    fn token(text: &str) -> Option<String> {
        let found = find(b'Q', &query(text))?;
        assert_eq!(found.frame, query(WITHOUT), "{text}");
        Some(String::from_utf8(found.token?.reveal().to_vec()).unwrap())
    }

    #[test]
    fn the_statement_that_hands_over_a_token_goes_on_without_it() {
        for text in [
            "SET hansard.token = 'eyJh.eyJi.c-_'",
            "set hansard.token to 'eyJh.eyJi.c-_';",
            "  SET  SESSION\n Hansard.Token='eyJh.eyJi.c-_' ; ",
        ] {
            assert_eq!(token(text).as_deref(), Some("eyJh.eyJi.c-_"), "{text}");
        }
        let found = find(b'P', &parse("s1", "SET hansard.token = 'eyJh.eyJi.c'")).unwrap();
        assert_eq!(found.frame, parse("s1", WITHOUT));
        assert!(is_what_is_left(&SqlText::from(WITHOUT)));
    }

    #[test]
    fn a_token_anywhere_else_in_such_a_text_goes_on_nowhere() {
        for text in [
            "SET hansard.token = 'eyJh.eyJi.c'; SELECT 1",
            "SET LOCAL hansard.token = 'eyJh.eyJi.c'",
            "SELECT set_config('hansard.token', 'eyJh.eyJi.c', false)",
            "SET hansard.token = 'eyJh.eyJi.c' -- mine",
            "SET hansard.token = E'eyJh.eyJi.c'",
            "SET hansard.token = 'eyJh.e''yJi.c'",
            "SET hansard.tokens = 'eyJh.eyJi.c'",
        ] {
            let found = find(b'Q', &query(text)).unwrap();
            assert!(found.token.is_none() && found.frame == query(WITHOUT), "{text}");
        }
    }

    #[test]
    fn what_merely_speaks_of_the_setting_is_left_as_it_is() {
        for text in [
            "SELECT 'SET hansard.token = ' || token FROM notes",
            "SHOW hansard.token",
            "RESET hansard.token",
            "SET hansard.token = ''",
            WITHOUT,
            "SELECT 'eyJh.eyJi.c'",
            "",
        ] {
            assert!(find(b'Q', &query(text)).is_none(), "{text}");
        }
        assert!(find(b'B', &query("SET hansard.token = 'eyJh.eyJi.c'")).is_none());
        for cut in 0..12 {
            find(b'P', &parse("s", "SET hansard.token = 'eyJ'").slice(..cut));
        }
    }
}
