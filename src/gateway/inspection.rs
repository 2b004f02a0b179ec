//! What our own login may do at a database, as that says itself, and what the rules promise that it undermines.
//!
//! Promises: the look is read-only, changes nothing and waits for nobody longer than a look at the catalog; what is found is
//! told with what follows from it and what to do; a superuser is told as such and nothing else, because everything else
//! follows. What is asked is what the *server* would let the login do: that no rule permits a statement is no reason to
//! leave out what a function, a trigger or a text that three readers misread could do with it.

mod findings;
mod questions;

pub use findings::{Finding, findings};

use super::Target;
use super::catalog::asking::{Blind, LIMIT, ask, begin, close, open, rows};

/// The attributes of a role that stand above all rights.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// `SUPERUSER`.
    pub superuser: bool,
    /// The others that it has, in SQL's words.
    pub attributes: Vec<&'static str>,
}

/// How a function leaves the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaves {
    /// It is not known to.
    No,
    /// It reads or writes files of the server.
    Files,
    /// It reaches other servers.
    Servers,
    /// It is written in a language that may do anything.
    Language,
    /// It runs with a superuser's rights.
    Superuser,
}

/// A function that is not the server's own, or is and leaves the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routine {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its arguments as SQL names them.
    pub arguments: String,
    /// Where to.
    pub leaves: Leaves,
    /// Whether our login may call it.
    pub callable: bool,
    /// Whether everybody may.
    pub by_everybody: bool,
}

/// A schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// Its name.
    pub name: String,
    /// Whether names without schema may lead there.
    pub on_path: bool,
    /// Whether our login may make objects in it.
    pub writable: bool,
    /// Whether everybody may.
    pub by_everybody: bool,
}

/// What a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A table, perhaps a foreign one.
    Table,
    /// A view or a materialised view.
    View,
    /// A sequence.
    Sequence,
}

/// A table, or what a statement can name like one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub shape: Shape,
    /// Its columns.
    pub columns: Vec<String>,
    /// Those that our login may read.
    pub readable: Vec<String>,
    /// Whether it may add rows.
    pub insert: bool,
    /// Whether it may change rows.
    pub update: bool,
    /// Whether it may remove rows.
    pub delete: bool,
    /// Whether the table is its own.
    pub owned: bool,
    /// What everybody may do with it, in SQL's words.
    pub by_everybody: Vec<String>,
    /// Sequences that give the values of its columns, by schema and name.
    pub sequences: Vec<(String, String)>,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inspected {
    /// The login.
    pub login: Role,
    /// Whether the database is its own.
    pub owns_database: bool,
    /// Whether it may make schemas.
    pub makes_schemas: bool,
    /// Roles that it can become; the flag: whether the server brought it.
    pub roles: Vec<(Role, bool)>,
    /// Functions that are not the server's own, and those of its own that leave the database.
    pub routines: Vec<Routine>,
    /// Other servers that it may use.
    pub servers: Vec<String>,
    /// Every schema that is not the server's own.
    pub schemas: Vec<Schema>,
    /// Every table that is not the server's own.
    pub tables: Vec<Table>,
}

/// Why nothing was seen.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Uninspected(#[from] Blind);

/// Looks at what our login may do at a database.
///
/// # Errors
///
/// The database is away, does not let us in or does not answer.
pub async fn inspect(target: &Target, database: &str) -> Result<Inspected, Uninspected> {
    let looked = tokio::time::timeout(LIMIT, look(target, database)).await;
    Ok(looked.unwrap_or(Err(Blind::TooSlow))?)
}

async fn look(target: &Target, database: &str) -> Result<Inspected, Blind> {
    let mut upstream = open(target, database, "hansard inspection").await?;
    let path = begin(&mut upstream).await?;
    let mut seen = Inspected::default();
    for [name, superuser, createrole, createdb, replication, bypassrls, owns, makes] in
        rows(ask(&mut upstream, questions::LOGIN).await?)
    {
        seen.login = role(name, &[superuser, createrole, createdb, replication, bypassrls]);
        (seen.owns_database, seen.makes_schemas) = (is(&owns), is(&makes));
    }
    for [name, superuser, createrole, createdb, replication, bypassrls, of_server] in
        rows(ask(&mut upstream, questions::ROLES).await?)
    {
        let role = role(name, &[superuser, createrole, createdb, replication, bypassrls]);
        seen.roles.push((role, is(&of_server)));
    }
    seen.routines = rows(ask(&mut upstream, questions::ROUTINES).await?).map(routine).collect();
    seen.servers = rows(ask(&mut upstream, questions::SERVERS).await?).map(|[name]| name).collect();
    let schemas = questions::SCHEMAS.replace("{path}", &array(&path));
    seen.schemas = rows(ask(&mut upstream, &schemas).await?)
        .map(|[name, on_path, writable, by_everybody]| Schema {
            name,
            on_path: is(&on_path),
            writable: is(&writable),
            by_everybody: is(&by_everybody),
        })
        .collect();
    seen.tables = rows(ask(&mut upstream, questions::TABLES).await?).map(table).collect();
    close(upstream).await;
    Ok(seen)
}

/// Names of the server's own telling, as an array in SQL.
fn array(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("'{}'", name.replace('\'', "''"))).collect();
    format!("ARRAY[{}]::text[]", quoted.join(", "))
}

fn is(value: &str) -> bool {
    value == "t"
}

fn role(name: String, attributes: &[String; 5]) -> Role {
    let words = ["SUPERUSER", "CREATEROLE", "CREATEDB", "REPLICATION", "BYPASSRLS"];
    let mut has: Vec<_> = words.into_iter().zip(attributes).filter(|(_, has)| is(has)).map(|(word, _)| word).collect();
    let superuser = has.first() == Some(&"SUPERUSER");
    if superuser {
        has.remove(0);
    }
    Role { name, superuser, attributes: has }
}

fn routine([schema, name, arguments, leaves, callable, by_everybody]: [String; 6]) -> Routine {
    let leaves = match leaves.as_str() {
        "files" => Leaves::Files,
        "servers" => Leaves::Servers,
        "language" => Leaves::Language,
        "superuser" => Leaves::Superuser,
        _ => Leaves::No,
    };
    Routine { schema, name, arguments, leaves, callable: is(&callable), by_everybody: is(&by_everybody) }
}

fn table(
    [schema, name, kind, columns, readable, insert, update, delete, owned, by_everybody, sequences]: [String; 11],
) -> Table {
    let names = |json: &str| serde_json::from_str(json).unwrap_or_default();
    Table {
        schema,
        name,
        shape: match kind.as_str() {
            "v" | "m" => Shape::View,
            "S" => Shape::Sequence,
            _ => Shape::Table,
        },
        columns: names(&columns),
        readable: names(&readable),
        insert: is(&insert),
        update: is(&update),
        delete: is(&delete),
        owned: is(&owned),
        by_everybody: serde_json::from_str(&by_everybody).unwrap_or_default(),
        sequences: serde_json::from_str(&sequences).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_path_stay_names_in_a_question() {
        assert_eq!(array(&["a".to_owned(), "it's".to_owned()]), "ARRAY['a', 'it''s']::text[]");
        assert_eq!(array(&[]), "ARRAY[]::text[]");
    }

    #[test]
    fn a_role_has_the_attributes_that_the_server_says() {
        let flags = |flags: [&str; 5]| role("r".to_owned(), &flags.map(str::to_owned));
        assert_eq!(flags(["f", "f", "t", "f", "t"]).attributes, ["CREATEDB", "BYPASSRLS"]);
        let admin = flags(["t", "t", "f", "f", "f"]);
        assert_eq!((admin.superuser, admin.attributes), (true, vec!["CREATEROLE"]));
    }
}
