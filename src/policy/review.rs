//! What is no mistake in a set of rules but less than its author may believe.
//!
//! The questions are simple on purpose and look at what is written only, so some sets are doubted without need and some
//! doubtful ones pass: they are for a person to read, and nothing is refused by them.
//!
//! **A deny without an allow-list under it.** A `forbid` on a table holds where a statement names the table, or a view that
//! the catalog knows. A function, what somebody defines for it, or a text that is not understood reaches the same rows. So whoever a
//! `forbid` on tables is for should not be permitted `call`, `ddl` or `unparsed` at large, unless the same `forbid` holds
//! for those too. The same goes for a `forbid` on functions; and one on definitions, rights, maintenance or the session is
//! gone around by `call` and `unparsed`.

use cedar_policy::{ActionConstraint, Effect, EntityUid, Policy as Rule, PolicyId, PolicySet, ResourceConstraint};
use serde_json::Value;
use std::collections::BTreeSet;

use super::load::WrittenRule;
use super::problem::PolicyProblem;
use crate::model::Action;

/// What reaches a table without naming it.
const TO_TABLES: &[Action] = &[Action::Call, Action::Ddl, Action::Unparsed, Action::Replicate, Action::CopyServer];
/// What runs a function without naming it.
const TO_CALLS: &[Action] = &[Action::Call, Action::Ddl, Action::Unparsed];
/// What does something without being seen to.
const TO_DEEDS: &[Action] = &[Action::Call, Action::Unparsed];
/// What is done to no table and is no call.
const DEEDS: &[Action] = &[Action::Ddl, Action::Dcl, Action::Admin, Action::Session, Action::SetUnsafe];
/// What is done to tables, by its words in rules.
const ON_TABLES: &[&str] = &["read", "write", "select", "insert", "update", "delete", "copy_in", "copy_out"];
/// Permits that one doubt names; the rest is counted.
const NAMED: usize = 3;

/// How alike two claims must be for one to be offered instead of the other, as for keys of the configuration.
const ALIKE: f64 = 0.8;

/// Everything doubtful, in the order of the files.
pub(super) fn doubts(rules: [&PolicySet; 2], written: &[WrittenRule]) -> Vec<PolicyProblem> {
    let read: Vec<Read<'_>> = written.iter().filter_map(|written| Read::of(rules, written)).collect();
    let mut doubts: Vec<PolicyProblem> =
        read.iter().filter_map(|forbid| without_list(forbid, forbid.ways_around()?, &read)).collect();
    doubts.extend(without_catalog(&read));
    doubts
}

fn doubt(at: &WrittenRule, sentence: String, why: &str) -> PolicyProblem {
    let (file, line, column) = (at.file.clone(), at.line, at.column);
    PolicyProblem { file, line, column, length: 1, sentence, suggestion: Some(why.to_owned()) }
}

/// Rules that ask for a claim that is none of these. A name that is not written out cannot be known and passes.
pub(super) fn undeclared(rules: [&PolicySet; 2], written: &[WrittenRule], claims: &[String]) -> Vec<PolicyProblem> {
    let mut problems = Vec::new();
    for rule in written.iter().filter_map(|written| Read::of(rules, written)) {
        let mut asked = BTreeSet::new();
        rule.conditions().for_each(|condition| tags(condition, &mut asked));
        for claim in asked.into_iter().filter(|claim| !claims.contains(claim)) {
            let sentence = format!("rule \"{}\" asks for the claim \"{claim}\", which is not kept", rule.written.id);
            let alike = claims.iter().max_by(|a, b| strsim::jaro(a, &claim).total_cmp(&strsim::jaro(b, &claim)));
            let alike = alike.filter(|alike| strsim::jaro(alike, &claim) > ALIKE);
            let why = match alike {
                Some(alike) => format!("did you mean \"{alike}\"?"),
                None => "name it in `keep` of [identity.NAME] in the configuration".to_owned(),
            };
            problems.push(doubt(rule.written, sentence, &why));
        }
    }
    problems
}

/// Gathers the tags that a tree asks for by name.
fn tags(tree: &Value, into: &mut BTreeSet<String>) {
    match tree {
        Value::Object(fields) => {
            for operator in ["hasTag", "getTag"] {
                let name = fields.get(operator).and_then(|operands| operands.pointer("/right/Value"));
                into.extend(name.and_then(Value::as_str).map(str::to_owned));
            }
            fields.values().for_each(|value| tags(value, into));
        }
        Value::Array(items) => items.iter().for_each(|item| tags(item, into)),
        _ => {}
    }
}

/// `around`: what goes around the rule, and why it does.
fn without_list(forbid: &Read<'_>, (around, why): (&[Action], &str), all: &[Read<'_>]) -> Option<PolicyProblem> {
    let mut ways = BTreeSet::new();
    let mut permits = Vec::new();
    for permit in all.iter().filter(|permit| permit.rule.effect() == Effect::Permit && permit.meets(forbid)) {
        let open = around.iter().filter(|way| permit.opens(**way) && !forbid.closes(**way));
        let before = permits.len();
        for way in open {
            ways.insert(way.as_str());
            permits.truncate(before);
            permits.push(format!("\"{}\"", permit.written.id));
        }
    }
    let more = permits.len().saturating_sub(NAMED);
    permits.truncate(NAMED);
    let names = permits.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() };
    let ways = ways.into_iter().collect::<Vec<_>>().join(", ");
    let sentence = format!(
        "rule \"{}\" forbids less than it seems: {names} at large permits to the same people what goes around it ({ways})",
        forbid.written.id
    );
    let why = format!("{why}; permit by name what these people need instead, or forbid those to them as well");
    (!permits.is_empty()).then(|| doubt(forbid.written, sentence, &why))
}

fn without_catalog(all: &[Read<'_>]) -> Option<PolicyProblem> {
    let sentence = "no rule lets anybody read pg_catalog".to_owned();
    let why = "psql's \\d, graphical tools and many drivers read it when they start and will fail; \
               see \"everyone-catalog\" in fixtures/policy/example.cedar";
    let reads = all.iter().any(Read::reads_catalog);
    all.first().filter(|_| !reads).map(|first| doubt(first.written, sentence, why))
}

/// A rule and what is asked about it.
struct Read<'r> {
    rule: &'r Rule,
    written: &'r WrittenRule,
    /// Its conditions as a tree, those under `when` and those under `unless`.
    when: Vec<Value>,
    unless: Vec<Value>,
    /// The roles that its head or a `when` names; none named: it is for everybody.
    roles: BTreeSet<String>,
}

impl<'r> Read<'r> {
    fn of(rules: [&'r PolicySet; 2], written: &'r WrittenRule) -> Option<Self> {
        let id = PolicyId::new(&written.id);
        let rule = rules.into_iter().find_map(|set| set.policy(&id))?;
        let tree = rule.to_json().ok()?;
        let conditions = |kind: &str| -> Vec<Value> {
            let all = tree.get("conditions").and_then(Value::as_array).into_iter().flatten();
            all.filter(|one| one.get("kind").is_some_and(|found| found == kind)).cloned().collect()
        };
        let (when, unless) = (conditions("when"), conditions("unless"));
        let mut roles = BTreeSet::new();
        let head = tree.get("principal").into_iter();
        head.chain(&when).for_each(|part| entities(part, "Role", &mut roles));
        Some(Self { rule, written, when, unless, roles })
    }

    fn conditions(&self) -> impl Iterator<Item = &Value> {
        self.when.iter().chain(&self.unless)
    }

    /// If it forbids something that can be done without being named: how, and why that is so.
    fn ways_around(&self) -> Option<(&'static [Action], &'static str)> {
        const TABLES: &str = "a function, something that is defined for it, a text that is not understood or a connection for replication reaches a table without naming it";
        const CALLS: &str = "another function, something that is defined for it or a text that is not understood calls one without naming it";
        const DOES: &str = "a function or a text that is not understood does the same without being seen to";
        if self.rule.effect() != Effect::Forbid {
            return None;
        }
        let of = |kinds: &[&str]| match self.rule.resource_constraint() {
            ResourceConstraint::Any => true,
            ResourceConstraint::Eq(one) | ResourceConstraint::In(one) => {
                kinds.contains(&one.type_name().to_string().as_str())
            }
            ResourceConstraint::Is(kind) | ResourceConstraint::IsIn(kind, _) => {
                kinds.contains(&kind.to_string().as_str())
            }
        };
        if self.forbids_tables() {
            Some((TO_TABLES, TABLES))
        } else if self.is_about(Action::Call) && of(&["Function", "Schema", "Database", "Target"]) {
            Some((TO_CALLS, CALLS))
        } else {
            DEEDS.iter().any(|action| self.is_about(*action)).then_some((TO_DEEDS, DOES))
        }
    }

    fn forbids_tables(&self) -> bool {
        let action = match self.rule.action_constraint() {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(action) => ON_TABLES.contains(&action.id().unescaped()),
            ActionConstraint::In(actions) => actions.iter().any(|one| ON_TABLES.contains(&one.id().unescaped())),
        };
        let holds = |resource: &EntityUid| {
            ["Table", "Schema", "Database", "Target"].contains(&resource.type_name().to_string().as_str())
        };
        let resource = match self.rule.resource_constraint() {
            ResourceConstraint::Any => true,
            ResourceConstraint::Eq(resource) | ResourceConstraint::In(resource) => holds(&resource),
            ResourceConstraint::Is(kind) | ResourceConstraint::IsIn(kind, _) => kind.to_string() == "Table",
        };
        action && resource
    }

    /// Whether its head is about this action.
    fn is_about(&self, action: Action) -> bool {
        let is = |one: &EntityUid| one.id().unescaped() == action.as_str();
        match self.rule.action_constraint() {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(one) => is(&one),
            ActionConstraint::In(many) => many.iter().any(is),
        }
    }

    /// Whether it permits this way around, and not only to things that it names.
    fn opens(&self, way: Action) -> bool {
        let listed = |condition: &Value| {
            let mut actions = BTreeSet::new();
            entities(condition, "Action", &mut actions);
            actions.contains(way.as_str())
        };
        // These are done to databases only, so one that is named is all of it.
        let of_databases = matches!(way, Action::Replicate | Action::CopyServer);
        let one = !of_databases && matches!(self.rule.resource_constraint(), ResourceConstraint::Eq(_));
        let by_name = self.conditions().any(|condition| reads(condition, "resource", Some(&["name", "schema"])));
        let not_meant = self.when.iter().any(|when| reads(when, "action", None) && !listed(when));
        self.is_about(way) && !one && !by_name && !not_meant && !self.unless.iter().any(listed)
    }

    /// Whether it forbids this way around too, whatever the way leads to.
    fn closes(&self, way: Action) -> bool {
        let narrow = |condition: &Value| reads(condition, "resource", None) || reads(condition, "action", None);
        let any = matches!(self.rule.resource_constraint(), ResourceConstraint::Any);
        self.is_about(way) && any && !self.conditions().any(narrow)
    }

    /// Whether both may be for the same person.
    fn meets(&self, forbid: &Self) -> bool {
        let mut exempt = BTreeSet::new();
        forbid.unless.iter().for_each(|unless| entities(unless, "Role", &mut exempt));
        let all_exempt = !self.roles.is_empty() && self.roles.is_subset(&exempt);
        let everybody = self.roles.is_empty() || forbid.roles.is_empty();
        !all_exempt && (everybody || !self.roles.is_disjoint(&forbid.roles))
    }

    fn reads_catalog(&self) -> bool {
        let reads_tables = match self.rule.action_constraint() {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(one) => ["read", "select"].contains(&one.id().unescaped()),
            ActionConstraint::In(many) => many.iter().any(|one| ["read", "select"].contains(&one.id().unescaped())),
        };
        let wide = match self.rule.resource_constraint() {
            ResourceConstraint::Any | ResourceConstraint::Is(_) => true,
            ResourceConstraint::In(above) | ResourceConstraint::IsIn(_, above) => {
                ["Target", "Database"].contains(&above.type_name().to_string().as_str())
                    || above.id().unescaped().ends_with("/pg_catalog")
            }
            ResourceConstraint::Eq(_) => false,
        };
        let by_name = |condition: &Value| reads(condition, "resource", Some(&["name", "schema"]));
        let narrow = self.when.iter().any(by_name) && !self.when.iter().any(|when| says(when, "pg_catalog"));
        self.rule.effect() == Effect::Permit && reads_tables && wide && !narrow
    }
}

/// The databases of a target that a rule names, by themselves or before the name of something in them.
pub(super) fn databases(rule: &Rule, target: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    let tree = rule.to_json().unwrap_or_default();
    for kind in ["Database", "Schema", "Table", "Function", "Object", "Setting", "DatabaseRole"] {
        entities(&tree, kind, &mut named);
    }
    let database = |id: &String| {
        let mut parts = id.split('/').map(super::entities::unescape);
        parts.next().filter(|first| first == target).and_then(|_| parts.next())
    };
    named.iter().filter_map(database).collect()
}

/// Gathers the names of the entities of a type that a tree holds.
fn entities(tree: &Value, kind: &str, into: &mut BTreeSet<String>) {
    match tree {
        Value::Object(fields) => {
            if let (Some(Value::String(found)), Some(Value::String(id))) = (fields.get("type"), fields.get("id"))
                && found == kind
            {
                into.insert(id.clone());
            }
            fields.values().for_each(|value| entities(value, kind, into));
        }
        Value::Array(items) => items.iter().for_each(|item| entities(item, kind, into)),
        _ => {}
    }
}

/// Whether a tree reads a variable; with `attributes`, one of these of it.
pub(super) fn reads(tree: &Value, variable: &str, attributes: Option<&[&str]>) -> bool {
    match tree {
        Value::Object(fields) => {
            let is =
                |value: Option<&Value>| value.and_then(|value| value.get("Var")).is_some_and(|var| var == variable);
            let here = match attributes {
                None => fields.get("Var").is_some_and(|var| var == variable),
                Some(attributes) => {
                    let attribute = fields.get("attr").and_then(Value::as_str);
                    is(fields.get("left")) && attribute.is_some_and(|attribute| attributes.contains(&attribute))
                }
            };
            here || fields.values().any(|value| reads(value, variable, attributes))
        }
        Value::Array(items) => items.iter().any(|item| reads(item, variable, attributes)),
        _ => false,
    }
}

/// Whether a tree holds this text.
fn says(tree: &Value, text: &str) -> bool {
    match tree {
        Value::Object(fields) => fields.values().any(|value| says(value, text)),
        Value::Array(items) => items.iter().any(|item| says(item, text)),
        Value::String(found) => found == text,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Policy;

    /// With a rule for the catalog, so that the one doubt is the other one.
    fn doubts(rules: &str) -> Vec<String> {
        let catalog =
            "permit(principal, action == Action::\"select\", resource) when { resource.schema == \"pg_catalog\" };";
        let policy = Policy::load(&[("t.cedar".to_owned(), format!("{catalog}\n{rules}"))]).unwrap();
        policy.doubts().iter().map(|doubt| format!("{}: {}", doubt.line, doubt.sentence)).collect()
    }

    const FORBID: &str =
        "@id(\"f\") forbid(principal in Role::\"a\", action in Action::\"read\", resource == Table::\"t/d/s.x\");";

    #[test]
    fn a_forbid_over_a_permit_at_large_is_doubted_with_its_place_and_the_ways_around() {
        let at_large = "@id(\"p\") permit(principal, action, resource);";
        let said = doubts(&format!("{at_large}\n{FORBID}"));
        let ways = "call, copy_server, ddl, replicate, unparsed";
        let expected = format!(
            "3: rule \"f\" forbids less than it seems: \"p\" at large permits to the same people what goes around it ({ways})"
        );
        assert_eq!(said, [expected]);
        for (permit, doubted) in [
            ("permit(principal in Role::\"a\", action == Action::\"call\", resource);", true),
            ("permit(principal in Role::\"b\", action == Action::\"call\", resource);", false),
            ("permit(principal, action == Action::\"unparsed\", resource) when { principal in Role::\"b\" };", false),
            ("permit(principal, action in [Action::\"ddl\", Action::\"read\"], resource in Target::\"t\");", true),
            ("permit(principal, action in [Action::\"read\", Action::\"write\"], resource);", false),
            ("permit(principal, action == Action::\"call\", resource == Function::\"t/d/s.f\");", false),
            ("permit(principal, action == Action::\"call\", resource) when { resource.name == \"f\" };", false),
            (
                "permit(principal, action, resource) unless { [Action::\"call\", Action::\"ddl\", Action::\"unparsed\",
                 Action::\"replicate\", Action::\"copy_server\"].contains(action) };",
                false,
            ),
            (
                "permit(principal, action, resource) unless { [Action::\"call\", Action::\"ddl\", Action::\"unparsed\"]
                 .contains(action) };",
                true,
            ),
            ("permit(principal, action == Action::\"replicate\", resource == Database::\"t/d\");", true),
            (
                "permit(principal in Role::\"b\", action == Action::\"copy_server\", resource == Database::\"t/d\");",
                false,
            ),
            ("permit(principal, action, resource) unless { action == Action::\"unparsed\" };", true),
        ] {
            assert_eq!(!doubts(&format!("{permit}\n{FORBID}")).is_empty(), doubted, "{permit}");
        }
    }

    #[test]
    fn a_forbid_that_closes_the_ways_around_too_is_not_doubted() {
        let at_large = "permit(principal, action, resource);";
        for (forbid, doubted) in [
            ("forbid(principal, action, resource) when { context.hour > 20 };", false),
            ("forbid(principal, action, resource) when { context.hour > 20 && resource.target == \"t\" };", true),
            ("forbid(principal, action == Action::\"set_unsafe\", resource);", true),
            ("forbid(principal, action, resource == Setting::\"t/d/role\");", true),
            ("forbid(principal, action, resource in Schema::\"t/d/s\");", true),
            ("forbid(principal, action == Action::\"ddl\", resource);", true),
            (
                "forbid(principal, action in [Action::\"ddl\", Action::\"call\", Action::\"unparsed\"], resource);",
                false,
            ),
            ("forbid(principal, action == Action::\"call\", resource == Function::\"t/d/s.f\");", true),
            ("forbid(principal, action == Action::\"call\", resource) when { resource.name == \"f\" };", true),
            ("forbid(principal, action == Action::\"unparsed\", resource);", false),
            ("forbid(principal, action == Action::\"connect\", resource);", false),
        ] {
            assert_eq!(!doubts(&format!("{at_large}\n{forbid}")).is_empty(), doubted, "{forbid}");
        }
        let exempt = "permit(principal in Role::\"b\", action, resource);
            forbid(principal, action in Action::\"read\", resource in Schema::\"t/d/s\") unless { principal in Role::\"b\" };";
        assert_eq!(doubts(exempt), Vec::<String>::new());
    }

    #[test]
    fn the_reason_fits_what_is_forbidden_and_an_allow_list_under_it_is_enough() {
        let catalog =
            "permit(principal, action == Action::\"select\", resource) when { resource.schema == \"pg_catalog\" };";
        let why = |rules: &str| {
            let policy = Policy::load(&[("t.cedar".to_owned(), format!("{catalog}\n{rules}"))]).unwrap();
            policy.doubts().iter().filter_map(|doubt| doubt.suggestion.clone()).collect::<Vec<_>>().join("; ")
        };
        let at_large = "permit(principal, action, resource);";
        let on = |action: &str| format!("forbid(principal, action == Action::\"{action}\", resource);");
        assert!(
            why(&(at_large.to_owned() + &on("admin"))).starts_with("a function or a text that is not understood does")
        );
        let call = "forbid(principal, action == Action::\"call\", resource == Function::\"t/d/s.f\");";
        assert!(why(&(at_large.to_owned() + call)).starts_with("another function"));
        let listed = "permit(principal, action in [Action::\"read\", Action::\"write\", Action::\"admin\"], resource);";
        assert_eq!(why(&(listed.to_owned() + &on("admin") + FORBID)), "");
    }

    #[test]
    fn rules_that_let_nobody_read_the_catalog_are_doubted() {
        let said = |rules: &str| {
            let policy = Policy::load(&[("t.cedar".to_owned(), rules.to_owned())]).unwrap();
            policy.doubts().iter().any(|doubt| doubt.sentence.contains("pg_catalog"))
        };
        assert!(said("permit(principal, action in Action::\"read\", resource in Schema::\"t/d/app\");"));
        assert!(said("permit(principal, action in Action::\"read\", resource) when { resource.schema == \"app\" };"));
        assert!(!said("permit(principal, action in Action::\"read\", resource in Database::\"t/d\");"));
        assert!(!said("permit(principal, action in Action::\"read\", resource in Schema::\"t/d/pg_catalog\");"));
        assert!(!said(include_str!("../../fixtures/policy/example.cedar")) && !said(""));
    }

    #[test]
    fn a_claim_that_is_not_kept_is_found_and_one_that_is_alike_offered() {
        let rule = "permit(principal, action, resource)
            when { principal.hasTag(\"departmnt\") && principal.getTag(\"departmnt\") == \"x\" }
            unless { principal.hasTag(\"tid\") };";
        let policy = Policy::load(&[("t.cedar".to_owned(), rule.to_owned())]).unwrap();
        let found = |claims: &[&str]| {
            let claims: Vec<String> = claims.iter().map(|claim| (*claim).to_owned()).collect();
            policy.undeclared(&claims).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(found(&["departmnt", "tid"]), Vec::<String>::new());
        let said = found(&["department"]);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(
            said[0].contains("the claim \"departmnt\", which is not kept (did you mean \"department\"?)"),
            "{said:?}"
        );
        assert!(said[1].contains("`keep` of [identity.NAME]"), "{said:?}");
        let schema = Policy::schema_text(Some(&["department".to_owned(), "tid".to_owned()]));
        assert!(schema.contains("the claims that are kept: department, tid") && Policy::schema_text(None) != schema);
        assert!(cedar_policy::Schema::from_cedarschema_str(&schema).is_ok());
    }

    #[test]
    fn the_rules_of_the_demo_and_the_example_are_not_doubted() {
        for rules in
            [include_str!("../cli/demo/files/rules.cedar"), include_str!("../../fixtures/policy/example.cedar")]
        {
            let policy = Policy::load(&[("t.cedar".to_owned(), rules.to_owned())]).unwrap();
            assert_eq!(policy.doubts(), []);
        }
    }
}
