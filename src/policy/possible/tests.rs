//! What could be permitted and what never: by shapes of rules, and held against what is decided.

use std::collections::BTreeMap;

use super::*;
use crate::model::{Effect, Facts, Kind, ObjectKind, PrincipalKind, Sha256, Timestamp, TokenFacts, Touch};
use crate::policy::Moment;

fn rules(text: &str) -> Policy {
    Policy::load(&[("t.cedar".to_owned(), text.to_owned())]).unwrap_or_else(|problems| panic!("{}", problems[0]))
}

fn who(role: &str) -> Principal {
    Principal {
        issuer: "https://issuer".to_owned(),
        subject: "42".to_owned(),
        kind: PrincipalKind::Person,
        display: None,
        email: None,
        roles: vec![role.to_owned()],
        groups: Vec::new(),
        token: TokenFacts {
            at_issuer: crate::model::AtIssuer::default(),
            sha256: Sha256::of(b"token"),
            kid: None,
            jti: None,
            issued: None,
            expires: Timestamp::from_seconds(2_000_000_000),
        },
        claims: BTreeMap::from([("purpose".to_owned(), "research".into())]),
    }
}

fn place() -> Place {
    Place { target: "t".to_owned(), database: "d".to_owned(), database_user: "app".to_owned() }
}

fn table(name: &str) -> Object {
    Object { kind: ObjectKind::Table, schema: Some("s".to_owned()), name: name.to_owned() }
}

#[test]
fn only_what_can_never_be_permitted_a_write_is_said_to_be_without() {
    let write = |rest: &str| format!("permit(principal, action == Action::\"insert\", resource){rest};");
    for (text, may) in [
        (String::new(), false),
        ("permit(principal, action in Action::\"read\", resource);".to_owned(), false),
        ("permit(principal, action == Action::\"session\", resource);".to_owned(), false),
        ("permit(principal, action == Action::\"connect\", resource);".to_owned(), false),
        ("permit(principal, action, resource);".to_owned(), true),
        ("permit(principal, action == Action::\"call\", resource == Function::\"t/d/s.f\");".to_owned(), true),
        ("permit(principal, action == Action::\"unparsed\", resource);".to_owned(), true),
        // For whom.
        ("permit(principal in Role::\"a\", action in Action::\"write\", resource);".to_owned(), true),
        ("permit(principal in Role::\"b\", action in Action::\"write\", resource);".to_owned(), false),
        (write(" when { principal in Role::\"b\" || principal.roles.contains(\"a\") }"), true),
        (write(" when { principal.roles.contains(\"b\") }"), false),
        (write(" unless { principal in Role::\"a\" }"), false),
        (write(" when { principal.hasTag(\"ticket\") && principal.getTag(\"ticket\") like \"INC-*\" }"), false),
        (write(" when { principal.hasTag(\"purpose\") && principal.getTag(\"purpose\") == \"research\" }"), true),
        // A rule that fails permits nothing, but that is not seen for certain.
        (write(" when { principal has email && principal.email like \"*@x\" }"), false),
        // Where.
        (write(" when { resource in Schema::\"t/d/s\" && context.has_where }"), true),
        (write(" when { resource in Schema::\"t/other/s\" }"), false),
        (write(" when { resource in [Database::\"x/d\", Database::\"t/other\"] }"), false),
        (write(" when { resource.target == \"x\" }"), false),
        (write(" when { resource.target == \"t\" && resource.name == \"n\" }"), true),
        ("permit(principal, action in Action::\"write\", resource in Target::\"x\");".to_owned(), false),
        ("permit(principal, action in Action::\"write\", resource in Database::\"t/other\");".to_owned(), false),
        // The other database can be altered and dropped from this one.
        ("permit(principal, action == Action::\"ddl\", resource in Database::\"t/other\");".to_owned(), true),
        ("permit(principal, action == Action::\"ddl\", resource in Database::\"x/other\");".to_owned(), false),
        // Forbids count where they hold for certain.
        (
            "permit(principal, action, resource);
          forbid(principal, action, resource) unless { action in [Action::\"read\", Action::\"connect\"] };"
                .to_owned(),
            false,
        ),
        (
            "permit(principal, action, resource);
          forbid(principal in Role::\"a\", action, resource in Target::\"t\") unless { action in Action::\"read\" };"
                .to_owned(),
            false,
        ),
        (
            "permit(principal, action, resource);
          forbid(principal, action, resource) when { context.hour > 18 };"
                .to_owned(),
            true,
        ),
        (
            "permit(principal, action in Action::\"write\", resource);
          forbid(principal, action in Action::\"write\", resource in Database::\"t/d\");"
                .to_owned(),
            false,
        ),
        (
            "permit(principal, action in Action::\"write\", resource);
          forbid(principal, action in Action::\"write\", resource in Schema::\"t/d/s\");"
                .to_owned(),
            true,
        ),
        (
            "permit(principal, action in Action::\"write\", resource);
          @mode(\"report\") forbid(principal, action in Action::\"write\", resource);"
                .to_owned(),
            true,
        ),
    ] {
        assert_eq!(rules(&text).may_write(&who("a"), &place()), may, "{text}");
    }
}

#[test]
fn what_of_a_table_could_be_permitted_is_told_to_the_column() {
    let columns: Vec<String> = ["id", "name", "ssn"].map(str::to_owned).into();
    let reach = |text: &str, action| rules(text).reach(&place(), action, &table("people"), &columns);
    let some = |names: &[&str]| Reach::Columns(names.iter().map(|name| (*name).to_owned()).collect());
    let read = "permit(principal in Role::\"a\", action in Action::\"read\", resource in Schema::\"t/d/s\");";
    let private = |rest: &str| {
        format!(
            "{read} forbid(principal, action, resource == Table::\"t/d/s.people\")
             when {{ context.all_columns || context.columns.contains(\"ssn\") }}{rest};"
        )
    };
    assert_eq!(reach(read, Action::Select), Reach::All);
    assert_eq!(reach(read, Action::Insert), Reach::Nothing);
    assert_eq!(reach(&private(""), Action::Select), some(&["id", "name"]));
    assert_eq!(reach(&private(" unless { principal in Role::\"hr\" }"), Action::Select), Reach::All);
    let any = private("").replace("contains(\"ssn\")", "containsAny([\"ssn\", \"name\"])");
    assert_eq!(reach(&any, Action::Select), some(&["id"]));
    let listed = "permit(principal, action == Action::\"select\", resource)
        when { resource.name == \"people\" && !context.all_columns && [\"id\", \"name\"].containsAll(context.columns) };";
    assert_eq!(reach(listed, Action::Select), some(&["id", "name"]));
    assert_eq!(rules(listed).reach(&place(), Action::Select, &table("other"), &columns), Reach::Nothing);
    let write = "permit(principal, action in Action::\"write\", resource);";
    let ties =
        format!("{write} forbid(principal, action == Action::\"delete\", resource) when {{ !context.where_binds }};");
    let truncates = |text: &str| rules(text).could_permit_truncate(&place(), &table("people"));
    assert!(truncates(write) && !truncates(&ties) && !truncates(read));
    assert_eq!(reach(&ties, Action::Delete), Reach::All);
    assert!(rules(write).could_permit_writes(&place()) && !rules(read).could_permit_writes(&place()));
    let function = |name: &str| Object { kind: ObjectKind::Function, ..table(name) };
    let call = rules("permit(principal, action == Action::\"call\", resource == Function::\"t/d/s.f\");");
    assert!(call.could_permit(&place(), Action::Call, &function("f")));
    assert!(!call.could_permit(&place(), Action::Call, &function("g")));
}

/// Every rule set of the repository, every role that it names, every writing effect on some objects, at some moments: what
/// is decided is never more than what was said to be possible.
#[test]
fn nothing_is_ever_permitted_that_was_said_to_be_impossible() {
    const SETS: &[&str] = &[
        include_str!("../../../fixtures/policies/break-glass/rules.cedar"),
        include_str!("../../../fixtures/policies/ci-migrations/rules.cedar"),
        include_str!("../../../fixtures/policies/dba-without-data/rules.cedar"),
        include_str!("../../../fixtures/policies/phi-by-purpose/rules.cedar"),
        include_str!("../../../fixtures/policies/read-only-analysts/rules.cedar"),
        include_str!("../../../fixtures/policy/example.cedar"),
        include_str!("../../cli/demo/files/rules.cedar"),
    ];
    let (mut without, mut permitted) = (0, 0);
    let policies: Vec<Policy> = SETS.iter().map(|text| rules(text)).collect();
    for (policy, role, target) in policies.iter().flat_map(|policy| {
        let roles = ["analyst", "clinician", "dba", "pipeline", "on-call", "nobody"];
        roles.into_iter().flat_map(move |role| ["clinic", "demo"].map(|target| (policy, role, target)))
    }) {
        let place = Place { target: target.to_owned(), database: target.to_owned(), database_user: "app".to_owned() };
        for claims in [&[][..], &[("amr", "[\"mfa\"]"), ("ticket", "INC-1"), ("purpose", "research")][..]] {
            let mut who = who(role);
            who.claims = claims.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
            let may = policy.may_write(&who, &place);
            let allowed = allowed_writes(policy, &who, &place);
            assert!(may || allowed == 0, "{role} on {target}: {allowed} writes under {:?}", policy.written());
            without += usize::from(!may);
            permitted += allowed;
        }
    }
    assert!(without > 50 && permitted > 100, "the test saw nothing: {without}, {permitted}");
}

fn allowed_writes(policy: &Policy, who: &Principal, place: &Place) -> usize {
    let moments = ["10.20.0.1", "8.8.8.8"].map(|client| Moment {
        now: Timestamp::from_seconds(1_795_512_766),
        client: client.parse().unwrap(),
        application: None,
        client_certificate: None,
        transaction: 'I',
        token_age_seconds: 60,
    });
    let mut allowed = 0;
    for (action, schema, name) in WRITES.iter().flat_map(|action| {
        let names = [("app", "orders"), ("clinic", "patients"), ("public", "pg_cancel_backend")];
        names.map(|(schema, name)| (*action, schema, name))
    }) {
        let kind = match action {
            Action::Unparsed => None,
            Action::Call => Some(ObjectKind::Function),
            _ => Some(ObjectKind::Table),
        };
        let object = kind.map(|kind| Object { kind, schema: Some(schema.to_owned()), name: name.to_owned() });
        let touched = vec![Touch { where_binds: true, ..Touch::default() }];
        let effects = vec![Effect { action, object, has_where: true }];
        let facts = Facts { kind: Kind::Select, effects, touched, ..Facts::unparsed("") };
        allowed += moments.iter().filter(|moment| policy.decide(who, place, moment, &facts).allows()).count();
    }
    allowed
}
