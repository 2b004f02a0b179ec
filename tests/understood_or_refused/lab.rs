//! The laboratory: a real PostgreSQL loaded with `fixtures/corpus/lab.sql`, whose databases are made anew from a template.

use std::fs;

use super::support::{Postgres, repository};

/// The database that every other one is a copy of.
const TEMPLATE: &str = "lab_template";

/// What `lab.sql` takes for granted: who is there, and a second database to reach by a foreign table. Hansard's own login
/// is a superuser, so that no attack fails for want of rights: what is not refused by a rule happens.
const AROUND: &str = "
    alter role hansard superuser;
    create role postgres superuser login;
    create role app login;
    create role admin_role;
    create database labsrc;
    create database lab_template owner hansard;
";
const REMOTE: &str = "
    create table secrets (id int primary key, val text, owner text);
    insert into secrets values (1, 'TOPSECRET-REMOTE', 'root');
";
/// Marks the statements that an earlier policy let happen; see the head of the test.
const EARLIER: &str = "
    create schema corpus;
    create function corpus.earlier_rule() returns void language sql as '';
";
/// What a case may leave behind outside of its database.
const TIDY: &str = "
    alter role all reset all;
    alter role hansard reset all;
    alter role app reset all;
    select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active;
    select pg_replication_origin_drop(roname) from pg_replication_origin;
";

/// One database of the laboratory, in use by one thread.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) database: String,
    is_fresh: bool,
}

impl Lab {
    /// The template and so many copies of it.
    pub(crate) fn build(count: usize) -> Vec<Self> {
        let server = Postgres::shared();
        server.trust("postgres");
        for statement in AROUND.split_inclusive(';').filter(|statement| statement.contains(';')) {
            server.admin_in("postgres", statement);
        }
        server.admin_in("labsrc", REMOTE);
        let lab = fs::read_to_string(repository("fixtures/corpus/lab.sql")).unwrap();
        // The file names the port of the server that it was written on.
        let lab = lab.replace("'55432'", &format!("'{}'", server.port()));
        server.admin_in(TEMPLATE, &format!("set role hansard;\n{lab}\n{EARLIER}"));
        let labs = (1..=count).map(|at| Self { database: format!("lab_{at}"), is_fresh: false });
        labs.map(|mut lab| {
            lab.renew();
            lab
        })
        .collect()
    }

    /// Something may have changed.
    pub(crate) fn spoil(&mut self) {
        self.is_fresh = false;
    }

    /// As the template is, if it is not.
    pub(crate) fn renew(&mut self) {
        if self.is_fresh {
            return;
        }
        let (server, name) = (Postgres::shared(), &self.database);
        server.admin_in("postgres", TIDY);
        for statement in [
            format!("drop database if exists {name} with (force)"),
            format!("create database {name} template {TEMPLATE} owner hansard"),
        ] {
            server.admin_in("postgres", &statement);
        }
        self.is_fresh = true;
    }
}
