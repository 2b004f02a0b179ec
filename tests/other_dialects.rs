//! Promise 5, understood or refused, for the dialects that nothing serves yet: each MySQL and Transact-SQL case of the
//! corpus gets its decision from its facts and the rules of its policy, without a server.
//!
//! The cases stand in `fixtures/corpus/policy.jsonl` and, of our own, in `fixtures/corpus/other_dialects.jsonl`;
//! `HANSARD_CORPUS=/path/to/other.jsonl` runs another file of the first kind. The rules are those of the PostgreSQL cases;
//! a table without a schema is one of `lab` (MySQL) or `dbo` (Transact-SQL). A case that is told as a script of messages
//! is about a protocol that is not spoken here, and is left out.
//!
//! **The bars.** No attack may go through but those in `KNOWN`, and 3 % of the harmless statements of a dialect may be
//! refused.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a helper of a test that fails says so by panicking, and its report goes to whoever runs it"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use hansard::model::{Decision, Facts, Principal, PrincipalKind, Sha256, SqlText, Timestamp, TokenFacts, Verdict};
use hansard::policy::{Moment, Place, Policy};
use hansard::sql::{self, Dialect};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng, SeedableRng};
use serde::Deserialize;

/// Cases that may go through, each with its reason.
const KNOWN: &[(&str, &str)] = &[
    (
        "ts-0038",
        "a view: which tables it reads is told by the catalog, and nobody asks a SQL Server for its catalog yet",
    ),
    ("ts-0039", "a synonym: the same"),
];

/// How many harmless statements may be refused, in percent.
const MAY_BE_REFUSED: f64 = 3.0;

/// How many mutated texts the random test reads.
const MUTANTS: usize = 3_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Allow,
    Deny,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Said {
    Text(String),
    Bytes { hex: String },
}

#[derive(Debug, Clone, Deserialize)]
struct Case {
    id: String,
    dialect: String,
    policy: String,
    category: String,
    #[serde(default)]
    setup: Vec<String>,
    #[serde(default)]
    statements: Vec<Said>,
    expected: Expected,
}

impl Said {
    fn text(&self) -> SqlText {
        match self {
            Self::Text(text) => SqlText::from(text.as_str()),
            Self::Bytes { hex } => {
                let pairs = hex.as_bytes().chunks(2);
                let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
                SqlText::new(Bytes::from(pairs.map(byte).collect::<Vec<_>>()))
            }
        }
    }
}

impl Case {
    fn dialect(&self) -> Dialect {
        match self.dialect.as_str() {
            "mysql" => Dialect::MySql,
            "tsql" => Dialect::TSql,
            other => panic!("{}: a dialect called {other}", self.id),
        }
    }

    /// The case as one line, for a reader.
    fn shown(&self, problem: &str) -> String {
        format!("{} [{}] {}: {:?} {problem}", self.id, self.policy, self.category, self.statements)
    }
}

#[test]
fn hostile_statements_of_other_dialects_are_denied_and_harmless_ones_are_not() {
    let own = || repository("fixtures/corpus/policy.jsonl");
    let mut cases = read(&std::env::var_os("HANSARD_CORPUS").map_or_else(own, PathBuf::from));
    cases.extend(read(&repository("fixtures/corpus/other_dialects.jsonl")));
    let scripts = cases.iter().filter(|case| case.statements.is_empty()).count();
    println!("{scripts} cases are scripts of messages and are left out");
    cases.retain(|case| !case.statements.is_empty());
    let mut past = Vec::new();
    for dialect in ["mysql", "tsql"] {
        let of: Vec<&Case> = cases.iter().filter(|case| case.dialect == dialect).collect();
        assert!(!of.is_empty(), "no case for {dialect}");
        past.extend(judge(dialect, &of));
    }
    assert!(past.is_empty(), "{past:#?}");
}

/// Prints what came out, and gives what is past the bars.
fn judge(dialect: &str, cases: &[&Case]) -> Vec<String> {
    let policies: BTreeSet<&str> = cases.iter().map(|case| case.policy.as_str()).collect();
    let policy = rules(dialect, &policies);
    let mut families: BTreeMap<(bool, &str), (usize, usize)> = BTreeMap::new();
    let (mut through, mut refused) = (Vec::new(), Vec::new());
    for case in cases {
        let denied = case.statements.iter().find_map(|said| {
            let facts = sql::read(&said.text(), case.dialect());
            let decision = decided(&policy, case, &facts);
            (decision.verdict == Verdict::Deny).then_some((facts, decision))
        });
        let family = families.entry((case.expected == Expected::Deny, case.category.as_str())).or_default();
        family.1 += 1;
        match (case.expected, denied) {
            (Expected::Deny, None) => {
                family.0 += 1;
                through.push(*case);
            }
            (Expected::Allow, Some((facts, decision))) => {
                family.0 += 1;
                refused.push(case.shown(&format!("{:?} {:?}", decision.message, facts.problem)));
            }
            _ => {}
        }
    }
    let attacks = cases.iter().filter(|case| case.expected == Expected::Deny).count();
    let harmless = cases.len() - attacks;
    println!(
        "\n{dialect}: {} of {attacks} hostile let through, {} of {harmless} harmless refused",
        through.len(),
        refused.len()
    );
    for ((hostile, family), (wrong, all)) in families {
        println!("  {wrong:>4} of {all:<4} {family} ({})", if hostile { "let through" } else { "refused" });
    }
    refused.iter().for_each(|case| println!("  {case}"));
    let unknown = through.iter().filter(|case| !KNOWN.iter().any(|(known, _)| *known == case.id));
    let mut past: Vec<String> = unknown.map(|case| case.shown("went through")).collect();
    let count = |number: usize| f64::from(u32::try_from(number).unwrap());
    if 100.0 * count(refused.len()) > MAY_BE_REFUSED * count(harmless) {
        past.extend(refused);
    }
    past
}

/// What blanks and comments say to a server, and to a reader that takes them for more.
const FILLINGS: &[&str] = &[" ", "\n", "\t", "  ", "/* x */", "/**/", " -- x\n", "/* ' */", "/* \" ; */ "];

#[test]
fn mutants_of_the_corpus_do_no_harm_and_what_is_put_between_words_lessens_nothing() {
    let seed: u64 = std::env::var("HANSARD_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("HANSARD_TEST_SEED={seed} repeats this");
    let mut random = StdRng::seed_from_u64(seed);
    let cases = read(&repository("fixtures/corpus/policy.jsonl"));
    let texts: Vec<(Dialect, String)> = cases
        .iter()
        .flat_map(|case| {
            let texts = case.statements.iter().filter_map(|said| match said {
                Said::Text(text) => Some((case.dialect(), text.clone())),
                Said::Bytes { .. } => None,
            });
            texts.collect::<Vec<_>>()
        })
        .collect();
    let mut understood = 0;
    for _ in 0..MUTANTS {
        let (dialect, text) = texts.choose(&mut random).unwrap();
        let (_, other) = texts.choose(&mut random).unwrap();
        let mutant = mutated(text, other, &mut random);
        let facts = facts(&mutant, *dialect);
        assert_eq!(facts, self::facts(&mutant, *dialect), "read twice, understood differently: {mutant:?}");
        understood += usize::from(facts.problem.is_none());
        let filled = filled(&mutant, *dialect, &mut random);
        let filled_facts = self::facts(&filled, *dialect);
        let has_less =
            filled_facts.problem.is_none() && facts.effects.iter().any(|effect| !filled_facts.effects.contains(effect));
        assert!(!has_less, "{filled:?} does less than {mutant:?}:\n{filled_facts:?}\n{facts:?}");
    }
    println!("{understood} of {MUTANTS} mutants were understood");
    assert!(understood > MUTANTS / 20, "mutants that nobody understands show nothing");
}

/// A text with a few pieces of it, or of another one, taken out, doubled or put elsewhere.
fn mutated(text: &str, other: &str, random: &mut StdRng) -> String {
    let mut words: Vec<&str> = pieces(text);
    let others = pieces(other);
    for _ in 0..random.random_range(0..4) {
        let at = random.random_range(0..=words.len());
        match random.random_range(0..4) {
            0 if at < words.len() => {
                words.remove(at);
            }
            1 if at < words.len() => words.insert(at, words[at]),
            2 => words.insert(at, others.choose(random).copied().unwrap_or("")),
            _ => words.insert(
                at,
                ["END", ";", "'", "\"", "`", "/*", "*/", "--", "#", "[", "]", "(", ")", "@a", "SELECT"]
                    .choose(random)
                    .unwrap(),
            ),
        }
    }
    words.concat()
}

/// Words, runs of blanks and single marks.
fn pieces(text: &str) -> Vec<&str> {
    let kind = |letter: char| (letter.is_alphanumeric() || letter == '_', letter.is_whitespace());
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let run = kind(first).0 || kind(first).1;
        let same = |letter: char| kind(letter) == kind(first);
        let length = if run { rest.find(|letter| !same(letter)).unwrap_or(rest.len()) } else { first.len_utf8() };
        let (piece, after) = rest.split_at(length);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// The text with something at one of its blanks, outside of quotes and comments as far as a glance tells.
fn filled(text: &str, dialect: Dialect, random: &mut StdRng) -> String {
    let quiet = !text.contains(['\'', '"', '`', '[', '#']) && !text.contains("--") && !text.contains("/*");
    let blanks: Vec<usize> = text.match_indices(' ').map(|(at, _)| at).collect();
    let Some(at) = blanks.choose(random).filter(|_| quiet) else { return text.to_owned() };
    let filling = FILLINGS.choose(random).unwrap();
    let (before, after) = text.split_at(*at);
    let nested = if dialect == Dialect::TSql && random.random() { "/* /* ' */ */" } else { "" };
    // A blank first, so that no operator touches a comment.
    format!("{before} {filling}{nested}{after}")
}

fn facts(text: &str, dialect: Dialect) -> Facts {
    sql::read(&SqlText::from(text), dialect)
}

fn decided(policy: &Policy, case: &Case, facts: &Facts) -> Decision {
    assert!(case.setup.is_empty(), "{} begins with statements that no server runs here", case.id);
    let who = Principal {
        issuer: "https://issuer.example".to_owned(),
        subject: case.id.clone(),
        kind: PrincipalKind::Person,
        display: None,
        email: None,
        roles: vec![case.policy.clone()],
        groups: Vec::new(),
        token: TokenFacts {
            at_issuer: hansard::model::AtIssuer::default(),
            sha256: Sha256::of(b"token"),
            kid: None,
            jti: None,
            issued: None,
            expires: Timestamp::from_seconds(1_795_516_366),
        },
        claims: BTreeMap::new(),
    };
    let place = Place { target: "lab".to_owned(), database: "lab".to_owned(), database_user: "app".to_owned() };
    let moment = Moment {
        now: Timestamp::from_seconds(1_795_512_766),
        client: "10.1.2.3".parse().unwrap(),
        application: None,
        client_certificate: None,
        transaction: 'I',
        token_age_seconds: 60,
    };
    policy.decide(&who, &place, &moment, facts)
}

/// The rules of these policies: the files of the PostgreSQL cases, with what they name filled in.
fn rules(dialect: &str, policies: &BTreeSet<&str>) -> Policy {
    let schema = if dialect == "mysql" { "lab" } else { "dbo" };
    let mut kinds = BTreeSet::from(["all".to_owned(), "other_dialects".to_owned()]);
    let mut files: Vec<(String, String)> = Vec::new();
    for policy in policies {
        let (kind, named) = policy.split_once(':').unwrap_or((policy, ""));
        if named.is_empty() {
            kinds.insert(kind.to_owned());
            continue;
        }
        let parts: Vec<&str> = named.split('.').collect();
        let filled = match (kind, parts.as_slice()) {
            ("deny_table", [table]) => vec![("{schema}", schema), ("{table}", *table)],
            ("deny_table", [schema, table]) => vec![("{schema}", *schema), ("{table}", *table)],
            ("deny_column", [table, column]) => vec![("{schema}", schema), ("{table}", *table), ("{column}", *column)],
            ("allow_schema", [schema]) => vec![("{schema}", *schema)],
            ("deny_function", [function]) => vec![("{function}", *function)],
            _ => panic!("a policy that nobody wrote rules for: {policy}"),
        };
        let text = file(kind).replace("{policy}", policy);
        let text = filled.into_iter().fold(text, |text, (place, name)| text.replace(place, name));
        files.push((format!("{policy}.cedar"), text));
    }
    files.extend(kinds.into_iter().map(|kind| (format!("{kind}.cedar"), file(&kind))));
    Policy::load(&files).unwrap_or_else(|problems| panic!("{}", problems[0]))
}

fn file(kind: &str) -> String {
    let path = repository("fixtures/policies/corpus").join(format!("{kind}.cedar"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("a policy without rules: {}: {error}", path.display()))
}

/// The cases of a file that are not PostgreSQL's.
fn read(file: &Path) -> Vec<Case> {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let cases = text.lines().filter(|line| !line.trim().is_empty()).enumerate().map(|(at, line)| {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{}:{}: {error}", file.display(), at + 1))
    });
    cases.filter(|case: &Case| case.dialect != "postgresql").collect()
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
