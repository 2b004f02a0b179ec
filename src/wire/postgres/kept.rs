//! How much memory the prepared statements and cursors of a session take, and the values of its portals.
//!
//! Each is counted from its acceptance until nothing knows it any more: no name, no portal, no change that may still be taken
//! back. So the count holds whatever clients pipeline.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::message::Name;
use super::names::{MAX_NAMES, Names, Prepared};

/// Bytes of names and texts that one session may keep: a driver keeps some hundred statements (pgjdbc 256 of 5 MiB at most in
/// all), and a thousand sessions at this limit are what a machine has. One text more may be as long as any message.
const MAX_KEPT: usize = 64 << 20;
/// Bytes of messages that bound portals which still stand. A driver holds some portals of a batch of rows each; whoever
/// holds more than this of values that nothing executes is no driver. One message more may be as long as any.
const MAX_BOUND: usize = 256 << 20;
/// What a statement takes beside its name and text, roughly.
const BESIDE: usize = 512;

/// The sum of what one session keeps.
#[derive(Debug, Default)]
pub(super) struct Total(Arc<AtomicUsize>);

/// One statement's or portal's part, taken off when it goes.
#[derive(Debug)]
pub(super) struct Kept {
    bytes: usize,
    total: Arc<AtomicUsize>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn size(prepared: &Prepared) -> usize {
    prepared.name.len() + prepared.text.bytes().len() + BESIDE
}

impl Total {
    /// Counts a statement, once.
    pub(super) fn add(&self, prepared: &Prepared) {
        prepared.kept.get_or_init(|| {
            let bytes = size(prepared);
            self.0.fetch_add(bytes, Ordering::Relaxed);
            Kept { bytes, total: Arc::clone(&self.0) }
        });
    }

    /// Counts a message that binds a portal; nothing if those before it take all that there is.
    pub(super) fn bind(&self, bytes: usize) -> Option<Kept> {
        if self.0.load(Ordering::Relaxed) >= MAX_BOUND {
            return None;
        }
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Some(Kept { bytes, total: Arc::clone(&self.0) })
    }

    /// Why no statement more may be kept under this name, if so: the one that it would take the place of does not count.
    pub(super) fn is_full(&self, names: &Names<Prepared>, name: &Name) -> Option<String> {
        let replaced = names.get(name).map(|slot| size(&slot.value));
        if replaced.is_none() && names.len() >= MAX_NAMES {
            return Some(format!("a session may keep {MAX_NAMES} prepared statements"));
        }
        let others = self.0.load(Ordering::Relaxed).saturating_sub(replaced.unwrap_or(0));
        // By the unnamed one a client gives up others, so there is room for it beside them.
        let most = if name.is_empty() { 2 * MAX_KEPT } else { MAX_KEPT };
        (others >= most).then(|| format!("a session may keep {} MiB of prepared statements", MAX_KEPT >> 20))
    }
}
