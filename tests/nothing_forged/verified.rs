//! `hansard verify` on the archive of the real program: what is untouched is proven, also in other files and by another
//! program; what was done to it is found.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::{Folder, Hansard, Store, output, psql, python, repository};
use serde_json::Value;

/// An archive with a session of real statements, closed by a clean stop, and the keys that its auditor was given.
struct Evidence {
    folder: Folder,
}

impl Evidence {
    fn recorded() -> Self {
        let mut hansard = Hansard::start(Store::Folder);
        for (person, script) in [("ana", SCRIPT), ("dora", "select 'dora';\n")] {
            let said = psql(&hansard.login(person, "verified"), script);
            assert!(said.stdout.contains(person), "{said:?}");
        }
        let rows = hansard.archive().rows_of("verified", 5);
        assert_eq!(rows.len(), 5, "{rows:?}");
        assert_eq!(hansard.stop(), 0);
        let folder = Folder::new("evidence");
        copy(&hansard.folder().join("archive"), &folder.join("archive"));
        let config = hansard.folder().join("hansard.toml").display().to_string();
        let (code, keys, complaints) = run(&["keys", "export", "-c", &config]);
        assert_eq!((code, complaints.as_str()), (0, ""), "{keys}");
        fs::write(folder.join("auditor.keys"), keys).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A copy of it that may be harmed.
    fn copied(&self) -> Self {
        let folder = Folder::new("evidence");
        copy(self.folder.path(), folder.path());
        Self { folder }
    }

    fn verify(&self, more: &[&str]) -> (i32, Value) {
        let (archive, keys) =
            (self.path("archive").display().to_string(), self.path("auditor.keys").display().to_string());
        let with = ["verify", "--archive", &archive, "--trust", &keys, "--json"];
        let (code, report, complaints) = run(&[&with, more].concat());
        let report: Value = serde_json::from_str(&report).unwrap_or_else(|_| panic!("{report}\n{complaints}"));
        (code, report)
    }

    /// The files below a folder of the archive, by their names below it, in order.
    fn files(&self, below: &str) -> Vec<String> {
        let mut files = Vec::new();
        let archive = self.path("archive");
        walk(&archive.join(below), &mut |path| {
            files.push(path.strip_prefix(&archive).unwrap().to_str().unwrap().to_owned());
        });
        files.sort();
        files
    }
}

const SCRIPT: &str = "\
create temp table verified (id int, name text);
insert into verified values (1, 'ana'), (2, U&'\\00fc');
select * from verified;
select 1/0;
";

/// Runs the built program to its end: its code, and what it printed.
pub(crate) fn run(arguments: &[&str]) -> (i32, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_hansard")).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().to_owned();
    (done.status.code().unwrap(), text(&done.stdout), text(&done.stderr))
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

/// What the reader in another language verified.
fn by_python(evidence: &Evidence, rows: Option<&Path>) -> Value {
    let mut command = python();
    command.arg(repository("tests/parts/verify_archive.py")).arg(repository("schemas"));
    command.arg(evidence.path("archive")).arg(evidence.path("auditor.keys")).args(rows);
    serde_json::from_str(&output(&mut command, "")).unwrap()
}

#[test]
fn an_archive_is_proven_by_us_and_by_a_program_that_is_not_ours_whatever_files_its_rows_stand_in() {
    let evidence = Evidence::recorded();
    let (code, report) = evidence.verify(&[]);
    assert_eq!((code, &report["verdict"]), (0, &Value::from("proven")), "{report}");
    assert_eq!(report["nodes"][0]["stopped"], true, "{report}");
    let theirs = by_python(&evidence, None);
    assert_eq!((&theirs["segments"], &theirs["records"]), (&report["nodes"][0]["signed"], &report["records"]));
    for how in ["compact", "partition", "export"] {
        let other = Folder::new("other-files");
        let mut command = python();
        command.arg(repository("tests/parts/other_files.py"));
        output(command.arg(evidence.path("archive")).arg(other.path()).arg(how), "");
        let rows = other.path().display().to_string();
        let (code, again) = evidence.verify(&["--rows", &rows]);
        assert_eq!((code, &again["verdict"]), (0, &Value::from("proven")), "{how}: {again}");
        assert_eq!(again["records"], report["records"], "{how}");
        if how == "compact" {
            assert_eq!(by_python(&evidence, Some(other.path())), theirs);
            let lost = other.path().join("sessions/all.parquet");
            fs::remove_file(lost).unwrap();
            let (code, short) = evidence.verify(&["--rows", &rows]);
            assert_eq!((code, &short["verdict"]), (10, &Value::from("incomplete")), "{short}");
        }
    }
}

#[test]
fn an_archive_in_blob_storage_is_verified_where_it_is_by_the_recorders_own_configuration() {
    let mut hansard = Hansard::start(Store::azurite("verified"));
    let said = psql(&hansard.login("ana", "verified"), "select 'ana';\n");
    assert!(said.success, "{said:?}");
    assert_eq!(hansard.stop(), 0);
    let config = hansard.folder().join("hansard.toml").display().to_string();
    let (code, text, complaints) = run(&["verify", "-c", &config]);
    assert_eq!(code, 0, "{text}{complaints}");
    assert!(text.contains("every one signed") && text.contains("the recorder was stopped on purpose"), "{text}");
    assert!(text.ends_with("RESULT: PROVEN, complete and unaltered as far as the logs above reach\n"), "{text}");
}

#[test]
fn whatever_is_done_to_the_archive_ends_with_the_code_that_says_so() {
    let evidence = Evidence::recorded();
    let kept = evidence.path("kept");
    let kept = kept.to_str().unwrap();
    assert_eq!(evidence.verify(&["--save-checkpoints", kept]).0, 0);
    let statements = evidence.files("statements")[0].clone();
    let last_manifest = evidence.files("log").into_iter().rfind(|name| name.contains("manifest-")).unwrap();

    let removed = evidence.copied();
    fs::remove_file(removed.path("archive").join(&statements)).unwrap();
    let (code, report) = removed.verify(&[]);
    assert_eq!(code, 10, "{report}");
    assert!(report.to_string().contains(&statements), "{report}");

    let changed = evidence.copied();
    let file = changed.path("archive").join(&statements);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    let (code, report) = changed.verify(&[]);
    assert_eq!(code, 9, "{report}");
    assert!(report.to_string().contains(&statements), "{report}");

    // An old copy put back: whole by itself, and found by the checkpoint that was kept.
    let old = evidence.copied();
    let number = last_manifest.rsplit('-').next().unwrap().trim_end_matches(".json").to_owned();
    for name in [old.files("log"), old.files("statements"), old.files("sessions"), old.files("events")].concat() {
        if name.contains(&number) {
            fs::remove_file(old.path("archive").join(name)).unwrap();
        }
    }
    assert_eq!(old.verify(&[]).0, 0, "by itself it is whole");
    let (code, report) = old.verify(&["--checkpoints", kept]);
    assert_eq!(code, 10, "{report}");
    assert_eq!(report["findings"][0]["class"], "truncated_tail", "{report}");

    let stranger = evidence.copied();
    let foreign = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k\n";
    fs::write(stranger.path("auditor.keys"), foreign).unwrap();
    let (code, report) = stranger.verify(&["--node", "test-node"]);
    assert_eq!(code, 10, "{report}");
    assert!(report.to_string().contains("untrusted_key"), "{report}");

    let archive = evidence.path("nowhere").display().to_string();
    let keys = evidence.path("auditor.keys").display().to_string();
    let (code, _, complaints) = run(&["verify", "--archive", &archive, "--trust", &keys]);
    assert_eq!(code, 6, "{complaints}");
    let (code, _, complaints) = run(&["verify", "--archive", &evidence.path("archive").display().to_string()]);
    assert_eq!(code, 2, "without a key nothing can be proven: {complaints}");
}

#[test]
fn one_record_is_proven_on_a_machine_that_has_nothing_but_its_proof_and_a_key() {
    let evidence = Evidence::recorded();
    let archive = evidence.path("archive").display().to_string();
    let keys = evidence.path("auditor.keys").display().to_string();
    let asked = "SELECT reference FROM statements WHERE text LIKE 'insert into verified%'";
    let (code, row, complaints) = run(&["query", "--archive", &archive, "-q", "-o", "ndjson", asked]);
    assert_eq!(code, 0, "{complaints}");
    let row: Value = serde_json::from_str(&row).unwrap();
    let reference = row["reference"].as_str().unwrap();
    let alone = Folder::new("alone");
    let proof = alone.join("out.txt").display().to_string();
    let (code, _, complaints) =
        run(&["verify", "--archive", &archive, "--trust", &keys, "--record", reference, "--proof", &proof]);
    assert_eq!(code, 0, "{complaints}");
    let check = || run(&["verify", "--proof", &proof, "--trust", &keys, "--json"]);
    let (code, proven, complaints) = check();
    assert_eq!(code, 0, "{complaints}");
    let proven: Value = serde_json::from_str(&proven).unwrap();
    assert_eq!(proven["record"]["reference"], reference);
    assert!(proven["record"]["text"].as_str().unwrap().starts_with("insert into verified"), "{proven}");
    let whole = fs::read_to_string(&proof).unwrap();
    fs::write(&proof, whole.replace("\nindex 0\n", "\nindex 1\n")).unwrap();
    assert!(matches!(check().0, 9 | 10), "another place in the log");
    let gone = run(&["verify", "--archive", &archive, "--trust", &keys, "--record", "0000000000.1", "--proof", "-"]);
    assert_eq!(gone.0, 6, "{}", gone.2);
}
