//! Checkpoints in other hands: copied and stamped whenever the others can be reached, and shipping never knows.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use async_trait::async_trait;

use super::*;
use crate::anchor::AnchorError;
use crate::model::Ids;

const PAUSE: Duration = Duration::from_millis(2);
const LONGEST: Duration = Duration::from_millis(8);
/// A pace that no test lives to see.
const SELDOM: Duration = Duration::from_secs(3_600);
/// Longer than anything takes.
const LIMIT: Duration = Duration::from_secs(20);

/// An authority whose stamps say what they are of.
#[derive(Debug, Default)]
struct Stampers {
    away: AtomicBool,
    asked: Mutex<Vec<(Sha256, u64)>>,
}

impl Stampers {
    /// Asked so far: digests and nonces.
    fn asked(&self) -> Vec<(Sha256, u64)> {
        self.asked.lock().unwrap().clone()
    }
}

fn stamp_of(digest: Sha256) -> Bytes {
    format!("a stamp of {digest}").into()
}

#[async_trait]
impl Authority for Stampers {
    async fn stamp(&self, digest: Sha256, nonce: u64) -> Result<Vec<u8>, AnchorError> {
        self.asked.lock().unwrap().push((digest, nonce));
        tokio::task::yield_now().await;
        if self.away.load(Ordering::SeqCst) {
            return Err(AnchorError::Away { authority: "http://clock".to_owned(), reason: "nobody".to_owned() });
        }
        Ok(stamp_of(digest).to_vec())
    }
}

#[derive(Debug, Default)]
struct Counting(AtomicU64);

impl Ids for Counting {
    fn session(&self) -> SessionId {
        SessionId::from_bits(self.nonce())
    }

    fn cancel_key(&self) -> (u32, [u8; 32]) {
        (1, [1; 32])
    }

    fn nonce(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// An archive, and beside it a place in other hands and an authority.
struct Scene {
    here: Place,
    there: Place,
    authority: Arc<Stampers>,
    ids: Arc<Counting>,
    keys: Arc<Keys>,
    every: Duration,
    answer: Duration,
}

/// A shipper and what anchors its checkpoints, running.
struct Running {
    journal: Journal,
    ship: ShipHandle,
    status: watch::Receiver<AnchorStatus>,
    stop: CancellationToken,
    shipping: tokio::task::JoinHandle<Result<(), ShipError>>,
    anchoring: tokio::task::JoinHandle<()>,
}

impl Scene {
    fn new(kind: Kind) -> Self {
        Self {
            here: Place::new(kind),
            there: Place::new(Kind::Worm),
            authority: Arc::default(),
            ids: Arc::default(),
            keys: Keys::new(1, None),
            every: SELDOM,
            answer: SELDOM,
        }
    }

    fn each() -> impl Iterator<Item = Self> {
        KINDS.into_iter().map(Self::new)
    }

    fn anchoring(
        &self,
        copy: Elsewhere,
        journal: &Journal,
        ship: watch::Receiver<ShipStatus>,
        on_record: BTreeSet<String>,
    ) -> Anchoring {
        let stamps = Stamps {
            authority: Arc::clone(&self.authority) as Arc<dyn Authority>,
            every: self.every,
            ids: Arc::clone(&self.ids) as Arc<dyn Ids>,
        };
        Anchoring::new(AnchoringParts {
            anchors: Anchors { copy: Some(copy), stamps: Some(stamps) },
            patience: Patience { first_pause: PAUSE, longest_pause: LONGEST, answer: self.answer },
            ship,
            store: self.here.store.clone(),
            journal: journal.clone(),
            on_record,
            node: node(),
            clock: Arc::new(At(NOW)),
        })
    }

    fn elsewhere(&self) -> Elsewhere {
        Elsewhere::Store(self.there.store.clone())
    }

    /// Starts as a recorder does, on what the last run left.
    async fn start(&self) -> Running {
        self.start_with(self.elsewhere()).await
    }

    async fn start_with(&self, copy: Elsewhere) -> Running {
        let journal = self.here.journal();
        let asked = journal.clone();
        let left = tokio::task::spawn_blocking(move || open_at_crash(&asked)).await.unwrap().unwrap();
        let shipper = shipper_with(&journal, &self.here.store, Arc::clone(&self.keys), settings(1 << 20));
        let ship = shipper.handle();
        let anchoring = self.anchoring(copy, &journal, ship.status(), left.conflicts);
        let (status, stop) = (anchoring.status(), CancellationToken::new());
        let shipping = tokio::spawn(shipper.run(stop.clone()));
        Running { journal, ship, status, stop, shipping, anchoring: tokio::spawn(anchoring.run()) }
    }

    /// The bytes of an object here and there, where it is.
    async fn both(&self, object: LogObject) -> (Option<Bytes>, Option<Bytes>) {
        let name = object.name(&node());
        (self.here.store.get(&name).await.ok(), self.there.store.get(&name).await.ok())
    }

    /// The sizes that checkpoints, or stamps, are of there.
    async fn sizes(store: &Store, of: impl Fn(u64) -> LogObject) -> Vec<u64> {
        let listed = store.list("log").await.unwrap();
        let objects = listed.iter().filter_map(|object| LogObject::read(&object.name)).map(|(_, object)| object);
        let sizes = objects.filter_map(|object| match object {
            LogObject::Checkpoint(size, _) | LogObject::Stamp(size, _) => (object == of(size)).then_some(size),
            _ => None,
        });
        sizes.collect()
    }
}

fn id() -> crate::seal::note::KeyId {
    key(1).verifier().id()
}

fn checkpoint(size: u64) -> LogObject {
    LogObject::Checkpoint(size, id())
}

fn stamp(size: u64) -> LogObject {
    LogObject::Stamp(size, id())
}

impl Running {
    /// Ships a segment of one event.
    async fn ship(&self) {
        self.journal.append(vec![event(RecorderEventKind::Heartbeat)]).await.unwrap();
        self.ship.finish().await.unwrap();
    }

    async fn until(&mut self, wanted: impl Fn(&AnchorStatus) -> bool) -> AnchorStatus {
        let reached = tokio::time::timeout(LIMIT, self.status.wait_for(|status| wanted(status))).await;
        let reached = reached.map(|status| status.unwrap().clone());
        reached.unwrap_or_else(|_elapsed| panic!("it stays at {:?}", self.status.borrow()))
    }

    async fn copied(&mut self, size: u64) {
        self.until(|status| status.copied.as_ref().unwrap().size == Some(size)).await;
    }

    async fn stamped(&mut self, size: u64) {
        self.until(|status| status.stamped.as_ref().unwrap().size == Some(size)).await;
    }

    /// Stops as a recorder does: shipping first, then what anchors ends by itself.
    async fn stop(self) {
        self.stop.cancel();
        self.shipping.await.unwrap().unwrap();
        tokio::time::timeout(LIMIT, self.anchoring).await.unwrap().unwrap();
        self.journal.close().await;
    }

    /// Ends as by `kill -9`.
    async fn kill(self) {
        self.anchoring.abort();
        self.shipping.abort();
        drop(self.anchoring.await);
        drop(self.shipping.await);
        self.journal.close().await;
    }
}

#[tokio::test]
async fn checkpoints_are_copied_byte_for_byte_and_stamped_at_the_beginning_and_at_the_end() {
    for scene in Scene::each() {
        let mut running = scene.start().await;
        running.ship().await;
        running.stamped(1).await;
        for size in 2..=4 {
            running.ship().await;
            running.copied(size).await;
        }
        let stamped = running.status.borrow().stamped.clone().unwrap();
        assert_eq!((stamped.size, stamped.failing), (Some(1), None), "the pace is not reached");
        running.stop().await;
        for size in 1..=4 {
            let (here, there) = scene.both(checkpoint(size)).await;
            assert!(here.is_some() && here == there, "the checkpoint at {size}");
            let (here, there) = scene.both(stamp(size)).await;
            assert_eq!(here.is_some(), size == 1 || size == 4, "the stamp at {size}");
            assert_eq!(here, there, "the stamp at {size}");
        }
        let digest = |note: Option<Bytes>| Sha256::of(&note.unwrap());
        let (first, last) = (scene.both(checkpoint(1)).await.0, scene.both(checkpoint(4)).await.0);
        assert_eq!(scene.authority.asked(), [(digest(first), 0), (digest(last.clone()), 1)], "with a new nonce each");
        assert_eq!(scene.both(stamp(4)).await.0, Some(stamp_of(digest(last))));
    }
}

#[tokio::test]
async fn a_stamp_is_asked_for_at_its_pace_and_only_over_what_is_new() {
    let scene = Scene { every: Duration::from_millis(50), ..Scene::new(Kind::Worm) };
    let mut running = scene.start().await;
    running.ship().await;
    running.stamped(1).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(scene.authority.asked().len(), 1, "nothing is new");
    running.ship().await;
    running.stamped(2).await;
    running.stop().await;
    assert_eq!(scene.authority.asked().len(), 2);
}

#[tokio::test]
async fn others_that_are_away_for_long_hold_up_nobody_and_get_the_newest_when_they_are_back() {
    let scene = Scene::new(Kind::Worm);
    let mut running = scene.start().await;
    scene.there.away(true);
    scene.authority.away.store(true, Ordering::SeqCst);
    let gone = Instant::now();
    for _ in 0..30 {
        running.ship().await;
    }
    let away = running
        .until(|status| {
            let failing = |progress: &Option<Progress>| progress.as_ref().unwrap().failing.is_some();
            failing(&status.copied) && failing(&status.stamped)
        })
        .await;
    let (copied, stamped) = (away.copied.unwrap(), away.stamped.unwrap());
    assert!(copied.failing.unwrap().contains("connection refused") && stamped.failing.unwrap().contains("nobody"));
    assert_eq!((copied.size, stamped.size, away.conflicts), (None, None, 0));
    assert_eq!(running.ship.status().borrow().failing, None, "shipping does not know");
    tokio::time::sleep(LONGEST * 20).await;
    // Pauses grow, whatever is new meanwhile.
    let most = gone.elapsed().as_millis() / LONGEST.as_millis() + 4;
    let tries = scene.there.line.attempts().len().max(scene.authority.asked().len());
    assert!(tries > 10 && tries as u128 <= most, "{tries} tries, not more than {most}");
    scene.there.away(false);
    running.copied(30).await;
    scene.authority.away.store(false, Ordering::SeqCst);
    running.stamped(30).await;
    let status = running.status.borrow().clone();
    let failures = |progress: Option<Progress>| progress.map(|progress| (progress.failing, progress.failures > 5));
    assert_eq!((failures(status.copied), failures(status.stamped)), (Some((None, true)), Some((None, true))));
    running.stop().await;
    assert_eq!(Scene::sizes(&scene.there.store, checkpoint).await, [30], "what was passed over is covered by it");
    assert_eq!(Scene::sizes(&scene.here.store, checkpoint).await.len(), 30);
    assert_eq!(Scene::sizes(&scene.there.store, stamp).await, [30]);
}

#[tokio::test]
async fn another_content_in_the_place_of_a_copy_is_on_record_once_and_later_copies_are_made() {
    for scene in Scene::each() {
        for size in [2, 3] {
            let name = checkpoint(size).name(&node());
            scene.there.store.put_once(&name, Bytes::from_static(b"forged")).await.unwrap();
        }
        let mut running = scene.start().await;
        running.ship().await;
        running.copied(1).await;
        for (size, conflicts) in [(2, 1), (3, 2)] {
            running.ship().await;
            let status = running.until(|status| status.conflicts == conflicts).await;
            let copied = status.copied.unwrap();
            assert!(copied.size == Some(1) && copied.failing.unwrap().contains("another content"), "{size}");
        }
        let told = conflicts(&running.journal);
        assert!(told.len() == 1 && told[0].contains("checkpoint-000000000002-"), "one after the other: {told:?}");
        running.kill().await;

        // A restart that finds the last one as it was: another name, so it is on record too, and once however often.
        for _ in 0..2 {
            let mut running = scene.start().await;
            running.until(|status| status.conflicts == 1).await;
            tokio::time::timeout(LIMIT, async {
                while conflicts(&running.journal).len() < 2 {
                    tokio::time::sleep(PAUSE).await;
                }
            })
            .await
            .unwrap();
            running.kill().await;
        }
        let mut running = scene.start().await;
        running.until(|status| status.conflicts == 1).await;
        running.ship().await;
        running.copied(4).await;
        let status = running.status.borrow().clone();
        assert_eq!((status.copied.unwrap().failing, status.conflicts), (None, 1));
        assert_eq!(running.ship.status().borrow().stopped, None, "shipping goes on");
        running.stop().await;
        let told = Archive::of(&scene.here.store).await.column("events", "detail");
        let told: Vec<_> = told.iter().filter(|detail| !detail.is_empty()).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("/checkpoint-000000000002-") && told[1].contains("/checkpoint-000000000003-"));
    }
}

#[tokio::test]
async fn a_run_begins_with_the_checkpoint_that_the_last_one_ended_with() {
    for scene in Scene::each() {
        scene.there.away(true);
        scene.authority.away.store(true, Ordering::SeqCst);
        let running = scene.start().await;
        running.ship().await;
        running.kill().await;
        scene.there.away(false);
        scene.authority.away.store(false, Ordering::SeqCst);
        let mut running = scene.start().await;
        running.copied(1).await;
        running.stamped(1).await;
        running.stop().await;
        let (here, there) = scene.both(checkpoint(1)).await;
        assert!(here.is_some() && here == there);
        assert!(scene.both(stamp(1)).await.1.is_some());

        // What is there is not asked for again, and counts.
        let asked = scene.authority.asked().len();
        let mut running = scene.start().await;
        running.copied(1).await;
        running.stamped(1).await;
        running.stop().await;
        assert_eq!(scene.authority.asked().len(), asked);

        // With another key the log is not signed again at the same size.
        *scene.keys.current.lock().unwrap() = key(2);
        let running = scene.start().await;
        running.ship.status().wait_for(|status| status.surveyed).await.unwrap();
        assert_eq!(running.ship.status().borrow().signed, None);
        running.stop().await;
    }
}

#[tokio::test]
async fn a_stamp_that_somebody_else_put_there_is_enough() {
    for scene in Scene::each() {
        let others = Bytes::from_static(b"another's stamp");
        scene.here.store.put_once(&stamp(1).name(&node()), others.clone()).await.unwrap();
        scene.there.store.put_once(&stamp(2).name(&node()), others.clone()).await.unwrap();
        let running = scene.start().await;
        running.ship().await;
        running.stop().await;
        assert_eq!(scene.authority.asked(), []);
        assert_eq!(scene.both(stamp(1)).await, (Some(others.clone()), Some(others.clone())), "the archive's is copied");
        let mut running = scene.start().await;
        running.stamped(1).await;
        running.ship().await;
        let told = running.journal.clone();
        let status = running.status.clone();
        running.stop().await;
        assert_eq!(scene.both(stamp(2)).await.1, Some(others));
        assert_eq!((conflicts(&told), status.borrow().conflicts), (vec![], 0), "no alarm");
    }
}

#[tokio::test]
async fn who_does_not_answer_is_told_as_failing_and_asked_once() {
    let scene = Scene { answer: Duration::from_millis(20), ..Scene::new(Kind::Folder) };
    scene.there.line.always(Fault::Silent);
    let mut running = scene.start().await;
    running.ship().await;
    let silent = running.until(|status| status.copied.as_ref().unwrap().failing.is_some()).await;
    assert!(silent.copied.unwrap().failing.unwrap().starts_with("there was no answer within"));
    running.stamped(1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(scene.there.line.attempts().len(), 1);
    scene.there.line.always(Fault::None);
    running.copied(1).await;
    assert_eq!(running.status.borrow().copied.as_ref().unwrap().failing, None);
    running.stop().await;
}

#[tokio::test]
async fn a_place_that_cannot_be_opened_yet_is_opened_when_it_can_be() {
    let scene = Scene::new(Kind::Folder);
    let disk = scene.there.dir.path().join("disk");
    std::fs::write(&disk, b"not there yet").unwrap();
    let url = format!("file://{}/copies", disk.display());
    let settings = crate::store::StoreSettings { url, azure: crate::store::AzureSettings::default() };
    let mut running = scene.start_with(Elsewhere::Settings(settings)).await;
    running.ship().await;
    running.until(|status| status.copied.as_ref().unwrap().failing.is_some()).await;
    std::fs::remove_file(&disk).unwrap();
    running.copied(1).await;
    running.stop().await;
    let copy = std::fs::read(disk.join("copies").join(checkpoint(1).name(&node()))).unwrap();
    assert_eq!(scene.both(checkpoint(1)).await.0, Some(copy.into()));
}

#[tokio::test]
async fn anchoring_that_is_cut_off_anywhere_leaves_the_same_as_if_it_had_not_been() {
    for kind in KINDS {
        let mut steps = 0;
        loop {
            let scene = Scene::new(kind);
            let mut running = scene.start().await;
            running.anchoring.abort();
            running.ship().await;
            // Shipping has ended: the last checkpoint is dealt with at once.
            let ship = running.ship.status();
            running.stop.cancel();
            (&mut running.shipping).await.unwrap().unwrap();
            let again = || scene.anchoring(scene.elsewhere(), &running.journal, ship.clone(), BTreeSet::new()).run();
            let done = Box::pin(crash_after(steps, again())).await;
            Box::pin(again()).await;
            let (here, there) = scene.both(checkpoint(1)).await;
            assert!(here.is_some() && here == there, "cut at step {steps}");
            let (here, there) = scene.both(stamp(1)).await;
            assert!(here.is_some() && here == there, "cut at step {steps}");
            running.journal.close().await;
            if done {
                break;
            }
            steps += 1;
        }
        assert!(steps > 3, "{steps} steps only");
    }
}

#[tokio::test]
async fn a_stop_stays_one_whatever_others_say_after_it() {
    for late in [RecorderEventKind::ArchiveConflict, RecorderEventKind::KeyChanged] {
        let place = Place::new(Kind::Folder);
        let journal = place.journal();
        let said = [RecorderEventKind::Started, RecorderEventKind::Stopped, late].map(event);
        journal.append(said.to_vec()).await.unwrap();
        let asked = journal.clone();
        let left = tokio::task::spawn_blocking(move || open_at_crash(&asked)).await.unwrap().unwrap();
        assert!(left.clean, "{late:?}");
        finish(&journal, &place.store, 1 << 20).await;
        assert!(Archive::of(&place.store).await.manifests[0].stops, "{late:?}");
    }
}
