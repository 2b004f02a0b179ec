//! The rules in force, which may be replaced while sessions use them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::Policy;

/// A set of rules and its number.
#[derive(Debug, Clone)]
pub struct Current {
    /// The rules.
    pub policy: Arc<Policy>,
    number: u64,
}

/// The rules in force. Whoever judges keeps a [`Current`] and asks before each statement whether it still is; while nothing
/// changes that costs one read of a number, and no lock.
#[derive(Debug)]
pub struct InForce {
    number: AtomicU64,
    current: RwLock<Current>,
}

impl InForce {
    /// These rules, from the start.
    pub fn new(policy: Policy) -> Self {
        Self { number: AtomicU64::new(0), current: RwLock::new(Current { policy: Arc::new(policy), number: 0 }) }
    }

    /// The rules in force.
    pub fn current(&self) -> Current {
        // A writer does nothing that could leave it half written.
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes `known` the rules in force; whether it was not.
    pub fn refresh(&self, known: &mut Current) -> bool {
        let stale = self.number.load(Ordering::Acquire) != known.number;
        if stale {
            *known = self.current();
        }
        stale
    }

    /// Puts other rules in force: for every statement that is judged from now on.
    pub fn replace(&self, policy: Policy) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let number = current.number + 1;
        *current = Current { policy: Arc::new(policy), number };
        self.number.store(number, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_are_replaced_are_seen_once_and_stay() {
        let rules = |text: &str| Policy::load(&[("t.cedar".to_owned(), text.to_owned())]).unwrap();
        let in_force = InForce::new(rules(""));
        let mut known = in_force.current();
        assert!(!in_force.refresh(&mut known));
        in_force.replace(rules("permit(principal, action, resource);"));
        assert_eq!(known.policy.rules(), 0, "what is being judged is judged by one set");
        assert!(in_force.refresh(&mut known) && !in_force.refresh(&mut known));
        assert_eq!((known.policy.rules(), in_force.current().policy.rules()), (1, 1));
    }
}
