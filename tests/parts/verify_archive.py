"""Verifies a whole archive by the published pages alone: schemas/record-bytes.v1.md, schemas/manifest.v1.json and the
specifications they name. DuckDB reads the rows; everything else is the standard library and check_vectors.py beside this.
Prints how much was verified, or fails. It stops at the first thing that is wrong: `hansard verify` is for finding all.

usage: verify_archive.py SCHEMAS ARCHIVE KEYS [ROWS]

With ROWS, the rows stand in the Parquet files of that folder and not in the recorder's own.
"""

import base64
import hashlib
import json
import pathlib
import sys

import duckdb

import check_vectors as published

DATASETS = ("statements", "sessions", "events")
STRETCH = 256


def rows_of(database, dataset, files, segment):
    """The canonical leaves of the segment's rows of a dataset, in their order."""
    if not files:
        return []
    columns = published.read(f"{dataset}.v1.json")["columns"]
    query = "SELECT * FROM read_parquet(?, hive_partitioning = false) WHERE node = ? AND segment = ?"
    found = database.execute(query, [files, *segment])
    names = [column[0] for column in found.description]
    leaves = []
    for values in found.fetchall():
        row = dict(zip(names, values))
        data = published.cbor(["hansard.row.v1", f"{dataset}.v1", published.map_of(columns, row)])
        leaves.append((row["entry_seq"], published.leaf(data)))
    return [leaf for _, leaf in sorted(leaves)]


def check_segment(database, archive, elsewhere, manifest):
    """Holds files and rows against a manifest; the number of rows."""
    for file in manifest["files"] if elsewhere is None else []:
        data = (archive / file["name"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["bytes"], file["sha256"]), file["name"]
    every = []
    promised = {dataset["name"]: dataset for dataset in manifest["datasets"]}
    for dataset in DATASETS:
        if elsewhere is None:
            named = [file["name"] for file in manifest["files"] if file["name"].startswith(f"{dataset}/")]
            files = [str(archive / name) for name in named]
        else:
            files = [str(path) for path in sorted(elsewhere.glob(f"**/{dataset}*/**/*.parquet"))]
        leaves = rows_of(database, dataset, files, (manifest["node"], manifest["segment"]))
        every += leaves
        if leaves or dataset in promised:
            said = promised[dataset]
            stretches = [leaves[at : at + STRETCH] for at in range(0, len(leaves), STRETCH)]
            assert said["rows"] == len(leaves), (manifest["segment"], dataset)
            assert said["root"] == published.root(leaves).hex(), (manifest["segment"], dataset)
            assert said["stretches"] == [published.root(stretch).hex() for stretch in stretches]
    assert manifest["records"] == len(every)
    assert manifest["records_root"] == published.root(every).hex()
    return len(every)


def check_log(database, archive, elsewhere, node, keys):
    """Holds a recorder's log against its checkpoints; the numbers of segments and rows."""
    log, rows, before = [], 0, None
    for path in sorted((archive / "log" / node).glob("manifest-*.json")):
        data = path.read_bytes()
        manifest = json.loads(data)
        assert manifest["schema"] == "manifest.v1" and manifest["node"] == node
        assert manifest["segment"] == len(log) + 1 and path.name == f"manifest-{manifest['segment']:012}.json"
        assert manifest["previous_leaf"] == (log[-1].hex() if log else None)
        assert before is None or manifest["first_entry"] == before + 1
        before = manifest["last_entry"]
        rows += check_segment(database, archive, elsewhere, manifest)
        log.append(published.leaf(data))
        check_checkpoint(archive / "log" / node, node, log, keys)
    for level, tile in ((0, path) for path in (archive / "log" / node / "tile" / "0").glob("**/*") if path.is_file()):
        number = int("".join(part.lstrip("x") for part in tile.relative_to(archive / "log" / node / "tile" / "0").parts))
        assert tile.read_bytes() == b"".join(log[number * 256 : number * 256 + 256]), (level, tile)
    return len(log), rows


def check_checkpoint(folder, node, log, keys):
    """The checkpoint of the log at this size is signed by one of the keys."""
    signed = 0
    for path in folder.glob(f"checkpoint-{len(log):012}-*.note"):
        note = path.read_text(encoding="utf-8")
        for key in keys:
            if key.split("+")[1] == path.stem.rsplit("-", 1)[1]:
                root = base64.b64encode(published.root(log)).decode()
                assert published.text_of(note, key) == f"hansard/{node}\n{len(log)}\n{root}\n", path
                signed += 1
    assert signed, f"segment {len(log)} of {node} is signed by none of the keys"


def main():
    archive, keys = pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]).read_text(encoding="utf-8").split()
    elsewhere = pathlib.Path(sys.argv[4]) if len(sys.argv) > 4 else None
    database = duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False})
    database.execute("SET TimeZone = 'UTC'")
    segments, records = 0, 0
    for node in sorted(path.name for path in (archive / "log").iterdir()):
        of_log = check_log(database, archive, elsewhere, node, keys)
        segments, records = segments + of_log[0], records + of_log[1]
    print(json.dumps({"segments": segments, "records": records}))


main()
