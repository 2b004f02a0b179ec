//! Names become full names, and what is behind an object comes into sight.

use std::collections::HashMap;

use super::tests::shown;
use super::{Dialect, in_the_dark, read, resolve};
use crate::model::{
    Action, Catalog, Effect, Facts, Kind, Object, ObjectKind, Relation, Routine, RoutineTraits, SqlText, Touch,
};

fn facts(text: &str) -> Facts {
    read(&SqlText::from(text), Dialect::PostgreSql)
}

fn routine(schema: &str, of_extension: bool) -> Routine {
    let traits = RoutineTraits { languages: vec!["sql".to_owned()], is_volatile: true, is_security_definer: false };
    Routine { schema: schema.to_owned(), of_extension, traits }
}

fn function(name: &str) -> Object {
    Object { kind: ObjectKind::Function, schema: Some("public".to_owned()), name: name.to_owned() }
}

/// `public` with people, orders, a view over each kind of thing, partitions and a table with a rule; `hr` with salaries
/// and an `orders` of its own.
fn catalog() -> Catalog {
    let mut catalog = Catalog { path: vec!["pg_catalog".to_owned(), "public".to_owned()], ..Catalog::default() };
    let mut add = |schema: &str, name: &str, columns: &str, change: &dyn Fn(&mut Relation)| {
        let mut relation =
            Relation { columns: columns.split_whitespace().map(str::to_owned).collect(), ..Relation::default() };
        change(&mut relation);
        catalog.relations.entry(name.to_owned()).or_default().insert(schema.to_owned(), relation);
    };
    let none = |_: &mut Relation| {};
    let view = |definition: &'static str| {
        move |relation: &mut Relation| {
            let facts = facts(definition);
            relation.reaches = facts.effects.iter().cloned().zip(facts.touched.iter().cloned()).collect();
        }
    };
    add("public", "people", "id name ssn", &none);
    add("public", "orders", "id person total", &none);
    add("hr", "orders", "id", &none);
    add("hr", "salaries", "id pay", &none);
    add("pg_catalog", "pg_class", "oid relname", &none);
    add("public", "v_people", "id tax", &view("SELECT id, ssn AS tax FROM public.people"));
    add("public", "v_twice", "id", &view("SELECT id FROM public.v_people"));
    add("public", "v_calls", "x", &view("SELECT public.f_write() AS x"));
    add("public", "p", "id", &|relation| relation.shares_rows_with = vec![("public".to_owned(), "p_1".to_owned())]);
    add("public", "p_1", "id", &|relation| relation.shares_rows_with = vec![("public".to_owned(), "p".to_owned())]);
    add("public", "ruled", "a", &|relation| {
        relation.changed_by_rules = vec![("public".to_owned(), "orders".to_owned())];
    });
    catalog.routines = HashMap::from([
        ("touch".to_owned(), vec![routine("public", false)]),
        ("max".to_owned(), vec![routine("public", true)]),
        ("lower".to_owned(), vec![routine("public", false)]),
        ("pay_rise".to_owned(), vec![routine("hr", false)]),
    ]);
    catalog.operators = HashMap::from([("#%#".to_owned(), vec![function("op_write")])]);
    catalog.conversions = HashMap::from([("point".to_owned(), vec![function("cast_write")])]);
    catalog
}

fn shown_of(facts: &Facts) -> Vec<String> {
    let each = facts.effects.iter().enumerate();
    each.map(|(at, effect)| {
        let reached = if facts.touch(at).reached { " (reached)" } else { "" };
        format!("{}{reached}", shown(effect))
    })
    .collect()
}

fn resolved(text: &str, path_is_known: bool) -> Vec<String> {
    shown_of(&resolve(&facts(text), &catalog(), path_is_known))
}

#[test]
fn a_name_without_schema_is_the_first_of_the_path_or_any_that_there_is() {
    assert_eq!(resolved("SELECT id FROM orders", true), ["select public.orders"]);
    assert_eq!(resolved("SELECT id FROM orders", false), ["select hr.orders", "select public.orders"]);
    assert_eq!(resolved("SELECT oid FROM pg_class", true), ["select pg_catalog.pg_class"]);
    // Not on the path, or nowhere: as it was written.
    assert_eq!(resolved("SELECT pay FROM salaries", true), ["select salaries"]);
    assert_eq!(resolved("SELECT pay FROM salaries", false), ["select hr.salaries"]);
    assert_eq!(resolved("SELECT 1 FROM new_table", false), ["select new_table"]);
    assert_eq!(resolved("SELECT 1 FROM hr.salaries", true), ["select hr.salaries"]);
}

#[test]
fn a_view_reaches_what_it_reads_and_calls_at_any_depth() {
    assert_eq!(resolved("SELECT * FROM v_people", true), ["select public.people (reached)", "select public.v_people"]);
    assert_eq!(
        resolved("SELECT id FROM v_twice", true),
        ["select public.people (reached)", "select public.v_people (reached)", "select public.v_twice"]
    );
    assert_eq!(resolved("SELECT x FROM v_calls", true), ["select public.v_calls", "call public.f_write() (reached)"]);
    // What is named as well is not only reached.
    assert_eq!(resolved("SELECT 1 FROM v_people, people", true), ["select public.people", "select public.v_people"]);
}

#[test]
fn a_view_touches_the_columns_of_its_definition() {
    let facts = resolve(&facts("SELECT id FROM v_people"), &catalog(), true);
    let at = facts.effects.iter().position(|effect| effect.object.as_ref().is_some_and(|o| o.name == "people"));
    let expected = Touch { columns: vec!["id".to_owned(), "ssn".to_owned()], reached: true, ..Touch::default() };
    assert_eq!(facts.touch(at.unwrap()), &expected);
}

#[test]
fn a_change_of_a_view_changes_the_table_under_it() {
    assert_eq!(
        resolved("DELETE FROM v_people", true),
        ["select public.people (reached)", "delete public.people (reached)", "delete public.v_people"]
    );
}

#[test]
fn partitions_and_their_parents_share_rows_and_rules_change_other_tables() {
    assert_eq!(resolved("SELECT id FROM p", true), ["select public.p", "select public.p_1 (reached)"]);
    assert_eq!(resolved("SELECT id FROM p_1", true), ["select public.p (reached)", "select public.p_1"]);
    let changes = resolved("INSERT INTO ruled (a) VALUES (1)", true);
    assert!(changes.contains(&"delete public.orders (reached)".to_owned()), "{changes:?}");
    assert_eq!(resolved("SELECT a FROM ruled", true), ["select public.ruled"]);
}

#[test]
fn functions_behind_attributes_operators_conversions_and_names_of_built_in_ones_are_called() {
    for (text, function) in [
        ("SELECT o.touch FROM orders o", "call public.touch()"),
        ("SELECT (o).touch FROM orders o", "call public.touch()"),
        ("SELECT 1 #%# 2", "call public.op_write()"),
        ("SELECT 5::point", "call public.cast_write()"),
        ("SELECT CAST(5 AS public.point)", "call public.cast_write()"),
        ("SELECT lower('A')", "call public.lower()"),
    ] {
        let found = resolved(text, true);
        assert!(found.contains(&function.to_owned()), "{text}: {found:?}");
    }
    // An extension's overload of a built-in one, and a function off the path.
    assert_eq!(resolved("SELECT max(id) FROM people", true), ["select public.people"]);
    assert_eq!(resolved("SELECT pay_rise(1)", true), ["call pay_rise()"]);
    assert_eq!(resolved("SELECT pay_rise(1)", false), ["call hr.pay_rise()"]);
}

#[test]
fn a_column_is_the_table_s_that_has_it() {
    let columns = |text: &str, table: &str| {
        let facts = resolve(&facts(text), &catalog(), true);
        let at = facts.effects.iter().position(|effect| effect.object.as_ref().is_some_and(|o| o.name == table));
        facts.touch(at.unwrap()).columns.clone()
    };
    let both = "SELECT ssn, total, brand_new FROM people JOIN orders ON person = name";
    assert_eq!(columns(both, "people"), ["brand_new", "name", "ssn"]);
    assert_eq!(columns(both, "orders"), ["brand_new", "person", "total"]);
}

#[test]
fn views_that_read_each_other_come_to_an_end() {
    let mut catalog = catalog();
    let reads = |name: &str| {
        let object = Object { kind: ObjectKind::Table, schema: Some("public".to_owned()), name: name.to_owned() };
        vec![(
            Effect { action: crate::model::Action::Select, object: Some(object), has_where: false },
            Touch::default(),
        )]
    };
    for (one, other) in [("a", "b"), ("b", "a")] {
        let relation = Relation { reaches: reads(other), ..Relation::default() };
        catalog.relations.entry(one.to_owned()).or_default().insert("public".to_owned(), relation);
    }
    assert_eq!(resolve(&facts("SELECT 1 FROM a"), &catalog, true).effects.len(), 2);
}

#[test]
fn in_a_database_of_which_nothing_is_known_only_what_names_nothing_is_understood() {
    for text in ["BEGIN", "SELECT 1", "SET application_name = 'x'", "SELECT relname FROM pg_catalog.pg_class"] {
        assert_eq!(in_the_dark(&facts(text)), facts(text), "{text}");
    }
    for text in ["SELECT * FROM clinic.v", "SELECT f()", "SELECT 1 + 1", "SELECT 'x'::mood", "SELECT count(*)"] {
        let dark = in_the_dark(&facts(text));
        assert_eq!((dark.kind, dark.effects.len()), (Kind::Unparsed, facts(text).effects.len() + 1), "{text}");
        assert!(dark.effects.iter().any(|effect| effect.action == Action::Unparsed), "{text}");
        assert!(dark.problem.unwrap().contains("catalog"), "{text}");
    }
}

#[test]
fn a_call_is_told_with_what_the_catalog_says_of_the_function() {
    let told = |text: &str| {
        let facts = resolve(&facts(text), &catalog(), true);
        let call = facts.effects.iter().position(|effect| effect.action == Action::Call).unwrap();
        facts.touch(call).routine.clone()
    };
    let known = routine("", false).traits;
    for text in ["SELECT touch(1)", "SELECT public.touch(1)", "SELECT hr.pay_rise()", "SELECT lower('x')"] {
        assert_eq!(told(text).as_ref(), Some(&known), "{text}");
    }
    assert_eq!(told("SELECT public.nobody_knows()"), None);
    let definer = RoutineTraits { languages: vec!["c".to_owned()], is_volatile: false, is_security_definer: true };
    let either = known.or(definer);
    assert_eq!((either.languages.len(), either.is_volatile, either.is_security_definer), (2, true, true));
}
