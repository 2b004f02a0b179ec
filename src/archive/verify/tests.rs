//! The tamper matrix: whatever is done to an archive is found, named and located; what is untouched is proven.

mod log;
mod records;
mod spans;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use crate::archive::testing::{START, Shelf, closed, denied, key, node, record, refused, with_values};
use crate::model::{
    EntrySeq, EventDetails, Prepared, Record, RecorderEvent, RecorderEventKind, SessionId, Sha256, Statement,
};
use crate::segment::{Dataset, EventRow, Happening, Rows};
use crate::store::{AzureSettings, StoreSettings};

/// A second.
const SECOND: i64 = 1_000_000;

/// An event of the recorder, `at` microseconds after [`START`].
fn event(entry: u64, at: i64, kind: RecorderEventKind) -> EventRow {
    event_with(entry, at, kind, EventDetails::default())
}

fn event_with(entry: u64, at: i64, kind: RecorderEventKind, more: EventDetails) -> EventRow {
    let event = RecorderEvent::new(Timestamp(START + at), node(), kind, "a sentence".to_owned()).with(more);
    EventRow { entry: EntrySeq(entry), session: None, what: Happening::Recorder(event) }
}

fn prepared(entry: u64, at: i64) -> EventRow {
    prepared_of(entry, record(7, 1, at, "select $1"))
}

fn prepared_of(entry: u64, of: Record) -> EventRow {
    let statement = Statement { ..of.intent.statement.clone() };
    let prepared = Prepared {
        session: SessionId::from_bits(7),
        number: 1,
        time: of.intent.time,
        statement,
        facts: of.intent.facts.clone(),
        decision: of.intent.decision.clone(),
    };
    EventRow { entry: EntrySeq(entry), session: Some(of.session), what: Happening::Prepared(Arc::new(prepared)) }
}

/// The rows of the run that the matrix is about: four segments, a session that spans two of them, and a clean stop.
fn story() -> [Rows; 4] {
    use RecorderEventKind::{Heartbeat, PolicyLoaded, Started, Stopped};
    [
        Rows {
            records: (1..=4)
                .map(|number| record(7, number, SECOND + i64::try_from(number).unwrap(), "select 1"))
                .collect(),
            events: vec![event(1, 0, Started), event(2, 0, PolicyLoaded), prepared(3, SECOND)],
            ..Rows::default()
        },
        Rows {
            records: vec![
                with_values(record(7, 5, 60 * SECOND, "select $1")),
                denied(record(7, 6, 61 * SECOND, "drop")),
            ],
            sessions: vec![closed(7, 62 * SECOND, 6), refused(8)],
            events: vec![event(201, 60 * SECOND, Heartbeat)],
        },
        Rows { events: vec![event(301, 300 * SECOND, Heartbeat)], ..Rows::default() },
        Rows {
            records: vec![record(9, 1, 310 * SECOND, "select 9")],
            sessions: vec![closed(9, 320 * SECOND, 1)],
            events: vec![event(402, 330 * SECOND, Stopped)],
        },
    ]
}

/// The rows of [`story`].
const ROWS: u64 = 7 + 5 + 1 + 3;

async fn told() -> Shelf {
    let mut shelf = Shelf::new();
    for rows in story() {
        shelf.seal(rows).await;
    }
    shelf
}

/// A copy of an archive that may be harmed.
struct Copy {
    dir: tempfile::TempDir,
}

impl Copy {
    fn of(shelf: &Shelf) -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy(shelf.dir.path(), dir.path());
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn store(&self) -> Store {
        opened(self.dir.path())
    }

    /// The names of all objects, sorted.
    fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        walk(self.dir.path(), &mut |path| {
            names.push(path.strip_prefix(self.dir.path()).unwrap().to_str().unwrap().to_owned());
        });
        names.sort();
        names
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    fn change(&self, name: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        let bytes = change(fs::read(self.path(name)).unwrap());
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), bytes).unwrap();
    }

    /// Rewrites a data file as another program would: a valid file with other rows.
    fn rewrite(&self, name: &str, change: impl FnOnce(RecordBatch) -> RecordBatch) {
        let batch = change(batch(&self.path(name)));
        self.change(name, |_| parquet(&batch));
    }

    async fn verify(&self) -> Report {
        self.verify_by(&trusting(&[1])).await
    }

    async fn verify_by(&self, request: &Request) -> Report {
        verify(&self.store(), request, &()).await.unwrap()
    }
}

fn opened(folder: &Path) -> Store {
    let url = format!("file://{}", folder.display());
    Store::open(&StoreSettings { url, azure: AzureSettings::default() }).unwrap()
}

fn walk(folder: &Path, visit: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, visit) } else { visit(&path) }
    }
}

fn copy(from: &Path, to: &Path) {
    walk(from, &mut |path| {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(path, target).unwrap();
    });
}

fn batch(path: &Path) -> RecordBatch {
    let bytes = Bytes::from(fs::read(path).unwrap());
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let schema = Arc::clone(reader.schema());
    let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    arrow::compute::concat_batches(&schema, &batches).unwrap()
}

fn parquet(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

fn trusting(seeds: &[u8]) -> Request {
    Request { keys: seeds.iter().map(|seed| key(*seed).verifier().clone()).collect(), ..Request::default() }
}

/// Object and class of each finding that counts.
fn found(report: &Report) -> BTreeMap<&str, Class> {
    let counts = report.findings.iter().filter(|finding| finding.weight != Weight::Note);
    counts.map(|finding| (finding.object.as_str(), finding.class)).collect()
}

fn file(dataset: &str, segment: u64) -> String {
    format!("{dataset}/date=2026-11-24/node-1-{segment:012}.parquet")
}

fn manifest(segment: u64) -> String {
    format!("log/node-1/manifest-{segment:012}.json")
}

fn checkpoint(size: u64, seed: u8) -> String {
    format!("log/node-1/checkpoint-{size:012}-{}.note", key(seed).verifier().id())
}

#[tokio::test]
async fn an_untouched_archive_is_proven() {
    let shelf = told().await;
    let report = Copy::of(&shelf).verify().await;
    assert_eq!(report.findings, []);
    assert_eq!(report.verdict(), Verdict::Proven);
    assert_eq!((report.records, report.files), (ROWS, 9));
    let [node] = report.nodes.as_slice() else { panic!("{:?}", report.nodes) };
    assert_eq!((node.segments, node.signed, node.stopped), (4, 4, true));
    assert_eq!(node.keys, [key(1).verifier().to_string()]);
    assert_eq!(node.first_time.as_deref(), Some("2026-11-24T14:10:52.117000Z"));
}

#[tokio::test]
async fn nothing_at_all_is_not_proven() {
    let dir = tempfile::tempdir().unwrap();
    let report = verify(&opened(dir.path()), &Request::default(), &()).await.unwrap();
    assert_eq!(report.verdict(), Verdict::Incomplete);
    let named = verify(&opened(dir.path()), &trusting(&[1]), &()).await.unwrap();
    assert_eq!(found(&named), BTreeMap::from([("hansard/node-1", Class::Missing)]));
}

/// Numbers that look like chance, from a seed that is printed.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let seed = std::env::var("HANSARD_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) * 2_654_435_761 + 1);
        tracing::info!(seed, "HANSARD_TEST_SEED repeats this");
        Self(seed)
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }
}

#[tokio::test]
async fn no_bit_of_any_object_can_be_changed() {
    let shelf = told().await;
    let copy = Copy::of(&shelf);
    let mut dice = Dice::new();
    let seed = dice.0;
    for name in copy.names() {
        let whole = fs::read(copy.path(&name)).unwrap();
        for _ in 0..12 {
            let (at, bit) = (dice.below(whole.len()), dice.below(8));
            let mut changed = whole.clone();
            changed[at] ^= 1 << bit;
            fs::write(copy.path(&name), &changed).unwrap();
            let report = copy.verify().await;
            let told = format!("{name}: bit {bit} of byte {at}, HANSARD_TEST_SEED={seed}");
            assert_ne!(report.verdict(), Verdict::Proven, "{told}");
            assert!(!report.findings.is_empty(), "{told}");
        }
        let cut = dice.below(whole.len());
        fs::write(copy.path(&name), &whole[..cut]).unwrap();
        assert_ne!(copy.verify().await.verdict(), Verdict::Proven, "{name} cut at {cut}, HANSARD_TEST_SEED={seed}");
        fs::write(copy.path(&name), &whole).unwrap();
    }
    assert_eq!(copy.verify().await.verdict(), Verdict::Proven);
}
