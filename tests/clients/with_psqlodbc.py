"""psqlODBC by pyodbc: statements prepared at the server, values, transactions, what it asks the catalog, denials, cancel.

The driver asks for much by itself, in texts that change with its version; what is told here is what this program asks for.
"""

import glob
import os

import pyodbc

from record import RECORDED, SALARIES, SLEEP, cancelled, check, denied, done, failed, ran, refused, until_cancelled

# Ids of this client's rows, so that clients do not meet.
BASE = 11000
AWKWARD = "it's \\ a \"test\" – 漢字;\nselect 1 -- no"
INSERT = "insert into notes (id, body) values (?, ?)"
INSERT_SENT = "insert into notes (id, body) values ($1, $2)"
CHANGE = "update notes set body = ? where id = ?"
CHANGE_SENT = "update notes set body = $1 where id = $2"


def connect():
    # Where Debian puts it, on any kind of processor.
    (driver,) = glob.glob("/usr/lib/*/odbc/psqlodbcw.so")
    login = {
        "Driver": driver,
        "Server": os.environ["PGHOST"],
        "Port": os.environ["PGPORT"],
        "Database": os.environ["PGDATABASE"],
        "UID": os.environ["PGUSER"],
        "PWD": os.environ["PGPASSWORD"],
        "SSLmode": "verify-full",
        # A statement that fails in a transaction is not rolled back by the driver itself.
        "Protocol": "7.4-0",
        "pqopt": "{application_name=" + os.environ["PGAPPNAME"] + "}",
    }
    return pyodbc.connect(";".join(f"{key}={value}" for key, value in login.items()), autocommit=True)


def sqlstate(state):
    return f"'{state}'"


def values(cursor):
    for number, body in enumerate((AWKWARD, "plain", None)):
        cursor.execute(INSERT, BASE + number, body)
        ran("execute", INSERT_SENT, (BASE + number, body), rows_affected=1)
    rows = cursor.execute("select body from notes where id = ?", BASE).fetchall()
    check(rows[0][0] == AWKWARD, "values")
    ran("execute", "select body from notes where id = $1", (BASE,), rows_returned=1)
    check(cursor.execute("select 1").fetchval() == 1, "select 1")
    ran("query", "select 1", rows_returned=1)
    rows = [(BASE + 10 + n, f"row {n}") for n in range(10)]
    cursor.executemany(INSERT, rows)
    for row in rows:
        ran("execute", INSERT_SENT, row, rows_affected=1)


def catalog(cursor):
    """As tools do that show tables and columns."""
    check([row.table_name for row in cursor.tables(table="notes")] == ["notes"], "tables")
    check([row.column_name for row in cursor.columns(table="notes")] == ["id", "body", "weight", "tag"], "columns")
    check([row.column_name for row in cursor.primaryKeys(table="notes")] == ["id"], "the key")


def transactions(db, cursor):
    db.autocommit = False
    for body, end in (("kept", db.commit), ("not kept", db.rollback)):
        cursor.execute(CHANGE, body, BASE + 1)
        ran("execute", CHANGE_SENT, (body, BASE + 1), rows_affected=1)
        end()
        ran("query", "COMMIT" if body == "kept" else "ROLLBACK")
    db.autocommit = True
    check(cursor.execute(f"select body from notes where id = {BASE + 1}").fetchval() == "kept", "commit and rollback")
    ran("query", f"select body from notes where id = {BASE + 1}", rows_returned=1)


def denials(db, cursor):
    again = f"insert into notes (id) values ({BASE})"
    refused(lambda: cursor.execute(again), pyodbc.Error, sqlstate("23505"))
    failed("query", again, "23505")
    if not RECORDED:
        return
    error = refused(lambda: cursor.execute(SALARIES), pyodbc.Error, "hansard:")
    check(error.args[0] == "42501", error)
    denied("query", SALARIES)
    refused(lambda: cursor.execute(f"{SALARIES} where person = ?", "Ana"), pyodbc.Error, "hansard:")
    denied("parse", f"{SALARIES} where person = $1")
    # In a transaction: nothing works until it is over.
    db.autocommit = False
    cursor.execute(CHANGE, "not to stay", BASE + 1)
    ran("execute", CHANGE_SENT, ("not to stay", BASE + 1), rows_affected=1)
    refused(lambda: cursor.execute(SALARIES), pyodbc.Error, "hansard:")
    denied("query", SALARIES)
    refused(lambda: cursor.execute("select 2"), pyodbc.Error, sqlstate("25P02"))
    failed("query", "select 2", "25P02")
    db.rollback()
    ran("query", "ROLLBACK")
    db.autocommit = True
    check(cursor.execute(f"select body from notes where id = {BASE + 1}").fetchval() == "kept", "after the rollback")
    ran("query", f"select body from notes where id = {BASE + 1}", rows_returned=1)


def cancels(cursor):
    until_cancelled(lambda: cursor.execute(SLEEP), cursor.cancel, pyodbc.Error)
    cancelled("query", SLEEP)
    check(cursor.execute("select 'still here'").fetchval() == "still here", "after cancelling")
    ran("query", "select 'still here'", rows_returned=1)


def main():
    db = connect()
    cursor = db.cursor()
    values(cursor)
    catalog(cursor)
    transactions(db, cursor)
    denials(db, cursor)
    cancels(cursor)
    db.close()
    done()


main()
