"""psycopg2: values put into the text by the client, cursors of the server, execute_values, COPY, large objects, cancel."""

import io
import os

import psycopg2
from psycopg2 import errors
from psycopg2.extras import execute_values

from record import RECORDED, SALARIES, SLEEP, cancelled, check, denied, done, failed, ran, refused, until_cancelled

# Ids of this client's rows, so that clients do not meet.
BASE = 5000
AWKWARD = "it's \\ a \"test\" – 漢字;\nselect 1 -- no"


def values(db, cursor):
    """A transaction begins by itself with the first statement."""
    cursor.execute("insert into notes (id, body) values (%s, %s)", (BASE, AWKWARD))
    ran("query", "BEGIN")
    ran("query", cursor.query.decode(), rows_affected=1)
    cursor.execute("select body from notes where id = %s", (BASE,))
    check(cursor.fetchone() == (AWKWARD,), "values in the text")
    ran("query", cursor.query.decode(), rows_returned=1)
    rows = [(BASE + 10 + n, f"row {n}") for n in range(30)]
    execute_values(cursor, "insert into notes (id, body) values %s", rows, page_size=20)
    # Two pages.
    for page in (rows[:20], rows[20:]):
        text = b",".join(cursor.mogrify("(%s,%s)", row) for row in page).decode()
        ran("query", f"insert into notes (id, body) values {text}", rows_affected=len(page))
    db.commit()
    ran("query", "COMMIT")


def prepared(db, cursor):
    """By SQL, as there is no other way with this client."""
    text = "prepare by_id (int) as select body from notes where id = $1"
    cursor.execute(text)
    ran("query", "BEGIN")
    ran("query", text)
    for number in range(3):
        cursor.execute("execute by_id (%s)", (BASE + 10 + number,))
        check(cursor.fetchone() == (f"row {number}",), "a prepared statement")
        ran("query", f"execute by_id ({BASE + 10 + number})", rows_returned=1)
    db.rollback()
    ran("query", "ROLLBACK")


def cursors(db):
    query = f"select id from notes where id between {BASE + 10} and {BASE + 39} order by id"
    with db, db.cursor("kept") as cursor:
        cursor.itersize = 12
        cursor.execute(query)
        check([row[0] for row in cursor] == [BASE + 10 + n for n in range(30)], "a cursor of the server")
    ran("query", "BEGIN")
    ran("query", f'DECLARE "kept" CURSOR WITHOUT HOLD FOR {query}')
    for rows in (12, 12, 6, 0):
        ran("query", 'FETCH FORWARD 12 FROM "kept"', rows_returned=rows)
    ran("query", 'CLOSE "kept"')
    ran("query", "COMMIT")


def copies(db, cursor):
    text = "copy notes (id, body) from stdin"
    cursor.copy_expert(text, io.StringIO("".join(f"{BASE + 100 + n}\tcopied {n}\n" for n in range(50))))
    check(cursor.rowcount == 50, "COPY in")
    ran("query", "BEGIN")
    ran("query", text, rows_affected=50)
    target = io.StringIO()
    text = f"copy (select id from notes where id >= {BASE + 100} order by id limit 50) to stdout csv"
    cursor.copy_expert(text, target)
    check(target.getvalue().startswith(f"{BASE + 100}\n"), "COPY out")
    ran("query", text, rows_returned=50)
    db.commit()
    ran("query", "COMMIT")


# What libpq asks for before the first large object of a connection.
LARGE_OBJECT_FUNCTIONS = (
    "select proname, oid from pg_catalog.pg_proc where proname in ('lo_open', 'lo_close', 'lo_creat', 'lo_create', "
    "'lo_unlink', 'lo_lseek', 'lo_lseek64', 'lo_tell', 'lo_tell64', 'lo_truncate', 'lo_truncate64', 'loread', 'lowrite') "
    "and pronamespace = (select oid from pg_catalog.pg_namespace where nspname = 'pg_catalog')"
)


def large_objects(db, cursor):
    """By function call messages, as libpq does: each is recorded as the SELECT that does the same."""

    def called(name, number, arguments):
        values = ", ".join(f"${at + 1}" for at in range(arguments))
        text = f'SELECT "pg_catalog"."{name}"({values}) /* function call message, OID {number} */'
        ran("function_call", text, rows_returned=1)

    content = bytes(range(256)) * 40
    large = db.lobject(0, "wb")
    large.write(content)
    large.close()
    ran("query", "BEGIN")
    ran("query", LARGE_OBJECT_FUNCTIONS, rows_returned=13)
    called("lo_creat", 957, 1)
    called("lo_open", 952, 2)
    called("lowrite", 955, 2)
    called("lo_close", 953, 1)
    db.commit()
    ran("query", "COMMIT")
    large = db.lobject(large.oid, "rb")
    check(large.read(len(content)) == content, "a large object")
    large.unlink()
    ran("query", "BEGIN")
    called("lo_open", 952, 2)
    called("loread", 954, 2)
    called("lo_close", 953, 1)
    called("lo_unlink", 964, 1)
    db.rollback()
    ran("query", "ROLLBACK")


def failures(db, cursor):
    text = f"insert into notes (id) values ({BASE})"
    try:
        cursor.execute(text)
        check(False, "a second row of the same key")
    except errors.UniqueViolation:
        ran("query", "BEGIN")
        failed("query", text, "23505")
    db.rollback()
    ran("query", "ROLLBACK")


def denials(db, cursor):
    if not RECORDED:
        return
    # In a transaction: nothing works until it is over.
    cursor.execute(f"update notes set body = 'not to stay' where id = {BASE}")
    ran("query", "BEGIN")
    ran("query", f"update notes set body = 'not to stay' where id = {BASE}", rows_affected=1)
    refused(lambda: cursor.execute(SALARIES), errors.InsufficientPrivilege)
    denied("query", SALARIES)
    refused(lambda: cursor.execute("select 1"), errors.InFailedSqlTransaction)
    failed("query", "select 1", "25P02")
    db.rollback()
    ran("query", "ROLLBACK")
    # Outside.
    db.autocommit = True
    refused(lambda: cursor.execute(SALARIES), errors.InsufficientPrivilege)
    denied("query", SALARIES)
    cursor.execute(f"select body from notes where id = {BASE}")
    check(cursor.fetchone() == (AWKWARD,), "what the failed transaction had changed")
    ran("query", f"select body from notes where id = {BASE}", rows_returned=1)
    db.autocommit = False


def cancels(db, cursor):
    db.autocommit = True
    until_cancelled(lambda: cursor.execute(SLEEP), db.cancel, errors.QueryCanceled)
    cancelled("query", SLEEP)
    cursor.execute("select 'still here'")
    ran("query", "select 'still here'", rows_returned=1)


def main():
    db = psycopg2.connect(application_name=os.environ["PGAPPNAME"])
    with db.cursor() as cursor:
        for chapter in (values, prepared):
            chapter(db, cursor)
        cursors(db)
        for chapter in (copies, large_objects, failures, denials, cancels):
            chapter(db, cursor)
    db.close()
    done()


main()
