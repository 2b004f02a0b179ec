"""Runs one statement through the libpq that psycopg brings, and prints its rows as a|b; an error goes to standard error.

The arguments are a connection string, to which the environment (PGHOST, PGPASSWORD, ...) adds, and the statement.
"""

import sys

import psycopg

try:
    with psycopg.connect(sys.argv[1], autocommit=True) as connection:
        for row in connection.execute(sys.argv[2]).fetchall():
            print("|".join("" if value is None else str(value) for value in row))
except psycopg.Error as error:
    print(error.sqlstate, error, file=sys.stderr)
    sys.exit(1)
