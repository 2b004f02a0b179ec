//! Counters and health of the real program: numbers move with what clients do, `/readyz` says no as long as recording is
//! impossible, and what Prometheus reads is in its format, to the letter.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of a test that fails says so by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use support::{Hansard, Store, connect, psql, wait_for};

/// How long a number may take to move.
const SOON: Duration = Duration::from_secs(20);

/// A page of metrics: the value of each sample by its name and labels, as they are written.
type Page = BTreeMap<String, f64>;

/// Reads OpenMetrics text and takes nothing that its specification forbids.
fn page(text: &str) -> Page {
    let mut page = Page::new();
    // Name and kind of the family being read; families never come twice.
    let (mut name, mut kind) = (String::new(), String::new());
    let mut seen = BTreeSet::new();
    let mut lines = text.strip_suffix("# EOF\n").unwrap_or_else(|| panic!("no end:\n{text}")).lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (family, sentence) = help.split_once(' ').unwrap();
            assert!(sentence.ends_with('.') && !sentence.contains(['\\', '"']), "{line}");
            let declared = lines.next().unwrap().strip_prefix("# TYPE ").unwrap().split_once(' ').unwrap();
            assert_eq!(declared.0, family, "HELP and TYPE");
            assert!(family.starts_with("hansard_") && family.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
            assert!(seen.insert(family.to_owned()), "{family} is there twice");
            (name, kind) = (family.to_owned(), declared.1.to_owned());
            continue;
        }
        if let Some(unit) = line.strip_prefix("# UNIT ") {
            let (family, unit) = unit.split_once(' ').unwrap();
            assert!(family == name && name.ends_with(&format!("_{unit}")), "{line}");
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
        let (bare, labels) = match sample.split_once('{') {
            Some((bare, labels)) => (bare, labels.strip_suffix('}').unwrap()),
            None => (sample, ""),
        };
        let suffix = bare.strip_prefix(&name).unwrap_or_else(|| panic!("{line} is not of {name}"));
        let fits = match kind.as_str() {
            "gauge" => suffix.is_empty(),
            "counter" => suffix == "_total",
            "info" => suffix == "_info",
            "histogram" => matches!(suffix, "_sum" | "_count" | "_bucket"),
            _ => false,
        };
        assert!(fits, "{line} does not fit a {kind}");
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            let (key, value) = label.split_once('=').unwrap();
            let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap();
            assert!(key.chars().all(|c| c.is_ascii_lowercase()), "{line}");
            assert!(value.chars().all(|c| c.is_ascii_alphanumeric() || "_-.+".contains(c)), "{line}");
        }
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        assert!(value.is_finite() && value >= 0.0, "{line}");
        assert!(page.insert(sample.to_owned(), value).is_none(), "{sample} is there twice");
    }
    page
}

fn metrics(hansard: &Hansard) -> Page {
    let (status, kind, text) = hansard.ask("/metrics").unwrap();
    assert_eq!((status, kind.as_str()), (200, "application/openmetrics-text; version=1.0.0; charset=utf-8"));
    page(&text)
}

/// Waits until the page is as wanted.
fn until(hansard: &Hansard, what: &str, wanted: impl Fn(&Page) -> bool) -> Page {
    wait_for(what, SOON, || Some(metrics(hansard)).filter(&wanted))
}

fn ready(hansard: &Hansard) -> (u16, String) {
    let (status, _, body) = hansard.ask("/readyz").unwrap();
    (status, body)
}

fn statements(decision: &str, status: &str) -> String {
    format!("hansard_statements_total{{target=\"app\",decision=\"{decision}\",status=\"{status}\"}}")
}

fn refused(cause: &str) -> String {
    format!("hansard_sessions_refused_total{{target=\"app\",cause=\"{cause}\"}}")
}

const OPEN: &str = "hansard_sessions_open{target=\"app\"}";
const OPENED: &str = "hansard_sessions_opened_total{target=\"app\"}";

#[tokio::test(flavor = "multi_thread")]
async fn numbers_move_with_what_clients_do_and_tell_nothing_of_them() {
    let mut hansard = Hansard::start_watched(Store::Folder, "1GiB");
    wait_for("ready", SOON, || (ready(&hansard) == (200, "ready\n".to_owned())).then_some(()));
    assert_eq!(hansard.ask("/livez").unwrap().0, 200);
    assert_eq!(hansard.ask("/").unwrap().0, 404);
    let before = metrics(&hansard);
    assert!(before.keys().any(|key| key.starts_with("hansard_build_info{version=\"")), "{before:?}");
    for at_rest in [OPEN, OPENED, &statements("allow", "ok"), &statements("deny", "denied"), &refused("expired")] {
        assert_eq!(before[at_rest], 0.0, "{at_rest} is there from the start");
    }
    assert_eq!(before["hansard_issuer_up{issuer=\"main\"}"], 1.0);
    assert_eq!(before["hansard_ready"], 1.0);
    assert_eq!(before["hansard_journal_limit_bytes"], f64::from(1 << 30));

    let script = "select 'a-secret-value';\nselect * from hr.salaries;\nselect 1/0;\nselect 2;\n";
    let ran = psql(&hansard.login("ana", "an-application"), script);
    assert!(ran.stderr.contains("salaries-are-private"), "{}", ran.stderr);
    let after = until(&hansard, "the session's end", |page| page[OPENED] > 0.0 && page[OPEN] == 0.0);
    assert_eq!(after[OPENED], 1.0);
    assert_eq!(after[&statements("allow", "ok")], 2.0);
    assert_eq!(after[&statements("allow", "error")], 1.0);
    assert_eq!(after[&statements("deny", "denied")], 1.0);

    let client = connect(&hansard.login("dev", "another")).await.unwrap();
    client.query_one("select $1::text", &[&"bound-value"]).await.unwrap();
    let meanwhile = metrics(&hansard);
    assert_eq!((meanwhile[OPEN], meanwhile[OPENED]), (1.0, 2.0));
    drop(client);

    let mut stranger = hansard.login("ana", "a-stranger");
    "no token".clone_into(&mut stranger.password);
    assert!(!psql(&stranger, "select 1;").success);
    let refusals = metrics(&hansard);
    assert_eq!(refusals[&refused("not_a_token")], 1.0);

    // What is left of the backlog are the recorder's own notes.
    let shipped = until(&hansard, "everything shipped", |page| {
        page[OPEN] == 0.0
            && page["hansard_unshipped_age_seconds"] == 0.0
            && page["hansard_journal_backlog_entries"] <= 3.0
    });
    assert_eq!(shipped["hansard_segments_sealed_total"], shipped["hansard_segments_shipped_total"]);
    assert_eq!(shipped["hansard_seal_delay_seconds_count"], shipped["hansard_segments_sealed_total"]);
    assert!(shipped["hansard_journal_shipped_entry"] > before["hansard_journal_flushed_entry"], "{shipped:?}");
    assert_eq!(shipped["hansard_upload_failures_total"], 0.0);
    assert!(shipped["hansard_journal_used_bytes"] > before["hansard_journal_used_bytes"]);

    let text = hansard.ask("/metrics").unwrap().2.to_lowercase();
    let secrets = ["secret", "select", "salaries", "bound", "ana", "u-dev", "application", "stranger", "eyj"];
    for secret in secrets {
        assert!(!text.contains(secret), "{secret} is in the metrics:\n{text}");
    }
    assert_eq!(hansard.stop(), 0);
    assert!(hansard.log().contains("stopped"));
}

#[test]
fn a_recorder_whose_journal_is_full_is_not_ready_and_is_again_when_the_archive_is_back() {
    // Files of 1 MiB; new sessions are refused from 3.2 MiB on.
    let hansard = Hansard::start_watched(Store::Folder, "4MiB");
    let (archive, aside) = (hansard.folder().join("archive"), hansard.folder().join("archive.aside"));
    fs::rename(&archive, &aside).unwrap();
    fs::write(&archive, "in the way").unwrap();

    let script = format!("select length('{}');\n", "x".repeat(500_000)).repeat(12);
    let ran = psql(&hansard.login("dev", "filling"), &script);
    assert!(ran.stderr.contains("58030"), "statements are refused when it is full: {}", ran.stderr);
    let (status, reason) = ready(&hansard);
    assert_eq!(status, 503);
    assert!(reason.starts_with("the journal is full: ") && reason.lines().count() == 1, "{reason}");
    assert_eq!(hansard.ask("/livez").unwrap().0, 200, "it lives all the same");
    assert!(!psql(&hansard.login("dev", "not-let-in"), "select 1;").success);
    let full = until(&hansard, "a failed upload", |page| page["hansard_upload_failures_total"] > 0.0);
    assert_eq!((full["hansard_ready"], full["hansard_journal_session_room_bytes"]), (0.0, 0.0));
    assert_eq!((full["hansard_shipping_failing"], full["hansard_shipping_stopped"]), (1.0, 0.0));
    assert_eq!(full["hansard_journal_refusing"], 0.0, "nothing was wrong with the disk");
    assert!(full["hansard_unshipped_age_seconds"] > 0.0);
    assert_eq!(full["hansard_entries_refused_total{target=\"app\",sqlstate=\"57P03\"}"], 1.0);
    assert!(full["hansard_entries_refused_total{target=\"app\",sqlstate=\"58030\"}"] >= 1.0);
    assert_eq!(full[&refused("recording_impossible")], 1.0);
    let allowed = full[&statements("allow", "ok")];
    assert!(allowed > 0.0 && allowed < 12.0, "what was refused is not counted as a statement: {allowed}");

    fs::remove_file(&archive).unwrap();
    fs::rename(&aside, &archive).unwrap();
    wait_for("ready again", Duration::from_secs(40), || (ready(&hansard).0 == 200).then_some(()));
    assert!(psql(&hansard.login("dev", "let-in"), "select 1;").success);
    assert_eq!(until(&hansard, "shipping", |page| page["hansard_shipping_failing"] == 0.0)["hansard_ready"], 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorder_that_drains_is_not_ready_and_lives() {
    let hansard = Hansard::start_watched(Store::Folder, "1GiB");
    let client = connect(&hansard.login("dev", "busy")).await.unwrap();
    let long = tokio::spawn(async move { client.simple_query("select pg_sleep(4)").await.is_ok() });
    until(&hansard, "the session", |page| page[OPEN] == 1.0);
    // So that the statement is at the database.
    tokio::time::sleep(Duration::from_millis(500)).await;
    hansard.begin_to_stop();
    let reason = wait_for("not ready", SOON, || Some(ready(&hansard)).filter(|(status, _)| *status == 503)).1;
    assert!(reason.starts_with("stopping"), "{reason}");
    assert_eq!(hansard.ask("/livez").unwrap().0, 200);
    assert_eq!(metrics(&hansard)[OPEN], 1.0, "what runs may end");
    assert!(long.await.unwrap(), "the statement was broken off");
    wait_for("the end", SOON, || hansard.ask("/livez").is_none().then_some(()));
}

#[test]
fn those_who_vouch_for_the_evidence_are_counted_and_their_trouble_is_a_note() {
    // Nobody answers for the time, and a file stands where the copies are to be.
    let hansard = Hansard::start_watched_edited(Store::Folder, &|config| {
        let folder = config.lines().find_map(|line| line.strip_prefix("url = \"file://")?.strip_suffix("/archive\""));
        let in_the_way = format!("{}/copies", folder.unwrap());
        fs::write(&in_the_way, "in the way").unwrap();
        let authorities = support::repository("fixtures/timestamps/p256-ca.pem");
        let stamps =
            format!("timestamps = {{ url = \"http://127.0.0.1:9/\", authorities = \"{}\" }}", authorities.display());
        let copy = format!("copy = {{ url = \"file://{in_the_way}\" }}");
        config.replace("[telemetry]\n", &format!("[evidence]\n{stamps}\n{copy}\n\n[telemetry]\n"))
    });
    let failing = until(&hansard, "two failures", |page| {
        page["hansard_evidence_copy_failing"] == 1.0 && page["hansard_evidence_stamp_failing"] == 1.0
    });
    let state = |page: &Page| {
        let states = ["signed", "behind", "contradicted"];
        let state = |state: &&&str| page[&format!("hansard_evidence_state{{state=\"{state}\"}}")] == 1.0;
        states.iter().filter(state).copied().collect::<Vec<_>>()
    };
    assert_eq!(state(&failing), ["behind"]);
    assert!(failing["hansard_evidence_signed_segment"] >= 1.0);
    assert!(failing["hansard_evidence_copy_failures_total"] >= 1.0);
    assert!(failing["hansard_evidence_stamp_failures_total"] >= 1.0);
    for unknown in ["hansard_evidence_copied_segment", "hansard_evidence_stamped_segment"] {
        assert!(!failing.contains_key(unknown), "{unknown}: not known is not nothing");
    }
    let notes = "ready\nnote: checkpoints cannot be copied; it is tried again\nnote: checkpoints cannot be stamped; it is tried again\n";
    assert_eq!(ready(&hansard), (200, notes.to_owned()), "whoever is away is no reason to send nobody");

    fs::remove_file(hansard.folder().join("copies")).unwrap();
    let copied = until(&hansard, "a copy", |page| page["hansard_evidence_copy_failing"] == 0.0);
    assert!(copied["hansard_evidence_copied_segment"] >= 1.0);

    // A copy that is not ours: the next one, whose name tells nobody anything.
    let node = hansard.folder().join("copies/log/test-node");
    let last = fs::read_dir(&node).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).max();
    let (last, size) = (last.unwrap(), copied["hansard_evidence_copied_segment"]);
    for ahead in 1..50 {
        let (at, next) = (format!("-{size:012}-"), format!("-{:012}-", size + f64::from(ahead)));
        fs::write(node.join(last.replace(&at, &next)), "another log").unwrap();
    }
    assert!(psql(&hansard.login("ana", "a-segment"), "select 1;").success);
    let contradicted = until(&hansard, "an alarm", |page| page["hansard_evidence_copy_conflicts_total"] > 0.0);
    assert_eq!(state(&contradicted), ["contradicted"]);
    assert_eq!(contradicted["hansard_ready"], 1.0);
    assert!(ready(&hansard).1.contains("needs a person"), "{:?}", ready(&hansard));
    assert!(hansard.log().contains("ALARM"));
    let sql = "select detail from events where kind = 'archive_conflict'";
    let told = hansard.archive().query_until(sql, |rows| !rows.is_empty());
    assert!(told.len() == 1 && told[0]["detail"].as_str().unwrap().contains("are copied to"), "{told:?}");
}
