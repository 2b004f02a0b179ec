//! What others send or leave behind is read without harm: every input that the fuzzer found worth keeping, again, on the
//! stable toolchain and in no time. `make fuzz` looks for new ones.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a check that fails says so by panicking"
)]

#[path = "fuzz/bodies/mod.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets are other crates")]
mod bodies;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What a target does with bytes.
type Body = fn(&[u8]);

/// Every target by its name, which is also its corpus's in `fixtures/fuzz/`.
const TARGETS: &[(&str, Body)] = &[
    ("framer", bodies::framer::body),
    ("decoders", bodies::decoders::body),
    ("login", bodies::login::body),
    ("exchange", bodies::exchange::body),
    ("guard", bodies::guard::body),
    ("facts", bodies::facts::body),
    ("policy", bodies::policy::body),
    ("journal", bodies::journal::body),
    ("evidence", bodies::evidence::body),
];

/// What a corpus may hold: it is for replaying, not for keeping all that was found.
const MAX_FILES: usize = 100;
const MAX_BYTES: u64 = 200 << 10;
const MAX_FILE_BYTES: u64 = 4 << 10;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn corpus(target: &str) -> Vec<PathBuf> {
    let folder = root().join("fixtures/fuzz").join(target);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Each input of the corpus. One that breaks a promise names itself before the message.
fn replay(target: &str) {
    let (_, body) = TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    let files = corpus(target);
    assert!(files.len() >= 10, "{target} has {} inputs only", files.len());
    for file in files {
        let data = fs::read(&file).unwrap();
        let told = std::panic::catch_unwind(|| body(&data));
        assert!(told.is_ok(), "{} breaks a promise; what it breaks stands above", file.display());
    }
}

#[test]
fn bytes_are_cut_into_the_same_frames_however_they_come() {
    replay("framer");
}

#[test]
fn a_message_is_read_to_its_exact_end_or_not_at_all() {
    replay("decoders");
}

#[test]
fn a_database_that_cheats_at_the_login_gets_no_password_and_no_trust() {
    replay("login");
}

#[test]
fn what_runs_is_what_was_judged_and_each_statement_has_one_outcome() {
    replay("exchange");
}

#[test]
fn any_text_has_facts_and_comments_do_not_change_them() {
    replay("guard");
}

#[test]
fn what_a_text_plainly_names_is_in_its_facts_or_it_is_not_understood() {
    replay("facts");
}

#[test]
fn rules_load_or_say_where_they_are_wrong_and_decide_as_they_read() {
    replay("policy");
}

#[test]
fn a_journal_that_anybody_wrote_on_opens_and_records_on() {
    replay("journal");
}

#[test]
fn evidence_has_one_form_and_nobody_is_believed_without_a_key() {
    replay("evidence");
}

#[test]
fn corpora_are_small_and_every_target_has_one() {
    let wanted: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let names = |folder: &str| fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().file_name());
    let folders: BTreeSet<String> = names("fixtures/fuzz").map(|name| name.into_string().unwrap()).collect();
    assert_eq!(folders, wanted, "corpora and targets");
    let targets: BTreeSet<String> =
        names("tests/fuzz/fuzz_targets").map(|name| name.into_string().unwrap().replace(".rs", "")).collect();
    assert_eq!(targets, wanted, "targets and bodies");
    for name in &wanted {
        let sizes: Vec<u64> = corpus(name).iter().map(|file| fs::metadata(file).unwrap().len()).collect();
        assert!(sizes.len() <= MAX_FILES && sizes.iter().sum::<u64>() <= MAX_BYTES, "{name}: too much");
        assert!(sizes.iter().all(|size| *size <= MAX_FILE_BYTES), "{name}: an input over {MAX_FILE_BYTES} bytes");
    }
}

/// The fuzzed parts are compiled apart from the package, so what they are compiled with is compared.
#[test]
fn the_fuzzer_runs_what_the_product_is_built_from() {
    let versions = |lock: &str| {
        let lock: toml::Table = fs::read_to_string(root().join(lock)).unwrap().parse().unwrap();
        let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for package in lock["package"].as_array().unwrap() {
            let text = |key: &str| package[key].as_str().unwrap().to_owned();
            versions.entry(text("name")).or_default().insert(text("version"));
        }
        versions
    };
    let (ours, theirs) = (versions("Cargo.lock"), versions("tests/fuzz/Cargo.lock"));
    for (name, fuzzed) in theirs.iter().filter(|(name, _)| !["hansard-fuzz", "libfuzzer-sys"].contains(&name.as_str()))
    {
        let built = ours.get(name).cloned().unwrap_or_default();
        assert!(
            fuzzed.is_subset(&built),
            "{name} is fuzzed in {fuzzed:?} and built in {built:?}; run `make fuzz-lock`"
        );
    }
}
