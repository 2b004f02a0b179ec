"""Checks schemas/vectors/ by schemas/record-bytes.v1.md and the specifications it names, with nothing of ours: the
standard library of Python, and Ed25519 as RFC 8032 writes it down. Prints how much was checked, or fails.

usage: check_vectors.py SCHEMAS
"""

import base64
import datetime
import hashlib
import json
import pathlib
import sys

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def read(name):
    return json.loads((pathlib.Path(sys.argv[1]) / name).read_text(encoding="utf-8"))


# CBOR: record-bytes.v1.md, "Bytes".


def head(kind, number):
    for least, size, mark in ((1 << 32, 8, 27), (1 << 16, 4, 26), (1 << 8, 2, 25), (24, 1, 24)):
        if number >= least:
            return bytes([kind << 5 | mark]) + number.to_bytes(size, "big")
    return bytes([kind << 5 | number])


def cbor(value):
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        encoded = value.encode("utf-8")
        return head(3, len(encoded)) + encoded
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(cbor, value))
    assert isinstance(value, dict), value
    return head(5, len(value)) + b"".join(head(0, key) + cbor(value[key]) for key in sorted(value))


def decoded(data, at=0):
    """A value of CBOR and the offset behind it; only what `extra` of a proof needs."""
    kind, number = data[at] >> 5, data[at] & 31
    at += 1
    if number >= 24:
        size = 1 << number - 24
        number, at = int.from_bytes(data[at : at + size], "big"), at + size
    if kind == 0:
        return number, at
    if kind in (2, 3):
        taken = data[at : at + number]
        return (taken if kind == 2 else taken.decode("utf-8")), at + number
    assert kind == 4, kind
    values = []
    for _ in range(number):
        value, at = decoded(data, at)
        values.append(value)
    return values, at


def value_of(column, value):
    kind = column["type"]
    if kind == "binary":
        if isinstance(value, bytes):
            return value
        assert value.startswith("\\x")
        return bytes.fromhex(value[2:])
    if kind.startswith("timestamp"):
        if isinstance(value, str):
            value = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
        return (value - EPOCH) // datetime.timedelta(microseconds=1)
    if kind == "list<struct>":
        return [map_of(column["fields"], element) for element in value]
    return value


def map_of(columns, row):
    named = {column["name"]: column for column in columns}
    return {named[name]["key"]: value_of(named[name], value) for name, value in row.items() if value is not None}


def row_bytes(schema, row):
    return cbor(["hansard.row.v1", schema, map_of(read(f"{schema}.json")["columns"], row)])


# Trees: RFC 6962 §2.1.


def leaf(data):
    return hashlib.sha256(b"\0" + data).digest()


def node(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def root(leaves):
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256().digest()
    part = 1 << (len(leaves) - 1).bit_length() - 1
    return node(root(leaves[:part]), root(leaves[part:]))


def path(index, leaves):
    if len(leaves) == 1:
        return []
    part = 1 << (len(leaves) - 1).bit_length() - 1
    if index < part:
        return path(index, leaves[:part]) + [root(leaves[part:])]
    return path(index - part, leaves[part:]) + [root(leaves[:part])]


def subproof(old, leaves, whole=True):
    if old == len(leaves):
        return [] if whole else [root(leaves)]
    part = 1 << (len(leaves) - 1).bit_length() - 1
    if old <= part:
        return subproof(old, leaves[:part], whole) + [root(leaves[part:])]
    return subproof(old - part, leaves[part:], False) + [root(leaves[:part])]


def root_by(hashed, index, size, siblings):
    """Upwards by the shape of the tree, so that index and size are checked as well."""
    if size == 1:
        assert not siblings
        return hashed
    part = 1 << (size - 1).bit_length() - 1
    if index < part:
        return node(root_by(hashed, index, part, siblings[:-1]), siblings[-1])
    return node(siblings[-1], root_by(hashed, index - part, size - part, siblings[:-1]))


# Ed25519: RFC 8032, section 6.

P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def add(a, b):
    one, two = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    three, four = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = two - one, four - three, four + three, two + one
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def times(factor, point):
    total = (0, 1, 1, 0)
    while factor:
        if factor & 1:
            total = add(total, point)
        point, factor = add(point, point), factor >> 1
    return total


def same(a, b):
    return (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0


def point_of(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P)
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert y < P and (x * x - square) % P == 0
    if x & 1 != sign:
        x = P - x
    return (x, y, 1, x * y % P)


BASE = point_of((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def verifies(public, message, signature):
    challenge = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % Q
    scalar = int.from_bytes(signature[32:], "little")
    assert len(signature) == 64 and scalar < Q
    return same(times(scalar, BASE), add(point_of(signature[:32]), times(challenge, point_of(public))))


# Notes: c2sp.org/signed-note.


def text_of(note, verifier_key):
    name, key_id, key = verifier_key.split("+", 2)
    typed = base64.b64decode(key, validate=True)
    assert typed[0] == 1 and len(typed) == 33
    assert hashlib.sha256(name.encode() + b"\n" + typed).digest()[:4].hex() == key_id
    at = note.rindex("\n\n")
    text, lines = note[: at + 1], note[at + 2 :]
    assert lines.endswith("\n")
    signed = 0
    for line in lines[:-1].split("\n"):
        dash, signer, encoded = line.split(" ")
        signature = base64.b64decode(encoded, validate=True)
        assert dash == "\u2014"
        if (signer, signature[:4].hex()) == (name, key_id):
            assert verifies(typed[1:], text.encode("utf-8"), signature[4:])
            signed += 1
    assert signed
    return text


def check_records():
    vectors = read("vectors/records.v1.json")["vectors"]
    for vector in vectors:
        data = row_bytes(vector["schema"], vector["row"])
        assert data.hex() == vector["bytes"], vector["row"]
        assert leaf(data).hex() == vector["leaf"], vector["row"]
    assert {vector["schema"] for vector in vectors} == {"statements.v1", "sessions.v1", "events.v1"}
    return len(vectors)


def check_trees():
    trees = read("vectors/trees.v1.json")
    leaves = [leaf(bytes.fromhex(data)) for data in trees["leaves"]]
    assert [hashed.hex() for hashed in leaves] == trees["leaf_hashes"]
    roots = [root(leaves[:size]) for size in range(len(leaves) + 1)]
    assert [hashed.hex() for hashed in roots] == trees["roots"]
    for proof in trees["inclusion"]:
        siblings = path(proof["index"], leaves[: proof["size"]])
        assert [hashed.hex() for hashed in siblings] == proof["path"], proof
        assert root_by(leaves[proof["index"]], proof["index"], proof["size"], siblings) == roots[proof["size"]], proof
    for proof in trees["consistency"]:
        assert [hashed.hex() for hashed in subproof(proof["old"], leaves[: proof["size"]])] == proof["proof"], proof
    return len(trees["inclusion"]) + len(trees["consistency"])


def check_notes():
    notes = read("vectors/notes.v1.json")
    for vector in notes["notes"]:
        assert text_of(vector["note"], notes["verifier_key"]) == vector["text"]
    specification = notes["specification"]
    assert text_of(specification["note"], specification["verifier_key"]) == "This is an example message.\n"
    said = notes["checkpoint"]
    encoded = base64.b64encode(bytes.fromhex(said["root"])).decode()
    assert notes["notes"][1]["text"] == f"{said['origin']}\n{said['size']}\n{encoded}\n"
    handed = notes["transition"]
    lines = ["hansard.key-transition.v1", said["origin"], str(handed["size"]), handed["old"], handed["new"]]
    for key in (handed["old"], handed["new"]):
        assert text_of(handed["note"], key) == "".join(f"{line}\n" for line in lines)
    return len(notes["notes"]) + 2


if __name__ == "__main__":
    print(json.dumps({"records": check_records(), "proofs": check_trees(), "notes": check_notes()}))
