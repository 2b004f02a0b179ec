//! `hansard policy grants`: the script of a role that may do what the rules could permit to anybody, and no more.
//!
//! Promises: nothing is changed by the program, which only reads; the script runs as it is, twice if need be; names of the
//! database's objects are hostile text and stay names in it; a right that no rule could permit is not granted, and what is
//! too wide to hand out by a script (definitions, functions that leave the database) stands in it as a comment.

use std::io::{self, Write as _};
use std::path::PathBuf;

use super::super::render::{Lines, quiet_if_closed, shown};
use super::live::Live;
use super::{Exit, Globals, Stop, sources::Sources};
use crate::config::Config;
use crate::gateway::inspection::{Inspected, Leaves, Routine, Shape, Table};
use crate::model::{Action, Object, ObjectKind};
use crate::policy::{Place, Policy, PolicyProblem, Reach};

const EXAMPLES: &str = "\
Examples:
  hansard policy grants -c hansard.toml --target clinic > role.sql
  hansard policy grants -c hansard.toml --target clinic --role hansard_clinic | psql -d clinic -v ON_ERROR_STOP=1 -f -";

/// Write the script of a least-privilege role that matches the rules
///
/// The target's own login looks at the database; nothing is changed. The role gets what the rules could permit to anybody:
/// whom, when and under which condition stays theirs to hold. Read the script before you apply it, as a superuser.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct GrantsArgs {
    /// The configuration that names the rules
    #[arg(short = 'c', long, value_name = "FILE")]
    config: PathBuf,

    /// The target
    #[arg(long, value_name = "NAME")]
    target: String,

    /// The database [default: the only one that the target lists, else the only one that rules name]
    #[arg(long, value_name = "NAME")]
    database: Option<String>,

    /// The user whose login looks, and whom rules may name [default: that of the first login]
    #[arg(long, value_name = "NAME")]
    database_user: Option<String>,

    /// The role [default: `hansard_` and the target's name]
    #[arg(long, value_name = "NAME", value_parser = role_name)]
    role: Option<String>,
}

/// The longest name that the server does not cut.
const LONGEST_NAME: usize = 63;

fn role_name(name: &str) -> Result<String, String> {
    if name.is_empty() || name.len() > LONGEST_NAME || name.contains('\0') {
        return Err(format!("a role's name has 1 to {LONGEST_NAME} bytes"));
    }
    let is_taken = name == "public" || name == "none" || name.starts_with("pg_");
    if is_taken { Err("the server keeps this name for itself".to_owned()) } else { Ok(name.to_owned()) }
}

pub(super) fn run(args: &GrantsArgs, _: &Globals) -> Result<Exit, Stop> {
    let config = Config::load(&args.config).map_err(|problems| Stop::invalid(vec![problems.to_string()]))?;
    let sources = Sources::read(&config.policy).map_err(Stop::invalid)?;
    let said = |problems: Vec<PolicyProblem>| Stop::invalid(problems.iter().map(ToString::to_string).collect());
    let policy = Policy::load(&sources.rules).map_err(said)?;
    let asked: Vec<String> = args.database.iter().cloned().collect();
    let described = config.targets.iter().find(|target| target.name == args.target);
    let first = described.and_then(|target| target.logins.first()).map(|login| login.user.as_str());
    let user = args.database_user.as_deref().or(first);
    let live = Live::look(&config, (&args.target, user), &asked, &policy)?;
    let [(place, seen)] = live.seen.as_slice() else {
        let names: Vec<&str> = live.seen.iter().map(|(place, _)| place.database.as_str()).collect();
        let problem =
            format!("target.{}: a script is for one database; --database is one of: {}", args.target, names.join(", "));
        return Err(Stop { exit: Exit::Usage, problems: vec![problem] });
    };
    let role = match &args.role {
        Some(role) => role.clone(),
        None => role_name(&format!("hansard_{}", args.target))
            .map_err(|why| Stop { exit: Exit::Usage, problems: vec![format!("{why}; give one with --role")] })?,
    };
    let script = Script { policy: &policy, place, seen, role: quoted(&role), lines: Vec::new() }.written(&role);
    let mut out = io::stdout().lock();
    quiet_if_closed(out.write_all(script.as_bytes()).and_then(|()| out.flush()))?;
    Ok(Exit::Done)
}

/// A script that is being written.
struct Script<'a> {
    policy: &'a Policy,
    place: &'a Place,
    seen: &'a Inspected,
    /// As SQL writes it.
    role: String,
    lines: Vec<String>,
}

impl Script<'_> {
    fn written(mut self, role: &str) -> String {
        self.head(role);
        self.say("BEGIN;");
        self.guard();
        self.make(role);
        self.begin_anew();
        self.take_from_everybody();
        self.give_to_the_role();
        self.by_hand();
        self.say("\nCOMMIT;");
        self.lines.join("\n") + "\n"
    }

    fn say(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    fn comment(&mut self, text: &str) {
        self.lines.extend(text.lines().map(|line| format!("-- {}", shown(line, Lines::Shown)).trim_end().to_owned()));
    }

    fn head(&mut self, role: &str) {
        let Place { target, database, .. } = self.place;
        let (target, database, role) = (one_line(target), one_line(database), one_line(role));
        let version = self.policy.version().get(..12).unwrap_or_default().to_owned();
        self.comment(&format!(
            "A role that may do at the database \"{database}\" what the rules could permit to anybody there, and no more.\n\
             Written by `hansard policy grants` for the target \"{target}\" from the rules {version} and the catalog as it was.\n\
             Read it, then run it as a superuser in that database; it can be run again.\n\
             \n\
             What was assumed:\n\
             * Everybody who comes through hansard shares this login. So \"{role}\" gets the sum of what the rules could permit\n\
             \x20 to anybody. Whom, when, with which claims and under which condition (WHERE, LIMIT) they still have to hold.\n\
             * Where every rule for a table leaves columns out for everybody, the columns are granted, else the table.\n\
             * A view needs no right on the tables under it: it reads them with its owner's, unless it is one with\n\
             \x20 security_invoker. Policies of rows hold for \"{role}\", because it owns nothing.\n\
             * Tables that are made later are not in here: run `hansard policy grants` again.\n\
             * What everybody (PUBLIC) may do, every role may. So what no rule permits is taken from PUBLIC: see whether\n\
             \x20 somebody else at this database lives by it.\n\
             * \"{role}\" gets no password here. Give it one and name it in `login` of [target.{target}]; see with\n\
             \x20 `hansard policy check --target {target}` what is left."
        ));
        self.say("");
    }

    /// Run in the wrong database, it would revoke and grant by chance.
    fn guard(&mut self) {
        let database = literal(&self.place.database);
        let body = format!(
            "BEGIN\n  IF current_database() <> {database} THEN\n    RAISE EXCEPTION 'this script is for the database %', {database};\n  END IF;\nEND"
        );
        self.say(format!("DO {};", dollars(&body)));
    }

    fn make(&mut self, role: &str) {
        let (name, role) = (literal(role), self.role.clone());
        let body = format!(
            "BEGIN\n  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {name}) THEN\n    CREATE ROLE {role} LOGIN;\n  END IF;\nEND"
        );
        self.say(format!("DO {};", dollars(&body)));
        self.say(format!("ALTER ROLE {role} NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;"));
        if !self.policy.could_permit_writes(self.place) {
            self.comment("No rule could permit anybody to write here.");
            self.say(format!("ALTER ROLE {role} SET default_transaction_read_only = on;"));
        }
    }

    /// What it had before.
    fn begin_anew(&mut self) {
        self.say("");
        self.comment("What the role had before. Roles that it is a member of are not touched.");
        let (role, database) = (self.role.clone(), quoted(&self.place.database));
        self.say(format!("REVOKE ALL ON DATABASE {database} FROM {role};"));
        for schema in &self.seen.schemas {
            let schema = quoted(&schema.name);
            for what in ["TABLES", "SEQUENCES", "ROUTINES"] {
                self.lines.push(format!("REVOKE ALL ON ALL {what} IN SCHEMA {schema} FROM {role};"));
            }
            self.lines.push(format!("REVOKE ALL ON SCHEMA {schema} FROM {role};"));
        }
    }

    /// A role cannot have less than everybody has.
    fn take_from_everybody(&mut self) {
        self.say("");
        self.comment("What everybody may do and no rule could permit.");
        let (seen, defines) = (self.seen, self.policy.could_permit_anywhere(self.place, Action::Ddl));
        if !defines {
            self.say(format!("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC;", quoted(&self.place.database)));
        }
        for schema in seen.schemas.iter().filter(|schema| schema.by_everybody) {
            self.say(format!("REVOKE CREATE ON SCHEMA {} FROM PUBLIC;", quoted(&schema.name)));
        }
        for table in &seen.tables {
            let beyond = table.by_everybody.iter().any(|right| !self.gives(table, right));
            if beyond {
                let what = if table.shape == Shape::Sequence { "SEQUENCE" } else { "TABLE" };
                self.say(format!("REVOKE ALL ON {what} {} FROM PUBLIC;", table_name(table)));
            }
        }
        for routine in seen.routines.iter().filter(|routine| routine.by_everybody && routine.leaves != Leaves::No) {
            self.say(format!("REVOKE EXECUTE ON ROUTINE {} FROM PUBLIC;", signature(routine)));
        }
        for server in &seen.servers {
            self.say(format!("REVOKE USAGE ON FOREIGN SERVER {} FROM PUBLIC;", quoted(server)));
        }
    }

    /// Whether the script gives the role all of a right of SQL's on a table.
    fn gives(&self, table: &Table, right: &str) -> bool {
        let all = |action| self.reach(action, table) == Reach::All;
        match right {
            "SELECT" => all(Action::Select),
            "INSERT" => all(Action::Insert),
            "UPDATE" => all(Action::Update),
            "DELETE" => all(Action::Delete),
            "TRUNCATE" => self.policy.could_permit_truncate(self.place, &object(table)),
            "USAGE" => self.uses_sequences(),
            _ => false,
        }
    }

    fn reach(&self, action: Action, table: &Table) -> Reach {
        self.policy.reach(self.place, action, &object(table), &table.columns)
    }

    fn calls(&self, schema: &str, name: &str) -> bool {
        let (schema, name) = (Some(schema.to_owned()), name.to_owned());
        self.policy.could_permit(self.place, Action::Call, &Object { kind: ObjectKind::Function, schema, name })
    }

    fn uses_sequences(&self) -> bool {
        ["nextval", "currval", "setval"].iter().any(|function| self.calls("pg_catalog", function))
    }

    fn give_to_the_role(&mut self) {
        let (seen, role) = (self.seen, self.role.clone());
        self.say("");
        self.comment("What the rules could permit.");
        self.say(format!("GRANT CONNECT ON DATABASE {} TO {role};", quoted(&self.place.database)));
        for schema in &seen.schemas {
            let of = |table: &&Table| table.schema == schema.name;
            let mut grants: Vec<String> =
                seen.tables.iter().filter(of).flat_map(|table| self.on_table(table)).collect();
            let routines = seen.routines.iter().filter(|routine| routine.schema == schema.name);
            let routines =
                routines.filter(|routine| routine.leaves == Leaves::No && self.calls(&schema.name, &routine.name));
            let mut may_call = false;
            for routine in routines {
                may_call = true;
                if !routine.by_everybody {
                    grants.push(format!("GRANT EXECUTE ON ROUTINE {} TO {role};", signature(routine)));
                }
            }
            if may_call || !grants.is_empty() {
                self.say(format!("GRANT USAGE ON SCHEMA {} TO {role};", quoted(&schema.name)));
                self.lines.append(&mut grants);
            }
        }
    }

    fn on_table(&self, table: &Table) -> Vec<String> {
        if table.shape == Shape::Sequence {
            return self.on_sequence(table);
        }
        let (name, role) = (table_name(table), &self.role);
        let mut rights = Vec::new();
        let mut adds = false;
        for (action, right) in [(Action::Select, "SELECT"), (Action::Insert, "INSERT"), (Action::Update, "UPDATE")] {
            match self.reach(action, table) {
                Reach::Nothing => continue,
                Reach::All => rights.push(right.to_owned()),
                Reach::Columns(columns) => {
                    let columns: Vec<String> = columns.iter().map(|column| quoted(column)).collect();
                    rights.push(format!("{right} ({})", columns.join(", ")));
                }
            }
            adds |= action != Action::Select;
        }
        if self.reach(Action::Delete, table) != Reach::Nothing {
            rights.push("DELETE".to_owned());
        }
        if table.shape == Shape::Table && self.policy.could_permit_truncate(self.place, &object(table)) {
            rights.push("TRUNCATE".to_owned());
        }
        let mut grants = Vec::new();
        if !rights.is_empty() {
            grants.push(format!("GRANT {} ON TABLE {name} TO {role};", rights.join(", ")));
        }
        if adds {
            let sequences = table.sequences.iter().map(|(schema, name)| format!("{}.{}", quoted(schema), quoted(name)));
            grants.extend(sequences.map(|sequence| format!("GRANT USAGE ON SEQUENCE {sequence} TO {role};")));
        }
        grants
    }

    fn on_sequence(&self, sequence: &Table) -> Vec<String> {
        let mut rights = Vec::new();
        if self.reach(Action::Select, sequence) == Reach::All {
            rights.push("SELECT");
        }
        if self.uses_sequences() {
            rights.push("USAGE");
        }
        let grant = format!("GRANT {} ON SEQUENCE {} TO {};", rights.join(", "), table_name(sequence), self.role);
        if rights.is_empty() { Vec::new() } else { vec![grant] }
    }

    /// What the rules could permit and a script should not hand out.
    fn by_hand(&mut self) {
        let mut lines = Vec::new();
        let (seen, role) = (self.seen, &self.role);
        for schema in &seen.schemas {
            let object = Object { kind: ObjectKind::Schema, schema: None, name: schema.name.clone() };
            if self.policy.could_permit(self.place, Action::Ddl, &object) {
                lines.push(format!("GRANT CREATE ON SCHEMA {} TO {role};", quoted(&schema.name)));
            }
        }
        if !lines.is_empty() {
            let why = "Definitions. To alter and drop what is there, a role must own it, and then no policy of rows holds for it:\n\
                       best a target with a login of its own for those who define.";
            lines.insert(0, why.to_owned());
        }
        let leaving = seen.routines.iter().filter(|routine| routine.leaves != Leaves::No);
        let leaving: Vec<_> = leaving.filter(|routine| self.calls(&routine.schema, &routine.name)).collect();
        if !leaving.is_empty() {
            lines.push("Functions that leave the database, or run with a superuser's rights.".to_owned());
        }
        lines.extend(
            leaving.into_iter().map(|routine| format!("GRANT EXECUTE ON ROUTINE {} TO {role};", signature(routine))),
        );
        if !lines.is_empty() {
            self.say("");
            self.comment("Also permitted by a rule, and too much to hand out by a script:");
        }
        for line in lines {
            line.lines().for_each(|line| self.comment(&format!("  {}", one_line(line))));
        }
    }
}

fn object(table: &Table) -> Object {
    Object { kind: ObjectKind::Table, schema: Some(table.schema.clone()), name: table.name.clone() }
}

fn table_name(table: &Table) -> String {
    format!("{}.{}", quoted(&table.schema), quoted(&table.name))
}

/// The server itself wrote the arguments, as SQL.
fn signature(routine: &Routine) -> String {
    format!("{}.{}({})", quoted(&routine.schema), quoted(&routine.name), routine.arguments)
}

/// A name as SQL writes it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Text as SQL writes it, whatever the session takes a backslash for.
fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", doubled.replace('\\', "\\\\")) } else { format!("'{doubled}'") }
}

/// A body between marks that are not in it.
fn dollars(body: &str) -> String {
    let mut tag = "hansard".to_owned();
    while body.contains(&format!("${tag}$")) {
        tag.push('_');
    }
    format!("${tag}$\n{body}\n${tag}$")
}

/// A name in a comment stays in its line.
fn one_line(text: &str) -> String {
    shown(text, Lines::Shown).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names_and_text_is_text_whatever_is_in_them() {
        assert_eq!(quoted("a\"; drop table x; --"), "\"a\"\"; drop table x; --\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'"), "E'a\\\\'''");
        assert_eq!(dollars("a $hansard$ b"), "$hansard_$\na $hansard$ b\n$hansard_$");
        assert_eq!(one_line("a\n; drop"), "a␊; drop");
        for (name, is_one) in [("hansard_x", true), ("", false), ("pg_x", false), ("public", false), ("none", false)] {
            assert_eq!(role_name(name).is_ok(), is_one, "{name}");
        }
        assert!(role_name(&"x".repeat(64)).is_err());
    }
}
