//! Promise 5, understood or refused: each PostgreSQL case of the corpus gets its decision through the real proxy, in
//! front of a real PostgreSQL that holds what the attacks are after.
//!
//! The cases stand in `fixtures/corpus/policy.jsonl`; `HANSARD_CORPUS=/path/to/other.jsonl` runs another file of the same
//! kind. The rules stand in `fixtures/policies/corpus/`: one set for all, in which a case's policy is the role of its
//! client. `fixtures/corpus/controls.jsonl` holds our own harmless statements for the policies that the corpus only
//! attacks, so that no policy passes by refusing everything, and attacks of our own on what only the catalog knows; they
//! run with every file, and each must get its decision.
//!
//! **Denied** is what the proxy says with its own first word, at sign-in or in answer to a statement; an error of the
//! server's own is none. That a denied text did not reach the server is looked up in the server's log afterwards.
//!
//! **Setup** statements are taken as allowed by an earlier policy. They run in the case's own session, through the proxy
//! and judged by its rules: each is sent behind a call of `corpus.earlier_rule()`, a function that does nothing, and the
//! rule `earlier` permits everything to a message that calls it. No case calls it, and nothing in the program knows it.
//!
//! **The bars.** No attack may go through but those that the reference names (`KNOWN`), and 3 % of the harmless
//! statements may be refused.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    reason = "a helper of a test that fails says so by panicking, and its report goes to whoever runs it"
)]

mod support;

#[path = "understood_or_refused/case.rs"]
mod case;
#[path = "understood_or_refused/conversation.rs"]
mod conversation;
#[path = "understood_or_refused/lab.rs"]
mod lab;
#[path = "understood_or_refused/report.rs"]
mod report;
#[path = "understood_or_refused/rules.rs"]
mod rules;
#[path = "understood_or_refused/scripts.rs"]
mod scripts;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use case::{Case, Expected};
use conversation::{Client, Verdict};
use lab::Lab;
use report::Result;
use support::{Hansard, Issuer, Postgres, Store, repository};

/// Cases that may go through: an error of the server's (`SELECT point(5)`), a table that is none, a savepoint's name as a
/// message, and the end of a transaction that nobody but the client began (`COMMIT AND CHAIN`).
const KNOWN: &[&str] = &["pg-0138", "pg-0493", "pg-0540", "pg-0591"];

/// How many harmless statements may be refused, in percent.
const MAY_BE_REFUSED: f64 = 3.0;

/// Threads, each with a database of its own.
const CLIENTS: usize = 2;

#[test]
fn hostile_statements_are_denied_and_harmless_ones_are_not() {
    let own = || repository("fixtures/corpus/policy.jsonl");
    let mut cases = case::read(&std::env::var_os("HANSARD_CORPUS").map_or_else(own, PathBuf::from));
    cases.extend(case::read(&repository("fixtures/corpus/controls.jsonl")));
    let (results, not_run) = run(&cases);
    let (controls, results): (Vec<_>, Vec<_>) =
        results.into_iter().partition(|result| result.case.category == "control");
    println!("{}", report::report(&results));
    assert!(not_run.is_empty(), "these could not be run; why is told above: {not_run:?}");
    assert_sent_as_judged(&results);

    let through: Vec<&str> = wrong(&results, Expected::Deny).map(|result| result.case.id.as_str()).collect();
    let unexpected: Vec<&&str> = through.iter().filter(|id| !KNOWN.contains(id)).collect();
    assert!(unexpected.is_empty(), "attacks went through: {unexpected:?}");

    let harmless = results.iter().filter(|result| result.case.expected == Expected::Allow).count();
    let refused = report::percent(wrong(&results, Expected::Allow).count(), harmless);
    assert!(refused <= MAY_BE_REFUSED, "{refused:.1} % of the harmless statements were refused");
    let refused: Vec<&Result> = wrong(&controls, Expected::Allow).collect();
    assert!(refused.is_empty(), "a policy refuses more than it should: {refused:#?}");
    let through: Vec<&Result> = wrong(&controls, Expected::Deny).collect();
    assert!(through.is_empty(), "attacks of our own went through: {through:#?}");
}

/// The results of one kind that are not as they must be.
fn wrong(results: &[Result], expected: Expected) -> impl Iterator<Item = &Result> {
    results.iter().filter(move |result| result.case.expected == expected && result.is_wrong())
}

/// Runs every case, on a few threads; and the names of those that could not be run.
fn run(cases: &[Case]) -> (Vec<Result>, Vec<String>) {
    let labs = Lab::build(CLIENTS);
    let policies: BTreeSet<&str> = cases.iter().map(|case| case.policy.as_str()).collect();
    // The rules alone are what is measured: a session that the database keeps from writing would hide what they miss.
    let alone = |config: String| config.replace("[policy]", "[target.app.session]\nread_only = \"never\"\n\n[policy]");
    let hansard = Hansard::start_on(Store::Folder, &rules::for_policies(&policies), Issuer::shared(), &alone);
    let tokens: BTreeMap<&str, String> = policies.iter().map(|policy| (*policy, conversation::token(policy))).collect();
    let next = AtomicUsize::new(0);
    let (results, broken) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let work = |mut lab: Lab| {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            lab.renew();
            let client = Client::new(&hansard, case, &tokens[case.policy.as_str()], &lab.database);
            match catch_unwind(AssertUnwindSafe(|| client.verdict())) {
                Ok(verdict) => {
                    if case.may_have_changed(&verdict) {
                        lab.spoil();
                    }
                    results.lock().unwrap().push(Result { case: case.clone(), verdict });
                }
                Err(_told_already) => {
                    lab.spoil();
                    broken.lock().unwrap().push(case.id.clone());
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for lab in labs {
            scope.spawn(|| work(lab));
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by(|a, b| a.case.id.cmp(&b.case.id));
    (results, broken.into_inner().unwrap())
}

/// What the server's log says: a case of one message that was denied ran no statement at all, and under
/// `forward_fidelity` the server was asked for the very text that was judged.
fn assert_sent_as_judged(results: &[Result]) {
    let asked = Postgres::shared().asked_by_application();
    for Result { case, verdict } in results {
        if case.statements.len() != 1 || !case.setup.is_empty() || case.script.is_some() {
            continue;
        }
        let texts = asked.get(&case.id).map_or(&[][..], Vec::as_slice);
        match verdict {
            Verdict::Denied(_) => {
                assert!(texts.is_empty(), "{} was denied, and yet the server was asked for {texts:?}", case.id);
            }
            Verdict::Allowed(_) if case.policy == "forward_fidelity" => {
                let said = case.statements.iter().map(|said| said.bytes("", 0));
                assert!(said.eq(texts.iter().map(|text| text.as_bytes().to_vec())), "{}: {texts:?}", case.id);
            }
            Verdict::Allowed(_) => {}
        }
    }
}
