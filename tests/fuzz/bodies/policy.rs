//! Any text loads or says where it is wrong; the same text is the same version; and what simple rules decide is what
//! reading them aloud decides.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use arbitrary::{Result, Unstructured};
use hansard::model::{
    Action, Effect, Facts, Kind, Object, ObjectKind, Principal, PrincipalKind, Sha256, Timestamp, TokenFacts, Touch,
};
use hansard::policy::{Moment, Place, Policy, PolicyProblem};

use super::one;

/// The first byte says whether the rest is the text of rules, or says which rules and which facts.
pub fn body(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    match (first % 2, std::str::from_utf8(rest)) {
        (0, Ok(text)) => load(text),
        (0, Err(_)) => {}
        _ => decide(&mut Unstructured::new(rest)).unwrap_or_default(),
    }
}

fn loaded(text: &str) -> std::result::Result<Policy, Vec<PolicyProblem>> {
    Policy::load(&[("rules.cedar".to_owned(), text.to_owned())])
}

fn load(text: &str) {
    let lines: Vec<&str> = text.split('\n').collect();
    let inside = |problem: &PolicyProblem| {
        let line = lines.get(problem.line - 1).copied().unwrap_or_default();
        assert!(problem.line <= lines.len(), "line {} of {}", problem.line, lines.len());
        assert!((1..=line.chars().count() + 1).contains(&problem.column), "{problem:?} is beyond its line");
        assert!(problem.length >= 1 && !problem.sentence.is_empty() && problem.file == "rules.cedar");
    };
    let again = loaded(text);
    let policy = match loaded(text) {
        Ok(policy) => policy,
        Err(problems) => {
            assert!(!problems.is_empty(), "refused, and nobody says why");
            problems.iter().for_each(inside);
            // Of several names that are equally close the engine suggests any.
            let places = |of: &[PolicyProblem]| of.iter().map(|it| (it.line, it.column, it.sentence.clone())).collect();
            let again: Option<Vec<_>> = again.err().map(|problems| places(&problems));
            return assert_eq!(again, Some(places(&problems)), "other problems the next time");
        }
    };
    policy.doubts().iter().for_each(inside);
    policy.undeclared(&["department".to_owned()]).iter().for_each(inside);
    assert_eq!(again.map(|again| again.version().to_owned()).ok().as_deref(), Some(policy.version()));
    let permits = policy.written().iter().filter(|rule| !rule.forbids && !rule.reports).count();
    for facts in QUESTIONS.iter() {
        let decision = policy.decide(&WHO, &PLACE, &MOMENT, facts);
        assert_eq!(policy.decide(&WHO, &PLACE, &MOMENT, facts), decision, "decided otherwise the next time");
        assert!(!decision.allows() || facts.effects.is_empty() || permits > 0, "allowed without a permit");
        assert!(decision.allows() || decision.message.is_some(), "refused, and nobody says why");
    }
    assert!(permits > 0 || !policy.decide_connect(&WHO, &PLACE, &MOMENT).allows(), "let in without a permit");
}

static WHO: LazyLock<Principal> = LazyLock::new(|| Principal {
    issuer: "https://issuer".to_owned(),
    subject: "42".to_owned(),
    kind: PrincipalKind::Person,
    display: None,
    email: Some("ana@contoso.com".to_owned()),
    roles: vec!["analyst".to_owned()],
    groups: vec!["staff".to_owned()],
    token: TokenFacts {
        at_issuer: hansard::model::AtIssuer::default(),
        sha256: Sha256::of(b"token"),
        kid: None,
        jti: None,
        issued: None,
        expires: Timestamp::from_seconds(1_795_516_366),
    },
    claims: BTreeMap::from([("department".to_owned(), serde_json::json!("cardiology"))]),
});

static PLACE: LazyLock<Place> =
    LazyLock::new(|| Place { target: "demo".to_owned(), database: "demo".to_owned(), database_user: "app".to_owned() });

static MOMENT: LazyLock<Moment> = LazyLock::new(|| Moment {
    now: Timestamp::from_seconds(1_795_512_766),
    client: std::net::IpAddr::from([10, 1, 2, 3]),
    application: Some("psql".to_owned()),
    client_certificate: None,
    transaction: 'I',
    token_age_seconds: 60,
});

static QUESTIONS: LazyLock<Vec<Facts>> = LazyLock::new(|| {
    let read = |schema: Option<&str>| effect(Action::Select, schema, "patients", false);
    let plain = |action| Effect { action, object: None, has_where: false };
    let call = Object { kind: ObjectKind::Function, schema: None, name: "f".to_owned() };
    let call = Effect { action: Action::Call, object: Some(call), has_where: false };
    vec![
        facts(Vec::new()),
        facts(vec![read(Some("clinical"))]),
        facts(vec![read(None)]),
        facts(vec![call, plain(Action::Session)]),
        facts(vec![plain(Action::Unparsed)]),
    ]
});

fn effect(action: Action, schema: Option<&str>, name: &str, has_where: bool) -> Effect {
    let object = Object { kind: ObjectKind::Table, schema: schema.map(str::to_owned), name: name.to_owned() };
    Effect { action, object: Some(object), has_where }
}

fn facts(effects: Vec<Effect>) -> Facts {
    let touched = effects.iter().map(|_| Touch::EVERYTHING).collect();
    Facts { kind: Kind::Select, statement_count: 1, effects, problem: None, touched, ..Facts::unparsed("") }
}

const SCHEMAS: &[&str] = &["app", "hr", "a.b/c"];
const TABLES: &[&str] = &["t", "u", "x\"y"];
const ACTIONS: &[Action] = &[Action::Select, Action::Insert, Action::Update, Action::Delete];

/// A rule that can be read aloud: who, what and which table, and nothing else.
#[derive(Debug, Clone, Copy)]
struct Rule {
    forbids: bool,
    reports: bool,
    of_analysts: bool,
    action: Option<Action>,
    schema: Option<&'static str>,
    table: Option<&'static str>,
    only_without_where: bool,
}

impl Rule {
    fn any(from: &mut Unstructured<'_>) -> Result<Self> {
        let forbids = from.ratio(1, 3)?;
        Ok(Self {
            forbids,
            reports: forbids && from.ratio(1, 4)?,
            of_analysts: from.ratio(3, 4)?,
            action: if from.arbitrary()? { Some(one(from, ACTIONS)?) } else { None },
            schema: if from.arbitrary()? { Some(one(from, SCHEMAS)?) } else { None },
            table: if from.arbitrary()? { Some(one(from, TABLES)?) } else { None },
            only_without_where: from.ratio(1, 4)?,
        })
    }

    fn text(&self, number: usize) -> String {
        let mode = if self.reports { "@mode(\"report\")\n" } else { "" };
        let word = if self.forbids { "forbid" } else { "permit" };
        let role = if self.of_analysts { "analyst" } else { "nobody" };
        let action = match self.action {
            Some(action) => format!("action == Action::\"{}\"", action.as_str()),
            None => "action in [Action::\"read\", Action::\"write\"]".to_owned(),
        };
        let schema = self.schema.map(|schema| format!("resource.schema == {schema:?}"));
        let table = self.table.map(|table| format!("resource.name == {table:?}"));
        let condition = self.only_without_where.then(|| "!context.has_where".to_owned());
        let all: Vec<String> = schema.into_iter().chain(table).chain(condition).collect();
        let when = if all.is_empty() { String::new() } else { format!(" when {{ {} }}", all.join(" && ")) };
        format!("@id(\"r{number}\")\n{mode}{word} (principal in Role::\"{role}\", {action}, resource){when};\n")
    }

    /// Whether it speaks of this; `schema`: where the table is.
    fn matches(&self, effect: &Effect, schema: &str) -> bool {
        let name = effect.object.as_ref().map(|object| object.name.as_str());
        self.of_analysts
            && self.action.is_none_or(|action| action == effect.action)
            && self.schema.is_none_or(|wanted| wanted == schema)
            && self.table.is_none_or(|table| Some(table) == name)
            && !(self.only_without_where && effect.has_where)
    }
}

fn decide(from: &mut Unstructured<'_>) -> Result<()> {
    let mut rules = Vec::new();
    for _ in 0..from.int_in_range(0..=6)? {
        rules.push(Rule::any(from)?);
    }
    let text: String = rules.iter().enumerate().map(|(number, rule)| rule.text(number)).collect();
    let policy = loaded(&text).unwrap_or_else(|problems| unreachable!("{text}: {problems:?}"));
    let mut effects = Vec::new();
    for _ in 0..from.int_in_range(0..=4)? {
        let schema = if from.ratio(3, 4)? { Some(one(from, SCHEMAS)?) } else { None };
        effects.push(effect(one(from, ACTIONS)?, schema, one(from, TABLES)?, from.arbitrary()?));
    }
    let decision = policy.decide(&WHO, &PLACE, &MOMENT, &facts(effects.clone()));
    let permitted = effects.iter().all(|effect| {
        let schema = effect.object.as_ref().and_then(|object| object.schema.as_deref());
        // A table of which no schema is known is judged in each that the rules speak of, and in one that they do not.
        let spoken = rules.iter().filter_map(|rule| rule.schema).chain(["another"]);
        let places: Vec<&str> = schema.map_or_else(|| spoken.collect(), |schema| vec![schema]);
        places.iter().all(|schema| {
            let of = |forbids| rules.iter().any(|r| r.forbids == forbids && !r.reports && r.matches(effect, schema));
            of(false) && !of(true)
        })
    });
    assert_eq!(decision.allows(), permitted, "{text}\n{effects:?}\n{decision:?}");
    assert!(decision.allows() || decision.message.is_some(), "refused, and nobody says why");
    Ok(())
}
