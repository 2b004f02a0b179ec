"""psycopg 3: values as text and as binary, prepared statements, cursors, pipelines, COPY, transactions, denials, cancel.

Its binary package brings libpq 18, so this is also how a libpq of today connects, fetches in chunks and cancels over TLS.
"""

import decimal
import uuid

import psycopg
from psycopg import errors

from record import RECORDED, SALARIES, SLEEP, cancelled, check, denied, done, failed, ran, refused, until_cancelled

# Ids of this client's rows, so that clients do not meet.
BASE = 1000
TAG = uuid.UUID("6f1c7b1e-98a4-4b52-9d2d-5f8d3c1f0a11")
INSERT = "insert into notes (id, body, weight, tag) values (%s, %s, %s, %s)"
INSERT_SENT = "insert into notes (id, body, weight, tag) values ($1, $2, $3, $4)"
AWKWARD = "it's \\ a \"test\" – naïve, 漢字, 🦉;\nselect 1 -- no"


def simple(db):
    cursor = db.execute("select 1 as one")
    check(cursor.fetchall() == [(1,)], "select 1")
    ran("query", "select 1 as one", rows_returned=1)
    # Without values psycopg sends a simple query, which may hold several statements.
    db.execute("select 1; select 2")
    ran("query", "select 1; select 2", rows_returned=2)


def values(db):
    row = (BASE + 1, AWKWARD, decimal.Decimal("12.50"), TAG)
    db.execute(INSERT, row)
    ran("execute", INSERT_SENT, row, rows_affected=1)
    row = (BASE + 2, None, None, None)
    db.execute(INSERT, row)
    ran("execute", INSERT_SENT, row, rows_affected=1)

    binary = "select body, tag from notes where id = %b and tag = %b"
    cursor = db.execute(binary, (BASE + 1, TAG), binary=True)
    check(cursor.fetchall() == [(AWKWARD, TAG)], "values in binary")
    ran("execute", "select body, tag from notes where id = $1 and tag = $2", (BASE + 1, TAG), rows_returned=1)

    text = "select id from notes where id > %t and id < %t order by id"
    cursor = db.execute(text, (BASE, BASE + 100))
    check(cursor.fetchall() == [(BASE + 1,), (BASE + 2,)], "values as text")
    ran("execute", "select id from notes where id > $1 and id < $2 order by id", (BASE, BASE + 100), rows_returned=2)


def prepared(db):
    for number in (1, 2, 3):
        found = db.execute("select count(*) from notes where id = %s", (BASE + number,), prepare=True).fetchone()
        check(found == (1 if number < 3 else 0,), "a prepared count")
        ran("execute", "select count(*) from notes where id = $1", (BASE + number,), rows_returned=1)


def transactions(db):
    with db.transaction():
        ran("query", "BEGIN")
        db.execute("update notes set body = %s where id = %s", ("changed", BASE + 1))
        ran("execute", "update notes set body = $1 where id = $2", ("changed", BASE + 1), rows_affected=1)
    ran("query", "COMMIT")
    with db.transaction(force_rollback=True):
        ran("query", "BEGIN")
        db.execute("delete from notes where id = %s", (BASE + 1,))
        ran("execute", "delete from notes where id = $1", (BASE + 1,), rows_affected=1)
    ran("query", "ROLLBACK")
    # Prepared inside the transaction may mean gone with it, so psycopg forgets all of them.
    ran("query", "DEALLOCATE ALL")
    body = db.execute("select body from notes where id = %s", (BASE + 1,)).fetchone()
    check(body == ("changed",), "the row after commit and rollback")
    ran("execute", "select body from notes where id = $1", (BASE + 1,), rows_returned=1)


def failures(db):
    try:
        db.execute(INSERT, (BASE + 1, "again", None, None))
        check(False, "a second row of the same key")
    except errors.UniqueViolation:
        failed("execute", INSERT_SENT, "23505", (BASE + 1, "again", None, None))
    try:
        db.execute("select 1 / (id - id) from notes where id = 1001")
        check(False, "a division by zero")
    except errors.DivisionByZero:
        failed("query", "select 1 / (id - id) from notes where id = 1001", "22012")
    db.execute("select 2")
    ran("query", "select 2", rows_returned=1)


def many(db):
    rows = [(BASE + 10 + n, f"row {n}", None, None) for n in range(5)]
    cursor = db.cursor()
    cursor.executemany(INSERT, rows)
    check(cursor.rowcount == 5, "executemany")
    for row in rows:
        ran("execute", INSERT_SENT, row, rows_affected=1)


def pipelines(db):
    with db.pipeline():
        first = db.execute("select body from notes where id = %s", (BASE + 10,))
        second = db.execute("update notes set weight = %s where id = %s", (3, BASE + 11))
        third = db.execute("select 3")
    check(first.fetchone() == ("row 0",) and second.rowcount == 1 and third.fetchone() == (3,), "a pipeline")
    ran("execute", "select body from notes where id = $1", (BASE + 10,), rows_returned=1)
    ran("execute", "update notes set weight = $1 where id = $2", (3, BASE + 11), rows_affected=1)
    ran("execute", "select 3", rows_returned=1)

    # What comes after an error, up to the next Sync, the server discards.
    try:
        with db.pipeline():
            db.execute(INSERT, (BASE + 1, "again", None, None))
            db.execute("select 4")
        check(False, "a pipeline with an error")
    except errors.UniqueViolation:
        failed("execute", INSERT_SENT, "23505", (BASE + 1, "again", None, None))
        ran("execute", "select 4", status="skipped", sqlstate="23505")
    db.execute("select 5")
    ran("query", "select 5", rows_returned=1)


def copies(db):
    cursor = db.cursor()
    with cursor.copy("copy notes (id, body) from stdin") as copy:
        for n in range(100):
            copy.write_row((BASE + 100 + n, f"copied {n}"))
    check(cursor.rowcount == 100, "COPY in")
    ran("query", "copy notes (id, body) from stdin", rows_affected=100)
    query = "copy (select id, body from notes where id >= 1100 and id < 1200 order by id) to stdout (format binary)"
    with cursor.copy(query) as copy:
        copy.set_types(["int4", "text"])
        rows = list(copy.rows())
    check(rows[0] == (BASE + 100, "copied 0") and len(rows) == 100, "COPY out")
    ran("query", query, rows_returned=100)


def cursors(db):
    query = "select id from notes where id between %s and %s order by id"
    with db.transaction(), db.cursor("kept") as cursor:
        cursor.itersize = 40
        cursor.execute(query, (BASE + 100, BASE + 199))
        check([row[0] for row in cursor] == [BASE + 100 + n for n in range(100)], "a cursor of the server")
    ran("query", "BEGIN")
    ran("execute", f'DECLARE "kept" CURSOR FOR {query.replace("%s", "$1", 1).replace("%s", "$2")}', (BASE + 100, BASE + 199))
    for rows in (40, 40, 20):
        ran("query", 'FETCH FORWARD 40 FROM "kept"', rows_returned=rows)
    ran("query", 'CLOSE "kept"')
    ran("query", "COMMIT")


def chunks(db):
    """Rows as they come, some at a time: what libpq has from 17 on."""
    query = "select id from notes where id between %s and %s order by id"
    rows = list(db.cursor().stream(query, (BASE + 100, BASE + 149), size=7))
    check(rows == [(BASE + 100 + n,) for n in range(50)], "rows in chunks")
    ran("execute", query.replace("%s", "$1", 1).replace("%s", "$2"), (BASE + 100, BASE + 149), rows_returned=50)


def denials(db):
    if not RECORDED:
        return
    by_name = f"{SALARIES} where person = %s"
    sent = f"{SALARIES} where person = $1"
    for prepare in (False, True):
        refused(lambda: db.execute(by_name, ("Ana",), prepare=prepare), errors.InsufficientPrivilege)  # noqa: B023
        denied(None, sent)
    refused(lambda: db.execute(SALARIES), errors.InsufficientPrivilege)
    denied("query", SALARIES)
    db.execute("select 6")
    ran("query", "select 6", rows_returned=1)


def denials_inside(db):
    """A denial in a transaction: nothing works until it is over."""
    if not RECORDED:
        return
    change = "update notes set body = %s where id = %s"
    db.execute("begin")
    ran("query", "begin")
    db.execute(change, ("not to stay", BASE + 1))
    ran("execute", "update notes set body = $1 where id = $2", ("not to stay", BASE + 1), rows_affected=1)
    refused(lambda: db.execute(SALARIES), errors.InsufficientPrivilege)
    denied("query", SALARIES)
    refused(lambda: db.execute("select 7"), errors.InFailedSqlTransaction)
    failed("query", "select 7", "25P02")
    db.execute("rollback")
    ran("query", "rollback")
    # As after every rollback that psycopg sees.
    ran("query", "DEALLOCATE ALL")
    check(db.execute(f"select body from notes where id = {BASE + 1}").fetchone() == ("changed",), "after the rollback")
    ran("query", f"select body from notes where id = {BASE + 1}", rows_returned=1)


def denials_in_a_pipeline(db):
    """What comes before is done, the denied one fails, what comes behind up to the Sync is discarded."""
    if not RECORDED:
        return
    query = "select body from notes where id = %s"

    def pipeline():
        with db.pipeline():
            db.execute(query, (BASE + 1,))
            db.execute(f"{SALARIES} where person = %s", ("Ana",))
            db.execute(query, (BASE + 2,))

    refused(pipeline, errors.InsufficientPrivilege)
    ran("execute", "select body from notes where id = $1", (BASE + 1,))
    denied(None, f"{SALARIES} where person = $1")
    db.execute("select 8")
    ran("query", "select 8", rows_returned=1)


def cancels(db):
    until_cancelled(lambda: db.execute(SLEEP), db.cancel_safe, errors.QueryCanceled)
    cancelled("query", SLEEP)
    db.execute("select 9")
    ran("query", "select 9", rows_returned=1)


CHAPTERS = (
    simple,
    values,
    prepared,
    transactions,
    failures,
    many,
    pipelines,
    copies,
    cursors,
    chunks,
    denials,
    denials_inside,
    denials_in_a_pipeline,
    cancels,
)


def main():
    check(psycopg.pq.version() >= 180000, f"libpq {psycopg.pq.version()}")
    with psycopg.connect("max_protocol_version=latest", autocommit=True) as db:
        for chapter in CHAPTERS:
            chapter(db)
    done()


main()
