//! Texts put together from SQL's words: what they plainly name is in the facts or they are not understood; several
//! statements do what each of them does; the catalog takes nothing away.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use arbitrary::{Result, Unstructured};
use hansard::model::{Action, Catalog, Effect, Facts, Kind, Object, ObjectKind, Relation, Routine, Touch};
use hansard::sql;

use super::guard::{consistent, read};

/// Words and pieces in which a table's name can be nothing else: `%` is a table that this text alone has.
const CERTAIN: &[&str] = &[
    "SELECT * FROM ONLY %",
    "FROM ONLY %",
    "JOIN ONLY % ON true",
    "TABLE %",
    "INSERT INTO % VALUES (1)",
    "INSERT INTO % SELECT 1",
    "UPDATE % SET a = 1",
    "DELETE FROM ONLY %",
    "MERGE INTO %",
    "LOCK TABLE %",
    "TRUNCATE TABLE %",
    "COPY % TO STDOUT",
    "COPY % FROM STDIN",
    "DROP TABLE %",
    "CREATE TABLE % (a int)",
    "ALTER TABLE % ADD b int",
];

/// Words and pieces that may stand anywhere.
const WORDS: &[&str] = &[
    "SELECT",
    "a",
    "b",
    "1",
    "'x'",
    "*",
    ",",
    "(",
    ")",
    ";",
    "FROM",
    "WHERE",
    "a = 1",
    "AND",
    "OR",
    "NOT",
    "UNION ALL",
    "WITH w AS (",
    "WITH w AS MATERIALIZED (",
    "w",
    "GROUP BY",
    "ORDER BY a",
    "LIMIT 1",
    "FOR UPDATE",
    "RETURNING *",
    "AS",
    "IN (",
    "EXISTS (",
    "ANY (",
    "ARRAY[",
    "]",
    "CASE WHEN",
    "THEN",
    "ELSE",
    "END",
    "::int",
    "CAST(",
    "$1",
    "now()",
    "count(*)",
    "f(",
    "OVER (",
    "LATERAL (",
    "USING (a)",
    "ON true",
    "CROSS",
    "LEFT",
    "VALUES (1)",
    "DEFAULT",
    "SET",
    "ON CONFLICT DO NOTHING",
    "ON CONFLICT (a) DO UPDATE SET a = 1",
    "USING s.u",
    "EXPLAIN",
    "EXPLAIN ANALYZE",
    "PREPARE p AS",
    "EXECUTE p",
    "DECLARE c CURSOR FOR",
    "CREATE VIEW s.v AS",
    "CREATE TABLE s.n AS",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS",
    "$$",
    "BEGIN",
    "COMMIT",
    "DO",
    "CALL f()",
    "GRANT",
    "REVOKE",
    "TO u",
    "ON",
    "INTO s.i",
    "WHEN MATCHED THEN DELETE",
    "WHEN NOT MATCHED THEN INSERT VALUES (1)",
    "-1",
    "+",
    "||",
    "->>",
    "IS NULL",
    "IS DISTINCT FROM",
    "BETWEEN",
    "LIKE",
    "COLLATE \"C\"",
    "AT TIME ZONE 'UTC'",
    "INTERVAL '1 day'",
    "EXTRACT(year FROM",
    "SUBSTRING(a FROM 1)",
    "GROUPING SETS ((a), ())",
    "WINDOW x AS ()",
    "TABLESAMPLE system (1)",
    "FETCH FIRST 1 ROW ONLY",
    "s.t",
    "u",
    "U",
    "\"q\"",
    "/* c */",
    "-- c\n",
    "E'\\''",
    "copy",
    "table",
    "only",
    "set role to x",
    "row(",
    ".*",
    ".",
    "=",
];

/// A text, and the tables that it plainly names.
struct Made {
    text: String,
    named: BTreeSet<String>,
}

pub fn body(data: &[u8]) {
    // An input that ends early is a short text.
    check(&mut Unstructured::new(data)).unwrap_or_default();
}

fn check(from: &mut Unstructured<'_>) -> Result<()> {
    let path_is_known = from.arbitrary()?;
    let mut numbers = 0;
    let (one, other) = (made(from, &mut numbers)?, made(from, &mut numbers)?);
    let (first, second) = (facts(&one), facts(&other));
    let named = one.named.union(&other.named).cloned().collect();
    let both = Made { text: format!("{}\n;{}", one.text, other.text), named };
    let together = facts(&both);
    if first.kind != Kind::Unparsed && second.kind != Kind::Unparsed && together.kind != Kind::Unparsed {
        let apart: BTreeSet<&Effect> = first.effects.iter().chain(&second.effects).collect();
        let together: BTreeSet<&Effect> = together.effects.iter().collect();
        assert!(together.is_superset(&apart), "two statements do less than each: {}", both.text);
    }
    if first.kind == Kind::Unparsed || second.kind == Kind::Unparsed {
        // A text that ends in the middle of something can go on in the next; what is plainly named is checked above.
        return Ok(());
    }
    resolved(&together, path_is_known);
    Ok(())
}

/// Up to 24 pieces.
fn made(from: &mut Unstructured<'_>, numbers: &mut usize) -> Result<Made> {
    let mut made = Made { text: String::new(), named: BTreeSet::new() };
    let most: usize = from.int_in_range(1..=24)?;
    for _ in 0..most {
        if from.is_empty() {
            break;
        }
        let choice = usize::from(from.arbitrary::<u8>()?);
        let word = match CERTAIN.get(choice) {
            Some(certain) => {
                *numbers += 1;
                let name = format!("certain{numbers}");
                let word = certain.replace('%', &name);
                made.named.insert(name);
                word
            }
            None => WORDS.get((choice - CERTAIN.len()) % WORDS.len()).copied().unwrap_or_default().to_owned(),
        };
        made.text.push_str(&word);
        made.text.push(' ');
    }
    Ok(made)
}

fn facts(made: &Made) -> Facts {
    let facts = read(made.text.as_bytes());
    consistent(&facts);
    // Inside of quotes and comments nothing is named, and the body of a function is the function's.
    let quotes = ["$$", "--", "/*", "'", "\""].iter().any(|mark| made.text.contains(mark));
    if facts.kind != Kind::Unparsed && !quotes {
        // What follows may make it the schema of a table: `ONLY certain . t`.
        let names = |object: &'_ Object| object.schema.iter().chain([&object.name]).cloned().collect::<Vec<_>>();
        let known: BTreeSet<String> = objects(&facts).flat_map(names).collect();
        for name in &made.named {
            assert!(known.contains(name.as_str()), "{name} is in no effect of: {}", made.text);
        }
    }
    facts
}

fn objects(facts: &Facts) -> impl Iterator<Item = &Object> {
    facts.effects.iter().filter_map(|effect| effect.object.as_ref())
}

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    let relation = |columns: &[&str]| Relation {
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        ..Relation::default()
    };
    let table = |name: &str| Object { kind: ObjectKind::Table, schema: Some("s".to_owned()), name: name.to_owned() };
    let reads =
        |name| (Effect { action: Action::Select, object: Some(table(name)), has_where: false }, Touch::EVERYTHING);
    // Two views that reach each other, which no server has, must not be followed for ever.
    let view = |name| Relation { reaches: vec![reads(name)], ..relation(&["a"]) };
    let partition = Relation { shares_rows_with: vec![("s".to_owned(), "u".to_owned())], ..relation(&["a", "b"]) };
    let names = [
        ("t", relation(&["a", "b"])),
        ("u", partition),
        ("v", view("v2")),
        ("v2", view("v")),
        ("certain1", view("u")),
        ("certain2", relation(&["c"])),
    ];
    let in_s = |relation| HashMap::from([("s".to_owned(), relation)]);
    Catalog {
        relations: names.map(|(name, relation)| (name.to_owned(), in_s(relation))).into(),
        routines: HashMap::from([("f".to_owned(), vec![Routine { schema: "s".to_owned(), ..Routine::default() }])]),
        path: vec!["pg_catalog".to_owned(), "s".to_owned()],
        ..Catalog::default()
    }
});

fn resolved(facts: &Facts, path_is_known: bool) {
    let resolved = sql::resolve(facts, &CATALOG, path_is_known);
    assert_eq!(sql::resolve(facts, &CATALOG, path_is_known), resolved, "resolved otherwise the next time");
    for effect in &facts.effects {
        let name = |effect: &Effect| effect.object.as_ref().map(|object| object.name.clone());
        let is_there =
            resolved.effects.iter().any(|other| other.action == effect.action && name(other) == name(effect));
        assert!(is_there, "the catalog takes {effect:?} away");
    }
}
