//! When a recorder is ready, and when it says that it is not.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::cli::system::SystemClock;
use crate::identity::{IssuerSettings, KeysAt, Preset};
use crate::journal::Settings;
use crate::journal::disk::{Disk, DiskFile, FolderDisk};
use crate::model::{Entry, NodeName, RecorderEvent, RecorderEventKind, Timestamp};

/// A folder that takes nothing while it is broken.
#[derive(Debug, Clone)]
struct Breakable(FolderDisk, Arc<AtomicBool>);

#[derive(Debug)]
struct BreakableFile(Box<dyn DiskFile>, Arc<AtomicBool>);

fn unless(broken: &AtomicBool) -> io::Result<()> {
    if broken.load(Ordering::SeqCst) { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
}

impl Breakable {
    fn file(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(BreakableFile(file, Arc::clone(&self.1)))
    }
}

impl Disk for Breakable {
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.0.open(name).map(|file| self.file(file))
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Box<dyn DiskFile>> {
        unless(&self.1)?;
        self.0.create(name, length).map(|file| self.file(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        unless(&self.1)
    }
}

impl DiskFile for BreakableFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn flush(&self) -> io::Result<()> {
        unless(&self.1)?;
        self.0.flush()
    }

    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
}

struct Bench {
    health: Health,
    journal: Journal,
    ship: watch::Sender<ShipStatus>,
    anchored: watch::Sender<AnchorStatus>,
    verifier: Arc<Verifier>,
    broken: Arc<AtomicBool>,
}

impl Bench {
    /// A recorder that serves, on a journal in `dir`.
    fn serving(dir: &Path) -> Self {
        let broken = Arc::new(AtomicBool::new(false));
        let disk = Breakable(FolderDisk::new(dir.to_owned()), Arc::clone(&broken));
        let settings =
            Settings { dir: dir.to_owned(), max_bytes: 8_000, refuse_new_sessions_at: 4_000, file_bytes: 2_000 };
        let journal = Journal::open_on(settings, Arc::new(disk), [7; 16].into()).unwrap().journal;
        let (ship, status) = watch::channel(ShipStatus::default());
        let (anchored, anchors) = watch::channel(AnchorStatus::default());
        let issuer = IssuerSettings {
            // Nobody answers there.
            keys: KeysAt::Discovery("http://127.0.0.1:9".to_owned()),
            audience: vec!["x".to_owned()],
            ..Preset::ALL[0].settings("main")
        };
        let verifier = Arc::new(Verifier::new([issuer], Arc::new(SystemClock)).unwrap());
        let health = Health { sources: OnceLock::new(), stop: CancellationToken::new() };
        let sources = Sources {
            journal: journal.clone(),
            ship: status,
            anchored: anchors,
            verifier: Arc::clone(&verifier),
            counters: BTreeMap::from([("app".to_owned(), Arc::default())]),
            clock: Arc::new(SystemClock),
        };
        health.sources.set(sources).unwrap();
        Self { health, journal, ship, anchored, verifier, broken }
    }

    fn reason(&self) -> Option<String> {
        self.health.ready().err().map(|reason| reason.to_string())
    }

    fn notes(&self) -> Vec<String> {
        self.health.ready().unwrap().notes()
    }

    async fn record(&self) -> Result<(), JournalError> {
        let (node, kind) = (NodeName::new("node".to_owned()).unwrap(), RecorderEventKind::CancelRequested);
        let event = Entry::Event(RecorderEvent::new(Timestamp(0), node, kind, "x".repeat(300)));
        self.journal.append(vec![event]).await.map(drop)
    }

    fn page(&self) -> String {
        metrics::text(self.health.sources.get(), self.health.ready().is_ok()).unwrap()
    }
}

#[test]
fn a_recorder_that_starts_is_not_ready_and_tells_its_version() {
    let health = Health { sources: OnceLock::new(), stop: CancellationToken::new() };
    assert_eq!(health.ready().unwrap_err().to_string(), "starting");
    let page = metrics::text(None, false).unwrap();
    assert!(page.contains(&format!("hansard_build_info{{version=\"{}\"}} 1\n", env!("CARGO_PKG_VERSION"))), "{page}");
    assert!(page.contains("\nhansard_ready 0\n") && page.ends_with("# EOF\n"), "{page}");
}

#[tokio::test]
async fn a_recorder_that_stops_is_not_ready_however_well_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::serving(dir.path());
    assert_eq!(bench.reason(), None);
    bench.health.stop.cancel();
    assert!(bench.reason().unwrap().starts_with("stopping"));
}

#[tokio::test]
async fn a_journal_that_refused_makes_unready_until_it_takes_entries_again_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::serving(dir.path());
    bench.record().await.unwrap();
    bench.broken.store(true, Ordering::SeqCst);
    bench.record().await.unwrap_err();
    assert!(bench.reason().unwrap().starts_with("the journal could not flush: "), "{:?}", bench.reason());
    assert!(bench.page().contains("\nhansard_journal_refusing 1\n"));
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(bench.reason().is_some(), "it is still broken");
    bench.broken.store(false, Ordering::SeqCst);
    // Nobody sends it anything: who asks whether it is ready sends nobody while it is not.
    for _ in 0..100 {
        if bench.reason().is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(bench.reason(), None);
    bench.record().await.unwrap();
    assert!(bench.page().contains("\nhansard_journal_flushed_entry 2\n"), "{}", bench.page());
}

#[tokio::test]
async fn a_journal_that_is_full_for_sessions_makes_unready_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::serving(dir.path());
    while bench.journal.used_bytes() < 4_000 {
        assert_eq!(bench.reason(), None);
        bench.record().await.unwrap();
    }
    assert!(bench.reason().unwrap().starts_with("the journal is full: "));
    assert!(bench.page().contains("\nhansard_journal_session_room_bytes 0\n"));
    let last = *bench.journal.flushed().borrow();
    bench.journal.free_before(last).await.unwrap();
    assert_eq!(bench.reason(), None);
}

#[tokio::test]
async fn shipping_that_stopped_is_a_reason_and_an_archive_that_is_away_a_note() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::serving(dir.path());
    bench.ship.send_modify(|status| status.failing = Some("https://account.example/secret-name".to_owned()));
    assert_eq!(bench.notes(), ["the archive is away; the journal keeps everything"]);
    bench.ship.send_modify(|status| status.stopped = Some("https://account.example/secret-name".to_owned()));
    assert_eq!(bench.reason().unwrap(), "shipping has stopped and needs a person; the log says why");
    let page = bench.page();
    assert!(page.contains("\nhansard_shipping_stopped 1\n") && !page.contains("secret-name"), "{page}");
}

#[tokio::test]
async fn a_shipper_that_ended_without_a_word_has_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let Bench { health, ship, .. } = Bench::serving(dir.path());
    assert!(health.ready().is_ok());
    drop(ship);
    assert!(matches!(health.ready(), Err(Unready::ShippingStopped)));
}

#[tokio::test]
async fn an_issuer_that_is_away_is_a_note() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::serving(dir.path());
    assert_eq!(bench.notes(), Vec::<String>::new());
    bench.verifier.warm().await.unwrap_err();
    assert_eq!(bench.notes(), ["issuer main did not answer when last asked"]);
    assert!(bench.page().contains("\nhansard_issuer_up{issuer=\"main\"} 0\n"));
}

#[tokio::test]
async fn what_shipping_counts_is_told_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::serving(dir.path());
    assert!(!bench.page().contains("hansard_journal_backlog_entries"), "not known is not nothing");
    for _ in 0..5 {
        bench.record().await.unwrap();
    }
    bench.ship.send_modify(|status| {
        status.surveyed = true;
        status.shipped_upto = crate::model::EntrySeq(3);
        status.oldest = Some(Timestamp(0));
        status.upload_failures = 7;
        status.seal_delays.counts[1] = 2;
        status.seal_delays.counts[9] = 1;
        status.seal_delays.total = Duration::from_millis(4_500);
    });
    let page = bench.page();
    for line in [
        "hansard_journal_backlog_entries 2",
        "hansard_upload_failures_total 7",
        "hansard_seal_delay_seconds_bucket{le=\"1.0\"} 0",
        "hansard_seal_delay_seconds_bucket{le=\"5.0\"} 2",
        "hansard_seal_delay_seconds_bucket{le=\"+Inf\"} 3",
        "hansard_seal_delay_seconds_sum 4.5",
        "hansard_sessions_open{target=\"app\"} 0",
        "hansard_statements_total{target=\"app\",decision=\"deny\",status=\"denied\"} 0",
        "hansard_entries_refused_total{target=\"app\",sqlstate=\"58030\"} 0",
    ] {
        assert!(page.contains(&format!("\n{line}\n")), "{line} is not in\n{page}");
    }
    let age = page.lines().find_map(|line| line.strip_prefix("hansard_unshipped_age_seconds ")).unwrap();
    assert!(age.parse::<f64>().unwrap() > 1e9, "since 1970: {age}");
}

#[tokio::test]
async fn evidence_is_told_as_far_as_it_is_known_and_what_is_not_configured_is_not_told() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::serving(dir.path());
    assert!(!bench.page().contains("hansard_evidence_"), "nothing is known yet");
    bench.ship.send_modify(|status| {
        status.surveyed = true;
        status.shipped = Some(crate::model::SegmentNo(7));
    });
    let states = |page: &str| {
        let states = page.lines().filter_map(|line| line.strip_prefix("hansard_evidence_state{state=\""));
        states.map(str::to_owned).collect::<Vec<_>>()
    };
    let page = bench.page();
    assert_eq!(states(&page), ["signed\"} 1", "behind\"} 0", "contradicted\"} 0"]);
    assert!(page.contains("\nhansard_evidence_signed_segment 7\n") && !page.contains("evidence_cop"), "{page}");
    assert!(!page.contains("evidence_stamp"), "{page}");

    bench.ship.send_modify(|status| {
        let (name, note) = ("name".to_owned(), "note".to_owned());
        status.signed = Some(crate::ship::Signed { size: 8, name: name.clone(), stamp_name: name, note });
    });
    let progress = Progress { size: Some(5), failures: 3, failing: Some("https://other.example/secret".to_owned()) };
    bench.anchored.send_modify(|status| {
        status.copied = Some(progress.clone());
        status.stamped = Some(Progress { size: None, ..progress });
    });
    let page = bench.page();
    assert_eq!(states(&page), ["signed\"} 0", "behind\"} 1", "contradicted\"} 0"]);
    for line in [
        "hansard_evidence_signed_segment 8",
        "hansard_evidence_copied_segment 5",
        "hansard_evidence_copy_failures_total 3",
        "hansard_evidence_copy_failing 1",
        "hansard_evidence_copy_conflicts_total 0",
        "hansard_evidence_stamp_failures_total 3",
        "hansard_evidence_stamp_failing 1",
    ] {
        assert!(page.contains(&format!("\n{line}\n")), "{line} is not in\n{page}");
    }
    assert!(!page.contains("hansard_evidence_stamped_segment") && !page.contains("secret"), "{page}");
    let (copy, stamp) =
        ("checkpoints cannot be copied; it is tried again", "checkpoints cannot be stamped; it is tried again");
    assert_eq!(bench.notes(), [copy, stamp], "and it is ready all the same");

    bench.anchored.send_modify(|status| status.conflicts = 1);
    assert_eq!(states(&bench.page()), ["signed\"} 0", "behind\"} 0", "contradicted\"} 1"]);
    assert!(bench.notes()[0].contains("needs a person"), "{:?}", bench.notes());
    assert_eq!(bench.notes()[1..], [stamp]);
}

#[tokio::test]
async fn an_archive_that_contradicts_is_told_as_that_and_other_trouble_as_being_behind() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::serving(dir.path());
    bench.ship.send_modify(|status| {
        (status.surveyed, status.stopped) = (true, Some("the journal is closed".to_owned()));
    });
    assert!(bench.page().contains("\nhansard_evidence_state{state=\"behind\"} 1\n"));
    bench.ship.send_modify(|status| status.contradicted = true);
    assert!(bench.page().contains("\nhansard_evidence_state{state=\"contradicted\"} 1\n"));
}
