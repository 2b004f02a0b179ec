"""psycopg 3 on libpq 18: cancels a statement of its own while it runs, in the protocol that the argument names."""

import sys
import threading

import psycopg
from psycopg import errors

from record import check, done, ran

SLEEP = "select pg_sleep(60)"
# How long libpq may take to have the request taken.
LIMIT = 20.0


def main():
    asked, spoken = sys.argv[1], int(sys.argv[2])
    with psycopg.connect(autocommit=True, max_protocol_version=asked) as db:
        check(db.pgconn.full_protocol_version == spoken, f"protocol {db.pgconn.full_protocol_version}")
        started = db.execute("select 'begun'").fetchone()
        ran("query", "select 'begun'", rows_returned=1)
        check(started == ("begun",), "a row")
        canceller = threading.Timer(1.0, lambda: db.cancel_safe(timeout=LIMIT))
        canceller.start()
        try:
            db.execute(SLEEP)
            check(False, "a sleep that nobody cancelled")
        except errors.QueryCanceled:
            ran("query", SLEEP, status="cancelled", sqlstate="57014")
        canceller.join()
        db.execute("select 2")
        ran("query", "select 2", rows_returned=1)
    done()


main()
