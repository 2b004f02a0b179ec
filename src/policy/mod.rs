//! Facts + principal → [`Decision`]; default deny, and a failing rule denies.
//!
//! Promises: nothing happens that no rule permits; a matching `forbid` wins over every `permit`; *every* effect of a
//! statement must be permitted; a rule that fails while it is evaluated denies; rules that name what is not in
//! `schemas/policy.cedarschema` do not load, and every problem of every file is told at once.
//!
//! **Names without a schema.** `SELECT * FROM patients` reads a table of whichever schema the session's `search_path`
//! finds first, which nobody outside of the database knows. So it is judged as if the table were in *each* schema that
//! the rules tell apart, and in one that they do not, and must be permitted in all of them: a `forbid` on
//! `clinical.patients` holds for `patients`, and a `permit` on schema `app` alone does not reach it. Tables of
//! `pg_catalog` are taken as those, because the server looks there first; no other table that is there already is taken for
//! one of `pg_catalog` or `information_schema`, because what those hold is known. A pattern (`resource.schema like "clin*"`)
//! stands for the shortest name that it matches. With facts from the catalog this becomes exact.
//!
//! [`Policy::may_write`] and its like say what the rules could permit at all, with some of a question left open.
//!
//! A statement without effects (`SELECT 1`, a comment) asks nothing of the rules and is allowed to whoever may connect.
//!
//! A `forbid` with `@mode("report")` decides nothing: it is asked beside the others, and the decision names it, marked as
//! such ([`RuleId::would_deny`]), where it would have denied; where it fails, too, because a failing rule denies. There is
//! no annotation that says what to record: everything is recorded.

mod classes;
mod entities;
mod explain;
mod in_force;
mod load;
mod possible;
mod problem;
mod remembered;
mod report;
mod review;
mod schemas;
mod slices;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use cedar_policy::{
    Authorizer, Context, Decision as Verdicts, Entities, Entity, EntityUid, PolicyId, PolicySet, Request, Schema,
};
use classes::Classes;
use entities::Unaskable;
use sha2::{Digest as _, Sha256};
use slices::Slices;

pub use classes::ENDING as CLASSES;
pub use explain::{Explanation, Told};
pub use in_force::{Current, InForce};
pub use load::WrittenRule;
pub use possible::Reach;
pub use problem::PolicyProblem;
pub use remembered::Remembered;

use crate::model::{
    Action, ClientCertificate, Decision, Effect, Facts, Object, ObjectKind, Principal, RuleId, Timestamp, Verdict,
};

const SCHEMA: &str = include_str!("../../schemas/policy.cedarschema");

/// The most effects that are judged. A statement with more is denied: each takes tens of microseconds, and no statement
/// of the corpus of real tools has a tenth of it.
pub const MAX_EFFECTS: usize = 1_000;

/// Where a session is, or is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The target's name in config.
    pub target: String,
    /// The database.
    pub database: String,
    /// The user at the database.
    pub database_user: String,
}

/// What else is true at the moment of the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// The time.
    pub now: Timestamp,
    /// Where the client is.
    pub client: IpAddr,
    /// What the client calls itself.
    pub application: Option<String>,
    /// What the client's certificate said, if it showed one that is trusted.
    pub client_certificate: Option<ClientCertificate>,
    /// The transaction's state as the server last told it: `I`, `T`, `E`.
    pub transaction: char,
    /// Seconds since the token was issued.
    pub token_age_seconds: i64,
}

/// A set of rules, read and checked. Never changes; share it in an `Arc`.
pub struct Policy {
    /// Those that decide.
    rules: PolicySet,
    /// Those in report mode.
    reported: PolicySet,
    by_head: Slices,
    reported_by_head: Slices,
    written: Vec<WrittenRule>,
    schema: Schema,
    /// Each action with the groups that it is in.
    actions: HashMap<EntityUid, Entity>,
    authorizer: Authorizer,
    spoken_of: schemas::SpokenOf,
    classes: Classes,
    possible: possible::Possible,
    steady: bool,
    version: String,
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Policy({})", self.version)
    }
}

impl Policy {
    /// Reads rules from files, each with the name to use in messages and its text; those whose names end with
    /// [`CLASSES`] say what kind of data tables and columns hold.
    ///
    /// # Errors
    /// Every problem of every file.
    pub fn load(files: &[(String, String)]) -> Result<Self, Vec<PolicyProblem>> {
        let schema = load::schema().map_err(|problem| vec![problem])?;
        let is_rules = |(name, _): &&(String, String)| !name.ends_with(CLASSES);
        let classes = Classes::read(files.iter().filter(|file| !is_rules(file)).map(|(name, text)| (name, text)));
        let loaded = load::rules(files.iter().filter(is_rules), &schema);
        let (classes, load::Loaded { rules, reported, written }) = match (classes, loaded) {
            (Ok(classes), Ok(loaded)) => (classes, loaded),
            (classes, loaded) => return Err([classes.err(), loaded.err()].into_iter().flatten().flatten().collect()),
        };
        let all = || rules.policies().chain(reported.policies());
        let trees: Vec<Option<serde_json::Value>> = all().map(|rule| rule.to_json().ok()).collect();
        let spoken_of = schemas::SpokenOf::by(trees.iter().map(Option::as_ref), classes.schemas());
        let steady = !trees.iter().any(|tree| asks_for_the_moment(tree.as_ref()));
        // The trees of the rules that decide come first.
        let possible = possible::Possible::by(rules.policies().zip(trees.iter().map(Option::as_ref)), &schema);
        let mut hash = Sha256::new();
        for (_, text) in files {
            // With the length before it, so that moving a rule to the next file is another version.
            hash.update(text.len().to_be_bytes());
            hash.update(text);
        }
        let version = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let (by_head, reported_by_head) = (Slices::of(&rules, &schema), Slices::of(&reported, &schema));
        let authorizer = Authorizer::new();
        let actions = schema.action_entities().into_iter().flatten().map(|action| (action.uid(), action)).collect();
        Ok(Self {
            rules,
            reported,
            by_head,
            reported_by_head,
            written,
            schema,
            actions,
            authorizer,
            spoken_of,
            classes,
            possible,
            steady,
            version,
        })
    }

    /// SHA-256 of the texts in the order of the files, in hexadecimal.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// How many rules there are.
    pub fn rules(&self) -> usize {
        self.written.len()
    }

    /// Every rule, in the order of the files.
    pub fn written(&self) -> &[WrittenRule] {
        &self.written
    }

    /// What is no mistake but is less than its author may believe, and why.
    pub fn doubts(&self) -> Vec<PolicyProblem> {
        review::doubts([&self.rules, &self.reported], &self.written)
    }

    /// Whether the same question has the same answer as long as a session lives: no rule asks for the time or the age of
    /// the token. Then answers may be remembered.
    pub fn steady(&self) -> bool {
        self.steady
    }

    /// The schema that rules are checked against, for people who write rules and their editors. `claims` are those that
    /// are kept, if that is known.
    pub fn schema_text(claims: Option<&[String]>) -> String {
        let Some(claims) = claims else { return SCHEMA.to_owned() };
        let said = match claims {
            [] => "no claim is kept".to_owned(),
            claims => format!("the claims that are kept: {}", claims.join(", ")),
        };
        SCHEMA.replace("} tags String;", &format!("  // Of the tags, {said}.\n}} tags String;"))
    }

    /// The databases of a target that rules name.
    pub fn databases_of(&self, target: &str) -> BTreeSet<String> {
        let all = self.rules.policies().chain(self.reported.policies());
        all.flat_map(|rule| review::databases(rule, target)).collect()
    }

    /// Every rule that asks for a claim that is not kept, and so is never there.
    pub fn undeclared(&self, claims: &[String]) -> Vec<PolicyProblem> {
        review::undeclared([&self.rules, &self.reported], &self.written, claims)
    }

    /// Whether this person may use this database as this database user.
    pub fn decide_connect(&self, who: &Principal, place: &Place, moment: &Moment) -> Decision {
        let mut ruling = Ruling::default();
        let asked = self.ask_connect(who, place, moment, &mut ruling);
        let wish =
            format!("{} to connect to {}/{} as {}", who.name(), place.target, place.database, place.database_user);
        let decision = self.decision(&asked, &ruling, || (format!("no rule allows {wish}"), None));
        ruling.with_reported(decision)
    }

    /// Whether a statement may run.
    pub fn decide(&self, who: &Principal, place: &Place, moment: &Moment, facts: &Facts) -> Decision {
        self.judge(who, place, moment, facts, &mut Ruling::default())
    }

    fn judge(&self, who: &Principal, place: &Place, moment: &Moment, facts: &Facts, ruling: &mut Ruling) -> Decision {
        if let Some(message) = Self::too_much(facts) {
            return self.deny(Vec::new(), message, None);
        }
        let asked = self.ask(who, place, moment, facts, ruling);
        let decision = self.decision(&asked, ruling, || refusal(who, facts, ruling.refused.as_ref()));
        ruling.with_reported(decision)
    }

    fn ask_connect(
        &self,
        who: &Principal,
        place: &Place,
        moment: &Moment,
        ruling: &mut Ruling,
    ) -> Result<(), Unaskable> {
        let principal = entities::principal(who)?;
        let resource = entities::database_uid(place)?;
        let request = (principal.uid(), entities::action(Action::Connect)?, resource);
        let context = entities::connect_context(place, moment)?;
        let action = self.actions.get(&request.1).cloned();
        let entities = self.entities(std::iter::once(principal).chain(entities::database(place)?).chain(action))?;
        if self.put(request, context, &entities, ruling)? != Answer::Allowed {
            ruling.refuse(None);
        }
        Ok(())
    }

    fn ask(
        &self,
        who: &Principal,
        place: &Place,
        moment: &Moment,
        facts: &Facts,
        ruling: &mut Ruling,
    ) -> Result<(), Unaskable> {
        let principal = entities::principal(who)?;
        let user = principal.uid();
        let mut known = vec![principal];
        known.extend(entities::database(place)?);
        let mut questions = Vec::new();
        let has_schema = |object: &Object| object.schema.is_some() || !entities::has_schema(object.kind);
        let candidates = match facts.effects.iter().filter_map(|effect| effect.object.as_ref()).all(has_schema) {
            true => BTreeSet::new(),
            false => self.spoken_of.candidates(who, place, moment),
        };
        for (at, effect) in facts.effects.iter().enumerate() {
            known.extend(self.actions.get(&entities::action(effect.action)?).cloned());
            for (schema, resource) in Self::resources(place, effect, &candidates)? {
                let uid = resource.first().map_or_else(|| entities::database_uid(place), |object| Ok(object.uid()))?;
                known.extend(resource);
                questions.push((at, effect, schema, uid));
            }
        }
        let known = self.entities(known)?;
        let statement = entities::statement_context(place, moment, facts)?;
        for (at, effect, schema, resource) in questions {
            let request = (user.clone(), entities::action(effect.action)?, resource);
            let touch = facts.touch(at);
            let table = effect.object.as_ref().filter(|object| object.kind == ObjectKind::Table);
            let classes = table.map(|table| self.classes.of(schema, &table.name, touch)).unwrap_or_default();
            let context = entities::effect_context(&statement, effect.has_where, touch, &classes)?;
            let is_table = table.is_some();
            let answer = self.put(request, context, &known, ruling)?;
            // A view is there to let somebody see what the tables under it do not.
            let excused = answer == Answer::NotPermitted && touch.reached && is_table;
            ruling.about(effect, excused);
            if answer != Answer::Allowed && !excused {
                ruling.refuse(Some(effect));
            }
        }
        Ok(())
    }

    /// What an effect is done to: one resource, or one for each schema that its object may be in, with that schema. No
    /// entities: the database.
    fn resources<'a>(
        place: &Place,
        effect: &'a Effect,
        candidates: &'a BTreeSet<String>,
    ) -> Result<Vec<(&'a str, Vec<Entity>)>, Unaskable> {
        let Some(object) = &effect.object else { return Ok(vec![("", Vec::new())]) };
        let schemas = match &object.schema {
            Some(schema) => vec![schema.as_str()],
            None if object.kind == ObjectKind::Table && schemas::is_catalog(&object.name) => vec!["pg_catalog"],
            // A definition may make a table wherever the path leads; anything else needs one that is there.
            None if object.kind == ObjectKind::Table && effect.action != Action::Ddl => {
                let candidates = candidates.iter().map(String::as_str);
                candidates.filter(|schema| schemas::may_hold(schema, &object.name)).collect()
            }
            None if entities::has_schema(object.kind) => candidates.iter().map(String::as_str).collect(),
            None => vec![""],
        };
        schemas.into_iter().map(|schema| Ok((schema, entities::object(place, object, schema)?))).collect()
    }

    /// The schema, where what we build is held against it: while the program is developed and tested. What is built has
    /// the same shape for every statement, and checking it takes longer than deciding.
    fn checked(&self) -> Option<&Schema> {
        cfg!(debug_assertions).then_some(&self.schema)
    }

    /// Each entity once.
    fn entities(&self, entities: impl IntoIterator<Item = Entity>) -> Result<Entities, Unaskable> {
        let mut seen = BTreeSet::new();
        let once = entities.into_iter().filter(|entity| seen.insert(entity.uid()));
        Entities::from_entities(once.collect::<Vec<_>>(), self.checked()).map_err(|_| Unaskable)
    }

    fn put(
        &self,
        (principal, action, resource): (EntityUid, EntityUid, EntityUid),
        context: Context,
        entities: &Entities,
        ruling: &mut Ruling,
    ) -> Result<Answer, Unaskable> {
        let asked = ruling.told.is_some().then(|| resource.to_string());
        let question = (principal.clone(), action.clone(), resource.clone());
        let question = (&question.0, &question.1, &question.2);
        let rules = self.by_head.slice(question, entities);
        let request = Request::new(principal, action, resource, context, self.checked()).map_err(|_| Unaskable)?;
        let response = self.authorizer.is_authorized(&request, rules.as_deref().unwrap_or(&self.rules), entities);
        let allowed = response.decision() == Verdicts::Allow;
        let mut rules = response.diagnostics().reason().cloned().peekable();
        let answer = match (allowed, rules.peek()) {
            (true, _) => Answer::Allowed,
            (false, Some(_)) => Answer::Forbidden,
            (false, None) => Answer::NotPermitted,
        };
        if allowed {
            ruling.permits.extend(rules)
        } else {
            ruling.forbids.extend(rules)
        }
        // A forbid that fails forbids nothing, so a failure of any rule denies.
        let failed = response.diagnostics().errors().next().is_some();
        ruling.failed |= failed;
        let would_deny = self.would_deny(question, &request, entities);
        ruling.would_deny.extend(would_deny.iter().cloned());
        ruling.tell(|| {
            let rules = response.diagnostics().reason().map(|id| RuleId(id.to_string())).collect();
            let (resource, excused) = (asked.unwrap_or_default(), false);
            Told { effect: None, resource, allowed, excused, rules, failed, would_deny }
        });
        Ok(answer)
    }

    fn decision(
        &self,
        asked: &Result<(), Unaskable>,
        ruling: &Ruling,
        nothing_permits: impl FnOnce() -> (String, Option<String>),
    ) -> Decision {
        let named = |rules: &BTreeSet<PolicyId>| rules.iter().map(|id| RuleId(id.to_string())).collect::<Vec<_>>();
        if let Some(first) = ruling.forbids.first() {
            let written = |name: &str| {
                ruling.forbids.iter().find_map(|id| self.rules.policy(id)?.annotation(name).map(str::to_owned))
            };
            let message = written("message").unwrap_or_else(|| format!("denied by rule \"{first}\""));
            return self.deny(named(&ruling.forbids), message, written("hint"));
        }
        if let Err(Unaskable) = asked {
            return self.deny(Vec::new(), Unaskable.to_string(), None);
        }
        if ruling.failed {
            return self.deny(Vec::new(), "a rule failed while it was evaluated".to_owned(), None);
        }
        if ruling.refused_any {
            let (message, hint) = nothing_permits();
            return self.deny(Vec::new(), message, hint);
        }
        Decision {
            verdict: Verdict::Allow,
            rules: named(&ruling.permits),
            policy_version: self.version.clone(),
            message: None,
            hint: None,
        }
    }

    fn deny(&self, rules: Vec<RuleId>, message: String, hint: Option<String>) -> Decision {
        let policy_version = self.version.clone();
        Decision { verdict: Verdict::Deny, rules, policy_version, message: Some(message), hint }
    }
}

/// What the rules said to one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Allowed,
    /// No rule permits it and none forbids it.
    NotPermitted,
    /// A rule forbids it.
    Forbidden,
}

/// What the rules said, all questions together.
#[derive(Debug, Default)]
struct Ruling {
    permits: BTreeSet<PolicyId>,
    forbids: BTreeSet<PolicyId>,
    /// Rules in report mode that would have denied.
    would_deny: BTreeSet<RuleId>,
    failed: bool,
    refused_any: bool,
    refused: Option<Effect>,
    /// Every answer, if somebody wants to be told.
    told: Option<Vec<Told>>,
}

impl Ruling {
    /// Notes that something is refused, and what if it is the first.
    fn refuse(&mut self, effect: Option<&Effect>) {
        self.refused_any = true;
        if self.refused.is_none() {
            self.refused = effect.cloned();
        }
    }
}

/// Our own sentence where no rule speaks, and what to do instead.
fn refusal(who: &Principal, facts: &Facts, effect: Option<&Effect>) -> (String, Option<String>) {
    let who = who.name();
    let Some(effect) = effect else { return (format!("no rule allows this for {who}"), None) };
    if effect.action == Action::Unparsed {
        let why = facts.problem.as_deref().map(|problem| format!(": {problem}")).unwrap_or_default();
        return (format!("this statement could not be understood{why}"), None);
    }
    let action = effect.action.as_str().replace('_', " ").to_uppercase();
    let Some(object) = &effect.object else { return (format!("no rule allows {action} for {who}"), None) };
    let message = format!("no rule allows {action} on {} for {who}", full_name(object));
    let without_schema = object.schema.is_none() && entities::has_schema(object.kind);
    let hint = without_schema.then(|| {
        format!("Write the schema of {} before its name: without it, the rules of every schema apply.", object.name)
    });
    (message, hint)
}

fn full_name(object: &Object) -> String {
    match &object.schema {
        Some(schema) => format!("{schema}.{}", object.name),
        None => object.name.clone(),
    }
}

/// Whether a rule asks for something that changes by itself. One whose tree cannot be had may.
fn asks_for_the_moment(tree: Option<&serde_json::Value>) -> bool {
    /// The attributes of `context` that change by themselves; `schemas/policy.cedarschema` has them all.
    const CHANGING: &[&str] = &["now", "hour", "weekday", "token_age_seconds"];
    fn asks(tree: &serde_json::Value) -> bool {
        match tree {
            serde_json::Value::Object(fields) => {
                let attribute = fields.get("attr").and_then(serde_json::Value::as_str);
                attribute.is_some_and(|attribute| CHANGING.contains(&attribute)) || fields.values().any(asks)
            }
            serde_json::Value::Array(items) => items.iter().any(asks),
            _ => false,
        }
    }
    tree.is_none_or(asks)
}

#[cfg(test)]
mod tests;
