//! A journal that anybody may have written on opens, gives each entry that is intact and no other, gives the same when it
//! is opened again, and records on.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::io;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use arbitrary::{Result, Unstructured};
use hansard::journal::disk::{Disk, DiskFile};
use hansard::journal::{Journal, Opened, Settings};
use hansard::model::{
    Entry, EntrySeq, NodeName, Numbered, Outcome, OutcomeStatus, RecorderEvent, RecorderEventKind, Reference,
    SessionId, Timestamp,
};
use siphasher::sip::SipHasher24;
use tokio::runtime::Runtime;

use super::{one, piece, rarely, show};

const FILE_BYTES: u64 = 4_096;
const SALT: [u8; 16] = *b"a salt of a file";

/// The payloads that were written, by their entries' numbers.
type Put = Vec<(u64, Vec<u8>)>;
type Files = BTreeMap<String, Vec<u8>>;

pub fn body(data: &[u8]) {
    // Files of this version, of the one before, and of both.
    for salted in [|_| true, |_| false, |at| at % 2 == 0] {
        // An input that ends early has fewer files.
        open(&mut Unstructured::new(data), salted).unwrap_or_default();
    }
}

fn open(from: &mut Unstructured<'_>, salted: fn(usize) -> bool) -> Result<()> {
    let (mut files, mut put) = (Files::new(), Put::new());
    let mut honest = true;
    for at in 0..from.int_in_range(1..=3)? {
        let key = Key { first: number(from)?, salted: salted(at) };
        let (bytes, wrote_by_us) = file(from, key, &mut put)?;
        honest &= wrote_by_us && files.is_empty() && key.first < 1 << 32;
        files.insert(key.name(), bytes);
    }
    let (found, left) = opened(&files);
    let written = |payload: &[u8]| cbor4ii::serde::from_slice::<Entry>(payload).ok();
    for (seq, entry) in &found {
        let same = |(number, payload): &(u64, Vec<u8>)| number == seq && written(payload).as_ref() == Some(entry);
        assert!(put.iter().any(same), "entry {seq} was never written");
    }
    if honest {
        let whole = put.iter().map_while(|(seq, payload)| written(payload).map(|entry| (*seq, entry)));
        assert_eq!(found, whole.collect::<Vec<_>>(), "an intact journal is not read to its end");
    }
    assert_eq!(opened(&left).0, found, "opened again it holds something else");
    Ok(())
}

/// A small number, or one of the last that there are.
fn number(from: &mut Unstructured<'_>) -> Result<u64> {
    let near = u64::from(from.int_in_range(0..=12_u8)?);
    Ok(if rarely(from)? { u64::MAX - near } else { near + 1 })
}

/// What a file is bound to: its first entry, and a salt if it is none of version 1.
#[derive(Debug, Clone, Copy)]
struct Key {
    first: u64,
    salted: bool,
}

impl Key {
    fn name(self) -> String {
        let salt = if self.salted { format!("-{:032x}", u128::from_be_bytes(SALT)) } else { String::new() };
        format!("journal-{:020}{salt}.hj", self.first)
    }

    fn version(self) -> u8 {
        if self.salted { 2 } else { 1 }
    }

    fn salt(self) -> &'static [u8] {
        if self.salted { &SALT } else { &[] }
    }

    fn header(self) -> Vec<u8> {
        let version = u32::from(self.version()).to_le_bytes();
        let header = [&b"HANSARDJ"[..], &version, &self.first.to_le_bytes(), self.salt()].concat();
        [&header[..], &crc32c::crc32c(&header).to_le_bytes()].concat()
    }

    fn frame(self, to: &mut Vec<u8>, magic: [u8; 2], seq: u64, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("a short payload");
        let mut head = [&magic[..], &[self.version(), 0], &length.to_le_bytes(), &seq.to_le_bytes()].concat();
        if self.salted {
            let mut check = SipHasher24::new_with_key(&SALT);
            check.write(&head);
            head.extend(check.finish().to_le_bytes());
        }
        let of_file = crc32c::crc32c(&self.first.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c_append(of_file, &head), payload);
        to.extend([&head[..], payload, &crc.to_le_bytes()].concat());
    }
}

/// A file's bytes, put together after the layout in `src/journal/frame.rs`, and whether a journal could have written it.
fn file(from: &mut Unstructured<'_>, key: Key, put: &mut Put) -> Result<(Vec<u8>, bool)> {
    let mut honest = true;
    let mut bytes = Vec::new();
    if !rarely(from)? {
        bytes = key.header();
    }
    let mut seq = key.first;
    for _ in 0..from.int_in_range(0..=6)? {
        let step = from.int_in_range(0..=9_u8)?;
        honest &= step > 4;
        match step {
            0 => bytes.extend_from_slice(piece(from)?),
            1 => seq = number(from)?,
            2 => {
                let length = from.int_in_range(0..=bytes.len())?;
                bytes.truncate(length);
            }
            3 => bytes.extend_from_slice(&[0; 64]),
            4 => {
                show(|| ("end", format!("{seq} in {key:?} at {}", bytes.len())));
                key.frame(&mut bytes, *b"HE", seq, &[]);
            }
            _ => {
                let payload = payload(from, seq)?;
                show(|| ("frame", format!("{seq} in {key:?} at {}", bytes.len())));
                put.push((seq, payload.clone()));
                key.frame(&mut bytes, *b"HF", seq, &payload);
                seq = seq.saturating_add(1);
            }
        }
    }
    honest &= bytes.starts_with(b"HANSARDJ");
    key.frame(&mut bytes, *b"HE", seq, &[]);
    if rarely(from)? {
        honest = false;
        let at = from.choose_index(bytes.len())?;
        bytes[at] ^= from.arbitrary::<u8>()?;
    }
    if !rarely(from)? {
        bytes.resize(usize::try_from(FILE_BYTES).unwrap_or_default().max(bytes.len()), 0);
    }
    Ok((bytes, honest))
}

/// A real entry's payload, the same with a byte changed or its end cut off, or anything.
fn payload(from: &mut Unstructured<'_>, seq: u64) -> Result<Vec<u8>> {
    let mut payload = encoded(&entry(from, seq)?);
    match from.int_in_range(0..=4_u8)? {
        0 => payload = piece(from)?.to_vec(),
        1 => {
            let at = from.choose_index(payload.len())?;
            payload[at] = from.arbitrary()?;
        }
        2 => {
            let length = from.choose_index(payload.len())?;
            payload.truncate(length);
        }
        _ => {}
    }
    Ok(payload)
}

fn entry(from: &mut Unstructured<'_>, seq: u64) -> Result<Entry> {
    let time = Timestamp(from.arbitrary()?);
    Ok(if from.arbitrary()? {
        let reference = Reference { session: SessionId::from_bits(from.arbitrary()?), statement: seq };
        let status = one(from, &OutcomeStatus::ALL)?;
        let tag = from.arbitrary::<Option<&str>>()?.map(str::to_owned);
        Entry::Outcome(Box::new(Outcome { command_tag: tag, ..Outcome::bare(reference, time, status) }))
    } else {
        let node = NodeName::new("n1").expect("a name that fits");
        Entry::Event(RecorderEvent::new(time, node, RecorderEventKind::Gap, from.arbitrary::<&str>()?.to_owned()))
    })
}

fn encoded(entry: &Entry) -> Vec<u8> {
    cbor4ii::serde::to_vec(Vec::new(), entry).expect("an entry of ours")
}

/// Opens, reads all that can be read, records one more, and reads that. Gives what was found, and what the opening left.
fn opened(files: &Files) -> (Vec<(u64, Entry)>, Files) {
    let disk = MemoryDisk::of(files);
    let settings =
        Settings { dir: "memory".into(), max_bytes: 1 << 30, refuse_new_sessions_at: 1 << 29, file_bytes: FILE_BYTES };
    let opened = Journal::open_on(settings, Arc::new(disk.clone()), [7; 16].into());
    let Opened { journal, last, damage } = opened.expect("the disk refuses nothing");
    let left = disk.content();
    show(|| ("opened", format!("{:?} to {last:?}, {damage:?}, leaves {:?}", files.keys(), left.keys())));
    let (mut reader, mut found) = (journal.reader(), Vec::new());
    let mut stopped = false;
    loop {
        match reader.next(last) {
            Ok(Some(Numbered { seq, entry })) => {
                assert!(found.last().is_none_or(|(before, _)| *before < seq.0), "out of order");
                found.push((seq.0, entry));
            }
            Ok(None) => break,
            // An intact frame that holds no entry, which only another version writes.
            Err(error) => {
                show(|| ("stopped", error));
                stopped = true;
                break;
            }
        }
    }
    let more = entry_of(last.0);
    let recorded = RUNTIME.block_on(async {
        let recorded = journal.append(vec![more.clone()]).await;
        journal.close().await;
        recorded
    });
    assert_eq!(recorded.ok(), Some(EntrySeq(last.0 + 1)), "it does not record on");
    if !stopped {
        let read = reader.next(EntrySeq(last.0 + 1)).ok().flatten();
        assert_eq!(read, Some(Numbered { seq: EntrySeq(last.0 + 1), entry: more }), "what was recorded is not found");
    }
    (found, left)
}

fn entry_of(number: u64) -> Entry {
    let reference = Reference { session: SessionId::from_bits(1), statement: number };
    Entry::Outcome(Box::new(Outcome::bare(reference, Timestamp(0), OutcomeStatus::Ok)))
}

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime"));

type Content = Arc<Mutex<Vec<u8>>>;

/// Files in memory.
#[derive(Debug, Clone)]
struct MemoryDisk(Arc<Mutex<BTreeMap<String, Content>>>);

#[derive(Debug)]
struct MemoryFile(Content);

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryDisk {
    fn of(files: &Files) -> Self {
        let files = files.iter().map(|(name, bytes)| (name.clone(), Arc::new(Mutex::new(bytes.clone()))));
        Self(Arc::new(Mutex::new(files.collect())))
    }

    fn content(&self) -> Files {
        held(&self.0).iter().map(|(name, file)| (name.clone(), held(file).clone())).collect()
    }
}

impl Disk for MemoryDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(held(&self.0).keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = held(&self.0).get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(MemoryFile(file)))
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Box<dyn DiskFile>> {
        let file = Arc::new(Mutex::new(vec![0; usize::try_from(length).unwrap_or_default()]));
        held(&self.0).insert(name.to_owned(), Arc::clone(&file));
        Ok(Box::new(MemoryFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let file = held(&self.0).remove(from).ok_or(io::ErrorKind::NotFound)?;
        held(&self.0).insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        held(&self.0).remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for MemoryFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut file = held(&self.0);
        let offset = usize::try_from(offset).unwrap_or_default();
        let end = file.len().max(offset + bytes.len());
        file.resize(end, 0);
        file[offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let file = held(&self.0);
        let rest = usize::try_from(offset).ok().and_then(|offset| file.get(offset..)).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(held(&self.0).len() as u64)
    }
}
