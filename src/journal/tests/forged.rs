//! What a client puts into a value is never taken for an entry, and files from before there was a salt are read.

use bytes::Bytes;

use super::*;
use crate::journal::frame::Key;
use crate::model::{Param, ParamFormat};

const FIRST: EntrySeq = EntrySeq(1);

/// The key of a file of version 1.
fn old(first: EntrySeq) -> Key {
    Key { first, salt: None }
}

/// A file's bytes: header, these entries, end.
fn file(key: &Key, entries: &[Entry]) -> Vec<u8> {
    let mut bytes = key.file_header();
    let mut seq = key.first;
    for entry in entries {
        key.put(&mut bytes, seq, &frame::encode(entry).unwrap());
        seq = EntrySeq(seq.0 + 1);
    }
    key.put_end(&mut bytes, seq);
    bytes
}

/// A statement with one long value.
fn bound(value: Vec<u8>) -> Entry {
    let Entry::Intent(mut intent) = intent(1, "SELECT $1", true) else { unreachable!() };
    let value = Some(Bytes::from(value));
    Arc::make_mut(&mut intent).statement.params = vec![Param { type_oid: 17, format: ParamFormat::Binary, value }];
    Entry::Intent(intent)
}

/// What a start finds of a file whose second entry holds `planted`, after a crash that lost the first sector of that entry
/// and nothing else.
fn after_a_torn_write(key: &Key, planted: Vec<u8>) -> Vec<Entry> {
    const SECTOR: usize = 512;
    let first = intent(0, &"x".repeat(600), true);
    let second_at = file(key, std::slice::from_ref(&first)).len() - (key.head_len() + frame::TRAILER_LEN);
    let mut bytes = file(key, &[first, bound(planted)]);
    let torn = second_at.next_multiple_of(SECTOR).max(second_at + key.head_len());
    bytes[second_at..torn].fill(0);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(recovery::name_of(key)), &bytes).unwrap();
    let opened = opened(Settings { file_bytes: bytes.len() as u64, ..settings(dir.path()) }).unwrap();
    assert_eq!(opened.damage.len(), 1, "{:?}", opened.damage);
    everything(&opened.journal)
}

/// An entry as somebody would like it to be found, with the number that comes next.
fn forgery(key: &Key) -> (Entry, Vec<u8>) {
    let entry = intent(666, "DROP TABLE proof", true);
    let mut frame = vec![7; 2_000];
    key.put(&mut frame, EntrySeq(FIRST.0 + 1), &frame::encode(&entry).unwrap());
    frame.extend([7; 2_000]);
    (entry, frame)
}

#[tokio::test]
async fn what_looks_like_an_entry_in_a_value_is_not_taken_for_one_when_the_write_before_it_was_torn() {
    let key = salted(FIRST);
    // All that is known to whoever reads this source, and many guesses at the one thing that is not.
    let (_, mut planted) = forgery(&old(FIRST));
    for guess in 0..2_000_u16 {
        let mut salt = [0; 16];
        salt[..2].copy_from_slice(&guess.to_le_bytes());
        let guessed = salted_with(salt);
        planted.extend(forgery(&guessed).1);
    }
    assert_eq!(after_a_torn_write(&key, planted).len(), 1, "an entry was found that was never recorded");
}

/// That the test above looks where the danger is: with the salt the same bytes would be taken, and so they were in files
/// that have none.
#[tokio::test]
async fn only_the_salt_stands_between_such_bytes_and_the_record() {
    for key in [salted(FIRST), old(FIRST)] {
        let (entry, planted) = forgery(&key);
        assert_eq!(after_a_torn_write(&key, planted).last(), Some(&entry));
    }
}

fn salted_with(salt: [u8; 16]) -> Key {
    Key { first: FIRST, salt: Some(salt::Salt::of(salt)) }
}

#[tokio::test]
async fn a_journal_from_before_there_was_a_salt_is_read_and_written_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut wanted: Vec<Entry> = (1..=5).map(|number| intent(number, "SELECT 1", true)).collect();
    for (first, entries) in [(1, &wanted[..3]), (4, &wanted[3..])] {
        let mut bytes = file(&old(EntrySeq(first)), entries);
        bytes.resize(4096, 0);
        fs::write(dir.path().join(format!("journal-{first:020}.hj")), bytes).unwrap();
    }
    for run in 0..2 {
        let opened = opened(settings(dir.path())).unwrap();
        assert_eq!((opened.last.0, &opened.damage), (wanted.len() as u64, &Vec::new()));
        wanted.push(intent(100 + run, "SELECT 2", true));
        opened.journal.record(vec![wanted.last().unwrap().clone()], Recorded::Flushed).await.unwrap();
        assert_eq!(everything(&opened.journal), wanted);
        if run == 1 {
            opened.journal.free_before(EntrySeq(wanted.len() as u64)).await.unwrap();
            let names = FolderDisk::new(dir.path().to_owned()).list().unwrap();
            assert!(!names.iter().any(|name| name.len() == "journal-00000000000000000001.hj".len()), "{names:?}");
        }
        opened.journal.close().await;
    }
}

#[tokio::test]
async fn a_file_of_this_version_under_a_name_without_its_salt_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let entries = [intent(1, "SELECT 1", true), intent(2, "SELECT 2", true)];
    fs::write(dir.path().join("journal-00000000000000000001.hj"), file(&salted(FIRST), &entries)).unwrap();
    let opened = opened(Settings { file_bytes: 0, ..settings(dir.path()) }).unwrap();
    assert_eq!((opened.damage, everything(&opened.journal)), (Vec::new(), entries.to_vec()));
}

/// The file of version 1 holds nothing that counts: its name says where the file before it ends.
#[tokio::test]
async fn an_old_file_whose_place_is_taken_goes_and_what_took_it_stays() {
    let (ender, new) = (old(EntrySeq(3)), salted(EntrySeq(3)));
    let refused: Vec<Entry> = (1..=4).map(|number| intent(number, "SELECT 1", true)).collect();
    for killed_before_it_was_removed in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let path = |key: &Key| dir.path().join(recovery::name_of(key));
        fs::write(path(&old(FIRST)), file(&old(FIRST), &refused)).unwrap();
        fs::write(path(&ender), file(&ender, &[])).unwrap();
        if killed_before_it_was_removed {
            fs::write(path(&new), file(&new, &[])).unwrap();
        }
        for start in 1..=2 {
            let opened = opened(settings(dir.path())).unwrap();
            assert_eq!((opened.last.0, everything(&opened.journal)), (2, refused[..2].to_vec()), "start {start}");
            opened.journal.close().await;
            assert_eq!(path(&ender).exists(), !killed_before_it_was_removed);
        }
        let journal = opened(settings(dir.path())).unwrap().journal;
        journal.record(vec![intent(9, "SELECT 9", true)], Recorded::Flushed).await.unwrap();
        assert_eq!(everything(&journal).len(), 3);
        assert!(path(&new).exists() && !path(&ender).exists());
    }
}

#[test]
fn two_files_that_both_may_count_are_a_person_s_to_tell_apart() {
    let dir = tempfile::tempdir().unwrap();
    for salt in [[1; 16], [2; 16]] {
        let key = salted_with(salt);
        fs::write(dir.path().join(recovery::name_of(&key)), file(&key, &[])).unwrap();
    }
    let refused = opened(settings(dir.path())).unwrap_err();
    assert!(matches!(refused, JournalError::TwoFiles { first: FIRST }), "{refused}");
    assert!(!refused.to_string().contains("0101"), "{refused}");
    assert_eq!(FolderDisk::new(dir.path().to_owned()).list().unwrap().len(), 3, "both and the lock");
}

#[tokio::test]
async fn no_message_says_a_salt_and_nobody_else_may_read_the_folder() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { dir: dir.path().join("made/here"), ..settings(dir.path()) };
    let journal = opened(settings.clone()).unwrap().journal;
    journal.record(vec![intent(1, "SELECT 1", true)], Recorded::Flushed).await.unwrap();
    journal.close().await;
    let path = settings.dir.join(name_of(FIRST));
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&settings.dir), mode(&path)), (0o700, 0o600));
    let mut bytes = fs::read(&path).unwrap();
    bytes[60] ^= 1;
    fs::write(&path, bytes).unwrap();
    let damage = opened(settings).unwrap().damage;
    assert_eq!(damage[0].file, "journal-00000000000000000001");
}
