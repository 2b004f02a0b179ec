//! In nobody's way: any client that works without Hansard works with it, and each statement of it is one row.
//!
//! Each client comes in by a token of its own over TLS that it verifies, works as it is used to (prepared and binary, cursors,
//! COPY, transactions, definitions), is denied outside of a transaction and inside one, where nothing works until it is over,
//! and in a pipeline where it has one, and cancels what takes long where it can. Then the archive must hold exactly what it
//! ran, and so must PostgreSQL's own log. `tests/clients/` has their programs; all of them share one Hansard.
//!
//! Not here, because they cannot be installed from the registries of the tests: npgsql (no .NET), DBeaver (pgjdbc is what it
//! speaks with) and other programs with a window.

#![expect(clippy::unwrap_used, reason = "a helper of a test that fails says so by panicking")]

mod support;

#[path = "any_client/dump.rs"]
mod dump;
#[path = "any_client/matrix.rs"]
mod matrix;
#[path = "any_client/psql.rs"]
mod psql;

mod each_statement_is_one_row_of {
    use super::matrix::{Client, among, exact, java, javascript, perl, python};
    use super::{dump, psql};
    use crate::support::run;

    #[test]
    fn psql() {
        exact("psql", psql::story);
    }

    #[test]
    fn psql_that_is_interrupted() {
        exact("psql-interrupted", psql::interrupted);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn tokio_postgres() {
        let client = Client::new("tokio-postgres");
        let told = run("tokio-postgres", client.login()).await;
        client.assert_exact(&told);
    }

    #[test]
    fn sqlx() {
        exact("sqlx", super::matrix::sqlx);
    }

    #[test]
    fn psycopg_with_libpq_18() {
        exact("psycopg", |login| python("with_psycopg.py", login));
    }

    #[test]
    fn psycopg2() {
        exact("psycopg2", |login| python("with_psycopg2.py", login));
    }

    #[test]
    fn asyncpg() {
        exact("asyncpg", |login| python("with_asyncpg.py", login));
    }

    #[test]
    fn pg8000() {
        exact("pg8000", |login| python("with_pg8000.py", login));
    }

    #[test]
    fn node_postgres() {
        exact("node-postgres", |login| javascript("with_pg.mjs", login));
    }

    #[test]
    fn postgres_js() {
        exact("postgres-js", |login| javascript("with_postgres_js.mjs", login));
    }

    #[test]
    fn knex() {
        exact("knex", |login| javascript("with_knex.mjs", login));
    }

    #[test]
    fn pgjdbc() {
        exact("pgjdbc", |login| java("WithJdbc.java", login));
    }

    #[test]
    fn dbd_pg() {
        exact("dbd-pg", |login| perl("with_dbd_pg.pl", login));
    }

    #[test]
    fn psqlodbc() {
        among("psqlodbc", |login| python("with_psqlodbc.py", login));
    }

    #[test]
    fn sqlalchemy() {
        among("sqlalchemy", |login| python("with_sqlalchemy.py", login));
    }

    #[test]
    fn django() {
        among("django", |login| python("with_django.py", login));
    }

    #[test]
    fn pg_dump_and_pg_restore() {
        among("pg-dump", dump::story);
    }
}
