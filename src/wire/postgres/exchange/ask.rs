//! The client's half: what each of its frames asks for.

use std::sync::Arc;

use bytes::Bytes;

use super::super::message::{self, Target};
use super::{Called, Exchange, Pending, Request, Since};
use crate::model::{Param, SqlText};
use crate::wire::Violation;

impl Exchange {
    /// Takes a whole frame of the client.
    ///
    /// # Errors
    ///
    /// The frame is malformed: the session must end.
    pub fn take(&mut self, kind: u8, frame: Bytes) -> Result<Request, Violation> {
        if matches!(kind, b'S' | b'H' | b'c' | b'X') {
            message::bare(&frame)?;
        }
        if kind == b'X' {
            return Ok(Request::Terminate);
        }
        if self.discarding && kind != b'S' {
            return Ok(Request::Discard);
        }
        if self.copying_both && kind != b'c' {
            return Err(Violation("a message in the middle of COPY data both ways"));
        }
        if self.copying_in && !self.synced_in_copy && !matches!(kind, b'S' | b'H' | b'c' | b'f') {
            // The server would lose its place and end the connection; nothing of it would run. Behind a Sync it may have
            // failed at the data before, and then it would run.
            return Err(Violation("a message in the middle of COPY data"));
        }
        if matches!(kind, b'Q' | b'P' | b'E') && self.unanswered(|changes| changes.reading) == Some(Since::EarlierBatch)
        {
            return Ok(Request::Wait(frame));
        }
        match kind {
            b'Q' => Ok(Request::Query(SqlText::new(message::query(&frame)?), frame)),
            b'P' => Ok(Request::Parse(message::parse(&frame)?, frame)),
            b'B' => self.take_bind(frame),
            b'E' => self.take_execute(frame),
            b'D' => {
                let statement = match message::target(&frame)? {
                    Target::Statement(name) => self.statements.get(&name).map(|slot| Arc::clone(&slot.value)),
                    Target::Portal(_) => None,
                };
                self.push(Pending::Describe(statement));
                Ok(Request::Pass(frame))
            }
            b'C' => {
                let pending = match message::target(&frame)? {
                    Target::Statement(name) => {
                        let value = self.statements.get(&name).map(|slot| Arc::clone(&slot.value));
                        Pending::CloseStatement(name, value)
                    }
                    Target::Portal(name) => {
                        let value = self.portals.get(&name).map(|slot| Arc::clone(&slot.value));
                        Pending::ClosePortal(name, value)
                    }
                };
                self.push(pending);
                Ok(Request::Pass(frame))
            }
            b'S' => {
                self.synced();
                Ok(Request::Pass(frame))
            }
            b'c' | b'f' => {
                if kind == b'f' {
                    message::copy_fail(&frame)?;
                }
                self.copy_ended();
                Ok(Request::Pass(frame))
            }
            b'H' => Ok(Request::Pass(frame)),
            b'F' => {
                let message::FunctionCall { function, values } = message::function_call(&frame)?;
                let param = |(format, value)| Param { type_oid: 0, format, value };
                Ok(Request::Call(Called { function, params: values.into_iter().map(param).collect() }, frame))
            }
            _ => Err(Violation("a message that no client sends here")),
        }
    }

    fn synced(&mut self) {
        self.discarding = false;
        self.synced_in_copy = self.copying_in;
        if !self.copying_in {
            self.skipping = false;
            let skipped = std::mem::take(&mut self.skipped);
            self.discard_all(skipped);
            self.push(Pending::Sync(self.batch));
            self.batch += 1;
        }
    }

    fn copy_ended(&mut self) {
        if std::mem::take(&mut self.copying_both) {
            return;
        }
        // Without a statement that may turn out to be a COPY, the server ignores it.
        if !self.copying_in && !self.pending.is_empty() {
            self.push(Pending::CopyEnd);
        }
        self.copying_in = false;
    }
}
