//! What is found about a login, in words.

use super::{Inspected, Leaves, Role, Table};
use crate::model::{Action, Object, ObjectKind};
use crate::policy::{Place, Policy, Reach};

/// Names that one finding gives; the rest is counted.
const NAMED: usize = 5;

/// Something that the rules promise and the login undermines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is so.
    pub what: String,
    /// What follows.
    pub so: String,
    /// What to do.
    pub instead: String,
}

/// Roles that the server brings, and what whoever is in one may do.
const OF_SERVER: &[(&str, &str)] = &[
    ("pg_read_all_data", "read every table"),
    ("pg_write_all_data", "write every table"),
    ("pg_read_server_files", "read files of the server"),
    ("pg_write_server_files", "write files of the server"),
    ("pg_execute_server_program", "run programs of the server"),
    ("pg_signal_backend", "end sessions of others"),
    ("pg_create_subscription", "make the server connect elsewhere"),
    ("pg_maintain", "lock and rebuild every table"),
    ("pg_monitor", "see what others run"),
    ("pg_read_all_stats", "see what others run"),
    ("pg_read_all_settings", "see every setting"),
];

/// Everything that the rules promise at this place and the login undermines.
pub fn findings(seen: &Inspected, policy: &Policy, place: &Place) -> Vec<Finding> {
    let login = &seen.login.name;
    if seen.login.superuser {
        return vec![Finding {
            what: format!("the login \"{login}\" is a superuser"),
            so: "nothing but the rules holds it back: no right of a table, no policy of rows, no read-only session, and \
                 it reads files and runs programs of the server"
                .to_owned(),
            instead: "give the target a login of its own; `hansard policy grants` writes the script".to_owned(),
        }];
    }
    let mut found = Vec::new();
    found.extend(attributes(&seen.login));
    found.extend(seen.roles.iter().filter_map(|(role, of_server)| becomes(login, role, *of_server)));
    found.extend(database(seen));
    found.extend(leaves(seen));
    found.extend(makes(seen));
    found.extend(tables(seen, policy, place));
    found
}

fn attributes(login: &Role) -> Option<Finding> {
    let follows = |attribute: &&str| match *attribute {
        "CREATEROLE" => "makes and changes other roles",
        "CREATEDB" => "makes databases, copies of others among them",
        "REPLICATION" => "can copy the whole server",
        _ => "sees rows that policies of rows hide",
    };
    let name = &login.name;
    (!login.attributes.is_empty()).then(|| Finding {
        what: format!("the login \"{name}\" has {}", login.attributes.join(", ")),
        so: format!("it {}", login.attributes.iter().map(follows).collect::<Vec<_>>().join(", ")),
        instead: format!(
            "ALTER ROLE {} {}",
            quoted(name),
            login.attributes.iter().map(|attribute| format!("NO{attribute}")).collect::<Vec<_>>().join(" ")
        ),
    })
}

fn becomes(login: &str, role: &Role, of_server: bool) -> Option<Finding> {
    let known = OF_SERVER.iter().find(|(name, _)| of_server && *name == role.name).map(|(_, may)| (*may).to_owned());
    let may = match known {
        Some(may) => may,
        None if role.superuser => "do everything, as a superuser".to_owned(),
        None if !role.attributes.is_empty() => {
            format!("do what {} lets it, and has that role's rights", role.attributes.join(", "))
        }
        // What a role of one's own may do is counted with the login's own rights, which it inherits.
        None if of_server => return None,
        None => "do what that role may".to_owned(),
    };
    Some(Finding {
        what: format!("the login \"{login}\" can become the role \"{}\"", role.name),
        so: format!("it may {may}; what it reaches by that, a function that it calls reaches as well"),
        instead: format!("REVOKE {} FROM {}", quoted(&role.name), quoted(login)),
    })
}

fn database(seen: &Inspected) -> Option<Finding> {
    let name = &seen.login.name;
    if seen.owns_database {
        return Some(Finding {
            what: format!("the database belongs to the login \"{name}\""),
            so: "it can hand out any right in it, and drop it".to_owned(),
            instead: "ALTER DATABASE … OWNER TO a role that nobody logs in as".to_owned(),
        });
    }
    seen.makes_schemas.then(|| Finding {
        what: format!("the login \"{name}\" may make schemas in the database"),
        so: "what it makes there is its own, and no rule speaks of it by name".to_owned(),
        instead: format!("REVOKE CREATE ON DATABASE … FROM {}", quoted(name)),
    })
}

/// Functions and servers that lead out of the database.
fn leaves(seen: &Inspected) -> Vec<Finding> {
    let mut found = Vec::new();
    for (leaves, does, so) in [
        (Leaves::Files, "reach files of the server", "a file is no table: no rule about tables holds for it"),
        (Leaves::Servers, "reach other servers", "what happens there, hansard neither judges nor records"),
        (Leaves::Language, "are written in a language that may do anything", "they do what the server's own user may"),
        (Leaves::Superuser, "run with a superuser's rights", "they reach every table, whatever the login may"),
    ] {
        let callable = seen.routines.iter().filter(|routine| routine.callable && routine.leaves == leaves);
        let names: Vec<String> = callable.map(|routine| format!("{}.{}", routine.schema, routine.name)).collect();
        if !names.is_empty() {
            found.push(Finding {
                what: format!("the login \"{}\" may call functions that {does}: {}", seen.login.name, some(names)),
                so: so.to_owned(),
                instead: "REVOKE EXECUTE ON those functions FROM PUBLIC; grant it to who needs it".to_owned(),
            });
        }
    }
    if !seen.servers.is_empty() {
        found.push(Finding {
            what: format!("the login \"{}\" may use other servers: {}", seen.login.name, some(seen.servers.clone())),
            so: "a foreign table that it makes shows what is there under a name that no rule knows".to_owned(),
            instead: format!("REVOKE USAGE ON FOREIGN SERVER … FROM PUBLIC, {}", quoted(&seen.login.name)),
        });
    }
    found
}

fn makes(seen: &Inspected) -> Option<Finding> {
    let on_path = seen.schemas.iter().filter(|schema| schema.on_path && schema.writable);
    let (mut names, mut everybody) = (Vec::new(), false);
    for schema in on_path {
        names.push(schema.name.clone());
        everybody |= schema.by_everybody;
    }
    let from = if everybody { "PUBLIC".to_owned() } else { quoted(&seen.login.name) };
    let who = if everybody { "everybody".to_owned() } else { format!("the login \"{}\"", seen.login.name) };
    (!names.is_empty()).then(|| Finding {
        what: format!("{who} may make objects in schemas of the path: {}", some(names.clone())),
        so: "a table or a function that is made there can take the place of another one of its name".to_owned(),
        instead: format!(
            "REVOKE CREATE ON SCHEMA {} FROM {from}",
            names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
        ),
    })
}

/// Rights on tables beyond what the rules could permit to anybody.
fn tables(seen: &Inspected, policy: &Policy, place: &Place) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut say = |names: Vec<String>, may: &str, so: &str| {
        if !names.is_empty() {
            found.push(Finding {
                what: format!(
                    "the login \"{}\" may {may} that no rule permits to anybody: {}",
                    seen.login.name,
                    some(names)
                ),
                so: so.to_owned(),
                instead: "take the right away; `hansard policy grants` writes the script".to_owned(),
            });
        }
    };
    let reach = |action, table: &Table| {
        let object = Object { kind: ObjectKind::Table, schema: Some(table.schema.clone()), name: table.name.clone() };
        policy.reach(place, action, &object, &table.columns)
    };
    let beyond = |holds: fn(&Table) -> bool, action| -> Vec<String> {
        let held = seen.tables.iter().filter(|table| holds(table) && reach(action, table) == Reach::Nothing);
        held.map(|table| format!("{}.{}", table.schema, table.name)).collect()
    };
    let around = "a view, a function or a text that is misread reaches them where no rule looks";
    say(beyond(|table| !table.readable.is_empty(), Action::Select), "read tables", around);
    let columns = seen.tables.iter().filter_map(|table| match reach(Action::Select, table) {
        Reach::Columns(permitted) => Some((table, permitted)),
        _ => None,
    });
    let columns = columns.flat_map(|(table, permitted)| {
        let more = table.readable.iter().filter(move |column| !permitted.contains(column));
        more.map(|column| format!("{}.{}.{column}", table.schema, table.name))
    });
    say(columns.collect(), "read columns", around);
    let writes = "a function or a trigger that nobody looked into writes them";
    say(beyond(|table| table.insert, Action::Insert), "add rows to tables", writes);
    say(beyond(|table| table.update, Action::Update), "change rows of tables", writes);
    say(beyond(|table| table.delete, Action::Delete), "remove rows of tables", writes);
    let owned = "whoever owns a table alters and drops it, and its policies of rows do not hold for them";
    say(beyond(|table| table.owned, Action::Ddl), "alter and drop tables", owned);
    found
}

/// The first of some names, and how many more there are.
fn some(mut names: Vec<String>) -> String {
    names.dedup();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let named = names.join(", ");
    if more > 0 { format!("{named} and {more} more") } else { named }
}

/// A name as SQL writes it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
