"""What use of a store costs in requests and bytes, counted in front of a real server."""

import numpy as np
import pytest

import p2uformat
from p2uformat.store import packs
from tests.store.conftest import changed, fresh_name, same
from tests.store.counting import CountingProxy


@pytest.fixture
def counted(moto):
    """Return a proxy in front of moto, a place behind it, and the options to reach it."""
    endpoint = moto.options["client_kwargs"]["endpoint_url"]
    with CountingProxy(endpoint) as proxy:
        options = {**moto.options, "client_kwargs": dict(moto.options["client_kwargs"])}
        options["client_kwargs"]["endpoint_url"] = proxy.url
        yield proxy, f"{moto.url}{fresh_name()}", options


def large(seed, count, size=256):
    rng = np.random.default_rng(seed)
    return {f"w{i:03}": rng.standard_normal((size, size), np.float32) for i in range(count)}


def test_the_same_again_costs_nothing(counted, packed):
    """No payload, at most six requests (R12)."""
    proxy, place, how = counted
    store = p2uformat.Store(place, storage_options=how)
    store.push(packed, "m")
    proxy.seen.clear()
    assert store.push(packed, "m").unchanged
    assert len(proxy.seen) <= 6
    assert sum(sent for _, _, sent, _ in proxy.seen) == 0


def test_opening_by_name_and_by_root(counted, model):
    """At most six requests by name, four by root, however many versions came before (R8)."""
    proxy, place, how = counted
    given = {"storage_options": how}
    current = model
    for seed in range(6):
        current = changed(current, ["l.1.w"], seed)
        p2uformat.pack(current, f"{place}#m", **given)
    store = p2uformat.Store(place, **given)
    assert max(version.parents for version in store.refs("m")) == 4
    for seq in range(1, 7):
        by_name = ("m", 6) if seq == 6 else (f"m@{seq}", 7)
        for address, most in (by_name, (store.refs("m")[seq - 1].root, 4)):
            proxy.seen.clear()
            with store.open(address):
                pass
            assert len(proxy.seen) <= most, [seen[:2] for seen in proxy.seen]


def test_a_push_is_few_large_objects(counted, monkeypatch, tmp_path):
    """At most 16 PUTs per GiB, and for tiers, pages and six others; none in parts (R9)."""
    proxy, place, how = counted
    # Packs of 1 MiB stand for those of 64.
    monkeypatch.setattr(packs, "FULL_BYTES", 1 << 20)
    path = tmp_path / "m.p2u"
    p2uformat.pack(large(1, 96, 256), path)
    size = path.stat().st_size
    p2uformat.Store(place, storage_options=how).push(path, "m")
    puts = [seen for seen in proxy.seen if seen[0] == "PUT"]
    with p2uformat.open(path) as artifact:
        pages = len(artifact._contents.container.pages)
    # A chunk is a large part of such a pack, which it is not of a real one.
    assert len(puts) <= 1.35 * size / (1 << 20) + 3 + pages + 6
    assert not [seen for seen in proxy.seen if "uploads" in seen[1] or "partNumber" in seen[1]]
    assert all(seen[0] != "POST" or "delete" in seen[1] for seen in proxy.seen)


def test_one_tensor_of_a_hundred(counted):
    """A change costs its chunks, the pages on its path, and 8 KiB (R12)."""
    proxy, place, how = counted
    given = {"storage_options": how}
    model = large(2, 100)
    p2uformat.pack(model, f"{place}#m", **given)
    newer = changed(model, ["w050"], 3, by=1.0)
    proxy.seen.clear()
    p2uformat.pack(newer, f"{place}#m", **given)
    sent = sum(bytes_ for method, _, bytes_, _ in proxy.seen if method in ("PUT", "POST"))
    with p2uformat.open(f"{place}#m", **given) as artifact:
        assert same(artifact, newer)
        container = artifact._contents.container
        chunks = 0
        path = container.header.content_length + container.header.encoding_length
        for page in container.pages:
            for number, record in enumerate(page.content.records):
                if getattr(record, "name", None) == "w050":
                    encoding = container.encoding.pages[page.number]
                    path += container.content.pages[page.number].length + encoding.length
                    used = {
                        pair[0]
                        for layer in page.encoding.layers[number]
                        for pair in layer
                        if pair is not None
                    }
                    chunks += sum(page.encoding.chunks[index].length for index in used)
    assert sent <= chunks + path + (8 << 10)


def test_appended_rows(counted):
    """Rows that are appended cost those rows, and a chunk for each tier (R12)."""
    proxy, place, how = counted
    given = {"storage_options": how}
    rng = np.random.default_rng(4)
    # Blocks of 2^19 weights: eight of them, the last one half full.
    table = rng.standard_normal((1024 * 7 + 512, 512), np.float32)
    longer = np.concatenate([table, rng.standard_normal((100, 512), np.float32)])
    p2uformat.pack({"vocabulary": table}, f"{place}#m", **given)
    proxy.seen.clear()
    p2uformat.pack({"vocabulary": longer}, f"{place}#m", **given)
    sent = sum(bytes_ for method, _, bytes_, _ in proxy.seen if method == "PUT")
    block = 1024 * 512 * 4
    assert sent <= 100 * 512 * 4 + block + (64 << 10)
    with p2uformat.open(f"{place}#m", **given) as artifact:
        assert same(artifact, {"vocabulary": longer})


def test_a_lost_answer_is_no_conflict(moto, packed, model):
    """The answer of every conditional PUT is dropped in turn: nothing is done twice (R16)."""
    endpoint = moto.options["client_kwargs"]["endpoint_url"]
    seen = []

    def lose(method, path):
        if method != "PUT" or path in seen:
            return False
        seen.append(path)
        return True

    with CountingProxy(endpoint, lose) as proxy:
        options = {**moto.options, "client_kwargs": dict(moto.options["client_kwargs"])}
        options["client_kwargs"]["endpoint_url"] = proxy.url
        place = f"{moto.url}{fresh_name()}"
        store = p2uformat.Store(place, storage_options=options)
        assert store.push(packed, "m").version == 1
        p2uformat.pack(changed(model, ["l.0.w"], 1), f"{place}#m", storage_options=options)
    assert len(seen) > 12
    plain = p2uformat.Store(place, storage_options=moto.options)
    assert [version.version for version in plain.refs("m")] == [1, 2]
    assert plain.verify().ok
    # Every object was written once, however often it was sent.
    keys = [stat.key for stat in plain._objects.scan("")]
    assert len([key for key in keys if key.startswith("refs/m/")]) == 2
