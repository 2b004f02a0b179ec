//! The archive away, in every way that an archive can be: it is waited for, and nothing is lost, twice, or kept in memory.

use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::store::failing::{Attempt, FAULTS};

/// An hour at a scale of a thousand, and the pauses of `ShipSettings::default` at the same scale.
const HOUR: Duration = Duration::from_millis(3_600);

fn scaled(max_bytes: usize) -> ShipSettings {
    let usual = ShipSettings::default();
    ShipSettings {
        first_pause: usual.first_pause / 1_000,
        longest_pause: usual.longest_pause / 1_000,
        ..settings(max_bytes)
    }
}

/// What a scenario needs to be repeated: from the environment, or drawn and printed.
fn seed() -> u64 {
    let seed = std::env::var("HANSARD_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    #[expect(clippy::print_stderr, reason = "whoever sees the test fail repeats it with this")]
    {
        eprintln!("HANSARD_TEST_SEED={seed}");
    }
    seed
}

/// The archive of the story when nothing fails.
async fn undisturbed() -> Archive {
    let place = Place::new(Kind::Worm);
    let journal = place.journal();
    journal.append(story()).await.unwrap();
    finish(&journal, &place.store, 6_000).await;
    Archive::of(&place.store).await
}

#[tokio::test]
async fn whatever_the_archive_answers_the_same_objects_are_there_in_the_end() {
    let wanted = undisturbed().await;
    wanted.assert_tells_the_story();
    for fault in FAULTS {
        // Each create fails like this in turn: the first of a segment, one in the middle, its manifest.
        for at in 0..wanted.parquet.len() + wanted.manifests.len() {
            let place = Place::new(Kind::Worm);
            let journal = place.journal();
            journal.append(story()).await.unwrap();
            place.line.next(std::iter::repeat_n(Fault::None, at).chain([fault]));
            let line = place.line.clone();
            let release = async {
                while line.attempts().len() <= at {
                    tokio::task::yield_now().await;
                }
                tokio::task::yield_now().await;
                line.always(Fault::None);
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = finish(&journal, &place.store, 6_000) => {}
                () = release, if fault == Fault::Silent => {}
            }
            let archive = Archive::of(&place.store).await;
            assert_eq!(archive, wanted, "{fault:?} at create {at}");
            assert_eq!(conflicts(&journal), Vec::<String>::new(), "{fault:?} at create {at}");
        }
    }
}

#[tokio::test]
async fn a_name_that_holds_our_bytes_is_success_however_the_store_says_so() {
    let wanted = undisturbed().await;
    for answer in [Fault::Exists, Fault::Precondition] {
        let place = Place::new(Kind::Worm);
        for (name, bytes) in &wanted.parquet {
            place.store.put_once(name, bytes.clone()).await.unwrap();
        }
        let journal = place.journal();
        journal.append(story()).await.unwrap();
        // The reading that settles it fails too, once, in the middle.
        place.line.next([answer, Fault::CutOff, answer]);
        finish(&journal, &place.store, 6_000).await;
        assert_eq!(Archive::of(&place.store).await, wanted, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_that_is_dead_for_an_hour_costs_nobody_anything_and_the_backlog_drains_by_itself() {
    const STATEMENTS: u64 = 2_000;
    const SEGMENT: usize = 40_000;
    let place = Place::new(Kind::Worm);
    let journal = place.journal();
    place.line.always(Fault::Refused);
    let shipper = shipper_with(&journal, &place.store, Keys::new(1, None), scaled(SEGMENT));
    let (handle, gauge) = (shipper.handle(), shipper.work.gauge());
    let mut status = handle.status();
    let (started, stop) = (Instant::now(), CancellationToken::new());
    journal.append(vec![opened(2)]).await.unwrap();
    let running = tokio::spawn(shipper.run(stop.clone()));
    // Statements go on as if nothing were the matter.
    let mut slowest = Duration::ZERO;
    let mut held = Vec::new();
    for number in 1..=STATEMENTS {
        let asked = Instant::now();
        journal.record(vec![intent(2, number)], crate::model::Recorded::Flushed).await.unwrap();
        slowest = slowest.max(asked.elapsed());
        journal.note(outcome(2, number)).await.unwrap();
        held.push(gauge());
    }
    assert!(slowest < Duration::from_secs(2), "a statement waited {slowest:?} for its permit");
    tokio::time::sleep(HOUR.saturating_sub(started.elapsed())).await;
    held.push(gauge());
    assert!(status.borrow().failing.as_ref().unwrap().contains("connection refused"));
    assert_eq!(journal.reader().next(EntrySeq(1)).unwrap().unwrap().seq, EntrySeq(1), "the journal keeps everything");

    // One segment was read, and no entry more, however much waits.
    let most = held.iter().map(|(_, bytes)| *bytes).max().unwrap();
    assert!(most < 2 * SEGMENT, "{most} bytes of rows in memory");
    let (read, _) = held.last().unwrap();
    assert!(read.0 < STATEMENTS / 4, "it has read up to {} of {}", read.0, 2 * STATEMENTS);

    let attempts = place.line.attempts();
    not_too_often(&attempts, started.elapsed());
    assert!(attempts.iter().all(|a| a.name == attempts[0].name && a.bytes == attempts[0].bytes), "always the same");

    place.line.always(Fault::None);
    handle.finish().await.unwrap();
    assert_eq!(status.borrow_and_update().failing, None);
    stop.cancel();
    running.await.unwrap().unwrap();
    let archive = Archive::of(&place.store).await;
    let mut wanted = references(2, 1..=STATEMENTS);
    wanted.sort();
    assert_eq!(archive.column("statements", "reference"), wanted);
    assert!(journal.oldest_file_ends_before().is_none_or(|next| next > EntrySeq(STATEMENTS)), "the journal was freed");
}

/// Pauses double up to the longest and stay there: so many tries in so long a time, not more, and it goes on trying.
fn not_too_often(attempts: &[Attempt], elapsed: Duration) {
    let settings = scaled(1);
    let mut pause = settings.first_pause;
    let (mut most, mut passed) = (1_u128, Duration::ZERO);
    while pause < settings.longest_pause {
        (most, passed, pause) = (most + 1, passed + pause, pause * 2);
    }
    most += elapsed.saturating_sub(passed).as_millis() / settings.longest_pause.as_millis() + 1;
    assert!(attempts.len() as u128 <= most, "{} tries in {elapsed:?}, more than {most}", attempts.len());
    let last = attempts.last().unwrap().at.elapsed();
    assert!(
        attempts.len() > 10 && last < 20 * settings.longest_pause,
        "{} tries, the last {last:?} ago",
        attempts.len()
    );
}

#[tokio::test]
async fn an_archive_that_flaps_through_restarts_gets_each_row_once_under_names_that_stay() {
    let mut random = StdRng::seed_from_u64(seed());
    for round in 0..12 {
        let place = Place::new(Kind::Worm);
        place.line.flap(StdRng::seed_from_u64(random.random()), random.random_range(10..90));
        let mut journal = place.journal();
        for entry in story() {
            journal.append(vec![entry]).await.unwrap();
            if random.random_bool(0.3) {
                crash_after(random.random_range(0..60), finish(&journal, &place.store, 3_000)).await;
                journal.close().await;
                journal = place.journal();
            }
        }
        finish(&journal, &place.store, 3_000).await;
        place.line.always(Fault::None);
        Archive::of(&place.store).await.assert_tells_the_story();
        assert_eq!(conflicts(&journal), Vec::<String>::new(), "round {round}");
        // Whatever was tried under a name was always the same bytes.
        let mut tried: BTreeMap<String, Bytes> = BTreeMap::new();
        for Attempt { name, bytes, .. } in place.line.attempts() {
            let first = tried.entry(name.clone()).or_insert_with(|| bytes.clone());
            assert_eq!(*first, bytes, "round {round}: {name} was tried with other bytes");
        }
    }
}
