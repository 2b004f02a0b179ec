//! What a text does whose names stand for prepared statements and cursors of its session.
//!
//! Promises: `EXECUTE` is judged as the statement that runs, whether SQL or the protocol prepared it, by the rules of the
//! moment at which it runs; where that statement is not known for certain, the text is not understood. `FETCH` is judged
//! as its cursor's query, too, where that is known: what opened the cursor was judged before.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{Facts, Handle};
use crate::sql::by_handle;
use crate::wire::postgres::exchange::Exchange;

/// Texts whose joined facts a session remembers: a cursor is fetched from again and again in the same words.
const MAX_REMEMBERED: usize = 256;

/// How often one name may lead to another: a `Parse` may prepare an `EXECUTE`, and nobody does it twice.
const MAX_CHAIN: usize = 4;

/// The text's own facts and its handles' by their addresses.
type Key = (usize, Vec<usize>);

/// Handles of one session.
#[derive(Debug, Default)]
pub(super) struct Handles {
    /// With what was joined, so that nothing else comes to lie at its address.
    remembered: HashMap<Key, (Vec<Arc<Facts>>, Arc<Facts>)>,
}

impl Handles {
    /// What the text does in this session now.
    pub(super) fn followed(&mut self, read: &Arc<Facts>, exchange: &Exchange) -> Arc<Facts> {
        let leads = |handle: &Handle| matches!(handle, Handle::Execute(_) | Handle::Fetch(Some(_)));
        if !read.handles.iter().any(leads) {
            return Arc::clone(read);
        }
        match self.behind(read, exchange, 0) {
            Some(behind) if !behind.is_empty() => self.joined(read, behind),
            _ => Arc::clone(read),
        }
    }

    /// What stands behind the handles; nothing if one that is executed is not known.
    fn behind(&mut self, facts: &Facts, exchange: &Exchange, depth: usize) -> Option<Vec<Arc<Facts>>> {
        let mut behind = Vec::new();
        for handle in &facts.handles {
            let statement = match handle {
                Handle::Execute(name) => exchange.prepared(name).filter(|_| depth < MAX_CHAIN)?,
                Handle::Fetch(Some(name)) => match exchange.cursor(name) {
                    Some(statement) => statement,
                    None => continue,
                },
                _ => continue,
            };
            let further = self.behind(&statement.facts, exchange, depth + 1)?;
            behind.push(match further.is_empty() {
                true => Arc::clone(&statement.facts),
                false => self.joined(&statement.facts, further),
            });
        }
        Some(behind)
    }

    fn joined(&mut self, read: &Arc<Facts>, mut behind: Vec<Arc<Facts>>) -> Arc<Facts> {
        let address = |facts: &Arc<Facts>| Arc::as_ptr(facts).addr();
        let key = (address(read), behind.iter().map(address).collect());
        if let Some((_, joined)) = self.remembered.get(&key) {
            return Arc::clone(joined);
        }
        let joined = Arc::new(by_handle(read, &behind.iter().map(AsRef::as_ref).collect::<Vec<_>>()));
        if self.remembered.len() >= MAX_REMEMBERED {
            self.remembered.clear();
        }
        behind.push(Arc::clone(read));
        self.remembered.insert(key, (behind, Arc::clone(&joined)));
        joined
    }
}
