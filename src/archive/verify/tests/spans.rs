//! What no single segment can show.

use super::*;

async fn sealed(parts: Vec<Rows>) -> Report {
    let mut shelf = Shelf::new();
    for rows in parts {
        shelf.seal(rows).await;
    }
    Copy::of(&shelf).verify().await
}

fn events(events: Vec<EventRow>) -> Rows {
    Rows { events, ..Rows::default() }
}

#[tokio::test]
async fn silence_is_a_gap_unless_the_recorder_had_stopped_or_says_why() {
    use RecorderEventKind::{Gap, Heartbeat, Recovered, Started, Stopped};
    let start = || event(1, 0, Started);
    let long = 3_600 * SECOND;
    let nothing = || EventDetails { missing_at_most: Some(0), ..EventDetails::default() };
    let report = sealed(vec![events(vec![start()]), events(vec![event(2, long, Heartbeat)])]).await;
    assert_eq!(found(&report), BTreeMap::from([("entry 2 of node-1", Class::UndeclaredGap)]));
    assert!(report.findings[0].detail.contains("silent from 2026-11-24T14:10:52"), "{:?}", report.findings);
    // Within one segment as well: an archive that was away has long ones.
    let report = sealed(vec![events(vec![start(), event(2, long, Heartbeat)])]).await;
    assert_eq!(found(&report).len(), 1);
    let report =
        sealed(vec![events(vec![start(), event(2, SECOND, Stopped)]), events(vec![event(3, long, Started)])]).await;
    assert_eq!(report.findings, [], "it had been stopped");
    for kind in [Gap, Recovered] {
        let said = event_with(2, long, kind, nothing());
        let report = sealed(vec![events(vec![start()]), events(vec![said])]).await;
        assert_eq!(report.verdict(), Verdict::Proven, "{:?}", report.findings);
        let [finding] = report.findings.as_slice() else { panic!("{:?}", report.findings) };
        assert_eq!((finding.class, finding.weight), (Class::DeclaredGap, Weight::Note));
    }
    let on_time = (0..20).map(|beat| event(beat + 1, i64::try_from(beat).unwrap() * 300 * SECOND, Heartbeat)).collect();
    assert_eq!(sealed(vec![events(on_time)]).await.findings, []);
}

#[tokio::test]
async fn what_a_recorder_says_is_missing_is_never_reported_as_fine() {
    for (missing, at_most) in [(Some(3), Some(3)), (Some(0), Some(9))] {
        let more = EventDetails { missing, missing_at_most: at_most, ..EventDetails::default() };
        let cut = event_with(2, SECOND, RecorderEventKind::JournalTailCut, more);
        let report = sealed(vec![events(vec![event(1, 0, RecorderEventKind::Started), cut])]).await;
        assert_eq!(report.verdict(), Verdict::Incomplete);
        assert_eq!(found(&report), BTreeMap::from([("entry 2 of node-1", Class::DeclaredGap)]));
    }
}

#[tokio::test]
async fn a_session_that_is_short_of_statements_is_missed_even_if_the_roots_fit() {
    let rows = |numbers: &[u64], statements: Option<u64>| Rows {
        records: numbers.iter().map(|number| record(7, *number, SECOND, "select 1")).collect(),
        sessions: statements.map(|statements| closed(7, 2 * SECOND, statements)).into_iter().collect(),
        ..Rows::default()
    };
    let whole = sealed(vec![rows(&[1, 2], None), rows(&[3], Some(3))]).await;
    assert_eq!(whole.findings, []);
    let object = format!("session {}", SessionId::from_bits(7));
    for parts in [
        vec![rows(&[1], None), rows(&[3], Some(3))],
        vec![rows(&[1, 2], None), rows(&[], Some(3))],
        vec![rows(&[2, 3], Some(3))],
    ] {
        let report = sealed(parts).await;
        assert_eq!(found(&report), BTreeMap::from([(object.as_str(), Class::Missing)]), "{:?}", report.findings);
    }
    let open = sealed(vec![rows(&[1, 2], None)]).await;
    assert_eq!(open.findings, [], "it is still open");
}

#[tokio::test]
async fn a_clock_that_was_set_back_is_told() {
    use RecorderEventKind::Heartbeat;
    let report = sealed(vec![events(vec![event(1, 60 * SECOND, Heartbeat), event(2, 0, Heartbeat)])]).await;
    assert_eq!(report.verdict(), Verdict::Proven);
    assert_eq!(report.findings[0].class, Class::ClockAnomaly);
}

#[tokio::test]
async fn only_the_rows_that_are_asked_for_are_read() {
    let shelf = told().await;
    let copy = Copy::of(&shelf);
    let between = Request {
        since: Some(Timestamp(START + 50 * SECOND)),
        until: Some(Timestamp(START + 100 * SECOND)),
        ..trusting(&[1])
    };
    let report = copy.verify_by(&between).await;
    assert_eq!((report.verdict(), report.records), (Verdict::Proven, 5), "{:?}", report.findings);
    copy.remove(&file("statements", 1));
    assert_eq!(copy.verify_by(&between).await.verdict(), Verdict::Proven, "of another day");
    copy.remove(&file("statements", 2));
    assert_eq!(copy.verify_by(&between).await.verdict(), Verdict::Incomplete);
}
