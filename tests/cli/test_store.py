"""Stores from the command line: push, refs, copy, rm, gc, repair, and addresses everywhere."""

import json

import pytest

import p2uformat


@pytest.fixture(scope="module")
def files(p2u, make_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name in ("one", "two"):
        make_model(folder / f"{name}.safetensors", rows=4096)
        assert p2u("pack", folder / f"{name}.safetensors", folder / f"{name}.p2u").code == 0
    return folder


@pytest.fixture
def stored(p2u, files, tmp_path):
    assert p2u("push", files / "one.p2u", "store#team/m", cwd=tmp_path).code == 0
    return tmp_path


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def largest(folder):
    packs = [path for path in (folder / "store" / "packs").rglob("*") if path.is_file()]
    return max(packs, key=lambda path: path.stat().st_size)


def test_pushed_and_listed(p2u, files, tmp_path):
    first = p2u("push", files / "one.p2u", "store#team/m", cwd=tmp_path)
    assert (first.code, first.err) == (0, "")
    assert "stored   store#team/m@1\n" in first.out
    again = p2u("push", files / "one.p2u", "store#team/m", cwd=tmp_path)
    assert "nothing was written" in again.out
    other = p2u("push", files / "one.p2u", "store#other", "--json", cwd=tmp_path).document
    assert (other["version"], other["added"]) == (1, 0)
    names = p2u("refs", "store", cwd=tmp_path)
    assert [line.split()[:2] for line in names.out.splitlines()[2:]] == [
        ["other", "@1"],
        ["team/m", "@1"],
    ]
    document = p2u("refs", "store", "team/m", "--json", cwd=tmp_path).document
    assert [(v["version"], v["current"]) for v in document["versions"]] == [(1, True)]
    shown = p2u("refs", "store", "team/m", cwd=tmp_path).out
    assert document["versions"][0]["root"] in shown


def test_packed_into_a_store_and_back(p2u, files, tmp_path):
    packed = p2u("pack", files / "one.safetensors", "store#m", "--json", cwd=tmp_path)
    assert packed.code == 0
    assert p2u("verify", "store#m", "--deep", cwd=tmp_path).code == 0
    assert p2u("inspect", "store#m@1", cwd=tmp_path).code == 0
    assert p2u("fetch", "store#m", "m.p2u", "--tier", "q4", cwd=tmp_path).code == 0
    back = p2u("unpack", "store#m", "back.safetensors", cwd=tmp_path)
    assert back.code == 0
    source = (files / "one.safetensors").read_bytes()
    assert (tmp_path / "back.safetensors").read_bytes() == source
    assert p2u("diff", "store#m", files / "one.p2u", cwd=tmp_path).code == 0
    root = packed.document["root"]
    assert p2u("verify", f"store#{root}", "--expect", root, cwd=tmp_path).code == 0


def test_verify_names_what_is_damaged(p2u, stored):
    assert "result   sound\n" in p2u("verify", "store", cwd=stored).out
    flip(largest(stored), 10)
    damaged = p2u("verify", "store", cwd=stored)
    assert damaged.code == 3
    assert "store#team/m@1, object packs/" in damaged.out
    document = p2u("verify", "store", "--json", cwd=stored).document
    assert document["damage"][0]["address"] == "store#team/m@1"
    assert {"key", "object_offset", "tensor", "tier", "elements"} <= set(document["damage"][0])
    assert p2u("verify", "store#team/m", cwd=stored).code == 3


def test_a_sample_within_a_time(p2u, stored):
    some = p2u("verify", "store", "--sample", "50%", "--max-duration", "1m", cwd=stored)
    assert some.code == 0
    assert " of " in some.out
    one = p2u("verify", "store#team/m", "--sample", "0.5", cwd=stored)
    assert "name     team/m\n" in one.out


def test_repaired(p2u, files, stored):
    flip(largest(stored), 10)
    mended = p2u("repair", "store", "--from", files / "one.p2u", cwd=stored)
    assert (mended.code, mended.err) == (0, "")
    assert p2u("verify", "store", cwd=stored).code == 0
    bad = stored / "bad.p2u"
    bad.write_bytes((files / "one.p2u").read_bytes())
    flip(bad, bad.stat().st_size - 1)
    result = p2u("repair", bad, "--from", "store#team/m", "--json", cwd=stored).document
    assert (result["ok"], result["repaired"]) == (True, 1)
    assert bad.read_bytes() == (files / "one.p2u").read_bytes()


def test_copied_to_a_mirror(p2u, stored):
    made = p2u("copy", "store#team/m", "mirror#m", "--tier", "q8", cwd=stored)
    assert (made.code, made.err) == (0, "")
    assert "complete q4, q8 (not whole here: exact)" in p2u("inspect", "mirror#m", cwd=stored).out
    assert p2u("verify", "mirror#m", cwd=stored).code == 6
    assert p2u("copy", "store#team/m@1", "mirror#m", cwd=stored).code == 0
    assert p2u("verify", "mirror#m", cwd=stored).code == 0


def test_removed_and_collected(p2u, stored):
    assert p2u("rm", "store#team/m@7", cwd=stored).code == 4
    gone = p2u("rm", "store#team/m@1", cwd=stored)
    assert (gone.code, gone.out) == (0, "removed team/m@1 from store\n")
    assert p2u("inspect", "store#team/m", cwd=stored).code == 4
    assert "removed" in p2u("refs", "store", cwd=stored).out
    dry = p2u("gc", "store", "--grace", "0s", cwd=stored)
    assert "nothing was changed: --delete does it" in dry.out
    assert "would be" in dry.out
    assert p2u("gc", "store", cwd=stored).out.count("younger than 1d") == 1
    first = p2u("gc", "store", "--grace", "0s", "--delete", "--json", cwd=stored).document
    assert first["condemned"] > 0
    assert first["deleted"] == 0
    second = p2u("gc", "store", "--grace", "0s", "--delete", "--json", cwd=stored).document
    assert second["deleted"] == first["condemned"]
    assert not list((stored / "store" / "packs").rglob("0*"))


@pytest.mark.parametrize(
    ("arguments", "code", "name"),
    [
        (["inspect", "store#nothing"], 4, "not-found"),
        (["inspect", "nowhere#m"], 4, "not-found"),
        (["refs", "nowhere"], 4, "not-found"),
        (["refs", "store", "nothing"], 4, "not-found"),
        (["gc", "nowhere", "--delete"], 4, "not-found"),
        (["push", "one.p2u", "store"], 2, "invalid-argument"),
        (["push", "one.p2u", "store#a b"], 2, "invalid-argument"),
        (["push", "one.p2u", "store#m@2"], 2, "invalid-argument"),
        (["push", "one.p2u", "store#team/m", "--after", "5"], 7, "version-conflict"),
        (["push", "nothing.p2u", "store#m"], 4, "not-found"),
        (["rm", "store"], 2, "usage"),
        (["gc", "store", "--grace", "soon"], 2, "usage"),
        (["gc", "store", "--keep", "0"], 2, "usage"),
        (["verify", "store", "--sample", "200%"], 2, "usage"),
        (["verify", "store", "--deep"], 2, "usage"),
        (["verify", "one.p2u", "--sample", "1%"], 2, "usage"),
        (["repair", "store", "--from", "nothing.p2u"], 4, "not-found"),
        (["unpack", "store#team/m", "store#x"], 2, "invalid-argument"),
        (["squash", "store#team/m", "store#x"], 2, "invalid-argument"),
        (["fetch", "store#team/m", "store#x"], 2, "invalid-argument"),
        (["copy", "store", "other#m"], 2, "usage"),
    ],
)
def test_bad_input_has_one_message_and_its_code(p2u, files, stored, arguments, code, name):
    (stored / "one.p2u").write_bytes((files / "one.p2u").read_bytes())
    before = sorted(stored.rglob("*"))
    result = p2u(*arguments, "--json", cwd=stored)
    assert (result.code, result.error["code"]) == (code, name)
    assert result.err == ""
    assert sorted(stored.rglob("*")) == before
    text = p2u(*arguments, cwd=stored)
    assert text.code == code
    assert text.err.startswith("error: ")
    assert "Traceback" not in text.err


def test_a_server_that_is_not_there(p2u, files):
    pytest.importorskip("s3fs")
    nowhere = 'client_kwargs={"endpoint_url": "http://127.0.0.1:1", "region_name": "x"}'
    how = ["--option", nowhere, "--option", "key=a", "--option", "secret=b"]
    result = p2u("push", files / "one.p2u", "s3://bucket/x#m", *how)
    assert result.code == 4
    assert result.err.startswith("error: ")


def test_a_store_in_a_bucket(p2u, files, moto, tmp_path):
    url = f"{moto.url}cli-store"
    how = []
    for key, value in moto.options.items():
        how += ["--option", f"{key}={json.dumps(value)}"]
    assert p2u("push", files / "one.p2u", f"{url}#m", *how).code == 0
    assert p2u("refs", url, *how).out.splitlines()[2].startswith("m ")
    assert p2u("fetch", f"{url}#m", tmp_path / "m.p2u", *how).code == 0
    with p2uformat.open(tmp_path / "m.p2u") as artifact:
        assert artifact.complete == ("q4", "q8", "exact")
    assert p2u("verify", url, *how).code == 0
    assert p2u("push", files / "one.p2u", "s3://no-such-bucket/x#m", *how).code == 4
