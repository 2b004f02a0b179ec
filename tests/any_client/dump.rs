//! pg_dump and pg_restore, two sessions at a time. What they ask the catalog is their own affair.

use std::process::Command;

use crate::support::{Expected, Folder, Login, Postgres, output};

/// A table of every kind of column that COPY treats in its own way, and a second one so that two sessions have work.
const TABLES: &str = "set role hansard;
    create schema dumped;
    create table dumped.one (id serial primary key, word text, amount numeric, made timestamptz default now(), raw bytea);
    insert into dumped.one (word, amount, raw) select 'word ' || n, n / 7.0, decode(md5(n::text), 'hex') from generate_series(1, 5000) n;
    create table dumped.two (one integer references dumped.one, note text);
    insert into dumped.two select id, E'tab\\t, \\\\ and \\n' from dumped.one;
    create index on dumped.two (one);
    create view dumped.three as select word, note from dumped.one join dumped.two on one = id;
    create function dumped.four() returns integer language sql as 'select 4';";
const SUMS: &str = "select md5(string_agg(o::text, ';' order by id)) from dumped.one o;
    select md5(string_agg(t::text, ';' order by one)) from dumped.two t; select count(*) from dumped.three; select dumped.four()";

pub(crate) fn story(login: &Login) -> Vec<Expected> {
    let postgres = Postgres::shared();
    postgres.admin(TABLES);
    let before = postgres.admin(SUMS);
    let folder = Folder::new("dump");
    let dump = folder.join("app");
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        login.environment(command.args(arguments));
        command
    };
    let path = dump.display().to_string();
    output(&mut run("pg_dump", &["-n", "dumped", "-F", "d", "-j", "2", "-f", &path]), "");
    postgres.admin("drop schema dumped cascade");
    output(&mut run("pg_restore", &["-d", "app", "-j", "2", "--exit-on-error", &path]), "");
    assert_eq!(postgres.admin(SUMS), before, "what was restored is not what was dumped");

    // What it may not read it cannot dump, and it says whose word that is.
    let denied = run("pg_dump", &["-a", "-t", "hr.salaries"]).output().unwrap();
    let said = String::from_utf8(denied.stderr).unwrap();
    assert!(!denied.status.success() && said.contains("hansard: denied"), "{said}");
    assert!(denied.stdout.windows(5).all(|bytes| bytes != b"52000"), "the salaries were dumped");

    let copy = |table: &str, columns: &str| format!("COPY dumped.{table} ({columns})");
    let (one, two) = (copy("one", "id, word, amount, made, raw"), copy("two", "one, note"));
    // Two sessions at a time: which of the tables comes first is nobody's promise, so only one of them is told.
    vec![
        Expected::query(&format!("{one} TO stdout;")).returned(5000),
        Expected { rows_affected: Some(5000), ..Expected::query(&format!("{two} FROM stdin;\n")) },
        Expected::query("COPY hr.salaries (person, amount) TO stdout;").denied(),
    ]
}
