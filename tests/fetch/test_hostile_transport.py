"""Servers and lines that fail in every way: what arrives is right, or the fault is named."""

from __future__ import annotations

import pytest

import p2uformat
from p2uformat.testing import FaultProxy, FaultServer

# Each of these goes away after a while: the fetch gets through, with nothing wrong in the file.
PASSING = {
    "reset at once": "reset*3",
    "reset after some bytes": "ok reset@100000 reset@10 reset@300000",
    "every answer is reset": "ok reset@200000*60",
    "closed early": "ok close@5000 close@200000 close*2",
    "stalled": "ok stall@30000 stall@0",
    "stalled before the head": "ok stall",
    "too slow to begin": "ok delay(0.2)*4",
    "busy": "429*2 ok 503 500 502 504",
    "busy, with a time": "429(0.3) ok 503(0.2)",
    "busy, with a date": "ok 503(date+1)",
    "wrong range, once": "ok range+7 range-9 range/12345",
    "no range said": "ok norange*2",
    "too long": "ok long+100*2",
    "endless": "ok endless",
    "compressed": "ok gzip*2",
    "wrong bytes, once": "ok flip@10 flip@100000",
    "other bytes than it says": "ok shift+1",
    "whole instead of a part, once": "ok",
    "another etag": "etag...",
    "moved": "redirect ok redirect ok",
}


@pytest.fixture
def server(whole):
    with FaultServer({"m.p2u": whole.read_bytes()}, stall_seconds=20) as served:
        yield served


def url(server):
    return server.url_of("m.p2u")


@pytest.mark.parametrize("script", PASSING.values(), ids=PASSING)
def test_what_passes_is_lived_through(server, whole, tmp_path, script):
    server.script = script
    result = p2uformat.fetch(url(server), tmp_path / "a.p2u", timeout=1)
    assert (tmp_path / "a.p2u").read_bytes() == whole.read_bytes()
    assert result.whole


# Each of these stays: the fault is named, by its class and in words.
LASTING = {
    "not there": ("404...", p2uformat.NotFound, "no such object"),
    "gone": ("410...", p2uformat.NotFound, "no such object"),
    "no entry": ("401...", p2uformat.AccessDenied, "401"),
    "forbidden": ("403...", p2uformat.AccessDenied, "403"),
    "forbidden later": ("ok 403*200", p2uformat.AccessDenied, "403"),
    "gone later": ("ok 404*200", p2uformat.NotFound, "no such object"),
    "never well": ("503...", p2uformat.TransferFailed, "503"),
    "never again well": ("ok 500*200", p2uformat.TransferFailed, "500"),
    "not allowed": ("405...", p2uformat.TransferFailed, "405"),
    "always reset": ("reset...", p2uformat.TransferFailed, "connection failed"),
    "reset again and again": ("ok reset*200", p2uformat.TransferFailed, "connection failed"),
    "always stalled": ("ok stall@1*200", p2uformat.TransferFailed, "no byte came"),
    "always another range": ("ok range+1*200", p2uformat.TransferFailed, "range|asked for bytes"),
    "never says which range": ("ok norange*200", p2uformat.TransferFailed, "which range"),
    "always too long": ("ok long+1*200", p2uformat.TransferFailed, "the answer has"),
    "always compressed": ("gzip...", p2uformat.TransferFailed, "encoded as gzip"),
    "another length": ("ok range/99*200", p2uformat.TransferFailed, "."),
    "a part at a time": ("ok 200*200", p2uformat.RangesIgnored, "ignores ranges"),
}


@pytest.mark.parametrize(("script", "kind", "words"), LASTING.values(), ids=LASTING)
def test_what_stays_is_named(server, whole, tmp_path, script, kind, words):
    server.script = script
    with pytest.raises(kind, match=words) as caught:
        p2uformat.fetch(url(server), tmp_path / "a.p2u", timeout=0.4)
    assert "127.0.0.1" in str(caught.value)
    assert len(server.requests) < 120
    # Whatever came was checked; the next fetch needs the rest only.
    server.script = ""
    assert p2uformat.fetch(url(server), tmp_path / "a.p2u").whole
    assert (tmp_path / "a.p2u").read_bytes() == whole.read_bytes()


def test_bytes_that_are_always_wrong_are_named_and_the_others_kept(server, whole, tmp_path):
    data = bytearray(whole.read_bytes())
    data[-100] ^= 1
    server.replace("m.p2u", bytes(data))
    with pytest.raises(p2uformat.DigestMismatch) as caught:
        p2uformat.fetch(url(server), tmp_path / "a.p2u")
    found = caught.value
    assert (found.tier, found.region, found.artifact) == ("exact", "chunk", url(server))
    assert found.tensor is not None
    assert found.elements is not None
    assert found.offset <= len(data) - 100
    assert "1 of" in found.hint
    server.replace("m.p2u", whole.read_bytes())
    result = p2uformat.fetch(url(server), tmp_path / "a.p2u")
    assert result.fetched < 0.2 * result.total
    assert (tmp_path / "a.p2u").read_bytes() == whole.read_bytes()


def test_an_object_that_is_replaced_is_noticed(server, whole, next_version, tmp_path):
    server.script = "ok 503(1)*3"
    old, new = whole.read_bytes(), next_version["alone"].read_bytes()
    seen = []

    def replace(state):
        if state.phase == "fetch" and not seen:
            seen.append(state)
            server.replace("m.p2u", new[: len(old)] + bytes(max(len(old) - len(new), 0)))
            server.script = ""

    with pytest.raises(p2uformat.SourceChanged, match="changed while it was read"):
        p2uformat.fetch(url(server), tmp_path / "a.p2u", progress=replace)
    server.replace("m.p2u", new)
    with pytest.raises(p2uformat.DestinationExists, match="another artifact"):
        p2uformat.fetch(url(server), tmp_path / "a.p2u")


def test_an_object_of_another_length_is_another_object(server, whole, tmp_path):
    server.script = "ok 503(1)*3"

    def shorten(state):
        server.replace("m.p2u", whole.read_bytes()[:-50000])

    with pytest.raises(p2uformat.SourceChanged):
        p2uformat.fetch(url(server), tmp_path / "a.p2u", progress=shorten)


def test_a_server_without_ranges_is_read_from_its_start(server, whole, tmp_path):
    server.script = "200&slow(4M)..."
    result = p2uformat.fetch(url(server), tmp_path / "a.p2u", tier="q4")
    assert (result.streamed, result.complete) == (True, ("q4",))
    # The connection is left once the tier is here.
    assert server.bytes_sent < len(whole.read_bytes())
    server.script = "200 reset@400000 200 200..."
    result = p2uformat.fetch(url(server), tmp_path / "a.p2u")
    assert result.whole
    assert (tmp_path / "a.p2u").read_bytes() == whole.read_bytes()


def test_without_ranges_nothing_is_read_lazily(server):
    server.script = "200..."
    with (
        p2uformat.open(url(server)) as artifact,
        pytest.raises(p2uformat.RangesIgnored, match="ignores ranges"),
    ):
        artifact.get("wide")


def test_one_in_five_requests_fails_and_few_more_are_needed(server, whole, tmp_path):
    def fetched(name: str) -> int:
        before = len(server.requests)
        for tensor in ("layer.*", "wide", "*"):
            for tier in ("q4", "q8", "exact"):
                p2uformat.fetch(url(server), tmp_path / name, tensors=tensor, tier=tier)
        return len(server.requests) - before

    calm = fetched("calm.p2u")
    server.script = "random(0.2,503,seed=5)..."
    assert fetched("rough.p2u") <= 1.35 * calm + 2
    assert (tmp_path / "rough.p2u").read_bytes()[128:] == (tmp_path / "calm.p2u").read_bytes()[128:]


def test_a_line_that_breaks_again_and_again(server, whole, tmp_path):
    with FaultProxy("127.0.0.1", server.port, script="reset@200000...") as line:
        result = p2uformat.fetch(f"{line.url}/m.p2u", tmp_path / "a.p2u", timeout=2)
        assert result.retries > 3
        # A connection goes on where it broke: little comes twice.
        assert line.bytes_down < 1.2 * len(whole.read_bytes())
    assert (tmp_path / "a.p2u").read_bytes() == whole.read_bytes()


def test_secrets_in_a_url_are_not_told(server, tmp_path):
    secret = url(server).replace("http://", "http://me:hidden@") + "?signature=secret"
    server.script = "403..."
    with pytest.raises(p2uformat.AccessDenied) as caught:
        p2uformat.fetch(secret, tmp_path / "a.p2u")
    assert "hidden" not in str(caught.value)
    assert "secret" not in str(caught.value)


HOSTILE_MANIFESTS = {
    "no artifact": lambda data: b"<html>" + bytes(1000),
    "an empty object": lambda data: b"",
    "a header and nothing else": lambda data: data[:128],
    "a page is damaged": lambda data: data[:1200] + bytes([data[1200] ^ 1]) + data[1201:],
    "more behind the end": lambda data: data + b"x",
}


@pytest.mark.parametrize("spoil", HOSTILE_MANIFESTS.values(), ids=HOSTILE_MANIFESTS)
def test_a_manifest_that_is_not_sound_writes_nothing(server, whole, tmp_path, spoil):
    server.replace("m.p2u", spoil(whole.read_bytes()))
    with pytest.raises(p2uformat.P2UError):
        p2uformat.fetch(url(server), tmp_path / "a.p2u")
    assert list(tmp_path.iterdir()) == []
