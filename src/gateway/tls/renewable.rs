//! A side of TLS that may be replaced while connections use it.

use std::sync::{Arc, PoisonError, RwLock};

use crate::model::Sha256;

/// One side of TLS, and what it was made of. A connection takes what is there when it begins and keeps it; nothing of TLS is
/// resumed from one to the next, because each has a memory of its own.
#[derive(Debug)]
pub struct Renewable<T>(RwLock<(Arc<T>, Sha256)>);

impl<T> Renewable<T> {
    /// This one from the start. `made_of` tells what it was made of from what would make another.
    pub fn new(side: Arc<T>, made_of: Sha256) -> Self {
        Self(RwLock::new((side, made_of)))
    }

    /// What a connection that begins now takes.
    pub(in crate::gateway) fn current(&self) -> Arc<T> {
        // A writer does nothing that could leave it half written.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).0)
    }

    /// What it was made of.
    pub fn made_of(&self) -> Sha256 {
        self.0.read().unwrap_or_else(PoisonError::into_inner).1
    }

    /// Another from now on, for every connection that begins.
    pub fn renew(&self, side: Arc<T>, made_of: Sha256) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = (side, made_of);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_that_is_renewed_is_seen_by_those_who_begin_and_by_nobody_else() {
        let side = Renewable::new(Arc::new("old"), Sha256::of(b"old"));
        let open = side.current();
        side.renew(Arc::new("new"), Sha256::of(b"new"));
        assert_eq!((*open, *side.current()), ("old", "new"));
        assert_eq!(side.made_of(), Sha256::of(b"new"));
    }
}
