//! Malformed, truncated, reordered and oversized frames from many connections at once, before and after the sign-in: no
//! panic, no hang, no growth, nothing forwarded without a record, and nobody else notices.
//!
//! Conversations are drawn from a seed that is printed; `HANSARD_TEST_SEED` repeats them, though not how they meet. With
//! `HANSARD_FUZZ_ROUNDS` there are more of them.

#![expect(
    clippy::panic,
    clippy::print_stderr,
    reason = "a check that fails says so by panicking, and the seed is told"
)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};

use super::assert_alive;
use super::support::raw::{
    CANCEL_REQUEST, GSS_REQUEST, PROTOCOL, Raw, SSL_REQUEST, bind, execute, flush, kinds, message, packet, parse,
    query, startup, sync,
};
use super::support::{Hansard, Login, Postgres, Store, wait_for};

/// Who talks at the same time, and how often each does in a round.
const TALKERS: u64 = 6;
const CONVERSATIONS: u64 = 25;
const ROUNDS: u64 = 3;
/// How much more memory, in bytes, a round may leave behind than the one before: what an allocator keeps, and far less than one
/// forgotten message in a hundred would.
const GROWTH: u64 = 48 << 20;
/// How long the last answer of a connection that we have ended may take.
const END_LIMIT: Duration = Duration::from_secs(60);

/// The frames of somebody who means well, for the most part.
fn frames(random: &mut StdRng, name: &str) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for number in 0..random.random_range(1..7) {
        let text = format!("select '{name} {number}'");
        let insert = format!("insert into fuzzed values ('{name} {number}')");
        match random.random_range(0..12) {
            0 => frames.push(query(&text)),
            1 => frames.push(query(&format!("{insert}; {text}"))),
            2 => frames.extend([parse("", &text), bind("", ""), message('D', b"P\0"), execute("", 0), sync()]),
            3 => frames.extend([parse("s", &insert), bind("p", "s"), execute("p", 1), execute("p", 0), sync()]),
            4 => frames.extend([bind("", "s"), execute("", 0), flush(), message('C', b"Ss\0"), sync()]),
            5 => {
                frames.push(query("copy fuzzed from stdin"));
                frames.extend((0..3).map(|line| message('d', format!("{name} {line}\n").as_bytes())));
                frames.push(if random.random() { message('c', b"") } else { message('f', b"no more\0") });
            }
            6 => frames.push(query("copy fuzzed to stdout")),
            7 => frames.extend([query("select * from hr.salaries"), query(&text)]),
            8 => frames.extend([parse("", "delete from hr.salaries where"), bind("", ""), execute("", 0), sync()]),
            9 => frames.push(query(&format!("begin; {insert}"))),
            10 => frames.push(message(char::from(random.random_range(b'A'..=b'z')), &noise(random, 40))),
            _ => frames.push(query(&format!("select '{name} {}'", "x".repeat(random.random_range(0..200_000))))),
        }
    }
    frames
}

fn noise(random: &mut StdRng, most: usize) -> Vec<u8> {
    (0..random.random_range(0..=most)).map(|_| random.random()).collect()
}

/// What becomes of them on the way.
fn spoilt(random: &mut StdRng, mut frames: Vec<Vec<u8>>) -> Vec<u8> {
    for _ in 0..random.random_range(0..3) {
        let at = random.random_range(0..frames.len());
        match random.random_range(0..7) {
            0 => frames.shuffle(random),
            1 => {
                let again = frames[at].clone();
                frames.insert(random.random_range(0..=frames.len()), again);
            }
            2 => {
                let length = frames[at].len();
                frames[at].truncate(random.random_range(0..length));
                if frames[at].is_empty() {
                    frames[at].push(0);
                }
            }
            3 if frames[at].len() >= 5 => {
                let real = u32::from_be_bytes([frames[at][1], frames[at][2], frames[at][3], frames[at][4]]);
                let lies = [
                    0,
                    1,
                    3,
                    4,
                    5,
                    real.wrapping_sub(1),
                    real.wrapping_add(1),
                    real.wrapping_add(100),
                    300 << 20,
                    1 << 31,
                    u32::MAX,
                ];
                let lie = lies.choose(random).unwrap().to_be_bytes();
                frames[at][1..5].copy_from_slice(&lie);
            }
            4 => frames.insert(at, [noise(random, 30), vec![0]].concat()),
            5 => frames.insert(at, startup(PROTOCOL, &[("user", "x"), ("database", "app")])),
            _ => {
                let place = random.random_range(0..frames[at].len());
                frames[at][place] ^= 1 << random.random_range(0..8);
            }
        }
    }
    frames.concat()
}

/// Says it in one piece or in many.
fn say(random: &mut StdRng, bytes: &[u8], mut send: impl FnMut(&[u8]) -> std::io::Result<()>) {
    let piece = if random.random_ratio(1, 3) { random.random_range(1..2000) } else { bytes.len().max(1) };
    // The other side may have hung up at the first flaw.
    bytes.chunks(piece).try_for_each(&mut send).ok();
}

/// A session that is signed in and then says anything.
fn within(random: &mut StdRng, login: &Login) {
    let mut raw = Raw::sign_in(login);
    raw.patience(END_LIMIT);
    let said = frames(random, &login.application);
    let bytes = spoilt(random, said);
    say(random, &bytes, |piece| raw.try_send(piece));
    if random.random_ratio(1, 4) {
        // It vanishes with its answers unread.
        return;
    }
    end(&mut raw);
}

/// Hangs up and waits until the other side has, if it has not yet.
fn end(raw: &mut Raw) {
    raw.try_half_close().ok();
    raw.rest();
}

/// Somebody who has no session, and says anything instead of what is due.
fn before(random: &mut StdRng, login: &Login) {
    let named = startup(PROTOCOL, &[("user", "ana"), ("database", "app"), ("application_name", "early")]);
    let password = message('p', format!("{}\0", login.password).as_bytes());
    let packets = [
        named,
        password,
        packet(SSL_REQUEST, b""),
        packet(GSS_REQUEST, b""),
        packet(CANCEL_REQUEST, &noise(random, 40)),
        packet(PROTOCOL + 7, b"\0"),
        startup(PROTOCOL, &[("replication", "true"), ("options", "-c role=x")]),
        startup(PROTOCOL, &[("user", &"x".repeat(20_000))]),
        [b"\x16\x03\x01".to_vec(), noise(random, 300)].concat(),
        query("select 1"),
        noise(random, 60),
        vec![0],
    ];
    let chosen: Vec<Vec<u8>> =
        (0..random.random_range(1..4)).map(|_| packets.choose(random).unwrap().clone()).collect();
    let bytes = spoilt(random, chosen);
    if random.random() {
        let mut raw = Raw::tls(login.port);
        raw.patience(END_LIMIT);
        say(random, &bytes, |piece| raw.try_send(piece));
        end(&mut raw);
    } else {
        let mut socket = TcpStream::connect(("127.0.0.1", login.port)).unwrap();
        socket.set_read_timeout(Some(END_LIMIT)).unwrap();
        say(random, &bytes, |piece| socket.write_all(piece));
        socket.shutdown(Shutdown::Write).ok();
        let mut answer = Vec::new();
        // A reset is an end as well; only silence is none.
        if let Err(error) = socket.read_to_end(&mut answer) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "it hangs: {error}");
        }
    }
}

/// Somebody who works meanwhile, and gets exactly the answers to what they ask.
fn bystander(login: &Login, over: &AtomicBool) -> u64 {
    let mut raw = Raw::sign_in(login);
    raw.patience(END_LIMIT);
    let mut asked = 0;
    while !over.load(Ordering::Relaxed) {
        asked += 1;
        let said = raw.talk(&query(&format!("select {asked}")));
        assert_eq!(kinds(&said), "TDCZ");
        let row = said.iter().find(|message| message.kind == 'D').unwrap();
        assert!(row.body.ends_with(asked.to_string().as_bytes()), "an answer to something else");
    }
    asked
}

/// Tells the bystander to leave, also when a talker found something.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn whatever_frames_come_nothing_breaks_hangs_grows_or_goes_unrecorded() {
    let seed: u64 = std::env::var("HANSARD_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    eprintln!("HANSARD_TEST_SEED={seed}");
    let rounds = std::env::var("HANSARD_FUZZ_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    Postgres::shared().admin("create table fuzzed (what text); grant all on fuzzed to public");
    let mut hansard = Hansard::start(Store::Folder);
    let (over, conversations) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut held = Vec::new();
    std::thread::scope(|scope| {
        let over = &over;
        let login = hansard.login("dev", "bystander");
        let bystander = scope.spawn(move || bystander(&login, over));
        let _over = Over(over);
        for round in 0..rounds {
            std::thread::scope(|scope| {
                for talker in 0..TALKERS {
                    let (hansard, conversations) = (&hansard, &conversations);
                    scope.spawn(move || {
                        let mut random = StdRng::seed_from_u64(seed ^ (round * TALKERS + talker) << 32);
                        for turn in 0..CONVERSATIONS {
                            let login = hansard.login("dev", &format!("fuzz-{round}-{talker}-{turn}"));
                            if random.random_ratio(1, 4) {
                                before(&mut random, &login);
                            } else {
                                within(&mut random, &login);
                            }
                            conversations.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
            });
            held.push(hansard.memory("VmRSS"));
        }
        over.store(true, Ordering::Relaxed);
        assert!(bystander.join().unwrap() > 0);
    });
    assert_eq!(conversations.into_inner(), rounds * TALKERS * CONVERSATIONS);
    assert!(!hansard.log().contains("panicked"), "{}", hansard.log());
    assert_alive(&hansard);
    if let [.., before, last] = held[..] {
        assert!(last < before + GROWTH, "memory grows: {held:?}");
    }
    let sql = "select count(*) from pg_stat_activity where application_name like 'fuzz-%'";
    wait_for("the end of each session at the database", END_LIMIT, || {
        (Postgres::shared().admin(sql) == "0").then_some(())
    });
    assert_eq!(hansard.stop(), 0, "{}", hansard.log());
    assert_all_recorded(&hansard);
}

/// Whatever the database was asked to run has as many records of statements that were allowed.
fn assert_all_recorded(hansard: &Hansard) {
    let sql = "select application, text, count(*) as times from statements
               where application like 'fuzz-%' and decision = 'allow' group by all";
    let mut recorded: BTreeMap<(String, String), u64> = BTreeMap::new();
    for row in hansard.archive().query(sql) {
        let text = |column: &str| row[column].as_str().unwrap_or_default().to_owned();
        recorded.insert((text("application"), text("text")), row["times"].as_u64().unwrap());
    }
    let mut ran = 0;
    for (application, texts) in Postgres::shared().asked_by_application() {
        for text in texts.into_iter().filter(|_| application.starts_with("fuzz-")) {
            ran += 1;
            let left = recorded.get_mut(&(application.clone(), text.clone())).filter(|left| **left > 0);
            let left = left.unwrap_or_else(|| panic!("{application} ran what is not on record: {text:?}"));
            *left -= 1;
        }
    }
    assert!(ran > 100, "only {ran} statements ran: this proves little");
}
