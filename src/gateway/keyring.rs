//! What our own passwords were made into, kept so that a session need not wait for it.
//!
//! SCRAM's keys take milliseconds to derive, on purpose; they hang on the password and on what the database says of it, which
//! is the same at each login. They are kept in memory only, for as long as the target is, and are as secret as the password.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::wire::postgres::handshake::{Keys, Recipe};

/// Keys that are kept for one login. A database has one recipe for it, and after its password was set again another; several
/// databases behind one target may each have one of their own. With one more, the oldest are forgotten, so that a false
/// database that invents recipes costs no more than the time to derive them.
const MAX_KEYS: usize = 16;

/// The keys of one login, newest first.
#[derive(Default)]
pub(super) struct Keyring {
    kept: Mutex<VecDeque<(Recipe, Arc<Keys>)>>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring")
    }
}

impl Keyring {
    fn kept(&self) -> MutexGuard<'_, VecDeque<(Recipe, Arc<Keys>)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys for a recipe. Nothing if the program is stopping.
    pub(super) async fn keys(&self, password: &str, recipe: Recipe) -> Option<Arc<Keys>> {
        let known = self.kept().iter().find(|(of, _)| *of == recipe).map(|(_, keys)| Arc::clone(keys));
        if known.is_some() {
            return known;
        }
        let (password, of) = (password.to_owned(), recipe.clone());
        // Sessions on this thread do not wait for it.
        let derived = tokio::task::spawn_blocking(move || Arc::new(Keys::derive(&password, &of))).await.ok()?;
        let mut kept = self.kept();
        kept.push_front((recipe, Arc::clone(&derived)));
        kept.truncate(MAX_KEYS);
        Some(derived)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::postgres::handshake::{Channel, Credentials, Login, Progress, Proof};

    /// The recipe of a database with this salt.
    fn recipe(salt: &str) -> Recipe {
        let message = |code: u8, text: &str| {
            let length = u8::try_from(text.len() + 8).unwrap();
            [&[b'R', 0, 0, 0, length, 0, 0, 0, code][..], text.as_bytes()].concat().into()
        };
        let credentials = Credentials { user: "u".to_owned(), password: "p".to_owned().into() };
        let (mut login, _) = Login::begin(credentials, "d", &[], (Channel::Local, Proof::Scram), "nonce".to_owned());
        login.take(b'R', &message(10, "SCRAM-SHA-256\0\0")).unwrap();
        match login.take(b'R', &message(11, &format!("r=nonce+,s={salt},i=2"))).unwrap() {
            Progress::Prove(recipe) => recipe,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn keys_are_derived_once_for_each_recipe_and_the_oldest_are_forgotten() {
        let ring = Keyring::default();
        let first = ring.keys("p", recipe("AAAA")).await.unwrap();
        assert!(Arc::ptr_eq(&first, &ring.keys("p", recipe("AAAA")).await.unwrap()));
        for at in 0..MAX_KEYS {
            let salt = format!("BB{}{}", char::from(b'A' + u8::try_from(at).unwrap()), 'A');
            let other = ring.keys("p", recipe(&salt)).await.unwrap();
            assert!(!Arc::ptr_eq(&first, &other));
        }
        assert_eq!(ring.kept().len(), MAX_KEYS);
        assert!(!Arc::ptr_eq(&first, &ring.keys("p", recipe("AAAA")).await.unwrap()));
        assert_eq!(format!("{ring:?}"), "Keyring");
    }
}
