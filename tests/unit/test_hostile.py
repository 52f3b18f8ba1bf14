"""Files that agree with themselves and break a rule: refused, and never with a foreign error."""

import random

import pytest

import p2uformat
from p2uformat.errors import P2UError
from tests.sealing import pack, replace_chunk, seal, take_apart

ODD = [
    None, 0, 1, -1, 127, 256, 2**19 + 1, 2**26, 2**31, 2**32, 2**48, 2**63, 2**64 - 1, -(2**63),
    "", "x", "exact", "F64", "opaque", b"", bytes(32), [], {}, [0], [[]], "a" * 5000, [1] * 70,
    [2**40, 2**40], 2001, -2001,
]  # fmt: skip


def verdict(path):
    try:
        report = p2uformat.verify(path, deep=True, threads=1)
    except P2UError as error:
        return error.code
    if report.ok:
        return "ok"
    return report.damage[0].code if report.damage else "incomplete"


def use_everything(path):
    """Whatever comes, it comes as one of our errors."""
    try:
        with p2uformat.open(path, threads=1) as artifact:
            artifact.summary.to_dict()
            for name in artifact.keys():  # noqa: SIM118
                artifact.info(name).to_dict()
                for tier in artifact.tiers:
                    read(artifact, name, tier)
        p2uformat.unpack(path, path.with_name("out"), overwrite=True, threads=1)
    except P2UError:
        return


def read(artifact, name, tier):
    try:
        artifact.get(name, tier)
    except P2UError:
        return


def changed_bytes(rng, data):
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(len(out) + 1)
        way = rng.randrange(3)
        if way == 0 and out:
            out[place - 1] = rng.randrange(256)
        elif way == 1:
            del out[place : place + rng.randrange(1, 9)]
        else:
            out[place:place] = rng.randbytes(rng.randrange(1, 9))
    return bytes(out)


def change_value(rng, value):
    """Change one item somewhere inside."""
    path = []
    while isinstance(value, list | dict) and value and (not path or rng.random() < 0.9):
        keys = range(len(value)) if isinstance(value, list) else list(value)
        path.append((value, rng.choice(keys)))
        value = value[path[-1][1]]
    if not path:
        return
    parent, key = path[-1]
    way = rng.randrange(5)
    if way == 0 and isinstance(parent, list):
        del parent[key]
    elif way == 1 and isinstance(parent, list):
        parent.insert(key, parent[key])
    elif way == 2 and isinstance(value, int):
        parent[key] = value + rng.choice((-1, 1, 2, 256))
    elif way == 3 and isinstance(value, bytes):
        parent[key] = changed_bytes(rng, value)
    else:
        parent[key] = rng.choice(ODD)


@pytest.mark.parametrize("seed", range(40))
def test_changed_files(small_path, tmp_path, seed):
    rng = random.Random(seed)
    path = tmp_path / "f"
    for _ in range(5):
        parts = take_apart(small_path)
        way = rng.randrange(5)
        if way == 0:
            side = rng.randrange(2)
            parts.raw_pages[0, side] = changed_bytes(rng, pack(parts.pages[0][side]))
        elif way == 1:
            change_value(rng, parts.pages[0][rng.randrange(2)])
        elif way == 2:
            change_value(rng, (parts.content, parts.encoding)[rng.randrange(2)])
        else:
            index = rng.randrange(len(parts.chunks[0]))
            replace_chunk(parts, 0, index, changed_bytes(rng, parts.chunks[0][index]))
        try:
            data = seal(parts)
        except (TypeError, KeyError, IndexError, ValueError, OverflowError):
            continue  # not even a hostile writer can write this
        path.write_bytes(data)
        verdict(path)
        use_everything(path)


def test_sealing_changes_nothing(small_path):
    assert seal(take_apart(small_path)) == small_path.read_bytes()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda p: p.content.update(version=2), "unsupported-format"),
        (lambda p: p.content.update(features=["new"]), "unsupported-format"),
        (lambda p: p.content.update(zzz=1), "malformed"),
        (lambda p: p.content["totals"].__setitem__(0, 1), "malformed"),
        (lambda p: p.content["pages"].append([1, "z", 0, 9, bytes(32)]), "malformed"),
        (lambda p: p.content["pages"][0].__setitem__(1, "other"), "malformed"),
        (lambda p: p.encoding.update(features=["new"]), "unsupported-format"),
        (lambda p: p.encoding["pages"][0].__setitem__(2, 0), "malformed"),
        (lambda p: p.pages[0][0].reverse(), "malformed"),
        (lambda p: p.pages[0][1][2].update(note="kept"), "ok"),
        (lambda p: p.pages[0][0][0][9].update(note="kept"), "ok"),
        (lambda p: p.header.update(entries=0), "malformed"),
        (lambda p: p.header.update(file_length=10**6), "malformed"),
        (lambda p: p.header.update(manifest_length=2**62, file_length=2**63), "limit-exceeded"),
        (lambda p: p.header.update(content_length=2**31), "limit-exceeded"),
        (lambda p: p.header.update(content_length=0), "digest-mismatch"),
        (lambda p: p.header.update(minor=9), "ok"),
        (lambda p: setattr(p, "table", [0] * sum(map(len, p.chunks))), "malformed"),
        (lambda p: setattr(p, "tail", b"x"), "malformed"),
    ],
)
def test_one_broken_rule(small_path, tmp_path, change, code):
    parts = take_apart(small_path)
    change(parts)
    (tmp_path / "f").write_bytes(seal(parts))
    assert verdict(tmp_path / "f") == code
    use_everything(tmp_path / "f")


def test_a_false_bound_is_found(small_path, tmp_path):
    parts = take_apart(small_path)
    record = next(r for r in parts.pages[0][0] if r[1] == "l.0")
    record[6][2][0][2] -= 4
    (tmp_path / "f").write_bytes(seal(parts))
    assert p2uformat.verify(tmp_path / "f").ok
    report = p2uformat.verify(tmp_path / "f", deep=True)
    assert {(d.tensor, d.tier, d.code) for d in report.damage} == {("l.0", "q4", "malformed")}


def test_false_digests_are_found(small_path, tmp_path):
    for place, tier in ((7, "exact"), (8, "q8")):
        parts = take_apart(small_path)
        record = next(r for r in parts.pages[0][0] if r[1] == "half")
        if place == 7:
            record[7] = bytes(32)
        else:
            entry = parts.pages[0][1]
            raw = {c for c, e in enumerate(entry[0]) if e[3] is None}
            assert raw is not None
            record[8][1] = bytes(32)
        (tmp_path / "f").write_bytes(seal(parts))
        report = p2uformat.verify(tmp_path / "f", deep=True)
        assert ("half", tier, "digest-mismatch") in {
            (d.tensor, d.tier, d.code) for d in report.damage
        }


def test_a_false_file_digest_is_found(small_path, tmp_path):
    parts = take_apart(small_path)
    record = parts.pages[0][0][-1]
    record[5] = bytes(32)
    (tmp_path / "f").write_bytes(seal(parts))
    report = p2uformat.verify(tmp_path / "f", deep=True)
    assert [(d.region, d.code) for d in report.damage] == [("file", "digest-mismatch")]
    with pytest.raises(p2uformat.DigestMismatch):
        p2uformat.unpack(tmp_path / "f", tmp_path / "out")
    assert not (tmp_path / "out").exists()
