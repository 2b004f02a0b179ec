"""Writes the rows of an archive into other files with DuckDB, as a lake does that compacts or a person who exports.

usage: other_files.py ARCHIVE TARGET compact|partition|export
"""

import pathlib
import sys

import duckdb

COPY = {
    # One file for each dataset.
    "compact": "COPY (SELECT * EXCLUDE (date) FROM rows) TO '{target}/{dataset}/all.parquet' (FORMAT parquet, COMPRESSION zstd)",
    # By day again, but in files of another writer with other names; the day is a column too.
    "partition": "COPY (SELECT *, date AS day FROM rows) TO '{target}/{dataset}' "
    "(FORMAT parquet, PARTITION_BY (day), FILENAME_PATTERN 'part-{{i}}')",
    # Through a table of a database, in another order.
    "export": "COPY (SELECT * EXCLUDE (date) FROM rows ORDER BY hash(entry_seq)) TO '{target}/{dataset}.parquet' (FORMAT parquet)",
}


def main():
    archive, target, how = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
    database = duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False})
    database.execute("SET TimeZone = 'UTC'")
    for dataset in ("statements", "sessions", "events"):
        files = sorted(str(path) for path in (archive / dataset).glob("date=*/*.parquet"))
        rows = "CREATE OR REPLACE TABLE rows AS SELECT * FROM read_parquet(?, hive_partitioning = true, union_by_name = true)"
        database.execute(rows, [files])
        if how != "export":
            (target / dataset).mkdir(parents=True, exist_ok=True)
        database.execute(COPY[how].format(target=target, dataset=dataset))


main()
