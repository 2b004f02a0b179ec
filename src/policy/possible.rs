//! What the rules could permit at all, when some of a question is known and the rest is left open.
//!
//! Promises: an answer is one of three, and the third is "that depends". A permit counts as possible unless what is known
//! makes it impossible, and a forbid counts only where what is known makes it certain; so "this is never permitted" is true
//! of every statement that can still come, and what is too hard to see counts as possible.
//!
//! A rule is its head and a tree of `&&`, `||` and `!`. What stands between them and speaks only of what is known is put to
//! the rule engine, whose answer is exact; of the rest only the shapes are understood in which rules name a place or a
//! column. Rejected: the engine's own partial evaluation, which is experimental and not in the build that we pin; and asking
//! with made-up names, which says nothing of names that nobody made up.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use cedar_policy::{
    ActionConstraint, Authorizer, Context, Decision, Effect, Entities, Entity, EntityUid, Policy as Rule, PolicySet,
    PrincipalConstraint, Request, ResourceConstraint, Schema,
};
use serde_json::{Value, json};

use super::entities::{self, Unaskable};
use super::{Place, Policy};
use crate::model::{Action, Object, Principal};

/// What can change something that outlives the session. A function may do anything, and so may what is not understood.
const WRITES: &[Action] = &[
    Action::Insert,
    Action::Update,
    Action::Delete,
    Action::CopyIn,
    Action::Ddl,
    Action::Dcl,
    Action::Call,
    Action::Admin,
    Action::Unparsed,
];

/// What of a table the rules could permit, to anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Nothing.
    Nothing,
    /// These columns, and never all at once.
    Columns(Vec<String>),
    /// The table.
    All,
}

impl Policy {
    /// Whether these rules could permit this person any statement here that writes. No means never, whatever comes.
    pub fn may_write(&self, who: &Principal, place: &Place) -> bool {
        let may = |action: &Action| -> Result<bool, Unaskable> {
            let principal = entities::principal(who)?;
            let known = Known::of(&self.schema, place, *action, Some(principal), Vec::new())?;
            Ok(self.possible.could_permit(&known))
        };
        WRITES.iter().any(|action| may(action).unwrap_or(true))
    }

    /// Whether these rules could permit anybody this action, on anything here.
    pub fn could_permit_anywhere(&self, place: &Place, action: Action) -> bool {
        let known = Known::of(&self.schema, place, action, None, Vec::new());
        known.is_ok_and(|known| self.possible.could_permit(&known))
    }

    /// Whether these rules could permit anybody to write anything here.
    pub fn could_permit_writes(&self, place: &Place) -> bool {
        WRITES.iter().any(|action| self.could_permit_anywhere(place, *action))
    }

    /// Whether these rules could permit anybody to remove all rows of a table at once.
    pub fn could_permit_truncate(&self, place: &Place, table: &Object) -> bool {
        let schema = table.schema.as_deref().unwrap_or_default();
        let known = entities::object(place, table, schema)
            .and_then(|resource| Known::of(&self.schema, place, Action::Delete, None, resource));
        known.is_ok_and(|known| self.possible.could_permit(&Known { columns: Columns::AllWithoutCondition, ..known }))
    }

    /// Whether these rules could permit anybody this action on this object.
    pub fn could_permit(&self, place: &Place, action: Action, object: &Object) -> bool {
        self.reach(place, action, object, &[]) != Reach::Nothing
    }

    /// What of a table that has these columns the rules could permit anybody. A question that cannot be put to the rules is
    /// denied whenever it comes.
    pub fn reach(&self, place: &Place, action: Action, table: &Object, columns: &[String]) -> Reach {
        let schema = table.schema.as_deref().unwrap_or_default();
        let known = entities::object(place, table, schema)
            .and_then(|resource| Known::of(&self.schema, place, action, None, resource));
        let Ok(mut known) = known else { return Reach::Nothing };
        known.columns = Columns::All;
        if self.possible.could_permit(&known) {
            return Reach::All;
        }
        let mut could = |column: &String| {
            known.columns = Columns::One(column.clone());
            self.possible.could_permit(&known)
        };
        let reached: Vec<String> = columns.iter().filter(|column| could(column)).cloned().collect();
        if reached.is_empty() { Reach::Nothing } else { Reach::Columns(reached) }
    }
}

/// What is known of the columns that a statement touches.
#[derive(Debug)]
enum Columns {
    Nothing,
    /// All of them.
    All,
    /// All of them, and there is no condition.
    AllWithoutCondition,
    /// This one, and perhaps others.
    One(String),
}

/// What is known of a question.
struct Known<'a> {
    place: &'a Place,
    action: Action,
    asked: EntityUid,
    principal: Option<EntityUid>,
    resource: Option<EntityUid>,
    columns: Columns,
    entities: Entities,
}

impl<'a> Known<'a> {
    /// `resource` comes with those above it; none: any that the action can have in this place.
    fn of(
        schema: &Schema,
        place: &'a Place,
        action: Action,
        principal: Option<Entity>,
        resource: Vec<Entity>,
    ) -> Result<Self, Unaskable> {
        let uid = principal.as_ref().map(Entity::uid);
        let asked = resource.first().map(Entity::uid);
        let mut all: Vec<Entity> = principal.into_iter().chain(resource).collect();
        all.extend(entities::database(place)?);
        let mut seen = BTreeSet::new();
        all.retain(|entity| seen.insert(entity.uid()));
        let entities = Entities::from_entities(all, Some(schema)).map_err(|_| Unaskable)?;
        let columns = Columns::Nothing;
        Ok(Self { place, action, asked: entities::action(action)?, principal: uid, resource: asked, columns, entities })
    }

    /// Whether what is asked about lies in (or is, unless `below`) what a rule names.
    fn lies_in(&self, named: &EntityUid, below: bool) -> Option<bool> {
        if let Some(resource) = &self.resource {
            return Some(resource == named || below && self.entities.is_ancestor_of(named, resource));
        }
        let kind = named.type_name().to_string();
        let id = named.id().unescaped();
        let mut parts = id.split('/').map(entities::unescape);
        let target = parts.next();
        if target.as_ref() != Some(&self.place.target) {
            return Some(false);
        }
        if kind == "Target" {
            return Some(below);
        }
        // These may be about another database than the one that the session is in.
        let stays = !matches!(self.action, Action::Ddl | Action::Dcl | Action::Admin);
        match parts.next() {
            Some(database) if database != self.place.database => stays.then_some(false),
            Some(_) if kind == "Database" => (stays && (below || self.kind() == Some("Database"))).then_some(true),
            _ => None,
        }
    }

    /// What the action is done to, if it is always the same.
    fn kind(&self) -> Option<&'static str> {
        match self.action {
            Action::Select | Action::CopyOut | Action::Insert | Action::Update | Action::Delete | Action::CopyIn => {
                Some("Table")
            }
            Action::Call => Some("Function"),
            Action::Unparsed | Action::Connect | Action::Replicate | Action::CopyServer => Some("Database"),
            Action::Ddl | Action::Dcl | Action::Session | Action::SetUnsafe | Action::Admin => None,
        }
    }

    fn is_kind(&self, kind: &str) -> Option<bool> {
        match &self.resource {
            Some(resource) => Some(resource.type_name().to_string() == kind),
            None => self.kind().map(|known| known == kind),
        }
    }
}

/// Those rules that decide, made ready to be asked in part.
#[derive(Debug, Default)]
pub(super) struct Possible {
    rules: Vec<Head>,
}

impl Possible {
    /// Each with its tree, if it has one.
    pub(super) fn by<'r>(rules: impl Iterator<Item = (&'r Rule, Option<&'r Value>)>, schema: &Schema) -> Self {
        let groups = schema.action_entities().unwrap_or_else(|_| Entities::empty());
        Self { rules: rules.map(|(rule, tree)| Head::of(rule, tree, &groups)).collect() }
    }

    fn could_permit(&self, known: &Known<'_>) -> bool {
        let permits = self.rules.iter().filter(|rule| !rule.forbids);
        let mut forbids = self.rules.iter().filter(|rule| rule.forbids);
        permits.into_iter().any(|rule| rule.holds(known) != Some(false))
            && !forbids.any(|rule| rule.holds(known) == Some(true))
    }
}

#[derive(Debug)]
struct Head {
    forbids: bool,
    actions: Vec<Action>,
    principal: PrincipalConstraint,
    resource: ResourceConstraint,
    conditions: Vec<Part>,
}

impl Head {
    fn of(rule: &Rule, tree: Option<&Value>, groups: &Entities) -> Self {
        let is = |action: Action, named: &EntityUid| {
            entities::action(action).map_or(true, |uid| uid == *named || groups.is_ancestor_of(named, &uid))
        };
        let constraint = rule.action_constraint();
        let about = |action: &Action| match &constraint {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(named) => is(*action, named),
            ActionConstraint::In(named) => named.iter().any(|named| is(*action, named)),
        };
        let conditions = tree.and_then(|tree| tree.get("conditions")?.as_array());
        Self {
            forbids: rule.effect() == Effect::Forbid,
            actions: Action::ALL.iter().copied().filter(about).collect(),
            principal: rule.principal_constraint(),
            resource: rule.resource_constraint(),
            // A rule that has no tree may be narrower than its head.
            conditions: conditions.map_or_else(|| vec![Part::Open], |all| all.iter().map(Part::condition).collect()),
        }
    }

    fn holds(&self, known: &Known<'_>) -> Option<bool> {
        if !self.actions.contains(&known.action) {
            return Some(false);
        }
        let mut all = both(self.is_for(known), self.is_about(known));
        for condition in &self.conditions {
            if all == Some(false) {
                return all;
            }
            all = both(all, condition.truth(known));
        }
        all
    }

    fn is_for(&self, known: &Known<'_>) -> Option<bool> {
        let is = |named: &EntityUid, below: bool| {
            let who = known.principal.as_ref()?;
            Some(who == named || below && known.entities.is_ancestor_of(named, who))
        };
        match &self.principal {
            PrincipalConstraint::Any | PrincipalConstraint::Is(_) => Some(true),
            PrincipalConstraint::Eq(named) => is(named, false),
            PrincipalConstraint::In(named) | PrincipalConstraint::IsIn(_, named) => is(named, true),
        }
    }

    fn is_about(&self, known: &Known<'_>) -> Option<bool> {
        match &self.resource {
            ResourceConstraint::Any => Some(true),
            ResourceConstraint::Eq(named) => known.lies_in(named, false),
            ResourceConstraint::In(named) => known.lies_in(named, true),
            ResourceConstraint::Is(kind) => known.is_kind(&kind.to_string()),
            ResourceConstraint::IsIn(kind, named) => both(known.is_kind(&kind.to_string()), known.lies_in(named, true)),
        }
    }
}

/// `&&` of three values.
fn both(one: Option<bool>, other: Option<bool>) -> Option<bool> {
    match (one, other) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

/// A condition, cut where its parts can be asked for by themselves.
#[derive(Debug)]
enum Part {
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
    Leaf(Box<Leaf>),
    /// Nobody can tell.
    Open,
}

impl Part {
    /// One `when` or `unless`.
    fn condition(condition: &Value) -> Self {
        let body = condition.get("body").map_or(Self::Open, Self::of);
        if condition.get("kind").is_some_and(|kind| kind == "unless") { Self::Not(Box::new(body)) } else { body }
    }

    fn of(tree: &Value) -> Self {
        let two = |operands: &Value| {
            let part = |side: &str| operands.get(side).map_or(Self::Open, Self::of);
            (Box::new(part("left")), Box::new(part("right")))
        };
        if let Some((left, right)) = tree.get("&&").map(two) {
            Self::And(left, right)
        } else if let Some((left, right)) = tree.get("||").map(two) {
            Self::Or(left, right)
        } else if let Some(arg) = tree.pointer("/!/arg") {
            Self::Not(Box::new(Self::of(arg)))
        } else {
            Self::Leaf(Box::new(Leaf::of(tree)))
        }
    }

    /// An error is neither true nor false: a rule that fails permits nothing, and denies what it fails for.
    fn truth(&self, known: &Known<'_>) -> Option<bool> {
        let not = |value: Option<bool>| value.map(|value| !value);
        match self {
            Self::And(left, right) => both(left.truth(known), right.truth(known)),
            Self::Or(left, right) => not(both(not(left.truth(known)), not(right.truth(known)))),
            Self::Not(part) => not(part.truth(known)),
            Self::Leaf(leaf) => leaf.truth(known),
            Self::Open => None,
        }
    }
}

/// What is neither `&&` nor `||` nor `!`.
#[derive(Debug)]
struct Leaf {
    tree: Value,
    /// It alone as a rule that permits, for the engine; made when it is first asked for.
    rule: OnceLock<Option<PolicySet>>,
    principal: bool,
    resource: bool,
    context: bool,
}

impl Leaf {
    fn of(tree: &Value) -> Self {
        let speaks = |variable: &str| super::review::reads(tree, variable, None);
        let (principal, resource, context) = (speaks("principal"), speaks("resource"), speaks("context"));
        Self { tree: tree.clone(), rule: OnceLock::new(), principal, resource, context }
    }

    fn rule(&self) -> Option<&PolicySet> {
        self.rule.get_or_init(|| Self::alone(&self.tree)).as_ref()
    }

    fn alone(tree: &Value) -> Option<PolicySet> {
        let all = json!({ "op": "All" });
        let conditions = json!([{ "kind": "when", "body": tree }]);
        let rule =
            json!({ "effect": "permit", "principal": all, "action": all, "resource": all, "conditions": conditions });
        PolicySet::from_policies([Rule::from_json(None, rule).ok()?]).ok()
    }

    fn truth(&self, known: &Known<'_>) -> Option<bool> {
        let unknown =
            self.principal && known.principal.is_none() || self.resource && known.resource.is_none() || self.context;
        if unknown { self.by_shape(known) } else { self.by_engine(known) }
    }

    fn by_engine(&self, known: &Known<'_>) -> Option<bool> {
        // What the rule does not speak of may be anything.
        let anything = || known.asked.clone();
        let principal = known.principal.clone().unwrap_or_else(anything);
        let resource = known.resource.clone().unwrap_or_else(anything);
        let request = Request::new(principal, known.asked.clone(), resource, Context::empty(), None).ok()?;
        let response = Authorizer::new().is_authorized(&request, self.rule()?, &known.entities);
        let failed = response.diagnostics().errors().next().is_some();
        (!failed).then(|| response.decision() == Decision::Allow)
    }

    fn by_shape(&self, known: &Known<'_>) -> Option<bool> {
        let sides = |operator: &str| {
            let operands = self.tree.get(operator)?;
            Some((operands.get("left")?, operands.get("right")?))
        };
        if let Some((_, right)) = sides("in").filter(|(left, _)| is_variable(left, "resource")) {
            let lies = named(right)?.iter().map(|named| known.lies_in(named, true)).collect::<Vec<_>>();
            return any(&lies);
        }
        if let Some((left, right)) = sides("==") {
            let (attribute, value) = if is_attribute(left) { (left, right) } else { (right, left) };
            if attribute_of(attribute, "resource") == Some("target") {
                return Some(value.get("Value")?.as_str()? == known.place.target);
            }
        }
        self.by_column(known)
    }

    /// `context.has_where`, `context.all_columns`, `context.columns.contains("x")` and `.containsAny([…])`, `[…].containsAll(context.columns)`.
    fn by_column(&self, known: &Known<'_>) -> Option<bool> {
        match attribute_of(&self.tree, "context") {
            Some("all_columns") => {
                return matches!(known.columns, Columns::All | Columns::AllWithoutCondition).then_some(true);
            }
            Some("has_where" | "where_binds") => {
                return matches!(known.columns, Columns::AllWithoutCondition).then_some(false);
            }
            _ => {}
        }
        let Columns::One(column) = &known.columns else { return None };
        let is_columns = |side: &Value| attribute_of(side, "context") == Some("columns");
        let side = |operator: &str, side: &str| self.tree.get(operator)?.get(side);
        let has = |value: &Value| texts(value).map(|texts| texts.contains(&column.as_str()));
        for operator in ["contains", "containsAny"] {
            if side(operator, "left").is_some_and(is_columns) {
                return has(side(operator, "right")?)?.then_some(true);
            }
        }
        if side("containsAll", "right").is_some_and(is_columns) {
            return (!has(side("containsAll", "left")?)?).then_some(false);
        }
        None
    }
}

/// `||` of three values.
fn any(values: &[Option<bool>]) -> Option<bool> {
    if values.contains(&Some(true)) {
        return Some(true);
    }
    values.iter().all(|value| *value == Some(false)).then_some(false)
}

fn is_variable(tree: &Value, variable: &str) -> bool {
    tree.get("Var").is_some_and(|found| found == variable)
}

fn is_attribute(tree: &Value) -> bool {
    tree.get(".").is_some()
}

/// The attribute of a variable that a tree is.
fn attribute_of<'t>(tree: &'t Value, variable: &str) -> Option<&'t str> {
    let access = tree.get(".")?;
    is_variable(access.get("left")?, variable).then(|| access.get("attr")?.as_str()).flatten()
}

/// The entity, or the entities of a set, that a tree names.
fn named(tree: &Value) -> Option<Vec<EntityUid>> {
    let one = |tree: &Value| {
        let entity = tree.get("Value")?.get("__entity")?;
        entities::uid(entity.get("type")?.as_str()?, entity.get("id")?.as_str()?).ok()
    };
    match tree.get("Set").and_then(Value::as_array) {
        Some(items) => items.iter().map(one).collect(),
        None => Some(vec![one(tree)?]),
    }
}

/// The text, or the texts of a set, that a tree is.
fn texts(tree: &Value) -> Option<Vec<&str>> {
    match tree.get("Set").and_then(Value::as_array) {
        Some(items) => items.iter().map(|item| item.get("Value")?.as_str()).collect(),
        None => Some(vec![tree.get("Value")?.as_str()?]),
    }
}

#[cfg(test)]
mod tests;
