//! The journal's promises on a real disk.

use std::fs;

use super::*;
use crate::model::{
    Decision, Facts, Intent, Outcome, OutcomeStatus, Reference, Request, SessionId, SqlText, Statement, Timestamp,
    Verdict,
};

/// An intent for tests: statement `number` of one session.
pub(super) fn intent(number: u64, text: &str, allow: bool) -> Entry {
    let verdict = if allow { Verdict::Allow } else { Verdict::Deny };
    Entry::Intent(Box::new(Intent {
        reference: Reference { session: SessionId::from_bits(1), statement: number },
        time: Timestamp(i64::try_from(number).unwrap()),
        statement: Statement {
            request: Request::Query,
            text: SqlText::from(text),
            params: Vec::new(),
            prepared: None,
            portal: None,
        },
        facts: Facts::unparsed("a test"),
        decision: Decision { verdict, rules: Vec::new(), policy_version: String::new(), message: None, hint: None },
        transaction: 'I',
        server_version: None,
    }))
}

fn outcome(number: u64) -> Entry {
    let reference = Reference { session: SessionId::from_bits(1), statement: number };
    Entry::Outcome(Box::new(Outcome::bare(reference, Timestamp(0), OutcomeStatus::Ok)))
}

fn settings(dir: &std::path::Path) -> Settings {
    Settings { dir: dir.to_owned(), max_bytes: 1 << 30, refuse_new_sessions_at: 1 << 29, file_bytes: 4096 }
}

fn everything(journal: &Journal) -> Vec<Entry> {
    let upto = *journal.flushed().borrow();
    let mut reader = journal.reader();
    let mut entries = Vec::new();
    while let Some(numbered) = reader.next(upto).unwrap() {
        entries.push(numbered.entry);
    }
    entries
}

#[tokio::test]
async fn what_was_recorded_is_read_back_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut wanted = Vec::new();
    for run in 0..4_u64 {
        let opened = Journal::open(settings(dir.path())).unwrap();
        assert_eq!(opened.damage, Vec::new());
        assert_eq!(opened.last.0, wanted.len() as u64);
        for number in 0..20 {
            let entry = intent(run * 100 + number, &"x".repeat(300), number % 2 == 0);
            wanted.push(entry.clone());
            let permits = opened.journal.record(vec![entry]).await.unwrap();
            assert_eq!(permits.len(), usize::from(number % 2 == 0), "only what was allowed is permitted");
            wanted.push(outcome(number));
            opened.journal.note(outcome(number)).await.unwrap();
        }
        opened.journal.close().await;
        assert_eq!(everything(&opened.journal), wanted);
        assert!(matches!(opened.journal.record(vec![outcome(1)]).await, Err(JournalError::Closed)));
    }
}

#[tokio::test]
async fn nothing_to_record_is_recorded_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(settings(dir.path())).unwrap().journal;
    assert_eq!(journal.record(Vec::new()).await.unwrap().len(), 0);
    let last = journal.append(vec![outcome(1)]).await.unwrap();
    assert_eq!(journal.append(Vec::new()).await.unwrap(), last);
}

#[tokio::test]
async fn a_note_is_flushed_by_itself_when_nobody_else_pays() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(settings(dir.path())).unwrap().journal;
    let mut flushed = journal.flushed();
    journal.note(outcome(1)).await.unwrap();
    tokio::time::timeout(NOTE_DELAY * 20, flushed.wait_for(|seq| seq.0 == 1)).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_tail_cut_at_any_byte_loses_only_what_was_cut() {
    let dir = tempfile::tempdir().unwrap();
    let large = Settings { file_bytes: 1 << 20, ..settings(dir.path()) };
    let journal = Journal::open(large.clone()).unwrap().journal;
    let mut ends = vec![0_u64];
    let path = recovery::path_of(dir.path(), EntrySeq(1));
    for number in 0..4 {
        journal.record(vec![intent(number, "SELECT 1", true)]).await.unwrap();
        ends.push(fs::metadata(&path).unwrap().len());
    }
    journal.close().await;
    let whole = fs::read(&path).unwrap();
    for cut in 0..=whole.len() {
        let other = tempfile::tempdir().unwrap();
        fs::write(recovery::path_of(other.path(), EntrySeq(1)), &whole[..cut]).unwrap();
        let opened = Journal::open(Settings { dir: other.path().to_owned(), ..large.clone() }).unwrap();
        let kept = ends.iter().filter(|end| **end > 16 && **end <= cut as u64).count();
        assert_eq!(opened.last.0, kept as u64, "cut at {cut}");
        assert_eq!(opened.damage.is_empty(), cut == 16 || ends.contains(&(cut as u64)), "cut at {cut}");
        opened.journal.record(vec![intent(99, "SELECT 2", true)]).await.unwrap();
        assert_eq!(everything(&opened.journal).len(), kept + 1, "cut at {cut}");
    }
}

#[tokio::test]
async fn a_second_process_is_told_who_holds_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let first = Journal::open(settings(dir.path())).unwrap();
    let refused = Journal::open(settings(dir.path())).unwrap_err();
    assert!(refused.to_string().contains(&format!("pid {}", std::process::id())), "{refused}");
    drop(first);
}

#[tokio::test]
async fn a_full_journal_refuses_statements_and_still_takes_closings() {
    let dir = tempfile::tempdir().unwrap();
    let small = Settings { max_bytes: 2000, refuse_new_sessions_at: 1000, ..settings(dir.path()) };
    let journal = Journal::open(small).unwrap().journal;
    while journal.used_bytes() < 2000 {
        journal.record(vec![intent(1, "SELECT 1", true)]).await.unwrap();
    }
    let refused = journal.record(vec![intent(2, "SELECT 1", true)]).await.unwrap_err();
    assert!(matches!(refused, JournalError::Full { .. }), "{refused}");
    assert!(journal.room_for_session().is_err());
    journal.append(vec![outcome(1)]).await.unwrap();
}

#[tokio::test]
async fn only_whole_files_before_the_kept_entry_are_freed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(settings(dir.path())).unwrap().journal;
    for number in 0..60 {
        journal.record(vec![intent(number, &"x".repeat(400), true)]).await.unwrap();
    }
    let second = journal.oldest_file_ends_before().unwrap();
    let before = journal.used_bytes();
    assert_eq!(journal.free_before(EntrySeq(second.0 - 1)).await.unwrap(), 0);
    assert_eq!(journal.free_before(second).await.unwrap(), 1);
    assert!(journal.used_bytes() < before);
    let upto = *journal.flushed().borrow();
    assert_eq!(journal.reader().next(upto).unwrap().unwrap().seq, second);
    journal.free_before(EntrySeq(u64::MAX)).await.unwrap();
    assert!(journal.used_bytes() > 0, "the file being written stays");
}

#[tokio::test]
async fn many_sessions_share_flushes_and_each_gets_its_own_permit() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(settings(dir.path())).unwrap().journal;
    let tasks: Vec<_> = (0..200)
        .map(|number| {
            let journal = journal.clone();
            tokio::spawn(async move { journal.record(vec![intent(number, "SELECT 1", true)]).await.unwrap() })
        })
        .collect();
    for (number, task) in tasks.into_iter().enumerate() {
        let permits = task.await.unwrap();
        let asked: Vec<Asked> = permits.into_iter().map(Permit::spend).collect();
        let reference = Reference { session: SessionId::from_bits(1), statement: number as u64 };
        assert_eq!(asked, [Asked::Execution(reference)]);
    }
    assert_eq!(everything(&journal).len(), 200);
}
