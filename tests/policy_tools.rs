//! The tools of those who write rules, as the built program: what they print, where, and the codes that they end with.

#![expect(clippy::unwrap_used, reason = "a helper of a test that fails says so by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// The code that a run ended with, and what it said on both streams.
fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let ran = Command::new(env!("CARGO_BIN_EXE_hansard"))
        .arg("policy")
        .args(arguments)
        .current_dir(folder)
        .env_remove("HANSARD_LOG")
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (ran.status.code().unwrap(), text(ran.stdout), text(ran.stderr))
}

fn set(name: &str) -> String {
    format!("{}/fixtures/policies/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn check_tells_all_mistakes_with_carets_and_ends_with_3() {
    let dir = tempfile::tempdir().unwrap();
    let rules = "permit (principal, action == Action::\"selct\", resource);\n@mesage(\"x\")\nforbid (principal in Rol::\"x\", action, resource);\n";
    fs::write(dir.path().join("a.cedar"), rules).unwrap();
    let (code, stdout, stderr) = run(dir.path(), &["check", "."]);
    assert_eq!((code, stdout.as_str()), (3, ""), "{stderr}");
    for words in [
        "a.cedar:1:30\n",
        "              ^^^^^^^^^^^^^^^\n",
        "did you mean @message?",
        "a.cedar:3:22\n",
        "3 errors in 1 file",
    ] {
        assert!(stderr.contains(words), "{words}\n{stderr}");
    }
    let (code, stdout, _) = run(dir.path(), &["check", ".", "-o", "json"]);
    let found: Vec<Value> = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, found.len()), (3, 3), "{stdout}");
    assert_eq!(found.first().map(|found| (&found["line"], &found["column"])), Some((&json!(1), &json!(30))));

    fs::write(dir.path().join("a.cedar"), "permit (principal, action, resource);\n").unwrap();
    let (code, stdout, stderr) = run(dir.path(), &["check", "."]);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "", "1 rule in 1 file is valid\n"));
    let (code, _, stderr) = run(dir.path(), &["check", &set("dba-without-data")]);
    assert_eq!(code, 0, "a warning does not count: {stderr}");
    assert!(stderr.contains("warning: rule \"dbas-see-no-rows\" forbids less than it seems"), "{stderr}");
    assert_eq!(run(dir.path(), &["check", "gone.cedar"]).0, 3);
    assert_eq!(run(dir.path(), &["check"]).0, 2);
}

#[test]
fn explain_prints_what_was_decided_and_ends_with_0() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("ana.json"), r#"{"sub": "u-ana", "roles": ["analyst"]}"#).unwrap();
    let rules = set("read-only-analysts");
    let explain = |more: &[&str], sql: &str| {
        let begin = ["explain", "--rules", &rules, "--as", "ana.json", "--target", "clinic"];
        run(dir.path(), &[&begin, more, &[sql]].concat())
    };
    let (code, stdout, stderr) = explain(&["-o", "table"], "DELETE FROM app.orders");
    assert_eq!((code, stderr.as_str()), (0, ""));
    for words in
        ["delete on table app.orders, without WHERE", "DENY: no rule allows DELETE", "ERROR 42501:  hansard: denied"]
    {
        assert!(stdout.contains(words), "{words}\n{stdout}");
    }
    let (code, stdout, _) = explain(&["-o", "ndjson"], "SELECT id FROM app.orders");
    let told: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &told["decision"], &told["rules"]), (0, &json!("allow"), &json!(["analysts-select"])));
    let (_, stdout, _) = explain(&["-o", "table"], "BEGIN READ WRITE");
    for words in
        ["session    read-only at the database", "DENY: No rule lets you write here", "stays read-only. Nothing"]
    {
        assert!(stdout.contains(words), "{words}\n{stdout}");
    }
    fs::write(dir.path().join("ana.json"), "eyJhbGciOi").unwrap();
    let (code, _, stderr) = explain(&[], "SELECT 1");
    assert_eq!(code, 3);
    assert!(!stderr.contains("eyJ"), "a token that was given by mistake is not repeated: {stderr}");
}

#[test]
fn test_ends_with_0_or_8_and_writes_what_build_servers_read() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["rules.cedar", "rules.test.toml"] {
        fs::copy(Path::new(&set("break-glass")).join(name), dir.path().join(name)).unwrap();
    }
    let (code, stdout, stderr) = run(dir.path(), &["test", ".", "--junit", "out.xml"]);
    assert_eq!((code, stdout.as_str()), (0, "PASS  ./rules.test.toml  12 cases\n"));
    assert_eq!(stderr, "rules exercised: 4 of 4 (100 %)\n");
    let xml = fs::read_to_string(dir.path().join("out.xml")).unwrap();
    assert!(xml.contains("tests=\"12\" failures=\"0\""), "{xml}");

    let rules = fs::read_to_string(dir.path().join("rules.cedar")).unwrap();
    fs::write(dir.path().join("rules.cedar"), rules.replace("context.token_age_seconds < 3600", "true")).unwrap();
    let (code, stdout, _) = run(dir.path(), &["test", ".", "--junit", "out.xml"]);
    assert_eq!(code, 8, "{stdout}");
    for words in [
        "FAIL  ./rules.test.toml  1 of 12",
        "an hour later it is over",
        "expected   deny\n",
        "got        allow by \"break-glass\"",
    ] {
        assert!(stdout.contains(words), "{words}\n{stdout}");
    }
    assert!(fs::read_to_string(dir.path().join("out.xml")).unwrap().contains("<failure "));
    fs::write(dir.path().join("rules.test.toml"), "[[case]]\nnam = 1\n").unwrap();
    let (code, _, stderr) = run(dir.path(), &["test", "."]);
    assert_eq!(code, 3, "{stderr}");
    assert!(stderr.contains("rules.test.toml:2:1") && stderr.contains("^^^"), "{stderr}");
    fs::remove_file(dir.path().join("rules.test.toml")).unwrap();
    assert_eq!(run(dir.path(), &["test", "."]).0, 6, "no tests are no proof");
}

#[test]
fn schema_prints_what_rules_can_speak_about() {
    let (code, stdout, _) = run(Path::new("."), &["schema"]);
    assert_eq!(code, 0);
    assert_eq!(stdout, include_str!("../schemas/policy.cedarschema"));
}
