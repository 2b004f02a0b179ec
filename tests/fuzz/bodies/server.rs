//! A server as the protocol's chapter describes it, small enough to read: names, portals, transactions, errors that
//! discard until `Sync`, COPY data. It runs a dozen texts and keeps what it ran.
//!
//! Answers wait until the server would flush them: at `Sync`, at `Flush`, at the end of a query, at an error, and when
//! COPY begins.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use hansard::wire::postgres::message::{self, Target};

/// What ran, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ran {
    /// Which of the executions that were sent, from 0.
    pub(super) number: usize,
    /// The text; nothing for a cursor of SQL.
    pub(super) text: Option<String>,
    /// Whether there was anything to run: the portal may be none.
    pub(super) is_there: bool,
    /// Whether it ended well.
    pub(super) ok: bool,
}

/// What stands behind a name: a text; one that SQL gave is the whole `PREPARE` or `DECLARE` behind this mark, and what it
/// runs is the query in it.
type Named = Option<String>;

const BY_SQL: char = '\u{1}';

#[derive(Debug)]
pub(super) struct Server {
    statements: BTreeMap<Vec<u8>, Named>,
    portals: BTreeMap<Vec<u8>, Named>,
    /// Discards until `Sync`.
    skipping: bool,
    copying: Option<Copying>,
    transaction: u8,
    /// Ended the connection.
    pub(super) gone: bool,
    /// Executions that were seen.
    executions: usize,
    /// Written, not flushed.
    held: Vec<(u8, Vec<u8>)>,
    /// On its way to the client.
    pub(super) flushed: VecDeque<(u8, Vec<u8>)>,
    pub(super) ran: Vec<Ran>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Copying {
    simple: bool,
    number: usize,
}

const SYNTAX_ERROR: &str = "42601";
const FAILED_TRANSACTION: &str = "25P02";

impl Server {
    pub(super) fn new() -> Self {
        Self {
            statements: BTreeMap::new(),
            portals: BTreeMap::new(),
            skipping: false,
            copying: None,
            transaction: b'I',
            gone: false,
            executions: 0,
            held: Vec::new(),
            flushed: VecDeque::new(),
            ran: Vec::new(),
        }
    }

    /// Takes a message; `fails`: what could fail, does.
    pub(super) fn take(&mut self, kind: u8, whole: &Bytes, fails: bool) {
        if self.gone {
            return;
        }
        if let Some(copying) = self.copying {
            return self.copy(copying, kind, fails);
        }
        let number = self.executions;
        self.executions += usize::from(matches!(kind, b'Q' | b'E' | b'F'));
        if self.skipping && kind != b'S' {
            return;
        }
        match kind {
            b'Q' => {
                let text = message::query(whole).expect("a query");
                self.query(number, std::str::from_utf8(&text).expect("a text of ours"), fails);
            }
            b'F' => {
                message::function_call(whole).expect("a call");
                let ok = !fails && self.transaction != b'E';
                self.ran.push(Ran { number, text: None, is_there: true, ok });
                match (ok, self.transaction) {
                    (true, _) => self.say(b'V', b"\0\0\0\x04\0\0\0\x07"),
                    (false, b'E') => self.error(FAILED_TRANSACTION),
                    (false, _) => self.error("42883"),
                }
                self.skipping = false;
                self.ready();
            }
            b'P' => {
                let parse = message::parse(whole).expect("a Parse");
                let text = String::from_utf8(parse.text.to_vec()).expect("a text of ours");
                self.parse(&parse.name, text, fails);
            }
            b'B' => {
                let bind = message::bind(whole).expect("a Bind");
                self.bind(&bind.portal, &bind.statement, fails);
            }
            b'E' => {
                let portal = message::execute(whole).expect("an Execute");
                match self.portals.get(portal.as_ref()).cloned() {
                    Some(text) => {
                        self.execute_text(number, text, fails, false);
                    }
                    None => {
                        self.ran.push(Ran { number, text: None, is_there: false, ok: false });
                        self.error("34000");
                    }
                }
            }
            b'D' => self.describe(&message::target(whole).expect("a Describe")),
            b'C' => {
                match message::target(whole).expect("a Close") {
                    Target::Statement(name) => self.statements.remove(name.as_ref()),
                    Target::Portal(name) => self.portals.remove(name.as_ref()),
                };
                self.say(b'3', b"");
            }
            b'S' => {
                self.skipping = false;
                self.ready();
            }
            b'H' => self.flush(),
            // What is left of a COPY that failed.
            b'd' | b'c' | b'f' => {}
            other => unreachable!("{other} was forwarded"),
        }
    }

    fn query(&mut self, number: usize, text: &str, fails: bool) {
        // A simple query takes the unnamed ones with it.
        self.statements.remove(&b""[..]);
        self.portals.remove(&b""[..]);
        if self.execute_text(number, Some(text.to_owned()), fails, true) {
            self.ready();
        }
    }

    fn parse(&mut self, name: &[u8], text: String, fails: bool) {
        if name.is_empty() {
            self.statements.remove(name);
        }
        if fails || text.starts_with("hansard: denied") {
            return self.error(SYNTAX_ERROR);
        }
        if self.transaction == b'E' && !ends_transaction(&text) {
            return self.error(FAILED_TRANSACTION);
        }
        if self.statements.contains_key(name) {
            return self.error("42P05");
        }
        self.statements.insert(name.to_vec(), Some(text));
        self.say(b'1', b"");
    }

    fn bind(&mut self, portal: &[u8], statement: &[u8], fails: bool) {
        let Some(named) = self.statements.get(statement).cloned() else { return self.error("26000") };
        if self.transaction == b'E' && !named.as_deref().is_some_and(ends_transaction) {
            return self.error(FAILED_TRANSACTION);
        }
        if fails {
            return self.error("22P02");
        }
        if portal.is_empty() {
            self.portals.remove(portal);
        } else if self.portals.contains_key(portal) {
            return self.error("42P03");
        }
        self.portals.insert(portal.to_vec(), named);
        self.say(b'2', b"");
    }

    fn describe(&mut self, target: &Target) {
        let known = match target {
            Target::Statement(name) => self.statements.contains_key(name.as_ref()),
            Target::Portal(name) => self.portals.contains_key(name.as_ref()),
        };
        if !known {
            return self.error("26000");
        }
        if matches!(target, Target::Statement(_)) {
            self.say(b't', b"\0\0");
        }
        self.say(b'T', b"\0\0");
    }

    /// False if COPY began, whose end is still to come.
    fn execute_text(&mut self, number: usize, text: Named, fails: bool, simple: bool) -> bool {
        let by_sql = text.as_deref().and_then(|text| text.strip_prefix(BY_SQL)).map(str::to_owned);
        let command = text.clone().filter(|_| by_sql.is_none()).unwrap_or_else(|| "FETCH".to_owned());
        let text = by_sql.or(text);
        if self.transaction == b'E' && !ends_transaction(&command) {
            return self.failed(number, text, FAILED_TRANSACTION, simple);
        }
        if fails || command.starts_with("hansard: denied") {
            return self.failed(number, text, SYNTAX_ERROR, simple);
        }
        if command == "COPY t FROM STDIN" {
            self.say(b'G', b"\0\0\0");
            self.flush();
            self.ran.push(Ran { number, text, is_there: true, ok: true });
            self.copying = Some(Copying { simple, number });
            return false;
        }
        match self.run(&command) {
            Ok(tag) => {
                self.ran.push(Ran { number, text, is_there: true, ok: true });
                match tag {
                    "" => self.say(b'I', b""),
                    tag => self.say(b'C', format!("{tag}\0").as_bytes()),
                }
                true
            }
            Err(sqlstate) => self.failed(number, text, sqlstate, simple),
        }
    }

    fn failed(&mut self, number: usize, text: Named, sqlstate: &str, simple: bool) -> bool {
        self.ran.push(Ran { number, text, is_there: true, ok: false });
        self.error(sqlstate);
        self.skipping = !simple;
        true
    }

    fn run(&mut self, command: &str) -> Result<&'static str, &'static str> {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words.as_slice() {
            [] => Ok(""),
            ["BEGIN"] => {
                self.transaction = b'T';
                Ok("BEGIN")
            }
            ["COMMIT"] | ["ROLLBACK"] => {
                let failed = self.transaction == b'E';
                self.transaction = b'I';
                self.portals.clear();
                Ok(if failed || words == ["ROLLBACK"] { "ROLLBACK" } else { "COMMIT" })
            }
            ["PREPARE", name, ..] => match self.statements.contains_key(name.as_bytes()) {
                true => Err("42P05"),
                false => {
                    self.statements.insert(name.as_bytes().to_vec(), Some(format!("{BY_SQL}{command}")));
                    Ok("PREPARE")
                }
            },
            ["DEALLOCATE", "ALL"] => {
                self.statements.retain(|name, _| name.is_empty());
                Ok("DEALLOCATE ALL")
            }
            ["DEALLOCATE", name] => self.statements.remove(name.as_bytes()).map(|_| "DEALLOCATE").ok_or("26000"),
            ["DISCARD", "ALL"] if self.transaction == b'I' => {
                self.statements.retain(|name, _| name.is_empty());
                self.portals.clear();
                Ok("DISCARD ALL")
            }
            ["DISCARD", "ALL"] => Err("25001"),
            ["DECLARE", name, ..] if self.transaction == b'T' => match self.portals.contains_key(name.as_bytes()) {
                true => Err("42P03"),
                false => {
                    self.portals.insert(name.as_bytes().to_vec(), Some(format!("{BY_SQL}{command}")));
                    Ok("DECLARE CURSOR")
                }
            },
            ["DECLARE", ..] => Err("25P01"),
            ["CLOSE", name] => self.portals.remove(name.as_bytes()).map(|_| "CLOSE CURSOR").ok_or("34000"),
            ["SET", ..] => Ok("SET"),
            _ => Ok("SELECT 1"),
        }
    }

    fn copy(&mut self, Copying { simple, number }: Copying, kind: u8, fails: bool) {
        let failed = match kind {
            b'd' if fails => "22P04",
            b'f' => "57014",
            b'c' if fails => "23505",
            b'c' => {
                self.copying = None;
                self.say(b'C', b"COPY 1\0");
                if simple {
                    self.ready();
                }
                return;
            }
            // Data; `Flush` and `Sync` are ignored.
            b'd' | b'H' | b'S' => return,
            _ => {
                self.copying = None;
                self.gone = true;
                self.say(b'E', b"SFATAL\0VFATAL\0C08P01\0Munexpected message\0\0");
                return self.flush();
            }
        };
        self.copying = None;
        if let Some(ran) = self.ran.iter_mut().find(|ran| ran.number == number) {
            ran.ok = false;
        }
        self.error(failed);
        self.skipping = !simple;
        if simple {
            self.ready();
        }
    }

    fn error(&mut self, sqlstate: &str) {
        if self.transaction == b'T' {
            self.transaction = b'E';
        }
        self.skipping = true;
        self.say(b'E', format!("SERROR\0VERROR\0C{sqlstate}\0Mno\0\0").as_bytes());
        self.flush();
    }

    fn ready(&mut self) {
        if self.transaction == b'I' {
            self.portals.clear();
        }
        self.say(b'Z', &[self.transaction]);
        self.flush();
    }

    fn say(&mut self, kind: u8, body: &[u8]) {
        self.held.push((kind, body.to_vec()));
    }

    fn flush(&mut self) {
        self.flushed.extend(self.held.drain(..));
    }
}

fn ends_transaction(text: &str) -> bool {
    matches!(text.trim(), "COMMIT" | "ROLLBACK")
}
