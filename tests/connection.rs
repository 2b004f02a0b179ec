//! The connection: whatever a peer does, the session ends cleanly and the record says how.
//!
//! Clients here say raw bytes, well-formed or not; what is asserted is what the client reads, what the archive says, what
//! PostgreSQL logged, and that the program lives.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper of a test that fails says so by panicking")]

mod support;

#[path = "connection/addresses.rs"]
mod addresses;
#[path = "connection/balanced.rs"]
mod balanced;
#[path = "connection/certificates.rs"]
mod certificates;
#[path = "connection/client_certificates.rs"]
mod client_certificates;
#[path = "connection/cluster.rs"]
mod cluster;
#[path = "connection/encryption.rs"]
mod encryption;
#[path = "connection/ends.rs"]
mod ends;
#[path = "connection/frames.rs"]
mod frames;
#[path = "connection/fuzzed.rs"]
mod fuzzed;
#[path = "connection/journal.rs"]
mod journal;
#[path = "connection/limits.rs"]
mod limits;
#[path = "connection/login.rs"]
mod login;
#[path = "connection/logins.rs"]
mod logins;
#[path = "connection/own_token.rs"]
mod own_token;
#[path = "connection/pipelines.rs"]
mod pipelines;
#[path = "connection/places.rs"]
mod places;
#[path = "connection/replication.rs"]
mod replication;
#[path = "connection/restart.rs"]
mod restart;
#[path = "connection/shown_upstream.rs"]
mod shown_upstream;
#[path = "connection/sign_in.rs"]
mod sign_in;
#[path = "connection/state.rs"]
mod state;
#[path = "connection/targets.rs"]
mod targets;
#[path = "connection/upstream.rs"]
mod upstream;

use std::time::Duration;

use serde_json::Value;
use support::raw::{Raw, query};
use support::{Hansard, Postgres, wait_for};

/// How the session of `application` ended.
fn closed(hansard: &Hansard, application: &str) -> Value {
    let sql = format!("select * from sessions where kind = 'closed' and application = '{application}'");
    let rows = hansard.archive().query_until(&sql, |rows| !rows.is_empty());
    assert_eq!(rows.len(), 1, "{application}: one session, one end: {rows:?}");
    rows[0].clone()
}

/// The program serves: a new session works.
fn assert_alive(hansard: &Hansard) {
    let mut probe = Raw::sign_in(&hansard.login("dev", "probe"));
    assert_eq!(support::raw::kinds(&probe.talk(&query("select 1"))), "TDCZ", "{}", hansard.log());
}

/// Waits until the session sleeps at the database.
fn asleep(application: &str) {
    let sql =
        format!("select 1 from pg_stat_activity where application_name = '{application}' and wait_event = 'PgSleep'");
    wait_for("the sleep at the database", Duration::from_secs(10), || {
        (Postgres::shared().admin(&sql) == "1").then_some(())
    });
}
