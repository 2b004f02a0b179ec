"""What a client program knows of each statement it ran; printed at its end as one JSON list.

The keys are those of `Expected` in tests/support/expected.rs; one that is absent is not compared.
"""

import json
import os
import sys
import threading

# Whether the way goes by Hansard, where the rules of the tests hold.
RECORDED = os.environ["HANSARD"] == "1"

# What the rules keep from everybody, and what the refusal begins with.
SALARIES = "select amount from hr.salaries"

# A statement that ends when it is cancelled.
SLEEP = "select pg_sleep(60)"

# How long to wait for a cancel request to do its work before the next one: the first may come before the statement.
CANCEL_AGAIN_SECONDS = 0.3

_statements = []


def ran(request, text, params=None, **known):
    """Notes one statement: how it was asked, its text on the wire, its values in readable form."""
    entry = {"request": request, "text": text, **known}
    if request == "execute" and params is not ...:
        entry["params"] = [None if value is None else str(value) for value in params or []]
    _statements.append(entry)


def failed(request, text, sqlstate, params=None, **known):
    """Notes one that the database refused."""
    ran(request, text, params, status="error", sqlstate=sqlstate, **known)


def denied(request, text):
    """Notes one that the rules refused."""
    ran(request, text, ..., decision="deny", status="denied", sqlstate="42501")


def cancelled(request, text, params=None):
    """Notes one that was cut short by its own client."""
    ran(request, text, params, status="cancelled", sqlstate="57014")


def refused(run, kind, begins="hansard:"):
    """Runs what the rules refuse; the client's error of that `kind` says whose refusal it is. Returns it."""
    try:
        run()
    except kind as error:
        check(begins in str(error), f"the refusal says {error}")
        return error
    return check(False, "it was not refused")


def until_cancelled(run, cancel, kind):
    """Runs what takes long and cancels it from beside until it ends with an error of that `kind`."""
    ended = threading.Event()

    def again():
        while not ended.wait(CANCEL_AGAIN_SECONDS):
            try:
                cancel()
            except Exception as error:
                check(False, f"cancelling: {error}")

    beside = threading.Thread(target=again)
    beside.start()
    try:
        run()
        check(False, "it was not cancelled")
    except kind:
        pass
    finally:
        ended.set()
        beside.join()


def check(condition, what):
    """A client that got something else than it should have ends the test."""
    if not condition:
        # From a thread or a handler of errors as well.
        sys.stderr.write(f"the client got something else: {what}\n")
        sys.stderr.flush()
        os._exit(1)


def done():
    json.dump(_statements, sys.stdout)
