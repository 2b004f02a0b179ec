"""pg8000, which speaks the protocol by itself: values, statements that it prepares, transactions, COPY, denials."""

import io
import os
import ssl

import pg8000.exceptions
import pg8000.native

from record import RECORDED, SALARIES, check, denied, done, failed, ran, refused

# Ids of this client's rows, so that clients do not meet.
BASE = 6000
AWKWARD = "it's \\ a \"test\" – 漢字;\nselect 1 -- no"
INSERT = "insert into notes (id, body) values (:id, :body)"
INSERT_SENT = "insert into notes (id, body) values ($1, $2)"


def values(db):
    db.run(INSERT, id=BASE, body=AWKWARD)
    ran("execute", INSERT_SENT, (BASE, AWKWARD), rows_affected=1)
    check(db.run("select body from notes where id = :id", id=BASE) == [[AWKWARD]], "values")
    ran("execute", "select body from notes where id = $1", (BASE,), rows_returned=1)
    # Without values it is a simple query.
    check(db.run("select 1; select 2") == [[1], [2]], "two statements in one message")
    ran("query", "select 1; select 2", rows_returned=2)


def prepared(db):
    statement = db.prepare(INSERT)
    for n in range(5):
        statement.run(id=BASE + 10 + n, body=None if n == 4 else f"row {n}")
        ran("execute", INSERT_SENT, (BASE + 10 + n, None if n == 4 else f"row {n}"), rows_affected=1)
    statement.close()


def transactions(db):
    for end, body in (("COMMIT", "kept"), ("ROLLBACK", "not kept")):
        db.run("START TRANSACTION")
        ran("query", "START TRANSACTION")
        db.run("update notes set body = :body where id = :id", body=body, id=BASE + 10)
        ran("execute", "update notes set body = $1 where id = $2", (body, BASE + 10), rows_affected=1)
        db.run(end)
        ran("query", end)
    query = "select body from notes where id = :id"
    check(db.run(query, id=BASE + 10) == [["kept"]], "commit and rollback")
    ran("execute", "select body from notes where id = $1", (BASE + 10,), rows_returned=1)


def copies(db):
    text = "copy notes (id, body) from stdin"
    db.run(text, stream=io.BytesIO(b"".join(b"%d\tcopied\n" % (BASE + 100 + n) for n in range(20))))
    # With a stream it prepares first.
    ran("execute", text, rows_affected=20)
    text = f"copy (select id from notes where id between {BASE + 100} and {BASE + 199}) to stdout"
    target = io.BytesIO()
    db.run(text, stream=target)
    check(len(target.getvalue().split()) == 20, "COPY out")
    ran("execute", text, rows_returned=20)


def failures(db):
    def again():
        db.run(INSERT, id=BASE, body="again")

    refused(again, pg8000.exceptions.DatabaseError, "23505")
    failed("execute", INSERT_SENT, "23505", (BASE, "again"))


def denials(db):
    if not RECORDED:
        return
    by_name = f"{SALARIES} where person = :person"
    for inside in (False, True):
        if inside:
            db.run("START TRANSACTION")
            ran("query", "START TRANSACTION")
        refused(lambda: db.run(by_name, person="Ana"), pg8000.exceptions.DatabaseError)
        denied("parse", f"{SALARIES} where person = $1")
        if inside:
            refused(lambda: db.run("select 1"), pg8000.exceptions.DatabaseError, "25P02")
            failed("query", "select 1", "25P02")
            db.run("ROLLBACK")
            ran("query", "ROLLBACK")
    refused(lambda: db.run(SALARIES), pg8000.exceptions.DatabaseError)
    denied("query", SALARIES)
    check(db.run("select :word", word="still here") == [["still here"]], "the connection after a refusal")
    ran("execute", "select $1", ("still here",), rows_returned=1)


def main():
    encryption = ssl.create_default_context(cafile=os.environ["PGSSLROOTCERT"])
    db = pg8000.native.Connection(
        os.environ["PGUSER"],
        host=os.environ["PGHOST"],
        port=int(os.environ["PGPORT"]),
        database=os.environ["PGDATABASE"],
        password=os.environ["PGPASSWORD"],
        application_name=os.environ["PGAPPNAME"],
        ssl_context=encryption,
    )
    for chapter in (values, prepared, transactions, copies, failures, denials):
        chapter(db)
    db.close()
    done()


main()
