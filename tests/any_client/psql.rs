//! psql, as a person and a script use it.

use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Expected, Folder, Login, Postgres, psql, wait_for};

/// The ids of this client's rows, so that clients do not meet.
const BASE: i32 = 17_000;
const DENIED: &str = "select amount from hr.salaries;";

/// Variables, files, cursors and transactions of psql, and denials.
pub(crate) fn story(login: &Login) -> Vec<Expected> {
    let folder = Folder::new("psql");
    let file = folder.join("rows.csv");
    let rows: String = (1..=20).map(|n| format!("{},row {n}\n", BASE + n)).collect();
    std::fs::write(&file, rows).unwrap();
    let file = file.display();
    let script = format!(
        "\\set base {BASE}\n\
         insert into notes (id, body) values (:base, :'base');\n\
         \\copy notes (id, body) from '{file}' csv\n\
         \\copy (select id from notes where id > {BASE} and id <= {BASE} + 20) to '{file}.out'\n\
         \\set FETCH_COUNT 8\n\
         select id from notes where id > {BASE} and id <= {BASE} + 20 order by id;\n\
         \\unset FETCH_COUNT\n\
         select count(*) as found from notes where id > {BASE} and id <= {BASE} + 20 \\gset\n\
         \\echo :found\n\
         {DENIED}\n\
         begin;\n\
         update notes set body = 'not to stay' where id = {BASE};\n\
         {DENIED}\n\
         select 1;\n\
         rollback;\n\
         select body from notes where id = {BASE};\n"
    );
    let done = psql(login, &script);
    let ids: String = (1..=20).map(|n| format!("{}\n", BASE + n)).collect();
    assert_eq!(done.stdout, format!("{ids}20\n{BASE}\n"), "{done:?}");
    assert_eq!(done.stderr.matches("hansard: denied").count(), 2, "{done:?}");

    let range = format!("id > {BASE} and id <= {BASE} + 20");
    let query = format!("select id from notes where {range} order by id");
    let fetch = |rows| Expected::query("FETCH FORWARD 8 FROM _psql_cursor").returned(rows);
    vec![
        Expected::query(&format!("insert into notes (id, body) values ({BASE}, '{BASE}');")).affected(1),
        // As psql puts it together from the words of `\copy`.
        Expected::query("COPY  notes ( id, body ) FROM STDIN csv").affected(20),
        Expected::query(&format!("COPY  ( select id from notes where {range} ) TO STDOUT ")).returned(20),
        Expected::query("BEGIN"),
        Expected::query(&format!("DECLARE _psql_cursor NO SCROLL CURSOR FOR\n{query};")),
        fetch(8),
        fetch(8),
        fetch(4),
        Expected::query("CLOSE _psql_cursor"),
        Expected::query("COMMIT"),
        Expected::query(&format!("select count(*) as found from notes where {range} ")).returned(1),
        Expected::query(DENIED).denied(),
        Expected::query("begin;"),
        Expected::query(&format!("update notes set body = 'not to stay' where id = {BASE};")).affected(1),
        Expected::query(DENIED).denied(),
        Expected::query("select 1;").failed("25P02"),
        Expected::query("rollback;"),
        Expected::query(&format!("select body from notes where id = {BASE};")).returned(1),
    ]
}

/// Ctrl-C while a statement runs.
pub(crate) fn interrupted(login: &Login) -> Vec<Expected> {
    let text = "select pg_sleep(60)";
    let mut command = Command::new("psql");
    login.environment(command.args(["-X", "-c", text]).stdin(Stdio::null()).stderr(Stdio::piped()));
    let child = command.spawn().unwrap();
    let sql = format!(
        "select count(*) from pg_stat_activity where application_name = '{}' and state = 'active' and query = '{text}'",
        login.application
    );
    wait_for("psql's statement", Duration::from_secs(60), || (Postgres::shared().admin(&sql) == "1").then_some(()));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let done = child.wait_with_output().unwrap();
    let said = std::str::from_utf8(&done.stderr).unwrap();
    assert!(said.contains("Cancel request sent") && said.contains("canceling statement due to user request"), "{said}");
    let cancelled = Expected { status: Some("cancelled".to_owned()), ..Expected::query(text) };
    vec![Expected { sqlstate: Some("57014".to_owned()), ..cancelled }]
}
