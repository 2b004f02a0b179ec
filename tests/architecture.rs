//! The shape of `src/`: who may import whom, and which door each heavy dependency has.

#![expect(clippy::unwrap_used, reason = "a helper of a test that fails says so by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// Each module and what it may import. A row may name only rows above it, so there are no cycles.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("seal", &["model"]),
    ("sql", &["model"]),
    ("policy", &["model"]),
    ("identity", &["model"]),
    ("sign_in", &["model"]),
    ("journal", &["model", "seal"]),
    ("wire", &["model", "journal"]),
    ("segment", &["model", "seal"]),
    ("store", &["model"]),
    ("anchor", &["model", "seal"]),
    ("gateway", &["model", "wire", "identity", "sql", "policy", "journal"]),
    ("ship", &["model", "seal", "journal", "segment", "store", "anchor"]),
    ("archive", &["model", "seal", "segment", "store"]),
    ("telemetry", &[]),
    ("config", &["model", "identity", "policy", "journal", "store", "gateway", "ship", "telemetry"]),
    (
        "cli",
        &[
            "model",
            "identity",
            "sql",
            "policy",
            "seal",
            "journal",
            "segment",
            "store",
            "gateway",
            "anchor",
            "ship",
            "archive",
            "telemetry",
            "config",
            "sign_in",
        ],
    ),
];

/// What `wire` may take from `journal`: the audit-first arrow, and nothing else.
const WIRE_TAKES_FROM_JOURNAL: &[&str] = &["Permit"];

/// Each heavy dependency and the modules whose door it is.
const DOORS: &[(&str, &[&str])] = &[
    ("tokio::net", &["gateway", "cli"]),
    ("tokio_rustls", &["gateway"]),
    ("socket2", &["gateway"]),
    ("rcgen", &["gateway", "cli"]),
    ("reqwest", &["identity", "anchor", "sign_in"]),
    ("openidconnect", &["sign_in"]),
    ("jsonwebtoken", &["identity", "cli"]),
    ("sqlparser", &["sql"]),
    ("pg_query", &["sql"]),
    ("cedar_policy", &["policy"]),
    ("miette", &["policy"]),
    ("pgwire", &["wire"]),
    ("ring::signature", &["seal"]),
    ("webpki", &["seal"]),
    ("der", &["seal"]),
    ("x509_cert", &["seal", "gateway"]),
    ("cbor4ii", &["journal"]),
    ("crc32c", &["journal"]),
    ("siphasher", &["journal"]),
    ("arrow", &["segment", "archive"]),
    ("parquet", &["segment", "archive"]),
    ("datafusion", &["archive"]),
    ("object_store", &["store", "archive"]),
    ("axum", &["cli"]),
    ("prometheus_client", &["cli"]),
    ("tokio_postgres", &["cli"]),
    ("tokio_postgres_rustls", &["cli"]),
    ("clap", &["cli"]),
    ("indicatif", &["cli"]),
    ("listenfd", &["cli"]),
];

/// Modules that open no socket, file or clock and draw no random number.
const PURE: &[&str] = &["model", "wire", "sql", "policy", "seal"];
const IMPURE: &[&str] = &["tokio::", "std::net::Tcp", "std::fs", "SystemTime", "rand::", "std::process"];

const MAX_LINES: usize = 600;

#[test]
fn the_table_has_no_cycles() {
    for (at, (module, allowed)) in MAY_IMPORT.iter().enumerate() {
        for name in *allowed {
            let above = MAY_IMPORT.iter().take(at).any(|(row, _)| row == name);
            assert!(above, "{module} may import {name}, which is not above it in the table");
        }
    }
}

#[test]
fn every_import_is_in_the_table_and_every_dependency_uses_its_door() {
    let mut problems = Vec::new();
    for file in sources() {
        let text = fs::read_to_string(&file.path).unwrap();
        let row = MAY_IMPORT.iter().find(|(name, _)| *name == file.module);
        if row.is_none() && !matches!(file.module.as_str(), "lib" | "main") {
            problems.push(format!("{}: module `{}` is not in the table", file.name, file.module));
            continue;
        }
        if !text.starts_with("//!") {
            problems.push(format!("{}:1: a module opens with what it promises (`//!`)", file.name));
        }
        let lines = text.lines().count();
        if lines > MAX_LINES {
            problems.push(format!("{}: {lines} lines; over {MAX_LINES} a room is crowded", file.name));
        }
        for (at, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            check_line(&file, at + 1, code, row.map_or(&[], |row| row.1), &mut problems);
            if ["TODO", "FIXME", "XXX"].iter().any(|mark| line.contains(mark)) {
                problems.push(format!("{}:{}: something was left for later", file.name, at + 1));
            }
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

fn check_line(file: &Source, at: usize, code: &str, allowed: &[&str], problems: &mut Vec<String>) {
    if code.contains("crate::{") {
        problems.push(format!("{}:{at}: `crate::{{` hides imports; write one `use` for each module", file.name));
    }
    for rest in code.split("crate::").skip(1) {
        let other = first_word(rest);
        if other != file.module && !allowed.contains(&other) && file.module != "lib" {
            problems.push(format!("{}:{at}: {} → {other} is not allowed", file.name, file.module));
        }
        if file.module == "wire" && other == "journal" {
            let taken = rest.trim_start_matches("journal::").trim_end_matches(';');
            if !WIRE_TAKES_FROM_JOURNAL.contains(&first_word(taken)) {
                problems.push(format!("{}:{at}: wire may take only Permit from journal", file.name));
            }
        }
    }
    for (dependency, doors) in DOORS {
        let opens = code.match_indices(&format!("{dependency}::")).any(|(start, _)| {
            !code.get(..start).unwrap_or("").ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
        });
        if opens && !doors.contains(&file.module.as_str()) {
            problems.push(format!("{}:{at}: `{dependency}` belongs to {doors:?}", file.name));
        }
    }
    for impure in IMPURE {
        if PURE.contains(&file.module.as_str()) && code.contains(impure) {
            problems.push(format!("{}:{at}: `{impure}` in {}, which does no I/O", file.name, file.module));
        }
    }
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or("")
}

struct Source {
    path: PathBuf,
    name: String,
    module: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![root.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inside = path.strip_prefix(root.join("src")).unwrap();
                let first = inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
                let name = format!("src/{}", inside.display());
                found.push(Source { module: first.trim_end_matches(".rs").to_owned(), name, path });
            }
        }
    }
    assert!(found.len() > 10, "the walk found {} files only", found.len());
    found
}
