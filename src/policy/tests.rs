//! What rules allow and deny, and which rules do not load.

use std::collections::BTreeMap;

use super::{Moment, Place, Policy, PolicyProblem};
use crate::model::{
    Action, ClientCertificate, Decision, Effect, Facts, Kind, Object, ObjectKind, Principal, PrincipalKind, Sha256,
    Timestamp, TokenFacts, Touch,
};

const EXAMPLE: &str = include_str!("../../fixtures/policy/example.cedar");

fn load(text: &str) -> Result<Policy, Vec<PolicyProblem>> {
    Policy::load(&[("rules.cedar".to_owned(), text.to_owned())])
}

fn rules(text: &str) -> Policy {
    load(text).unwrap_or_else(|problems| panic!("{}", problems[0]))
}

fn who(role: &str) -> Principal {
    Principal {
        issuer: "https://issuer".to_owned(),
        subject: "42".to_owned(),
        kind: PrincipalKind::Person,
        display: None,
        email: Some("ana@contoso.com".to_owned()),
        roles: vec![role.to_owned()],
        groups: vec!["staff".to_owned()],
        token: TokenFacts {
            at_issuer: crate::model::AtIssuer::default(),
            sha256: Sha256::of(b"token"),
            kid: None,
            jti: None,
            issued: None,
            expires: Timestamp::from_seconds(1_795_516_366),
        },
        claims: BTreeMap::from([("department".to_owned(), serde_json::json!("cardiology"))]),
    }
}

fn place() -> Place {
    Place { target: "demo".to_owned(), database: "demo".to_owned(), database_user: "app".to_owned() }
}

/// Tuesday, 2026-11-24, 09:32 UTC.
fn moment() -> Moment {
    Moment {
        now: Timestamp::from_seconds(1_795_512_766),
        client: "10.1.2.3".parse().unwrap(),
        application: Some("psql".to_owned()),
        client_certificate: None,
        transaction: 'I',
        token_age_seconds: 60,
    }
}

fn table(name: &str) -> Object {
    object(ObjectKind::Table, name)
}

fn object(kind: ObjectKind, name: &str) -> Object {
    let (schema, name) = name.split_once('.').map_or((None, name), |(schema, name)| (Some(schema.to_owned()), name));
    Object { kind, schema, name: name.to_owned() }
}

fn facts(effects: &[(Action, Option<Object>, bool)]) -> Facts {
    let effects = effects.iter().cloned();
    Facts {
        kind: Kind::Select,
        statement_count: 1,
        effects: effects.map(|(action, object, has_where)| Effect { action, object, has_where }).collect(),
        functions: vec!["count".to_owned()],
        has_where: Some(false),
        fingerprint: None,
        problem: None,
        touched: Vec::new(),
        has_limit: false,
        lifts_read_only: false,
        by_shape: false,
        operators: Vec::new(),
        conversions: Vec::new(),
        handles: Vec::new(),
        executes: None,
    }
}

fn reads(name: &str, has_where: bool) -> Facts {
    facts(&[(Action::Select, Some(table(name)), has_where)])
}

fn decide(policy: &Policy, role: &str, facts: &Facts) -> Decision {
    policy.decide(&who(role), &place(), &moment(), facts)
}

fn names(decision: &Decision) -> Vec<&str> {
    decision.rules.iter().map(|rule| rule.0.as_str()).collect()
}

#[test]
fn without_rules_nothing_is_allowed_and_our_own_sentence_says_so() {
    let policy = rules("");
    let denied = decide(&policy, "analyst", &reads("clinical.patients", true));
    assert!(!denied.allows() && denied.rules.is_empty());
    assert_eq!(denied.message.as_deref(), Some("no rule allows SELECT on clinical.patients for ana@contoso.com"));
    assert_eq!(denied.policy_version, policy.version());
    let denied = policy.decide_connect(&who("analyst"), &place(), &moment());
    assert_eq!(denied.message.as_deref(), Some("no rule allows ana@contoso.com to connect to demo/demo as app"));
    assert!(decide(&policy, "analyst", &facts(&[])).allows(), "a statement that does nothing asks nothing");
}

#[test]
fn the_example_lets_each_role_do_its_work_and_no_more() {
    let policy = rules(EXAMPLE);
    let write = |name: &str| facts(&[(Action::Update, Some(table(name)), true)]);
    let define = |name: &str| facts(&[(Action::Ddl, Some(table(name)), false)]);
    let session = facts(&[(Action::Session, Some(object(ObjectKind::Setting, "search_path")), false)]);
    let begin = facts(&[(Action::Session, None, false)]);
    let call = facts(&[(Action::Call, Some(object(ObjectKind::Function, "app.f")), false)]);
    let rights = facts(&[(Action::Dcl, Some(table("app.orders")), false)]);
    let unsafe_set = facts(&[(Action::SetUnsafe, Some(object(ObjectKind::Setting, "role")), false)]);
    for (role, asked, allowed) in [
        ("analyst", reads("app.orders", false), true),
        ("analyst", reads("clinical.patients", true), true),
        ("analyst", reads("clinical.patients", false), false),
        ("analyst", write("app.orders"), false),
        ("analyst", session, true),
        ("analyst", begin, true),
        ("analyst", call.clone(), false),
        ("analyst", unsafe_set.clone(), false),
        ("analyst", reads("pg_catalog.pg_class", false), true),
        ("developer", reads("app.orders", false), true),
        ("developer", write("app.orders"), true),
        ("developer", write("clinical.patients"), false),
        ("developer", reads("pg_class", false), true),
        ("developer", reads("information_schema.tables", false), true),
        ("developer", define("app.orders"), false),
        ("dba", define("app.orders"), true),
        ("dba", call, true),
        ("dba", rights, false),
        ("dba", unsafe_set, false),
        ("nobody", reads("app.orders", false), false),
        ("dba", Facts::unparsed("odd"), false),
    ] {
        let decision = decide(&policy, role, &asked);
        assert_eq!(decision.allows(), allowed, "{role} {:?}: {decision:?}", asked.effects);
    }
    for (role, allowed) in [("analyst", true), ("developer", true), ("dba", true), ("nobody", false)] {
        assert_eq!(policy.decide_connect(&who(role), &place(), &moment()).allows(), allowed, "{role}");
    }
    let elsewhere = Place { database: "other".to_owned(), ..place() };
    assert!(!policy.decide(&who("analyst"), &elsewhere, &moment(), &reads("app.orders", true)).allows());
}

#[test]
fn a_forbid_wins_and_names_itself_with_its_own_words() {
    let denied = decide(&rules(EXAMPLE), "analyst", &reads("clinical.patients", false));
    assert_eq!(names(&denied), ["no-bulk-patients"]);
    assert_eq!(denied.message.as_deref(), Some("Reading all of clinical.patients at once is not allowed."));
    assert!(denied.hint.unwrap().starts_with("Add a WHERE"));
    let allowed = decide(&rules(EXAMPLE), "analyst", &reads("clinical.patients", true));
    assert_eq!(names(&allowed), ["analyst-read"]);
    assert_eq!((allowed.message, allowed.hint), (None, None));
    let policy = rules("permit(principal, action, resource); @id(\"x\") forbid(principal, action, resource);");
    let denied = decide(&policy, "analyst", &reads("a.b", true));
    assert_eq!((names(&denied), denied.message.as_deref()), (vec!["x"], Some("denied by rule \"x\"")));
}

#[test]
fn every_effect_must_be_permitted() {
    let policy = rules("permit(principal, action in Action::\"read\", resource);");
    let both = facts(&[(Action::Select, Some(table("a.b")), true), (Action::Delete, Some(table("a.c")), true)]);
    assert!(decide(&policy, "analyst", &reads("a.b", true)).allows());
    let denied = decide(&policy, "analyst", &both);
    assert_eq!(denied.message.as_deref(), Some("no rule allows DELETE on a.c for ana@contoso.com"));
    assert!(denied.rules.is_empty());
    let many = vec![(Action::Select, Some(table("a.b")), true); super::MAX_EFFECTS + 1];
    assert!(!decide(&policy, "analyst", &facts(&many)).allows());
}

#[test]
fn what_was_not_understood_is_denied_unless_a_rule_permits_exactly_that() {
    let reader = rules("permit(principal, action in Action::\"read\", resource);");
    let denied = decide(&reader, "dba", &Facts::unparsed("not in the grammar"));
    assert_eq!(denied.message.as_deref(), Some("this statement could not be understood: not in the grammar"));
    let trusting = rules("@id(\"u\") permit(principal in Role::\"dba\", action == Action::\"unparsed\", resource);");
    assert_eq!(names(&decide(&trusting, "dba", &Facts::unparsed("x"))), ["u"]);
    assert!(!decide(&trusting, "analyst", &Facts::unparsed("x")).allows());
}

#[test]
fn a_rule_that_fails_denies_even_if_another_permits() {
    let policy = rules(
        "permit(principal, action, resource);
         forbid(principal, action == Action::\"select\", resource)
         when { context.token_age_seconds * 9223372036854775807 > 1 };",
    );
    let denied = decide(&policy, "analyst", &reads("a.b", true));
    assert!(!denied.allows());
    assert_eq!(denied.message.as_deref(), Some("a rule failed while it was evaluated"));
}

#[test]
fn a_name_without_schema_is_judged_as_in_every_schema_the_rules_tell_apart() {
    for rule in ["resource == Table::\"demo/demo/clinical.patients\"", "resource in Schema::\"demo/demo/clinical\""] {
        let policy = rules(&format!(
            "permit(principal, action, resource); @id(\"f\") forbid(principal, action in Action::\"read\", {rule});"
        ));
        assert_eq!(names(&decide(&policy, "x", &reads("patients", true))), ["f"], "{rule}");
        assert!(decide(&policy, "x", &reads("app.patients", true)).allows(), "{rule}");
    }
    for condition in [
        "resource.schema == \"clinical\" && resource.name == \"patients\"",
        "[\"clinical\", \"hr\"].contains(resource.schema)",
        "resource.schema like \"clin*\"",
        "resource.schema != \"app\"",
        "resource.schema == context.database_user && resource.schema == \"hidden\" || context.database_user == \"app\" && resource.schema != \"app\"",
        "principal.groups.contains(resource.schema)",
        "principal.hasTag(\"department\") && resource.schema == principal.getTag(\"department\")",
    ] {
        let policy = rules(&format!(
            "permit(principal, action, resource);
             @id(\"f\") forbid(principal, action in Action::\"read\", resource) when {{ {condition} }};"
        ));
        assert_eq!(names(&decide(&policy, "x", &reads("patients", true))), ["f"], "{condition}");
        assert!(decide(&policy, "x", &reads("app.patients", true)).allows(), "{condition}");
    }
    let narrow = rules("permit(principal, action in Action::\"read\", resource in Schema::\"demo/demo/app\");");
    assert!(decide(&narrow, "x", &reads("app.orders", true)).allows());
    let denied = decide(&narrow, "x", &reads("orders", true));
    assert!(!denied.allows() && denied.hint.unwrap().contains("schema"));
    let wide = rules("permit(principal, action in Action::\"read\", resource in Database::\"demo/demo\");");
    assert!(decide(&wide, "x", &reads("orders", true)).allows());
}

#[test]
fn a_table_without_schema_is_none_of_the_server_s_own_schemas_unless_they_hold_one_of_its_name() {
    let policy = rules(
        "permit(principal, action, resource is Table)
         unless { [\"pg_catalog\", \"information_schema\"].contains(resource.schema) };",
    );
    assert!(decide(&policy, "x", &reads("orders", true)).allows());
    for own in ["pg_class", "columns", "information_schema.columns", "pg_catalog.pg_class", "pg_catalog.orders"] {
        assert!(!decide(&policy, "x", &reads(own, true)).allows(), "{own}");
    }
    // A new one may come to be there.
    let create = facts(&[(Action::Ddl, Some(object(ObjectKind::Table, "orders")), false)]);
    assert!(!decide(&policy, "x", &create).allows());
}

#[test]
fn rules_can_look_at_claims_roles_groups_and_the_moment() {
    for (condition, allowed) in [
        ("principal.hasTag(\"department\") && principal.getTag(\"department\") == \"cardiology\"", true),
        ("principal.hasTag(\"department\") && principal.getTag(\"department\") == \"oncology\"", false),
        ("!principal.workload", true),
        ("principal.workload", false),
        ("principal has email && principal.email like \"*@contoso.com\"", true),
        ("principal.groups.contains(\"staff\")", true),
        ("context.client.isInRange(ip(\"10.0.0.0/8\"))", true),
        ("context.client.isInRange(ip(\"192.168.0.0/16\"))", false),
        ("context has application && context.application == \"psql\"", true),
        ("context has client_certificate", false),
        ("context.hour == 9 && context.weekday == 2", true),
        ("context.now < datetime(\"2026-11-24T09:32:47Z\")", true),
        ("context.transaction == \"I\" && context.token_age_seconds < 3600", true),
        ("context.functions.contains(\"count\") && context.kind == \"select\"", true),
        ("context.statement_count == 1 && context.effects_count == 1", true),
        ("context.database_user == \"app\" && resource.target == \"demo\"", true),
    ] {
        let policy = rules(&format!("permit(principal, action in Action::\"read\", resource) when {{ {condition} }};"));
        assert_eq!(decide(&policy, "x", &reads("a.b", true)).allows(), allowed, "{condition}");
    }
}

#[test]
fn a_rule_for_somebody_is_for_nobody_of_the_same_name_at_another_issuer() {
    let policy = rules("permit(principal == User::\"https://issuer|42\", action, resource);");
    let ours = who("x");
    assert!(policy.decide_connect(&ours, &place(), &moment()).allows());
    for (issuer, subject) in [("https://other", "42"), ("https://issuer|42", ""), ("https://issuer", "42|"), ("", "42")]
    {
        let other = Principal { issuer: issuer.to_owned(), subject: subject.to_owned(), ..ours.clone() };
        assert!(!policy.decide_connect(&other, &place(), &moment()).allows(), "{issuer} {subject}");
    }
}

#[test]
fn rules_can_bind_the_person_to_the_certificate_that_their_client_shows() {
    let binding = "permit(principal, action, resource);
        @id(\"own-certificate\") forbid(principal, action == Action::\"connect\", resource) unless {
            context has client_certificate && principal has email &&
            context.client_certificate.emails.contains(principal.email) &&
            context.client_certificate has common_name && context.client_certificate.common_name == \"ana\" &&
            context.client_certificate.subject like \"*,O=Contoso\" &&
            context.client_certificate.sha256 like \"2d71*\" &&
            context.client_certificate.dns_names.isEmpty() && context.client_certificate.uris.isEmpty() };";
    let policy = rules(binding);
    let ana = who("x");
    let shown = |email: &str| ClientCertificate {
        subject: "CN=ana,O=Contoso".to_owned(),
        common_name: Some("ana".to_owned()),
        sha256: Sha256::of(b"x"),
        emails: vec!["other@contoso.com".to_owned(), email.to_owned()],
        dns_names: Vec::new(),
        uris: Vec::new(),
    };
    for (certificate, allowed) in
        [(Some(shown(ana.email.as_deref().unwrap())), true), (Some(shown("ben@contoso.com")), false), (None, false)]
    {
        let moment = Moment { client_certificate: certificate, ..moment() };
        let decision = policy.decide_connect(&ana, &place(), &moment);
        assert_eq!(decision.allows(), allowed, "{decision:?}");
        // What was let in works.
        assert!(policy.decide(&ana, &place(), &moment, &reads("a.b", true)).allows());
    }
    // A schema that is named by the certificate is one that a name without schema may be in.
    let policy = rules(
        "permit(principal, action, resource);
         forbid(principal, action, resource is Table) when { context has client_certificate &&
             context.client_certificate has common_name && resource.schema == context.client_certificate.common_name };",
    );
    let moment = Moment { client_certificate: Some(shown("a@b")), ..moment() };
    for (name, allowed) in [("ana.t", false), ("t", false), ("ben.t", true)] {
        assert_eq!(policy.decide(&ana, &place(), &moment, &reads(name, true)).allows(), allowed, "{name}");
    }
}

#[test]
fn names_with_separators_in_them_are_not_mistaken_for_others() {
    let policy = rules("permit(principal, action in Action::\"read\", resource in Schema::\"demo/demo/app\");");
    for (schema, name) in [("app.x", "y"), ("app/x", "y"), ("x", "app.y"), ("demo/app", "y")] {
        let tricky = Object { kind: ObjectKind::Table, schema: Some(schema.to_owned()), name: name.to_owned() };
        assert!(!decide(&policy, "x", &facts(&[(Action::Select, Some(tricky), true)])).allows(), "{schema} {name}");
    }
    let elsewhere = Place { target: "demo/demo".to_owned(), database: "app".to_owned(), ..place() };
    let policy = rules("permit(principal, action, resource in Database::\"demo/demo\");");
    assert!(!policy.decide(&who("x"), &elsewhere, &moment(), &reads("a.b", true)).allows());
}

#[test]
fn mistakes_are_told_all_at_once_with_file_line_and_column() {
    for (text, line, column, words) in [
        ("permit(principal, action, resource)\nwhen { principal.emial == \"x\" };", 2, 8, "emial"),
        ("permit(principal, action == Action::\"selct\", resource);", 1, 29, "selct"),
        ("permit(principal in Rol::\"x\", action, resource);", 1, 21, "Rol"),
        ("permit(principal, action, resource);\n\npermit(principal action, resource);", 3, 18, "unexpected"),
        ("permit(principal, action, resource);\n@mesage(\"x\")\nforbid(principal, action, resource);", 2, 1, "@mesage"),
        ("@mode(\"report\")\npermit(principal, action, resource);", 1, 7, "report mode means nothing"),
        ("@mode(\"audit\")\nforbid(principal, action, resource);", 1, 7, "no mode"),
        ("@record(\"rows\")\nforbid(principal, action, resource);", 1, 1, "@record"),
        ("@id(\"would-deny:x\")\nforbid(principal, action, resource);", 1, 5, "cannot be named"),
        (
            "@id(\"a\") permit(principal, action, resource);\n@id(\"a\") forbid(principal, action, resource);",
            2,
            5,
            "two rules",
        ),
        ("permit(principal == ?principal, action, resource);", 1, 21, "slot"),
        ("permit(principal, action == Action::\"select\", resource) when { context.where };", 1, 64, "where"),
    ] {
        let problems = load(text).unwrap_err();
        let problem = &problems[0];
        assert!(problem.to_string().contains(words), "{text}: {problem}");
        assert_eq!((problem.line, problem.column), (line, column), "{text}: {problem}");
        assert_eq!(problem.file, "rules.cedar");
        assert_eq!(problems.len(), 1, "{text}: what follows from a mistake is not told as another: {problems:?}");
    }
    let suggestion = load("@mesage(\"x\") forbid(principal, action, resource);").unwrap_err()[0].suggestion.clone();
    assert_eq!(suggestion.as_deref(), Some("did you mean @message?"));
    let files = [("a.cedar".to_owned(), "permit(".to_owned()), ("b.cedar".to_owned(), "forbid(".to_owned())];
    let problems = Policy::load(&files).unwrap_err();
    assert_eq!(problems.iter().map(|problem| problem.file.as_str()).collect::<Vec<_>>(), ["a.cedar", "b.cedar"]);
}

#[test]
fn the_version_changes_with_every_text_and_with_nothing_else() {
    let version = |files: &[&str]| {
        let files: Vec<_> = files.iter().map(|text| ("f".to_owned(), (*text).to_owned())).collect();
        Policy::load(&files).unwrap().version().to_owned()
    };
    assert_eq!(version(&["", "// x"]), version(&["", "// x"]));
    assert_ne!(version(&["", "// x"]), version(&["// x", ""]));
    assert_eq!(version(&[]).len(), 64);
}

#[test]
fn a_rule_without_id_is_named_by_its_file_and_place() {
    let policy = rules("permit(principal, action, resource);");
    assert_eq!(names(&decide(&policy, "x", &reads("a.b", true))), ["rules.cedar:policy0"]);
}

#[test]
fn every_action_of_the_model_is_in_the_schema() {
    for action in Action::ALL {
        let text = format!("permit(principal, action == Action::\"{}\", resource);", action.as_str());
        assert!(load(&text).is_ok(), "{}", action.as_str());
    }
}

#[test]
fn only_rules_that_ask_for_no_time_give_answers_to_remember() {
    let steady = |rule: &str| Policy::load(&[("t.cedar".to_owned(), rule.to_owned())]).unwrap().steady();
    assert!(steady("permit (principal, action, resource);"));
    assert!(steady("permit (principal, action == Action::\"select\", resource) when { context.has_where };"));
    for asks in [
        "context.hour < 18",
        "context.weekday < 6",
        "context.token_age_seconds < 60",
        "context.now < datetime(\"2030-01-01\")",
    ] {
        let rule = format!("permit (principal, action == Action::\"select\", resource) when {{ {asks} }};");
        assert!(!steady(&rule), "{asks}");
    }
}

#[test]
fn every_rule_is_known_by_where_it_begins() {
    let text = "// a word before\n@id(\"a\")\npermit(principal, action, resource);\n  permit(principal, action, resource);\n\
                @id(\"b\") forbid(principal, action, resource);\n  permit(principal, action, resource);";
    let places: Vec<_> =
        rules(text).written().iter().map(|rule| (rule.id.clone(), rule.line, rule.column, rule.forbids)).collect();
    let expected = [
        ("a".to_owned(), 2, 1, false),
        ("rules.cedar:policy1".to_owned(), 4, 3, false),
        ("b".to_owned(), 5, 1, true),
        ("rules.cedar:policy3".to_owned(), 6, 3, false),
    ];
    assert_eq!(places, expected);
}

#[test]
fn a_rule_in_report_mode_denies_nothing_and_is_named_where_it_would_have() {
    let reported = |rule: &str| {
        let rules = rules(&format!(
            "@id(\"p\") permit(principal, action in Action::\"read\", resource);
             @id(\"r\") @mode(\"report\") forbid(principal, action in Action::\"read\", resource) {rule};"
        ));
        (decide(&rules, "x", &reads("hr.salaries", true)), rules)
    };
    let (decision, policy) = reported("when { resource.name == \"salaries\" }");
    assert!(decision.allows());
    assert_eq!((names(&decision), decision.message.clone()), (vec!["p", "would-deny:r"], None));
    assert_eq!(decision.would_deny().collect::<Vec<_>>(), ["r"]);
    assert_eq!(decision.deciding().count(), 1);
    assert_eq!(names(&decide(&policy, "x", &reads("app.orders", true))), ["p"]);
    let unqualified = decide(&reported("when { resource.schema == \"hr\" }").1, "x", &reads("salaries", true));
    assert!(unqualified.allows() && names(&unqualified) == ["p", "would-deny:r"], "{unqualified:?}");
    let denied = decide(&policy, "x", &facts(&[(Action::Delete, Some(table("hr.salaries")), true)]));
    assert!(!denied.allows() && denied.rules.is_empty());
    let (fails, _) = reported("when { context.token_age_seconds * 9223372036854775807 > 1 }");
    assert!(fails.allows() && names(&fails) == ["p", "would-deny:r"], "enforced, it would deny: {fails:?}");
    let by_time = reported("when { context.hour > 3 }").1;
    assert!(!by_time.steady(), "what it says changes by itself");
    assert_eq!(by_time.written().iter().map(|rule| rule.reports).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn what_is_reached_through_a_view_needs_no_permit_but_a_forbid_holds_for_it() {
    let with = |forbid: &str| {
        rules(&format!(
            "permit (principal, action == Action::\"select\", resource == Table::\"demo/demo/public.v\");{forbid}"
        ))
    };
    let reading = |reached: bool| {
        let touch = |reached| Touch { reached, ..Touch::EVERYTHING };
        let effects =
            [(Action::Select, Some(table("public.people")), false), (Action::Select, Some(table("public.v")), false)];
        Facts { touched: vec![touch(reached), touch(false)], ..facts(&effects) }
    };
    assert!(decide(&with(""), "analyst", &reading(true)).allows());
    assert!(!decide(&with(""), "analyst", &reading(false)).allows());
    let forbid = "forbid (principal, action, resource == Table::\"demo/demo/public.people\");";
    assert!(!decide(&with(forbid), "analyst", &reading(true)).allows());
    // A function is somebody's deed wherever it stands.
    let call = Object { kind: ObjectKind::Function, schema: Some("public".to_owned()), name: "f".to_owned() };
    let calling = Facts {
        touched: vec![Touch { reached: true, ..Touch::EVERYTHING }],
        ..facts(&[(Action::Call, Some(call), false)])
    };
    assert!(!decide(&with(""), "analyst", &calling).allows());
}

#[test]
fn a_pattern_of_schemas_permits_no_name_that_may_be_in_another_one() {
    for pattern in ["p*", "pg_*", "*?", "*_?", "p*?"] {
        let policy = rules(&format!(
            "permit (principal, action == Action::\"select\", resource) when {{ resource.schema like \"{pattern}\" }};"
        ));
        assert!(!decide(&policy, "analyst", &reads("people", true)).allows(), "{pattern}");
    }
}

fn classified(rules: &str, classes: &str) -> Result<Policy, Vec<PolicyProblem>> {
    Policy::load(&[("r.cedar".to_owned(), rules.to_owned()), ("r.classes.toml".to_owned(), classes.to_owned())])
}

#[test]
fn a_rule_on_a_kind_of_data_holds_for_every_table_and_column_that_has_it() {
    let text = "permit (principal, action, resource);\n\
                @id(\"no-phi\") forbid (principal, action in Action::\"read\", resource) when { context.classifications.contains(\"PHI\") };";
    let policy = classified(text, "PHI = [\"clinic.*.ssn\", \"clinic.notes\"]").unwrap();
    let reading = |name: &str, columns: &[&str], all_columns: bool| {
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        Facts { touched: vec![Touch { columns, all_columns, ..Touch::default() }], ..reads(name, true) }
    };
    for (name, columns, all_columns, is_allowed) in [
        ("clinic.patients", &["id"][..], false, true),
        ("clinic.patients", &["id", "ssn"], false, false),
        ("clinic.patients", &[], true, false),
        ("clinic.notes", &["id"], false, false),
        ("app.orders", &["ssn"], true, true),
        ("notes", &["id"], false, false),
        ("patients", &["ssn"], false, false),
        ("patients", &["id"], false, true),
    ] {
        let decision = decide(&policy, "analyst", &reading(name, columns, all_columns));
        assert_eq!(decision.allows(), is_allowed, "{name} {columns:?} {all_columns}: {decision:?}");
    }
    let known = Touch { columns: vec!["id".to_owned()], all_columns: true, columns_are_all: true, ..Touch::default() };
    let facts = Facts { touched: vec![known], ..reads("clinic.wards", true) };
    assert!(decide(&policy, "analyst", &facts).allows(), "the catalog says that there is no such column");
    assert_ne!(policy.version(), classified(text, "PHI = [\"clinic.*.ssn\"]").unwrap().version());
    let problems = classified("permit (principal, action == Action::\"x\", resource);", "PHI = [\"x\"]").unwrap_err();
    let files: Vec<&str> = problems.iter().map(|problem| problem.file.as_str()).collect();
    assert_eq!(files, ["r.classes.toml", "r.cedar"], "all problems at once");
}

#[test]
fn problems_of_one_place_are_told_in_the_same_order_each_time() {
    let text = "permit (principal, action, resource)\nwhen { resource.schema == \"x\" };";
    let sentences: Vec<String> = load(text).unwrap_err().into_iter().map(|problem| problem.sentence).collect();
    assert!(sentences.len() > 2 && sentences.is_sorted(), "{sentences:#?}");
}
