"""Reads an archive folder with DuckDB, a reader that is not ours, and prints the rows as one JSON list of objects.

usage: duckdb_rows.py FOLDER < query.sql

The query sees the views statements, sessions and events. A view of which no file exists yet has no rows.
"""

import glob
import json
import pathlib
import sys

import duckdb


def plain(value):
    """JSON has no bytes and no times: hexadecimal and ISO 8601."""
    return value.hex() if isinstance(value, (bytes, bytearray)) else str(value)


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    query = sys.stdin.read()
    database = duckdb.connect()
    for view in ("statements", "sessions", "events"):
        pattern = str(folder / "**" / view / "**" / "*.parquet")
        if glob.glob(pattern, recursive=True):
            database.execute(
                f"create view {view} as select * from "
                f"read_parquet('{pattern}', hive_partitioning = true, union_by_name = true)"
            )
        elif view in query:
            print("[]")
            return
    found = database.execute(query)
    names = [column[0] for column in found.description]
    rows = [dict(zip(names, row)) for row in found.fetchall()]
    json.dump(rows, sys.stdout, default=plain)


main()
