//! A crowd of sessions that wait, with TLS: more than PostgreSQL lets in, so a PgBouncer that pools by transaction stands
//! between it and Hansard.

use std::time::{Duration, Instant};

use futures::StreamExt as _;

use super::relays::{RULES, Relay, pgbouncer};
use super::setting;
use super::support::{Folder, Hansard, Issuer, Postgres, Store, connect};

/// Sessions: each takes two files of Hansard's, and 20,000 is a limit that is met.
const SESSIONS: u64 = 9_500;
/// Sign-ins at a time.
const AT_A_TIME: usize = 32;

/// Memory of each, and what it cost to let them in. `HANSARD_BENCH_CROWD` says how many.
pub(crate) fn crowd(postgres: &Postgres) -> String {
    let count = usize::try_from(setting("HANSARD_BENCH_CROWD", SESSIONS)).unwrap();
    let folder = Folder::new("crowd");
    let (port, settings) = (super::support::free_port(), "pool_mode = transaction\ndefault_pool_size = 20\n");
    let mut pooler = pgbouncer(&folder, port, postgres, settings).spawn().unwrap();
    let hansard = Hansard::start_on(Store::Folder, RULES, Issuer::shared(), &|config| {
        let (before, rest) = config.split_once("tls = { mode = \"verify-full\"").unwrap();
        let (_, after) = rest.split_once('\n').unwrap();
        let before = before.replace(&format!("127.0.0.1:{}", postgres.port()), &format!("127.0.0.1:{port}"));
        format!("{before}tls = {{ mode = \"disable\" }}\n{after}\n[limits]\nconnections = 20000\n")
    });
    let login = hansard.login("dev", "crowd");
    let relay = Relay::of("crowd", login.clone(), true, hansard.pid());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let text = runtime.block_on(async {
        let one = |_| async {
            let client = connect(&login).await.unwrap();
            client.simple_query("select 17").await.unwrap();
            client
        };
        let crowd = |count| futures::stream::iter(0..count).map(one).buffer_unordered(AT_A_TIME).collect::<Vec<_>>();
        drop(crowd(AT_A_TIME * 4).await);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (memory, cpu, began) = (relay.memory(), relay.cpu_micros(), Instant::now());
        let sessions = crowd(count).await;
        let (cpu, seconds) = ((relay.cpu_micros() - cpu) / count as f64, began.elapsed().as_secs_f64());
        tokio::time::sleep(Duration::from_secs(3)).await;
        let each = (relay.memory() - memory) / count as f64 / 1024.0;
        let asked = sessions.first().unwrap().simple_query("select 18").await;
        assert!(asked.is_ok(), "one of the crowd is still served");
        format!(
            "**A crowd**: {count} sessions with TLS that wait after one query, let in {AT_A_TIME} at a time in {seconds:.0} s: \
             {each:.1} KiB each; {cpu:.0} µs of processor time for each sign-in with its TLS and its query\n"
        )
    });
    drop(runtime);
    pooler.kill().and_then(|()| pooler.wait()).unwrap();
    text
}
