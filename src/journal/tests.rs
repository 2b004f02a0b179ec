//! The journal's promises on a real disk.

use std::fs;
use std::sync::atomic::AtomicU64;

use super::*;
use crate::model::{
    Decision, Facts, Intent, Outcome, OutcomeStatus, Reference, Request, SessionId, SqlText, Statement, Timestamp,
    Verdict,
};

/// An intent for tests: statement `number` of one session.
pub(super) fn intent(number: u64, text: &str, allow: bool) -> Entry {
    let verdict = if allow { Verdict::Allow } else { Verdict::Deny };
    Entry::Intent(Arc::new(Intent {
        reference: Reference { session: SessionId::from_bits(1), statement: number },
        time: Timestamp(i64::try_from(number).unwrap()),
        statement: Statement {
            request: Request::Query,
            text: SqlText::from(text),
            params: Vec::new(),
            prepared: None,
            portal: None,
        },
        facts: Facts::unparsed("a test").into(),
        decision: Decision { verdict, rules: Vec::new(), policy_version: String::new(), message: None, hint: None }
            .into(),
        transaction: 'I',
        server_version: None,
        acting: Arc::default(),
    }))
}

mod forged;

fn outcome(number: u64) -> Entry {
    let reference = Reference { session: SessionId::from_bits(1), statement: number };
    Entry::Outcome(Box::new(Outcome::bare(reference, Timestamp(0), OutcomeStatus::Ok)))
}

/// Nothing that is hard to guess, so that a test can name files before they are there.
fn seed() -> Seed {
    [7; 16].into()
}

/// The key of the file that a journal of these tests starts with this entry.
pub(super) fn salted(first: EntrySeq) -> frame::Key {
    frame::Key { first, salt: Some(seed().salt(first)) }
}

fn name_of(first: EntrySeq) -> String {
    recovery::name_of(&salted(first))
}

fn opened(settings: Settings) -> Result<Opened, JournalError> {
    Journal::open(settings, seed())
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
        let opened = opened(settings(dir.path())).unwrap();
        assert_eq!(opened.damage, Vec::new());
        assert_eq!(opened.last.0, wanted.len() as u64);
        for number in 0..20 {
            let entry = intent(run * 100 + number, &"x".repeat(300), number % 2 == 0);
            wanted.push(entry.clone());
            let permits = opened.journal.record(vec![entry], Recorded::Flushed).await.unwrap();
            assert_eq!(permits.len(), usize::from(number % 2 == 0), "only what was allowed is permitted");
            wanted.push(outcome(number));
            opened.journal.note(outcome(number)).await.unwrap();
        }
        opened.journal.close().await;
        assert_eq!(everything(&opened.journal), wanted);
        assert!(matches!(opened.journal.record(vec![outcome(1)], Recorded::Flushed).await, Err(JournalError::Closed)));
    }
}

#[tokio::test]
async fn nothing_to_record_is_recorded_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let journal = opened(settings(dir.path())).unwrap().journal;
    assert_eq!(journal.record(Vec::new(), Recorded::Flushed).await.unwrap().len(), 0);
    let last = journal.append(vec![outcome(1)]).await.unwrap();
    assert_eq!(journal.append(Vec::new()).await.unwrap(), last);
}

#[tokio::test]
async fn a_note_is_flushed_by_itself_when_nobody_else_pays() {
    let dir = tempfile::tempdir().unwrap();
    let journal = opened(settings(dir.path())).unwrap().journal;
    let mut flushed = journal.flushed();
    journal.note(outcome(1)).await.unwrap();
    tokio::time::timeout(NOTE_DELAY * 20, flushed.wait_for(|seq| seq.0 == 1)).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_was_noted_stands_before_what_is_appended_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let journal = opened(settings(dir.path())).unwrap().journal;
    // Sessions side by side, so that appends of one are taken together with notes of another.
    let session = |number: u64| {
        let journal = journal.clone();
        tokio::spawn(async move {
            for at in 0..50 {
                journal.record(vec![intent(number * 100 + at, "SELECT 1", true)], Recorded::Flushed).await.unwrap();
                journal.note(outcome(number * 100 + at)).await.unwrap();
            }
        })
    };
    for session in (0..8).map(session).collect::<Vec<_>>() {
        session.await.unwrap();
    }
    journal.close().await;
    let entries = everything(&journal);
    assert_eq!(entries.len(), 800);
    for number in 0..8 {
        let of_one = (0..50).flat_map(|at| [intent(number * 100 + at, "SELECT 1", true), outcome(number * 100 + at)]);
        let expected: Vec<Entry> = of_one.collect();
        let found: Vec<Entry> = entries.iter().filter(|entry| expected.contains(entry)).cloned().collect();
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn a_closed_journal_takes_no_note() {
    let dir = tempfile::tempdir().unwrap();
    let journal = opened(settings(dir.path())).unwrap().journal;
    journal.note(outcome(1)).await.unwrap();
    journal.close().await;
    assert!(matches!(journal.note(outcome(2)).await, Err(JournalError::Closed)));
    assert_eq!(everything(&journal), [outcome(1)]);
}

/// A journal of four entries in one file, as it was left, and where each entry ends.
async fn four_entries(large: &Settings) -> (Vec<u8>, Vec<u64>) {
    let journal = opened(large.clone()).unwrap().journal;
    let mut ends = Vec::new();
    for number in 0..4 {
        journal.record(vec![intent(number, "SELECT 1", true)], Recorded::Flushed).await.unwrap();
        ends.push(journal.used_bytes());
    }
    journal.close().await;
    (fs::read(large.dir.join(name_of(EntrySeq(1)))).unwrap(), ends)
}

async fn reopened(bytes: &[u8], large: &Settings) -> (u64, Vec<Damage>, Vec<Entry>) {
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join(name_of(EntrySeq(1))), bytes).unwrap();
    let opened = opened(Settings { dir: other.path().to_owned(), ..large.clone() }).unwrap();
    opened.journal.record(vec![intent(99, "SELECT 2", true)], Recorded::Flushed).await.unwrap();
    let entries = everything(&opened.journal);
    opened.journal.close().await;
    (opened.last.0, opened.damage, entries)
}

#[tokio::test]
async fn a_file_cut_at_any_byte_loses_only_what_was_cut_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let large = Settings { file_bytes: 4096, ..settings(dir.path()) };
    let (whole, ends) = four_entries(&large).await;
    let last_end = usize::try_from(*ends.last().unwrap()).unwrap();
    for cut in (0..=last_end + frame::END_LEN).chain([whole.len()]) {
        let kept = ends.iter().filter(|end| **end <= cut as u64).count();
        let (last, damage, entries) = reopened(&whole[..cut], &large).await;
        assert_eq!(last, kept as u64, "cut at {cut}");
        assert_eq!(entries.len(), kept + 1, "cut at {cut}");
        let says_so = !damage.is_empty();
        let whole_or_empty = cut >= last_end + frame::END_LEN || kept == 0 && cut < frame::FILE_HEADER_LEN;
        assert_eq!(says_so, !whole_or_empty, "cut at {cut}: {damage:?}");
        let at_most: u64 = damage.iter().map(|damage| damage.at_most).sum();
        assert!(!says_so || at_most >= (4 - kept) as u64, "cut at {cut}: {damage:?}");
    }
}

#[tokio::test]
async fn a_byte_damaged_anywhere_costs_the_entry_it_is_in_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let large = Settings { file_bytes: 4096, ..settings(dir.path()) };
    let (whole, ends) = four_entries(&large).await;
    let last_end = usize::try_from(*ends.last().unwrap()).unwrap();
    for at in 0..last_end + frame::END_LEN {
        let mut broken = whole.clone();
        broken[at] ^= 0x55;
        let hit =
            (at >= frame::FILE_HEADER_LEN).then(|| ends.iter().position(|end| at < usize::try_from(*end).unwrap()));
        let (_, damage, entries) = reopened(&broken, &large).await;
        let lost = usize::from(matches!(hit, Some(Some(_))));
        assert_eq!(entries.len(), 5 - lost, "damaged at {at}");
        assert_eq!(damage.len(), 1, "damaged at {at}: {damage:?}");
        let between = matches!(hit, Some(Some(entry)) if entry < 3);
        assert_eq!(damage[0].missing, u64::from(between), "damaged at {at}");
        assert!(damage[0].at_most >= lost as u64, "damaged at {at}: {damage:?}");
        assert!(damage[0].at_most <= 8, "no more than fits behind, damaged at {at}: {damage:?}");
    }
}

#[tokio::test]
async fn a_file_lost_as_a_whole_is_missed_and_the_rest_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let journal = opened(settings(dir.path())).unwrap().journal;
    for number in 0..60 {
        journal.record(vec![intent(number, &"x".repeat(400), true)], Recorded::Flushed).await.unwrap();
    }
    let files: Vec<u64> = journal.shared.files().keys().map(|first| first.0).collect();
    journal.close().await;
    let (lost, next) = (files[1], files[2]);
    fs::remove_file(dir.path().join(name_of(EntrySeq(lost)))).unwrap();
    let opened = opened(settings(dir.path())).unwrap();
    assert_eq!(opened.damage.iter().map(|damage| damage.missing).sum::<u64>(), next - lost);
    assert_eq!(everything(&opened.journal).len() as u64, 60 - (next - lost));
}

#[tokio::test]
async fn a_file_lost_before_one_that_is_damaged_as_a_whole_stops_no_reader() {
    let dir = tempfile::tempdir().unwrap();
    let journal = opened(settings(dir.path())).unwrap().journal;
    for number in 0..60 {
        journal.record(vec![intent(number, &"x".repeat(400), true)], Recorded::Flushed).await.unwrap();
    }
    let files: Vec<u64> = journal.shared.files().keys().map(|first| first.0).collect();
    journal.close().await;
    let [lost, damaged, next] = [files[1], files[2], files[3]];
    fs::remove_file(dir.path().join(name_of(EntrySeq(lost)))).unwrap();
    fs::write(dir.path().join(name_of(EntrySeq(damaged))), vec![7; 4096]).unwrap();
    let opened = opened(settings(dir.path())).unwrap();
    assert_eq!(opened.damage.iter().map(|damage| damage.missing).sum::<u64>(), next - lost);
    assert_eq!(everything(&opened.journal).len() as u64, 60 - (next - lost));
}

#[tokio::test]
async fn what_was_answered_with_an_error_is_found_at_no_later_start() {
    let dir = tempfile::tempdir().unwrap();
    let large = settings(dir.path());
    four_entries(&large).await;
    // The flush of the third entry failed, and so did ending its file; the next one holds nothing yet, but its name says
    // that the file before it ends there.
    let next = dir.path().join(name_of(EntrySeq(3)));
    fs::write(&next, salted(EntrySeq(3)).file_header()).unwrap();
    for start in 1..=3 {
        let opened = opened(large.clone()).unwrap();
        assert_eq!((opened.last.0, everything(&opened.journal).len()), (2, 2), "start {start}");
        opened.journal.close().await;
    }
    let journal = opened(large.clone()).unwrap().journal;
    journal.record(vec![intent(9, "SELECT 9", true)], Recorded::Flushed).await.unwrap();
    assert_eq!(everything(&journal).last(), Some(&intent(9, "SELECT 9", true)));
    journal.close().await;
    assert_eq!(opened(large).unwrap().last.0, 3);
}

#[tokio::test]
async fn a_number_that_no_journal_reaches_is_no_entry_s() {
    let dir = tempfile::tempdir().unwrap();
    let payload = frame::encode(&outcome(1)).unwrap();
    let (first, last) = (EntrySeq(1), EntrySeq(u64::MAX));
    let mut file = salted(first).file_header();
    salted(first).put(&mut file, first, &payload);
    salted(first).put(&mut file, last, &payload);
    fs::write(dir.path().join(name_of(first)), file).unwrap();
    fs::write(dir.path().join(name_of(last)), salted(last).file_header()).unwrap();
    let opened = opened(settings(dir.path())).unwrap();
    assert_eq!((opened.last, opened.damage.len()), (first, 1));
    assert_eq!(opened.journal.append(vec![outcome(2)]).await.unwrap(), EntrySeq(2));
}

#[test]
fn a_file_full_of_what_frames_begin_with_is_searched_once() {
    // Heads that claim long payloads cost no more: each would be read to its end if it were believed.
    let mut heads = Vec::new();
    for seq in 1_u64..=1 << 16 {
        heads.extend([&b"HF\x02\0"[..], &(400_u32 << 10).to_le_bytes(), &seq.to_le_bytes(), &[9; 8]].concat());
    }
    for content in [b"HF".repeat(1 << 20), heads] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, content).unwrap();
        let read = Arc::new(AtomicU64::new(0));
        let counted =
            Counted { file: FolderDisk::new(dir.path().to_owned()).open("file").unwrap(), read: Arc::clone(&read) };
        let (mut scan, _) = scan::Scan::begin(Box::new(counted), salted(EntrySeq(1))).unwrap();
        assert!(!scan.resume().unwrap());
        let (read, length) = (read.load(Ordering::Relaxed), fs::metadata(path).unwrap().len());
        assert!(read < 2 * length, "{read} bytes were read of {length}");
    }
}

/// A file that counts what is read of it.
#[derive(Debug)]
struct Counted {
    file: Box<dyn disk::DiskFile>,
    read: Arc<AtomicU64>,
}

impl disk::DiskFile for Counted {
    fn write_at(&self, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let got = self.file.read_at(buffer, offset)?;
        self.read.fetch_add(got as u64, Ordering::Relaxed);
        Ok(got)
    }

    fn flush(&self) -> std::io::Result<()> {
        self.file.flush()
    }

    fn length(&self) -> std::io::Result<u64> {
        self.file.length()
    }
}

#[tokio::test]
async fn files_are_used_again_and_what_they_held_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = 0;
    for _ in 0..5 {
        let opened = opened(settings(dir.path())).unwrap();
        assert_eq!((opened.last.0, opened.damage), (written, Vec::new()));
        for _ in 0..40 {
            opened.journal.record(vec![intent(written, &"x".repeat(300), true)], Recorded::Flushed).await.unwrap();
            written += 1;
        }
        opened.journal.free_before(EntrySeq(written)).await.unwrap();
        let last = everything(&opened.journal).pop().unwrap();
        assert_eq!(last, intent(written - 1, &"x".repeat(300), true));
        opened.journal.close().await;
    }
    let names: Vec<String> = FolderDisk::new(dir.path().to_owned()).list().unwrap();
    assert!(names.len() <= 1 + 2 + 3, "files pile up: {names:?}");
}

#[tokio::test]
async fn a_second_process_is_told_who_holds_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let first = opened(settings(dir.path())).unwrap();
    let refused = opened(settings(dir.path())).unwrap_err();
    assert!(refused.to_string().contains(&format!("pid {}", std::process::id())), "{refused}");
    drop(first);
}

#[tokio::test]
async fn a_full_journal_refuses_statements_and_still_takes_closings() {
    let dir = tempfile::tempdir().unwrap();
    let small = Settings { max_bytes: 2000, refuse_new_sessions_at: 1000, ..settings(dir.path()) };
    let journal = opened(small).unwrap().journal;
    while journal.used_bytes() < 2000 {
        journal.record(vec![intent(1, "SELECT 1", true)], Recorded::Flushed).await.unwrap();
    }
    let refused = journal.record(vec![intent(2, "SELECT 1", true)], Recorded::Flushed).await.unwrap_err();
    assert!(matches!(refused, JournalError::Full { .. }), "{refused}");
    assert!(journal.room_for_session().is_err());
    journal.append(vec![outcome(1)]).await.unwrap();
}

#[tokio::test]
async fn only_whole_files_before_the_kept_entry_are_freed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = opened(settings(dir.path())).unwrap().journal;
    for number in 0..60 {
        journal.record(vec![intent(number, &"x".repeat(400), true)], Recorded::Flushed).await.unwrap();
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
    let journal = opened(settings(dir.path())).unwrap().journal;
    let tasks: Vec<_> = (0..200)
        .map(|number| {
            let journal = journal.clone();
            tokio::spawn(async move {
                journal.record(vec![intent(number, "SELECT 1", true)], Recorded::Flushed).await.unwrap()
            })
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

#[tokio::test]
async fn what_is_released_when_written_is_there_after_a_kill_and_flushed_soon() {
    let dir = tempfile::tempdir().unwrap();
    let journal = opened(settings(dir.path())).unwrap().journal;
    let mut wanted = Vec::new();
    for number in 0..40 {
        wanted.push(intent(number, &"x".repeat(300), number % 2 == 0));
        let permits = journal.record(vec![wanted.last().unwrap().clone()], Recorded::Written).await.unwrap();
        let said: Vec<Recorded> = permits.iter().map(Permit::recorded).collect();
        assert_eq!(said, vec![Recorded::Written; usize::from(number % 2 == 0)]);
        for permit in permits {
            permit.spend();
        }
        wanted.push(outcome(number));
        journal.note(outcome(number)).await.unwrap();
    }
    // A copy taken now is what a kill would leave.
    let copy = tempfile::tempdir().unwrap();
    for name in FolderDisk::new(dir.path().to_owned()).list().unwrap() {
        fs::copy(dir.path().join(&name), copy.path().join(&name)).unwrap();
    }
    let killed = opened(settings(copy.path())).unwrap();
    // An outcome that was only noted may be lost with us; every intent is there, and what came before it.
    let found = everything(&killed.journal);
    assert!(wanted.starts_with(&found) && found.len() >= wanted.len() - 1, "{} of {}", found.len(), wanted.len());
    assert_eq!(killed.damage, Vec::new());
    let mut flushed = journal.flushed();
    tokio::time::timeout(NOTE_DELAY * 20, flushed.wait_for(|seq| seq.0 == 80)).await.unwrap().unwrap();
    journal.close().await;
    assert_eq!(everything(&journal), wanted);
    assert!(matches!(journal.record(vec![outcome(1)], Recorded::Written).await, Err(JournalError::Closed)));
    assert!(matches!(journal.note(outcome(1)).await, Err(JournalError::Closed)));
}
