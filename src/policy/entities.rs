//! What a request is about, in the rule engine's terms; the names are those of `schemas/policy.cedarschema`.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::LazyLock;

use cedar_policy::{Context, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression as Value};
use chrono::{Datelike as _, Timelike as _};

use super::{Moment, Place};
use crate::model::{
    Action, ClientCertificate, Facts, Object, ObjectKind, Principal, PrincipalKind, RoutineTraits, Touch,
};

/// The engine would not take what we built: a denial, never an allow.
#[derive(Debug, thiserror::Error)]
#[error("the request could not be put to the rules")]
pub(super) struct Unaskable;

static KINDS: LazyLock<HashMap<&'static str, EntityTypeName>> = LazyLock::new(|| {
    let kinds = [
        "User",
        "Role",
        "Target",
        "Database",
        "Schema",
        "Table",
        "Function",
        "Object",
        "Setting",
        "DatabaseRole",
        "Action",
    ];
    kinds.into_iter().filter_map(|kind| Some((kind, EntityTypeName::from_str(kind).ok()?))).collect()
});

/// `Kind::"id"`.
pub(super) fn uid(kind: &str, id: &str) -> Result<EntityUid, Unaskable> {
    // The engine reads a name by its grammar, which takes as long as a small rule; ours are a few.
    let kind = match KINDS.get(kind) {
        Some(kind) => kind.clone(),
        None => EntityTypeName::from_str(kind).map_err(|_| Unaskable)?,
    };
    Ok(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
}

fn text(value: &str) -> Value {
    Value::new_string(value.to_owned())
}

fn texts(values: &[String]) -> Value {
    Value::new_set(values.iter().map(|value| text(value)))
}

fn entity(
    uid: EntityUid,
    attributes: Vec<(&str, Value)>,
    parents: HashSet<EntityUid>,
    tags: Vec<(String, Value)>,
) -> Result<Entity, Unaskable> {
    let attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), value));
    Entity::new_with_tags(uid, attributes, parents, tags).map_err(|_| Unaskable)
}

/// The principal with its roles as parents and its kept claims as tags.
pub(super) fn principal(who: &Principal) -> Result<Entity, Unaskable> {
    let mut attributes = vec![
        ("issuer", text(&who.issuer)),
        ("subject", text(&who.subject)),
        ("workload", Value::new_bool(who.kind == PrincipalKind::Workload)),
        ("roles", texts(&who.roles)),
        ("groups", texts(&who.groups)),
    ];
    attributes.extend(who.email.iter().map(|email| ("email", text(email))));
    attributes.extend(who.display.iter().map(|display| ("display", text(display))));
    let roles = who.roles.iter().map(|role| uid("Role", role)).collect::<Result<_, _>>()?;
    let claims = who.claims.iter().map(|(name, value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        (name.clone(), text(&value))
    });
    let id = format!("{}|{}", who.issuer, who.subject);
    entity(uid("User", &id)?, attributes, roles, claims.collect())
}

/// The database with the target above it.
pub(super) fn database(place: &Place) -> Result<Vec<Entity>, Unaskable> {
    let target = uid("Target", &place.target)?;
    let attributes = vec![("target", text(&place.target)), ("name", text(&place.database))];
    let database = entity(database_uid(place)?, attributes, [target.clone()].into(), Vec::new())?;
    Ok(vec![database, Entity::with_uid(target)])
}

/// `Database::"target/database"`.
pub(super) fn database_uid(place: &Place) -> Result<EntityUid, Unaskable> {
    uid("Database", &database_id(place))
}

fn database_id(place: &Place) -> String {
    format!("{}/{}", escape(&place.target), escape(&place.database))
}

/// An object, as if it were in `schema`; its entity comes first, then those above it as far as the database.
pub(super) fn object(place: &Place, object: &Object, schema: &str) -> Result<Vec<Entity>, Unaskable> {
    let database = database_id(place);
    let database_uid = database_uid(place)?;
    let schema_uid = uid("Schema", &format!("{database}/{}", escape(schema)))?;
    let below = format!("{database}/{}", escape(&object.name));
    let (kind, id) = match object.kind {
        ObjectKind::Table => ("Table", format!("{database}/{}.{}", escape(schema), escape(&object.name))),
        ObjectKind::Function => ("Function", format!("{database}/{}.{}", escape(schema), escape(&object.name))),
        ObjectKind::Other => ("Object", format!("{database}/{}.{}", escape(schema), escape(&object.name))),
        ObjectKind::Schema => ("Schema", below),
        ObjectKind::Setting => ("Setting", below),
        ObjectKind::Role => ("DatabaseRole", below),
        ObjectKind::Database => {
            let other = Place { database: object.name.clone(), ..place.clone() };
            return self::database(&other);
        }
    };
    let mut attributes =
        vec![("target", text(&place.target)), ("database", text(&place.database)), ("name", text(&object.name))];
    if !has_schema(object.kind) {
        return Ok(vec![entity(uid(kind, &id)?, attributes, [database_uid].into(), Vec::new())?]);
    }
    attributes.push(("schema", text(schema)));
    let named = vec![("target", text(&place.target)), ("database", text(&place.database)), ("name", text(schema))];
    Ok(vec![
        entity(uid(kind, &id)?, attributes, [schema_uid.clone()].into(), Vec::new())?,
        entity(schema_uid, named, [database_uid].into(), Vec::new())?,
    ])
}

/// Whether objects of this kind live in a schema.
pub(super) fn has_schema(kind: ObjectKind) -> bool {
    matches!(kind, ObjectKind::Table | ObjectKind::Function | ObjectKind::Other)
}

/// The action's name.
pub(super) fn action(action: Action) -> Result<EntityUid, Unaskable> {
    uid("Action", action.as_str())
}

thread_local! {
    /// The last address and the last second that were made into values: the engine reads the names of its own functions by
    /// its grammar for each, and neither changes often.
    static MADE: RefCell<Made> = const { RefCell::new(Made { address: None, second: None }) };
}

struct Made {
    address: Option<(IpAddr, Value)>,
    second: Option<(i64, Value)>,
}

/// What was made last if it is of this, else what `make` makes.
fn kept<K: PartialEq + Copy>(last: &mut Option<(K, Value)>, of: K, make: impl FnOnce() -> Value) -> Value {
    match last {
        Some((key, value)) if *key == of => value.clone(),
        _ => last.insert((of, make())).1.clone(),
    }
}

fn address(address: IpAddr) -> Value {
    MADE.with_borrow_mut(|made| kept(&mut made.address, address, || Value::new_ip(address.to_string())))
}

/// The second, because a decision holds for one; see [`super::Remembered`].
fn second(second: i64) -> Value {
    let text =
        || chrono::DateTime::from_timestamp(second, 0).unwrap_or_default().format("%Y-%m-%dT%H:%M:%SZ").to_string();
    MADE.with_borrow_mut(|made| kept(&mut made.second, second, || Value::new_datetime(text())))
}

fn moment(place: &Place, moment: &Moment) -> Result<Vec<(String, Value)>, Unaskable> {
    let now = chrono::DateTime::from_timestamp_micros(moment.now.0).ok_or(Unaskable)?;
    let mut fields = vec![
        ("database_user", text(&place.database_user)),
        ("client", address(moment.client)),
        ("now", second(now.timestamp())),
        ("hour", Value::new_long(now.hour().into())),
        ("weekday", Value::new_long(now.weekday().number_from_monday().into())),
        ("token_age_seconds", Value::new_long(moment.token_age_seconds)),
    ];
    fields.extend(moment.application.iter().map(|application| ("application", text(application))));
    if let Some(certificate) = &moment.client_certificate {
        fields.push(("client_certificate", self::certificate(certificate)?));
    }
    Ok(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// What a rule about `connect` can look at beside who and where.
pub(super) fn connect_context(place: &Place, now: &Moment) -> Result<Context, Unaskable> {
    Context::from_pairs(moment(place, now)?).map_err(|_| Unaskable)
}

/// What a rule about an effect can look at beside who, what and where, the same for each effect of a statement.
pub(super) fn statement_context(place: &Place, now: &Moment, facts: &Facts) -> Result<Context, Unaskable> {
    let long = |number: usize| Value::new_long(i64::try_from(number).unwrap_or(i64::MAX));
    let mut fields = moment(place, now)?;
    let own = [
        ("kind", text(facts.kind.as_str())),
        ("functions", texts(&facts.functions)),
        ("statement_count", Value::new_long(facts.statement_count.into())),
        ("effects_count", long(facts.effects.len())),
        ("has_limit", Value::new_bool(facts.has_limit)),
        ("transaction", text(&now.transaction.to_string())),
    ];
    fields.extend(own.into_iter().map(|(name, value)| (name.to_owned(), value)));
    Context::from_pairs(fields).map_err(|_| Unaskable)
}

/// That, and what one effect touches.
pub(super) fn effect_context(
    statement: &Context,
    has_where: bool,
    touch: &Touch,
    classes: &BTreeSet<&str>,
) -> Result<Context, Unaskable> {
    let own = [
        ("has_where", Value::new_bool(has_where)),
        ("columns", texts(&touch.columns)),
        ("all_columns", Value::new_bool(touch.all_columns)),
        ("where_columns", texts(&touch.where_columns)),
        ("where_binds", Value::new_bool(touch.where_binds)),
        ("classifications", Value::new_set(classes.iter().map(|class| text(class)))),
        ("reached", Value::new_bool(touch.reached)),
    ];
    let routine = touch.routine.as_ref().map(|traits| Ok(("routine", self::routine(traits)?))).transpose()?;
    let own = own.into_iter().chain(routine).map(|(name, value)| (name.to_owned(), value));
    statement.clone().merge(own).map_err(|_| Unaskable)
}

fn certificate(certificate: &ClientCertificate) -> Result<Value, Unaskable> {
    let ClientCertificate { subject, common_name, sha256, emails, dns_names, uris } = certificate;
    let fields = [
        ("subject", text(subject)),
        ("sha256", text(&sha256.to_string())),
        ("emails", texts(emails)),
        ("dns_names", texts(dns_names)),
        ("uris", texts(uris)),
    ];
    let name = common_name.iter().map(|name| ("common_name", text(name)));
    let fields = fields.into_iter().chain(name).map(|(name, value)| (name.to_owned(), value));
    Value::new_record(fields).map_err(|_| Unaskable)
}

fn routine(traits: &RoutineTraits) -> Result<Value, Unaskable> {
    let fields = [
        ("languages", texts(&traits.languages)),
        ("is_volatile", Value::new_bool(traits.is_volatile)),
        ("is_security_definer", Value::new_bool(traits.is_security_definer)),
    ];
    Value::new_record(fields.map(|(name, value)| (name.to_owned(), value))).map_err(|_| Unaskable)
}

/// Writes the marks that separate parts of a name so that no name can pass for two parts.
fn escape(part: &str) -> String {
    part.replace('%', "%25").replace('/', "%2F").replace('.', "%2E")
}

/// The name that was escaped.
pub(super) fn unescape(part: &str) -> String {
    part.replace("%2E", ".").replace("%2F", "/").replace("%25", "%")
}
