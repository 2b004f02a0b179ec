//! The rules that can say something to a question, found by their heads.
//!
//! Promises: a rule that is left out would have said nothing: its head (`principal in …, action == …, resource in …`) does
//! not fit the question, and the engine looks at a head before anything that could fail. So an answer by a slice is the
//! answer by all rules, and what it costs hangs on how many rules speak of this person, action and object, and not on how
//! many there are.
//!
//! A rule whose head fits everybody and whose conditions say whom it is for is in every slice. Rejected: reading such
//! conditions, too (`when { principal in … }`), because a condition that fails before it must be seen failing; and the
//! engine's own evaluation of all rules, which took 100 times as long with 1,000 rules as with 10.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use cedar_policy::{
    ActionConstraint, Entities, EntityUid, Policy, PolicySet, PrincipalConstraint, ResourceConstraint, Schema,
};

/// Rules in all slices that are kept, some hundred bytes each. There are as many slices as ways in which people, actions
/// and objects meet rules; with one too many, all are forgotten, for each is made in some microseconds.
const MAX_KEPT: usize = 100_000;

/// A set of rules, by their heads.
#[derive(Debug)]
pub(super) struct Slices {
    rules: Vec<Headed>,
    /// By action, then by whom the head asks for; nothing for heads that fit everybody.
    by_head: HashMap<EntityUid, HashMap<Option<EntityUid>, Vec<usize>>>,
    kept: RwLock<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    slices: HashMap<Vec<usize>, Arc<PolicySet>>,
    /// Rules in all of them, and one for each.
    rules: usize,
}

#[derive(Debug)]
struct Headed {
    rule: Policy,
    /// What the head asks of the object: one of these above it or itself; nothing if it is not asked.
    resource: Option<EntityUid>,
}

impl Slices {
    /// Of these rules.
    pub(super) fn of(rules: &PolicySet, schema: &Schema) -> Self {
        let actions = schema.action_entities().unwrap_or_else(|_| Entities::empty());
        let mut slices = Self { rules: Vec::new(), by_head: HashMap::new(), kept: RwLock::default() };
        for rule in rules.policies() {
            let principal = match rule.principal_constraint() {
                PrincipalConstraint::In(uid) | PrincipalConstraint::Eq(uid) | PrincipalConstraint::IsIn(_, uid) => {
                    Some(uid)
                }
                // What kind somebody is, the engine sees for itself.
                PrincipalConstraint::Any | PrincipalConstraint::Is(_) => None,
            };
            let resource = match rule.resource_constraint() {
                ResourceConstraint::In(uid) | ResourceConstraint::Eq(uid) | ResourceConstraint::IsIn(_, uid) => {
                    Some(uid)
                }
                ResourceConstraint::Any | ResourceConstraint::Is(_) => None,
            };
            let number = slices.rules.len();
            for action in schema.actions().filter(|action| fits(&rule.action_constraint(), action, &actions)) {
                let of_action = slices.by_head.entry(action.clone()).or_default();
                of_action.entry(principal.clone()).or_default().push(number);
            }
            slices.rules.push(Headed { rule: rule.clone(), resource });
        }
        slices
    }

    /// The rules that can say something to this question; nothing if they cannot be told, and then all must be asked.
    pub(super) fn slice(
        &self,
        (principal, action, resource): (&EntityUid, &EntityUid, &EntityUid),
        entities: &Entities,
    ) -> Option<Arc<PolicySet>> {
        let of_action = self.by_head.get(action);
        let above = |uid: &EntityUid| -> HashSet<EntityUid> {
            let above = entities.ancestors(uid).into_iter().flatten().cloned();
            above.chain([uid.clone()]).collect()
        };
        let (people, places) = (above(principal), above(resource));
        let heads = people.into_iter().map(Some).chain([None]);
        let fitting = heads.filter_map(|head| of_action?.get(&head)).flatten().copied();
        let fits = |number: &usize| {
            let asked = self.rules.get(*number).and_then(|headed| headed.resource.as_ref());
            asked.is_none_or(|uid| places.contains(uid))
        };
        let numbers: Vec<usize> = fitting.filter(fits).collect::<BTreeSet<_>>().into_iter().collect();
        if let Some(known) = self.kept.read().unwrap_or_else(PoisonError::into_inner).slices.get(&numbers) {
            return Some(Arc::clone(known));
        }
        let rules = numbers.iter().filter_map(|number| self.rules.get(*number)).map(|headed| headed.rule.clone());
        let set = Arc::new(PolicySet::from_policies(rules).ok()?);
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        kept.rules += numbers.len() + 1;
        if kept.rules > MAX_KEPT {
            *kept = Kept { rules: numbers.len() + 1, ..Kept::default() };
        }
        kept.slices.insert(numbers, Arc::clone(&set));
        Some(set)
    }
}

/// Whether an action is one that the head asks for, or in a group that it asks for.
fn fits(asked: &ActionConstraint, action: &EntityUid, actions: &Entities) -> bool {
    let is_in = |group: &EntityUid| group == action || actions.is_ancestor_of(group, action);
    match asked {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(uid) => uid == action,
        ActionConstraint::In(groups) => groups.iter().any(is_in),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cedar_policy::{Context, Decision, Request, Response};

    use super::super::{Policy, entities};
    use super::*;
    use crate::model::{Action, Facts, Object, ObjectKind, Principal, PrincipalKind, Sha256, Timestamp, TokenFacts};
    use crate::policy::{Moment, Place};

    const PRINCIPALS: &[&str] = &[
        "principal",
        "principal == User::\"i|s\"",
        "principal == User::\"i|other\"",
        "principal in Role::\"nurse\"",
        "principal in Role::\"dba\"",
        "principal is User",
        "principal is User in Role::\"nurse\"",
        "principal is User in Role::\"auditor\"",
    ];
    const ACTIONS: &[&str] = &[
        "action",
        "action == Action::\"select\"",
        "action == Action::\"ddl\"",
        "action in Action::\"read\"",
        "action in Action::\"write\"",
        "action in [Action::\"update\", Action::\"select\"]",
    ];
    const RESOURCES: &[&str] = &[
        "resource",
        "resource == Table::\"t/d/s.a\"",
        "resource == Table::\"t/d/s.b\"",
        "resource in Schema::\"t/d/s\"",
        "resource in Schema::\"t/d/z\"",
        "resource in Database::\"t/d\"",
        "resource in Target::\"t\"",
        "resource in Target::\"u\"",
        "resource is Table",
        "resource is Table in Schema::\"t/d/s\"",
    ];
    /// The last one fails.
    const CONDITIONS: &[&str] = &["", "when { context.hour > 3 }", "unless { context.has_where }", FAILS];
    const FAILS: &str = "when { context.statement_count * 9223372036854775807 * 2 > 1 }";

    /// Numbers that are the same for the same seed (splitmix64).
    struct Draw(u64);

    impl Draw {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            usize::try_from(mixed >> 33).unwrap() % limit
        }
    }

    fn written(draw: &mut Draw) -> String {
        let mut of = |from: &[&'static str]| from[draw.below(from.len())];
        let effect = of(&["permit", "permit", "forbid"]);
        let head = format!("{effect} ({}, {}, {})", of(PRINCIPALS), of(ACTIONS), of(RESOURCES));
        format!("{head} {};\n", of(CONDITIONS))
    }

    fn said(response: &Response) -> (Decision, BTreeSet<String>, BTreeSet<String>) {
        let reasons = response.diagnostics().reason().map(ToString::to_string).collect();
        let errors = response.diagnostics().errors().map(ToString::to_string).collect();
        (response.decision(), reasons, errors)
    }

    fn principal() -> Principal {
        Principal {
            issuer: "i".to_owned(),
            subject: "s".to_owned(),
            kind: PrincipalKind::Person,
            display: None,
            email: None,
            roles: vec!["nurse".to_owned(), "auditor".to_owned()],
            groups: Vec::new(),
            token: TokenFacts {
                at_issuer: crate::model::AtIssuer::default(),
                sha256: Sha256::of(b""),
                kid: None,
                jti: None,
                issued: None,
                expires: Timestamp::from_seconds(0),
            },
            claims: BTreeMap::new(),
        }
    }

    #[test]
    fn a_slice_says_what_all_rules_say() {
        let mut draw = Draw(4);
        let place = Place { target: "t".to_owned(), database: "d".to_owned(), database_user: "u".to_owned() };
        let now = Moment {
            now: Timestamp::from_seconds(1_795_512_766),
            client: [127, 0, 0, 1].into(),
            application: None,
            client_certificate: None,
            transaction: 'I',
            token_age_seconds: 0,
        };
        let facts = Facts { statement_count: 2, ..Facts::unparsed("") };
        let context = entities::statement_context(&place, &now, &facts).unwrap();
        let mut smaller = 0;
        for _ in 0..200 {
            let text: String = (0..=draw.below(11)).map(|_| written(&mut draw)).collect();
            // A rule that can never apply does not load; the others do.
            let Ok(policy) = Policy::load(&[("r.cedar".to_owned(), text.clone())]) else { continue };
            for (name, schema, action) in [
                ("a", "s", Action::Select),
                ("b", "z", Action::Update),
                ("c", "y", Action::Ddl),
                ("a", "s", Action::Delete),
            ] {
                let object = Object { kind: ObjectKind::Table, schema: Some(schema.to_owned()), name: name.to_owned() };
                let object = entities::object(&place, &object, schema).unwrap();
                let who = entities::principal(&principal()).unwrap();
                let (who_uid, what) = (who.uid(), object[0].uid());
                let action = entities::action(action).unwrap();
                let known = [who].into_iter().chain(object).chain(entities::database(&place).unwrap());
                let known = policy.entities(known).unwrap();
                let slice = policy.by_head.slice((&who_uid, &action, &what), &known).unwrap();
                smaller += usize::from(slice.num_of_policies() < policy.rules());
                let context: Context =
                    entities::effect_context(&context, false, facts.touch(0), &BTreeSet::new()).unwrap();
                let request = Request::new(who_uid, action, what, context, Some(&policy.schema)).unwrap();
                let by_all = policy.authorizer.is_authorized(&request, &policy.rules, &known);
                let by_slice = policy.authorizer.is_authorized(&request, &slice, &known);
                assert_eq!(said(&by_all), said(&by_slice), "{request} by\n{text}");
            }
        }
        assert!(smaller > 100, "only {smaller} slices were smaller than their sets");
    }
}
