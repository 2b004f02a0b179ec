-- The tables that the tests' clients work on.
create table notes (id integer primary key, body text, weight numeric(10, 2), tag uuid);
create schema hr;
create table hr.salaries (person text primary key, amount integer);
insert into hr.salaries values ('Ana', 52000), ('Dora', 61000);
