//! The evidence's half of a recorder: journal, shipper, folder.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use hansard::journal::{Journal, Settings};
use hansard::model::{Clock, NodeName, Timestamp};
use hansard::seal::note::SigningKey;
use hansard::ship::{KeyRing, Parts, ShipSettings, Shipper};
use hansard::store::{AzureSettings, Store, StoreSettings};

/// The time.
#[derive(Debug)]
pub(crate) struct System;

impl Clock for System {
    #[expect(clippy::disallowed_methods, reason = "this is the Clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Timestamp(i64::try_from(since.as_micros()).unwrap())
    }
}

/// One key, for ever.
#[derive(Debug)]
struct Key(Arc<SigningKey>);

impl KeyRing for Key {
    fn current(&self) -> Arc<SigningKey> {
        Arc::clone(&self.0)
    }

    fn next(&self) -> io::Result<Option<Arc<SigningKey>>> {
        Ok(None)
    }

    fn promote(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The recorder of the statements of `mix`.
pub(crate) fn node() -> NodeName {
    NodeName::new("node-1").unwrap()
}

/// A journal that is never full.
pub(crate) fn settings(dir: &Path) -> Settings {
    Settings {
        dir: dir.join("journal"),
        max_bytes: 64 << 30,
        refuse_new_sessions_at: 64 << 30,
        file_bytes: Settings::FILE_BYTES,
    }
}

/// A folder as archive.
pub(crate) fn folder(dir: &Path, name: &str) -> Store {
    let url = format!("file://{}", dir.join(name).display());
    Store::open(&StoreSettings { url, azure: AzureSettings::default() }).unwrap()
}

/// A shipper of this journal into this archive.
pub(crate) fn shipper(journal: &Journal, store: &Store, settings: ShipSettings) -> Shipper {
    let key = SigningKey::from_pem("hansard/node-1", &SigningKey::new_pem(&[7; 32])).unwrap();
    let keys = Arc::new(Key(Arc::new(key)));
    let (journal, store) = (journal.clone(), store.clone());
    Shipper::new(Parts { journal, store, node: node(), keys, clock: Arc::new(System) }, settings)
}
