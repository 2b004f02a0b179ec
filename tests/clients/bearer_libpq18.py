"""libpq 18 (psycopg 3's own) signs in by SASL OAUTHBEARER, with a token that its application has: the first argument, or the
name of an environment variable with it. Says what it was told where to sign in, and what it did there.

usage: bearer_libpq18.py "CONNECTION STRING" VARIABLE
"""

import ctypes
import glob
import json
import os
import sys

os.environ["PGOAUTHDEBUG"] = "UNSAFE"  # the issuer of the tests is on loopback, without TLS
import psycopg  # noqa: E402
import psycopg_binary  # noqa: E402

BEARER_TOKEN = 1  # PQAUTHDATA_OAUTH_BEARER_TOKEN


class Request(ctypes.Structure):
    """PGoauthBearerRequest of libpq-fe.h."""

    _fields_ = [
        ("openid_configuration", ctypes.c_char_p),
        ("scope", ctypes.c_char_p),
        ("step", ctypes.c_void_p),
        ("cleanup", ctypes.c_void_p),
        ("token", ctypes.c_char_p),
        ("user", ctypes.c_void_p),
    ]


def main():
    conninfo, token = sys.argv[1], os.environ.get(sys.argv[2], "").encode()
    folder = os.path.dirname(os.path.dirname(psycopg_binary.__file__))
    (path,) = glob.glob(os.path.join(folder, "psycopg_binary.libs", "libpq-*.so*"))
    libpq = ctypes.CDLL(path)
    asked = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    def hook(kind, _conn, data):
        if kind != BEARER_TOKEN:
            return 0
        request = ctypes.cast(data, ctypes.POINTER(Request)).contents
        asked.append([(request.openid_configuration or b"").decode(), (request.scope or b"").decode()])
        request.token = token
        return 1

    libpq.PQsetAuthDataHook(hook)
    told = {"version": psycopg.pq.version()}
    try:
        with psycopg.connect(conninfo, autocommit=True) as db:
            told["answer"] = db.execute("select 6 * 7").fetchone()[0]
    except psycopg.OperationalError as error:
        told["error"] = str(error)
    told["asked"] = asked
    print(json.dumps(told))


main()
