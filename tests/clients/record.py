"""What a client program knows of each statement it ran; printed at its end as one JSON list.

The keys are those of `Expected` in tests/support/expected.rs; one that is absent is not compared.
"""

import json
import os
import sys

# Whether the way goes by Hansard, where the rules of the tests hold.
RECORDED = os.environ["HANSARD"] == "1"

_statements = []


def ran(request, text, params=None, **known):
    """Notes one statement: how it was asked, its text on the wire, its values in readable form."""
    entry = {"request": request, "text": text, **known}
    if request == "execute":
        entry["params"] = [None if value is None else str(value) for value in params or []]
    _statements.append(entry)


def check(condition, what):
    """A client that got something else than it should have ends the test."""
    if not condition:
        sys.exit(f"the client got something else: {what}")


def done():
    json.dump(_statements, sys.stdout)
