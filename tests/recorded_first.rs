//! Promise 2: a statement's bytes can be had only after its intent is on stable storage, whatever the disk does.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that cannot go on fails"
)]

#[path = "support/disk.rs"]
mod disk;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use disk::{Faults, FaultyDisk};
use hansard::journal::{Journal, JournalError, Opened, Settings};
use hansard::model::{
    Asked, Decision, Entry, Facts, Intent, Outcome, OutcomeStatus, Recorded, Reference, Request, SessionId, SqlText,
    Statement, Timestamp, Verdict,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// More statements than a caller must have been alone for before it flushes by itself.
const ALONE: u64 = 20;
const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

fn settings() -> Settings {
    Settings { dir: "unused".into(), max_bytes: 1 << 30, refuse_new_sessions_at: 1 << 30, file_bytes: 16 << 10 }
}

fn open(disk: &FaultyDisk) -> Opened {
    Journal::open_on(settings(), Arc::new(disk.clone()), [7; 16].into()).unwrap()
}

fn reference(session: u64, statement: u64) -> Reference {
    Reference { session: SessionId::from_bits(session), statement }
}

fn intent(session: u64, number: u64) -> Entry {
    Entry::Intent(Arc::new(Intent {
        reference: reference(session, number),
        time: Timestamp(0),
        statement: Statement {
            request: Request::Query,
            text: SqlText::from("SELECT 1"),
            params: Vec::new(),
            prepared: None,
            portal: None,
        },
        facts: Facts::unparsed("a test").into(),
        decision: Decision {
            verdict: Verdict::Allow,
            rules: Vec::new(),
            policy_version: String::new(),
            message: None,
            hint: None,
        }
        .into(),
        transaction: 'I',
        server_version: None,
        acting: Arc::default(),
    }))
}

fn outcome(session: u64, number: u64) -> Entry {
    Entry::Outcome(Box::new(Outcome::bare(reference(session, number), Timestamp(0), OutcomeStatus::Ok)))
}

/// The statements that a journal holds, in order.
fn statements(journal: &Journal) -> Vec<Reference> {
    let upto = *journal.flushed().borrow();
    let mut reader = journal.reader();
    let mut found = Vec::new();
    while let Some(numbered) = reader.next(upto).unwrap() {
        if let Entry::Intent(intent) = numbered.entry {
            found.push(intent.reference);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn no_permit_is_given_before_the_flush_has_come_back() {
    let disk = FaultyDisk::default();
    let journal = open(&disk).journal;
    journal.record(vec![intent(1, 1)], Recorded::Flushed).await.unwrap();
    disk.fail(Faults { stuck: true, ..Faults::default() });
    // A task of its own: it may be the one that is stuck in the flush.
    let recording = journal.clone();
    let mut waiting =
        tokio::spawn(async move { recording.record(vec![intent(1, 2)], Recorded::Flushed).await.unwrap() });
    let early = tokio::time::timeout(Duration::from_millis(300), &mut waiting).await;
    assert!(early.is_err(), "a permit without a flush");
    let flushes = disk.flushes();
    disk.fail(Faults::default());
    let permits = waiting.await.unwrap();
    assert_eq!(disk.flushes(), flushes + 1);
    let asked: Vec<Asked> = permits.into_iter().map(hansard::journal::Permit::spend).collect();
    assert_eq!(asked, [Asked::Execution(reference(1, 2))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_refuses_and_what_was_refused_is_not_found_again() {
    let faults = [
        ("EIO at flush", Faults { flush: Some(EIO), ..Faults::default() }),
        ("ENOSPC at write", Faults { write: Some(ENOSPC), ..Faults::default() }),
        ("ENOSPC in the middle", Faults { write: Some(ENOSPC), written_before: 700, ..Faults::default() }),
        ("read-only", Faults { write: Some(EROFS), flush: Some(EROFS), create: Some(EROFS), ..Faults::default() }),
    ];
    // Flushed by the writer's thread, and by a caller who has been alone for a while.
    let cases = faults.iter().flat_map(|(name, fault)| [0, ALONE].map(|before| (name, fault, before)));
    for (name, fault, before) in cases {
        let disk = FaultyDisk::default();
        let journal = open(&disk).journal;
        let mut wanted = Vec::new();
        for number in 0..before {
            journal.record(vec![intent(2, number)], Recorded::Flushed).await.unwrap();
            wanted.push(reference(2, number));
        }
        journal.record(vec![intent(1, 1)], Recorded::Flushed).await.unwrap();
        wanted.push(reference(1, 1));
        journal.note(outcome(1, 1)).await.unwrap();
        disk.fail(fault.clone());
        for number in 2..5 {
            let refused = journal.record(vec![intent(1, number)], Recorded::Flushed).await;
            assert!(matches!(refused, Err(JournalError::Disk { .. })), "{name}: {refused:?}");
        }
        assert_eq!(statements(&journal), wanted, "{name}");
        let killed = open(&disk.after_kill());
        assert_eq!(statements(&killed.journal), wanted, "{name}, killed before anything else was written");
        disk.fail(Faults::default());
        journal.record(vec![intent(1, 5)], Recorded::Flushed).await.unwrap();
        wanted.push(reference(1, 5));
        assert_eq!(statements(&journal), wanted, "{name}");
        journal.close().await;
        let again = open(&disk);
        assert_eq!(statements(&again.journal), wanted, "{name}, after a restart");
        assert_eq!(again.damage, Vec::new(), "{name}: nothing that was confirmed is missing");
        let upto = *again.journal.flushed().borrow();
        assert_eq!(upto.0, before + 3, "{name}: the note was kept through the failure");
    }
}

/// What `written` promises: released before the flush, and not lost when the flush fails; then refused until one succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_released_before_a_flush_that_fails_is_kept_and_nothing_more_is_released() {
    let disk = FaultyDisk::default();
    let journal = open(&disk).journal;
    let record = |number| journal.record(vec![intent(1, number)], Recorded::Written);
    record(1).await.unwrap();
    let mut flushed = journal.flushed();
    flushed.wait_for(|seq| seq.0 == 1).await.unwrap();
    disk.fail(Faults { stuck: true, flush: Some(EIO), create: Some(EIO), ..Faults::default() });
    // No flush comes back, and nobody waits for one.
    for number in 2..5 {
        record(number).await.unwrap();
    }
    let killed = open(&disk.after_kill());
    assert_eq!(statements(&killed.journal).len(), 4, "a kill loses nothing that was released");
    disk.fail(Faults { flush: Some(EIO), create: Some(EIO), ..Faults::default() });
    while journal.trouble().is_none() {
        tokio::task::yield_now().await;
    }
    let refused = record(5).await;
    assert!(matches!(refused, Err(JournalError::Disk { .. })), "{refused:?}");
    disk.fail(Faults::default());
    record(6).await.unwrap();
    assert!(journal.trouble().is_none(), "the first one after a failure waits for a flush");
    let wanted: Vec<Reference> = [1, 2, 3, 4, 6].map(|number| reference(1, number)).to_vec();
    assert_eq!(statements(&journal), wanted);
    journal.close().await;
    assert_eq!(statements(&open(&disk).journal), wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_statements_are_refused_and_what_began_can_still_be_ended() {
    let disk = FaultyDisk::default();
    let journal = open(&disk).journal;
    journal.record(vec![intent(1, 1)], Recorded::Flushed).await.unwrap();
    // Time for the spares to be made.
    tokio::time::sleep(Duration::from_millis(200)).await;
    disk.fail(Faults { create: Some(ENOSPC), ..Faults::default() });
    let mut accepted = 1;
    while journal.record(vec![intent(1, accepted + 1)], Recorded::Flushed).await.is_ok() {
        accepted += 1;
        assert!(accepted < 10_000, "the disk is never full");
    }
    for number in 1..=accepted.min(30) {
        journal.append(vec![outcome(1, number)]).await.unwrap();
    }
    let refused = journal.record(vec![intent(1, 99_999)], Recorded::Flushed).await;
    // The reserve's file is open now; as long as it has room there is no reason to refuse.
    drop(refused);
    journal.close().await;
    disk.fail(Faults::default());
    let found = statements(&open(&disk).journal);
    assert_eq!(found[..accepted as usize], (1..=accepted).map(|n| reference(1, n)).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_permitted_before_the_power_was_lost_is_found_after_it() {
    let seed: u64 = std::env::var("HANSARD_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    eprintln!("HANSARD_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut disk = FaultyDisk::default();
    let mut permitted: BTreeSet<Reference> = BTreeSet::new();
    for run in 0..60_u64 {
        let Opened { journal, .. } = open(&disk);
        let found = statements(&journal);
        let unique: BTreeSet<Reference> = found.iter().copied().collect();
        assert_eq!(unique.len(), found.len(), "run {run}: a statement is there twice");
        let missing: Vec<_> = permitted.difference(&unique).collect();
        assert!(missing.is_empty(), "run {run}: permitted and not found: {missing:?}");
        let sessions: Vec<_> = (0..if random.random_bool(0.3) { 1 } else { 6 })
            .map(|session| {
                let (journal, statements) = (journal.clone(), random.random_range(1..40));
                tokio::spawn(async move {
                    let mut permitted = Vec::new();
                    for number in 0..statements {
                        let entry = intent(run * 10 + session, number);
                        // The power goes while others wait: their statements are neither permitted nor refused.
                        if let Ok(Ok(_)) = tokio::time::timeout(
                            Duration::from_millis(500),
                            journal.record(vec![entry], Recorded::Flushed),
                        )
                        .await
                        {
                            permitted.push(reference(run * 10 + session, number));
                        }
                    }
                    permitted
                })
            })
            .collect();
        if random.random_bool(0.5) {
            let faults = Faults { flush: random.random_bool(0.5).then_some(EIO), ..Faults::default() };
            tokio::time::sleep(Duration::from_micros(random.random_range(0..500))).await;
            disk.fail(faults);
            tokio::time::sleep(Duration::from_micros(random.random_range(0..500))).await;
            disk.fail(Faults::default());
        }
        for session in sessions {
            permitted.extend(session.await.unwrap());
        }
        let lost = disk.after_power_loss(|| random.random_bool(0.5));
        disk = lost;
    }
    assert!(permitted.len() > 1_000, "too little was tried: {}", permitted.len());
}
