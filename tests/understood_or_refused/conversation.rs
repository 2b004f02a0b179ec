//! One case as a client lives through it: signs in, sends what the case says, and reads what comes back.

use super::case::{Case, Said, filled};
use super::scripts;
use super::support::raw::{Message, PROTOCOL, Raw, message, query, sync};
use super::support::{Hansard, Issuer, Login, Postgres};

/// How the proxy decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing was refused; what PostgreSQL itself said against it, if it did.
    Allowed(Vec<String>),
    /// The proxy refused something, with what it said.
    Denied(String),
}

/// Calls the function that the rules take as the mark of an earlier policy.
const EARLIER: &str = "select corpus.earlier_rule(); ";

/// A client of one case.
pub(crate) struct Client<'a> {
    pub(crate) case: &'a Case,
    pub(crate) login: Login,
}

impl<'a> Client<'a> {
    pub(crate) fn new(hansard: &Hansard, case: &'a Case, token: &str, database: &str) -> Self {
        let login = Login { database: database.to_owned(), ..hansard.login_by(token.to_owned(), &case.id) };
        Self { case, login }
    }

    /// The decision that the case gets.
    pub(crate) fn verdict(&self) -> Verdict {
        let said = match &self.case.script {
            Some(script) => scripts::run(self, script),
            None => self.statements(),
        };
        verdict(&said)
    }

    /// A session with the case's startup parameters, or what was said instead of letting it in.
    pub(crate) fn sign_in(&self, more: &[(&str, &str)]) -> Result<Raw, Vec<Message>> {
        let own = self.case.startup.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let parameters: Vec<(&str, &str)> = own.chain(more.iter().copied()).collect();
        let mut raw = Raw::tls(self.login.port);
        let said = raw.ask(&self.login, PROTOCOL, &parameters);
        match said.last() {
            Some(last) if last.kind == 'Z' => {
                raw.key = said.iter().find(|message| message.kind == 'K').unwrap().body.clone();
                Ok(raw)
            }
            _ => Err(said),
        }
    }

    fn statements(&self) -> Vec<Message> {
        let mut raw = match self.sign_in(&[]) {
            Ok(raw) => raw,
            Err(said) => return said,
        };
        for text in &self.case.setup {
            let text = self.filled(text);
            let said = raw.talk(&query(&format!("{EARLIER}{text}")));
            assert_eq!(verdict(&said), Verdict::Allowed(Vec::new()), "the setup did not run: {text}");
        }
        let mut all = Vec::new();
        for text in &self.case.statements {
            let bytes = text.bytes(&self.login.database, Postgres::shared().port());
            raw.send(&as_message(text, &bytes));
            let said = self.answers(&mut raw);
            let is_over = said.last().is_none_or(|last| last.kind != 'Z');
            all.extend(said);
            if is_over {
                break;
            }
        }
        all
    }

    /// Everything up to `ReadyForQuery` or the end; what the server asks for is given.
    pub(crate) fn answers(&self, raw: &mut Raw) -> Vec<Message> {
        let mut said = Vec::new();
        while let Some(answer) = raw.next() {
            let kind = answer.kind;
            said.push(answer);
            match kind {
                'Z' => break,
                'G' => {
                    let data = self.case.copy_in.iter().flat_map(|data| message('d', data.as_bytes()));
                    raw.send(&data.chain(message('c', b"")).collect::<Vec<_>>());
                }
                _ => {}
            }
        }
        said
    }

    pub(crate) fn filled(&self, text: &str) -> String {
        filled(text, &self.login.database, Postgres::shared().port())
    }
}

/// A token for each policy.
pub(crate) fn token(policy: &str) -> String {
    Issuer::shared().token_of_role(policy)
}

/// What was said, as a decision: ours is known by its first word, and by nothing else.
pub(crate) fn verdict(said: &[Message]) -> Verdict {
    let errors = || said.iter().filter(|message| message.kind == 'E');
    let words = |error: &Message| {
        let parts = ['C', 'M', 'D'].map(|field| error.field(field));
        parts.join(" ").trim().to_owned()
    };
    match errors().find(|error| error.field('M').starts_with("hansard: ")) {
        Some(ours) => Verdict::Denied(words(ours)),
        None => Verdict::Allowed(errors().map(words).collect()),
    }
}

/// A text with parameters comes as drivers send it: prepared, and here not executed.
fn as_message(text: &Said, bytes: &[u8]) -> Vec<u8> {
    let has_parameters = match text {
        Said::Text(text) => {
            text.match_indices('$').any(|(at, _)| text[at + 1..].starts_with(|c: char| c.is_ascii_digit()))
        }
        Said::Bytes { .. } => false,
    };
    if has_parameters {
        [message('P', &[b"\0", bytes, b"\0\0\0"].concat()), sync()].concat()
    } else {
        message('Q', &[bytes, b"\0"].concat())
    }
}
