//! What a decision costs: for a text that was seen before, for a new one, and with many rules.
//!
//! Run with `make bench`. Each figure is the median of [`ROUNDS`] interleaved rounds, in processor time of the process, so
//! that what runs beside it on the machine counts little. A *known text* is looked up by its bytes, its facts lead to what
//! they mean in this database and that to a remembered decision, by the code that a session runs. A *new text* is read by
//! guard and both readers, its names are looked up in a catalog of 502 tables and the rules are asked.
//!
//! The rules speak of roles and schemas in their heads, ten rules for each role and schema, as the starter sets do; the
//! person has two of the roles. The last line is what heads cannot help: rules for everybody on everything, whose
//! conditions tell them apart.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench fails loudly and prints its figures")]

#[path = "support/cpu.rs"]
mod cpu;
#[path = "support/median.rs"]
mod median;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hansard::model::{Catalog, Principal, PrincipalKind, Relation, Sha256, SqlText, Timestamp, TokenFacts};
use hansard::policy::{Moment, Place, Policy, Remembered};
use hansard::sql::{Dialect, Memory, Resolver, resolve};

use cpu::process_cpu;
use median::median;

const ROUNDS: usize = 15;
const KNOWN: u32 = 20_000;
const NEW: u32 = 400;
const NOW: Timestamp = Timestamp(1_795_512_766_000_000);

fn person() -> Principal {
    Principal {
        issuer: "https://login.example".to_owned(),
        subject: "0195d2ce".to_owned(),
        kind: PrincipalKind::Person,
        display: None,
        email: Some("ana@example.org".to_owned()),
        roles: vec!["role3".to_owned(), "role4".to_owned()],
        groups: vec!["staff".to_owned()],
        token: TokenFacts {
            at_issuer: hansard::model::AtIssuer::default(),
            sha256: Sha256::of(b""),
            kid: None,
            jti: None,
            issued: None,
            expires: NOW,
        },
        claims: BTreeMap::new(),
    }
}

fn place() -> Place {
    Place { target: "app".to_owned(), database: "clinic".to_owned(), database_user: "app".to_owned() }
}

fn moment() -> Moment {
    Moment {
        now: NOW,
        client: [10, 1, 2, 3].into(),
        application: None,
        client_certificate: None,
        transaction: 'I',
        token_age_seconds: 60,
    }
}

/// The `number`th of ten rules for each of as many roles as that takes.
fn rule(number: usize) -> String {
    let (role, schema) = (number / 10, number % 10);
    format!(
        "@id(\"r{number}\") permit (principal in Role::\"role{role}\", action in [Action::\"read\", Action::\"session\"], \
         resource in Schema::\"app/clinic/s{schema}\") when {{ context.has_where || context.has_limit }};\n"
    )
}

/// One that only its condition tells from the others.
fn headless(number: usize) -> String {
    format!(
        "@id(\"h{number}\") permit (principal, action in Action::\"read\", resource is Table) \
         when {{ principal.roles.contains(\"role{}\") && resource.schema == \"s{}\" }};\n",
        number / 10,
        number % 10
    )
}

fn rules(count: usize, rule: fn(usize) -> String) -> String {
    // From the person's own roles on, so that the small set speaks of them, too.
    (30..30 + count).map(rule).collect()
}

fn load(text: &str) -> Policy {
    Policy::load(&[("rules.cedar".to_owned(), text.to_owned())]).unwrap()
}

/// 200 bytes, never the same twice.
fn text(number: u32) -> SqlText {
    let mut text = format!(
        "SELECT p.id, p.name, p.born, w.label FROM patients AS p JOIN s3.wards AS w ON w.id = p.ward_id \
         WHERE p.id = {number} AND p.discharged IS NULL AND w.open ORDER BY p.admitted DESC LIMIT 50"
    );
    while text.len() < 200 {
        text.push(' ');
    }
    SqlText::from(text.as_str())
}

fn catalog() -> Arc<Catalog> {
    let mut catalog = Catalog::default();
    for schema in 0..10 {
        for table in 0..50 {
            let relation = Relation { columns: vec!["id".to_owned(), "name".to_owned()], ..Relation::default() };
            catalog.relations.entry(format!("t{table}")).or_default().insert(format!("s{schema}"), relation);
        }
    }
    for table in ["patients", "wards"] {
        let columns = ["id", "name", "born", "label", "ward_id", "discharged", "open", "admitted"];
        let relation = Relation { columns: columns.map(str::to_owned).to_vec(), ..Relation::default() };
        catalog.relations.entry(table.to_owned()).or_default().insert("s3".to_owned(), relation);
    }
    catalog.path = vec!["pg_catalog".to_owned(), "s3".to_owned()];
    Arc::new(catalog)
}

/// Nanoseconds of the processor that one of `times` takes.
fn each(times: u32, mut call: impl FnMut(u32)) -> f64 {
    let begin = process_cpu();
    (0..times).for_each(&mut call);
    (process_cpu() - begin).as_nanos() as f64 / f64::from(times)
}

fn main() {
    let (who, place, moment) = (person(), place(), moment());
    let catalog = catalog();
    let sets = [
        ("10 rules", load(&rules(10, rule))),
        ("1,000 rules", load(&rules(1_000, rule))),
        ("1,000 rules without heads", load(&rules(1_000, headless))),
    ];
    let mut loads = Vec::new();
    let mut figures: BTreeMap<(usize, &str), Vec<f64>> = BTreeMap::new();
    let mut number = 0;
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        load(&rules(1_000, rule));
        loads.push(begin.elapsed().as_secs_f64());
        for (at, (_, rules)) in sets.iter().enumerate() {
            let memory = Memory::new(Dialect::PostgreSql);
            let mut remembered = Remembered::default();
            let mut resolver = Resolver::default();
            let mut decide = |text: &SqlText| {
                let facts = memory.known(text).unwrap_or_else(|| memory.read(text));
                let facts = resolver.resolved(&facts, &catalog, true);
                remembered.decide(rules, &facts, 'I', NOW, || rules.decide(&who, &place, &moment, &facts))
            };
            let known = text(0);
            assert!(decide(&known).allows(), "it is to be the usual case");
            figures.entry((at, "known")).or_default().push(each(KNOWN, |_| drop(decide(&known))));
            let new = each(NEW, |_| {
                number += 1;
                let facts = resolve(&memory.read(&text(number)), &catalog, true);
                drop(rules.decide(&who, &place, &moment, &facts));
            });
            figures.entry((at, "new")).or_default().push(new);
            let read = each(NEW, |_| {
                number += 1;
                drop(memory.read(&text(number)));
            });
            figures.entry((at, "read")).or_default().push(read);
            let facts = Arc::new(resolve(&memory.read(&known), &catalog, true));
            let asked = each(NEW, |_| drop(rules.decide(&who, &place, &moment, &facts)));
            figures.entry((at, "asked")).or_default().push(asked);
        }
    }
    let figure = |at: usize, what| median(figures.get(&(at, what)).unwrap().clone());
    let mut report = String::new();
    for (at, (name, _)) in sets.iter().enumerate() {
        let (known, new, asked) = (figure(at, "known"), figure(at, "new") / 1e3, figure(at, "asked") / 1e3);
        writeln!(report, "{name}: a known text {known:.0} ns, a new text {new:.1} µs, of that the rules {asked:.1} µs")
            .unwrap();
    }
    println!("{report}of a new text, guard and readers: {:.1} µs", figure(0, "read") / 1e3);
    println!("1,000 rules load in {:.0?}", Duration::from_secs_f64(median(loads)));
    println!("1,000 rules against 10, the rules alone: {:.2} times", figure(1, "asked") / figure(0, "asked"));
}
