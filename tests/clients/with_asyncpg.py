"""asyncpg: binary values, prepared statements, cursors by portal, executemany, COPY, denials, cancel."""

import asyncio
import decimal
import io
import os
import uuid

import asyncpg

from record import RECORDED, SALARIES, SLEEP, cancelled, check, denied, done, failed, ran

# Ids of this client's rows, so that clients do not meet.
BASE = 2000
TAG = uuid.UUID("0b7d5a3c-3f0e-4d1c-8d5e-0a4b1c2d3e4f")
INSERT = "insert into notes (id, body, weight, tag) values ($1, $2, $3, $4)"


async def simple(db):
    check(await db.execute("select 1") == "SELECT 1", "select 1")
    ran("query", "select 1", rows_returned=1)


async def values(db):
    row = (BASE + 1, "höher; drop table notes", decimal.Decimal("7.25"), TAG)
    check(await db.execute(INSERT, *row) == "INSERT 0 1", "insert")
    ran("execute", INSERT, row, rows_affected=1)
    found = await db.fetchrow("select body, weight, tag from notes where id = $1", BASE + 1)
    check(tuple(found) == row[1:], "values in binary")
    ran("execute", "select body, weight, tag from notes where id = $1", (BASE + 1,), rows_returned=1)
    await db.execute(INSERT, BASE + 2, None, None, None)
    ran("execute", INSERT, (BASE + 2, None, None, None), rows_affected=1)


async def prepared(db):
    statement = await db.prepare("select id from notes where id between $1 and $2 order by id")
    for low, high, rows in ((BASE + 1, BASE + 2, 2), (BASE + 2, BASE + 9, 1), (BASE + 8, BASE + 9, 0)):
        check(len(await statement.fetch(low, high)) == rows, "a prepared statement")
        ran("execute", "select id from notes where id between $1 and $2 order by id", (low, high), rows_returned=rows)


async def transactions(db):
    async with db.transaction():
        ran("query", "BEGIN;")
        await db.execute("update notes set body = $1 where id = $2", "changed", BASE + 1)
        ran("execute", "update notes set body = $1 where id = $2", ("changed", BASE + 1), rows_affected=1)
    ran("query", "COMMIT;")
    try:
        async with db.transaction():
            ran("query", "BEGIN;")
            await db.execute(INSERT, BASE + 1, "again", None, None)
        check(False, "a second row of the same key")
    except asyncpg.UniqueViolationError:
        failed("execute", INSERT, "23505", (BASE + 1, "again", None, None))
        ran("query", "ROLLBACK;")


async def many(db):
    rows = [(BASE + 10 + n, f"row {n}", None, None) for n in range(20)]
    await db.executemany(INSERT, rows)
    for row in rows:
        ran("execute", INSERT, row, rows_affected=1)


async def cursors(db):
    """A portal that is executed again is a statement again."""
    query = "select id from notes where id >= $1 and id < $2 order by id"
    async with db.transaction():
        ran("query", "BEGIN;")
        cursor = await db.cursor(query, BASE + 10, BASE + 30)
        for rows in (8, 8, 4):
            check(len(await cursor.fetch(8)) == rows, "a cursor")
            # The server logs the first as `execute`, the others as `execute fetch from`.
            ran("execute", query, (BASE + 10, BASE + 30), rows_returned=rows)
    ran("query", "COMMIT;")


async def copies(db):
    rows = "".join(f"{BASE + 100 + n}\tcopied {n}\n" for n in range(50))
    tag = await db.copy_to_table("notes", source=io.BytesIO(rows.encode()), columns=["id", "body"])
    check(tag == "COPY 50", "COPY in")
    ran("query", 'COPY "notes"("id", "body") FROM STDIN  ', rows_affected=50)
    target = io.BytesIO()
    tag = await db.copy_from_query("select id from notes where id >= 2100 and id < 2150", output=target)
    check(tag == "COPY 50" and target.getvalue().startswith(b"2100\n"), "COPY out")
    ran("query", "COPY (select id from notes where id >= 2100 and id < 2150) TO STDOUT ", rows_returned=50)


async def refused(run, kind=asyncpg.InsufficientPrivilegeError, begins="hansard:"):
    try:
        await run
        check(False, "it was not refused")
    except kind as error:
        check(str(error).startswith(begins), f"the refusal says {error}")


async def denials(db):
    if not RECORDED:
        return
    by_name = f"{SALARIES} where person = $1"
    await refused(db.fetch(by_name, "Ana"))
    denied("parse", by_name)
    check(await db.fetchval("select 2") == 2, "the connection after a refusal")
    ran("execute", "select 2", rows_returned=1)
    # In a transaction: nothing works until it is over.
    await db.execute("begin")
    ran("query", "begin")
    await refused(db.execute(SALARIES))
    denied("query", SALARIES)
    # Refused when it is prepared, so the server never executes it.
    await refused(db.fetchval("select 2 where $1", True), asyncpg.InFailedSQLTransactionError, "")
    await refused(db.execute("select 3"), asyncpg.InFailedSQLTransactionError, "hansard:")
    failed("query", "select 3", "25P02")
    await db.execute("rollback")
    ran("query", "rollback")
    check(await db.fetchval("select 4") == 4, "after the rollback")
    ran("execute", "select 4", rows_returned=1)


async def cancels(db):
    """By a time limit, which cancels with a request on a connection of its own."""
    await refused(db.execute(SLEEP, timeout=2), asyncio.TimeoutError, "")
    cancelled("query", SLEEP)
    check(await db.fetchval("select 5") == 5, "after cancelling")
    ran("execute", "select 5", rows_returned=1)


async def main():
    settings = {"application_name": os.environ["PGAPPNAME"]}
    db = await asyncpg.connect(server_settings=settings)
    for chapter in (simple, values, prepared, transactions, many, cursors, copies, denials, cancels):
        await chapter(db)
    await db.close()
    done()


asyncio.run(main())
