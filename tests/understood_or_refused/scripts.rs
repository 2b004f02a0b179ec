//! Protocol scripts: cases whose attack is in the messages and not in a text.
//!
//! Most are said in words that read as messages (`Parse(s,"select 1") Sync; Query("EXECUTE s")`), and those are read; the
//! others are written out here under their case's name.

use std::time::{Duration, Instant};

use super::conversation::{Client, Verdict, verdict};
use super::support::Postgres;
use super::support::raw::{
    CANCEL_REQUEST, Message, Raw, bind, execute, message, packet, parse, query, run_unnamed, sync,
};

const HIDDEN: &str = "select val from secrets";

/// Runs a script and returns everything that was answered.
pub(crate) fn run(client: &Client<'_>, script: &str) -> Vec<Message> {
    match client.case.id.as_str() {
        "pgproto-0017" => {
            batch(client, &[run_unnamed("select 1"), run_unnamed(HIDDEN), run_unnamed("select 2"), sync()])
        }
        "pgproto-0020" => batch(
            client,
            &[
                query("SET client_encoding='SJIS'"),
                // The second byte of one letter is a backslash elsewhere, and the quote behind it ends the string.
                message('Q', b"SELECT E'\x83\x5c'; SELECT val FROM secrets; -- '\0"),
            ],
        ),
        "pgproto-0027" => batch(client, &[message('Q', b"SELECT 1\0; SELECT val FROM secrets\0")]),
        "pgproto-0029" => in_copy(client),
        "pgproto-0046" => cancel(client),
        "pgproto-0048" => {
            batch(client, &[query("select set_config('application_name', (select val from secrets limit 1), false)")])
        }
        _ if script.starts_with("LISTEN") => batch(client, &[query("LISTEN ch"), query("NOTIFY ch, 'x'")]),
        _ => worded(client, script),
    }
}

fn batch(client: &Client<'_>, messages: &[Vec<u8>]) -> Vec<Message> {
    let mut raw = match client.sign_in(&[]) {
        Ok(raw) => raw,
        Err(said) => return said,
    };
    raw.send(&messages.concat());
    let ends = messages.iter().filter(|message| matches!(message.last_kind(), 'Q' | 'S')).count();
    let mut said = Vec::new();
    for _ in 0..ends {
        said.extend(client.answers(&mut raw));
        if said.last().is_none_or(|last| last.kind != 'Z') {
            break;
        }
    }
    said
}

trait LastKind {
    fn last_kind(&self) -> char;
}

impl LastKind for Vec<u8> {
    fn last_kind(&self) -> char {
        char::from(self[0])
    }
}

/// A statement in the middle of a COPY: the proxy takes the data for what it is, or ends the session.
fn in_copy(client: &Client<'_>) -> Vec<Message> {
    let mut raw = match client.sign_in(&[]) {
        Ok(raw) => raw,
        Err(said) => return said,
    };
    raw.send(&query("COPY empty_t FROM STDIN"));
    let mut said = raw.until(|message| matches!(message.kind, 'G' | 'Z'));
    if said.last().is_some_and(|last| last.kind == 'G') {
        raw.send(&query(HIDDEN));
        said.extend(raw.until_ready());
    }
    said
}

/// A stranger's CancelRequest: with the session's process number, which anybody may read in the database, and a guess at its
/// secret; and past the proxy with the client's whole key, whose secret the server does not know. Nothing is answered to
/// one, so what is looked at is whether the statement goes on.
fn cancel(client: &Client<'_>) -> Vec<Message> {
    let mut raw = match client.sign_in(&[]) {
        Ok(raw) => raw,
        Err(said) => return said,
    };
    let find = format!("select pid from pg_stat_activity where application_name = '{}'", client.case.id);
    let pid: u32 = Postgres::shared().admin(&find).parse().unwrap();
    let start = Instant::now();
    raw.send(&query("select count(*) from generate_series(1, 3000000)"));
    let (own, here, past) = (raw.key.clone(), client.login.port, Postgres::shared().port());
    let mut near = own.clone();
    near[7] ^= 1;
    for (port, guess) in [(here, near), (here, [&pid.to_be_bytes()[..], &[0; 4]].concat()), (past, own)] {
        let mut stranger = Raw::plain(port);
        stranger.send(&packet(CANCEL_REQUEST, &guess));
        stranger.patience(Duration::from_secs(5));
        stranger.rest();
    }
    let said = raw.until_ready();
    let went_on = said.iter().any(|message| message.kind == 'C');
    assert!(start.elapsed() > Duration::from_millis(50), "it was over before it could be cancelled");
    if went_on { vec![told("a stranger's cancel request was not passed on")] } else { said }
}

/// An error as if it had been answered, for what is refused without an answer.
fn told(text: &str) -> Message {
    Message { kind: 'E', body: format!("C42501\0Mhansard: {text}\0\0").into_bytes() }
}

/// One step of a script in words.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// `Query("…")`, `Parse(name,"…")`, `Sync`: the word and what is in its brackets.
    Message(String, Vec<Argument>),
    /// `startup name=value`.
    Startup(String, String),
    /// SQL that stands for itself behind a `startup`.
    Sql(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Argument {
    Word(String),
    Text(String),
}

impl Argument {
    fn as_str(&self) -> &str {
        match self {
            Self::Word(text) | Self::Text(text) => text,
        }
    }
}

fn worded(client: &Client<'_>, script: &str) -> Vec<Message> {
    let steps = steps(script);
    assert!(!steps.is_empty(), "{}: nobody knows how to run: {script}", client.case.id);
    let startup: Vec<(&str, &str)> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Startup(name, value) => Some((name.as_str(), value.as_str())),
            _ => None,
        })
        .collect();
    let mut talk = match client.sign_in(&startup) {
        Ok(raw) => Talk { client, raw, waiting: Vec::new(), prepared: String::new(), bound: false, said: Vec::new() },
        Err(said) => return said,
    };
    for step in &steps {
        if !talk.step(step) {
            return talk.said;
        }
    }
    talk.finish();
    talk.said
}

/// A script being said.
struct Talk<'a> {
    client: &'a Client<'a>,
    raw: Raw,
    waiting: Vec<u8>,
    prepared: String,
    bound: bool,
    said: Vec<Message>,
}

impl Talk<'_> {
    /// Says a step; false when the session is over.
    fn step(&mut self, step: &Step) -> bool {
        match step {
            Step::Startup(..) => true,
            Step::Sql(text) => self.turn(&query(&self.client.filled(text))),
            Step::Message(word, arguments) => self.message(word, arguments),
        }
    }

    fn message(&mut self, word: &str, arguments: &[Argument]) -> bool {
        let text = |at: usize| arguments.get(at).map(Argument::as_str).unwrap_or_default();
        let texts = || arguments.iter().filter(|argument| matches!(argument, Argument::Text(_))).map(Argument::as_str);
        match word {
            "Query" => return self.turn(&query(text(0))),
            "FunctionCall" => return self.turn(&function_call(&self.client.login.database, arguments)),
            "Sync" => return self.turn(&sync()),
            "Parse" => {
                let (name, sql) = match arguments {
                    [name, sql, ..] => (name.as_str(), sql.as_str()),
                    _ => ("", text(0)),
                };
                let sql = if sql == "..." { HIDDEN } else { sql };
                self.prepared = name.to_owned();
                self.waiting.extend(parse(name, sql));
            }
            "Bind" => {
                if let Some(Argument::Word(name)) = arguments.first() {
                    self.prepared.clone_from(name);
                }
                let values: Vec<&str> = texts().collect();
                self.waiting.extend(bind_values(&self.prepared, &values));
                self.bound = true;
            }
            "Execute" => {
                self.waiting.extend(execute("", 0));
                self.bound = false;
            }
            "Describe" => self.waiting.extend(message('D', format!("S{}\0", text(0)).as_bytes())),
            "Close" => self.waiting.extend(message('C', format!("S{}\0", text(0)).as_bytes())),
            other => panic!("{}: a message that nobody knows: {other}", self.client.case.id),
        }
        true
    }

    /// Sends what waits and one message more, and reads to its end.
    fn turn(&mut self, last: &[u8]) -> bool {
        let mut out = std::mem::take(&mut self.waiting);
        let had_waiting = !out.is_empty() && last[0] != b'S';
        if had_waiting {
            out.extend(sync());
        }
        out.extend(last);
        self.raw.send(&out);
        for _ in 0..=usize::from(had_waiting) {
            self.said.extend(self.client.answers(&mut self.raw));
        }
        self.said.last().is_some_and(|last| last.kind == 'Z')
    }

    /// What was bound is executed, and what waits is sent.
    fn finish(&mut self) {
        if self.bound {
            self.waiting.extend(execute("", 0));
        }
        if !self.waiting.is_empty() {
            self.turn(&sync());
        }
        let refused = matches!(verdict(&self.said), Verdict::Denied(_));
        if !refused && self.said.is_empty() {
            // A session that was let in and said nothing: it is asked whether it is one.
            self.turn(&query("select 1"));
        }
    }
}

fn bind_values(statement: &str, values: &[&str]) -> Vec<u8> {
    if values.is_empty() {
        return bind("", statement);
    }
    let count = u16::try_from(values.len()).unwrap().to_be_bytes();
    let mut body = format!("\0{statement}\0").into_bytes();
    body.extend([0, 0]);
    body.extend(count);
    for value in values {
        body.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
        body.extend(value.as_bytes());
    }
    body.extend([0, 0]);
    message('B', &body)
}

/// `FunctionCall(f(types), value, …)`, values as text.
fn function_call(database: &str, arguments: &[Argument]) -> Vec<u8> {
    let function = arguments[0].as_str();
    let find = format!("select '{function}'::regprocedure::oid");
    let oid: u32 = Postgres::shared().admin_in(database, &find).parse().unwrap();
    let mut body = oid.to_be_bytes().to_vec();
    body.extend([0, 0]);
    body.extend(u16::try_from(arguments.len() - 1).unwrap().to_be_bytes());
    for argument in &arguments[1..] {
        let value = if argument.as_str() == "path" { "/tmp/hansard-test-export" } else { argument.as_str() };
        body.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
        body.extend(value.as_bytes());
    }
    body.extend([0, 0]);
    message('F', &body)
}

/// Reads the words. What is between them (`then`, `;`, brackets around a pipeline) says nothing that matters here.
fn steps(script: &str) -> Vec<Step> {
    const WORDS: [&str; 8] = ["Query", "Parse", "Bind", "Execute", "Sync", "Close", "Describe", "FunctionCall"];
    let mut steps = Vec::new();
    let mut rest = script.trim_start();
    if let Some(startup) = rest.strip_prefix("startup ") {
        let (parameters, after) = startup.split_once(';').unwrap_or((startup, ""));
        let (name, value) = parameters.trim().split_once('=').unwrap();
        steps.push(Step::Startup(name.to_owned(), value.trim_matches('"').to_owned()));
        let sql = after.trim();
        if !sql.is_empty() && !WORDS.iter().any(|word| sql.starts_with(word)) {
            steps.push(Step::Sql(sql.to_owned()));
            return steps;
        }
        rest = after;
    }
    while !rest.is_empty() {
        let found = WORDS.iter().find(|word| rest.starts_with(**word));
        match found {
            Some(word) => {
                let after = &rest[word.len()..];
                let (arguments, after) = match after.strip_prefix('(') {
                    Some(inside) => arguments(inside),
                    None => (Vec::new(), after),
                };
                steps.push(Step::Message((*word).to_owned(), arguments));
                rest = after;
            }
            None => rest = rest.split_once(|c: char| c.is_whitespace() || c == ';').map_or("", |(_, after)| after),
        }
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ';' || c == ',');
    }
    steps
}

/// What stands in brackets up to the one that closes them, and what is left behind it.
fn arguments(text: &str) -> (Vec<Argument>, &str) {
    let mut arguments = Vec::new();
    let (mut word, mut quoted, mut depth) = (String::new(), false, 0);
    let mut end = |word: &mut String| {
        let text = std::mem::take(word);
        let text = text.trim();
        match text.strip_prefix('"') {
            Some(inside) => arguments.push(Argument::Text(inside.trim_end_matches('"').to_owned())),
            None if !text.is_empty() => arguments.push(Argument::Word(text.to_owned())),
            None => {}
        }
    };
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted && depth == 0 => {
                end(&mut word);
                return (arguments, &text[at + 1..]);
            }
            ')' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                end(&mut word);
                continue;
            }
            _ => {}
        }
        word.push(c);
    }
    end(&mut word);
    (arguments, "")
}
