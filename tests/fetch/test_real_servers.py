"""Fetching and reading from real web servers and object stores."""

from __future__ import annotations

import numpy as np
import pytest

import p2uformat


def put(served, name, data) -> tuple[str, dict]:
    served.put(name, data)
    return served.url + name, {"storage_options": served.options}


def test_tier_by_tier_then_all(any_served, whole, tmp_path):
    url, how = put(any_served, "fetch/m.p2u", whole.read_bytes())
    path = tmp_path / "a.p2u"
    small = p2uformat.fetch(url, path, tier="q4", **how)
    assert (small.complete, small.whole) == (("q4",), False)
    rest = p2uformat.fetch(url, path, **how)
    assert (rest.whole, rest.present) == (True, small.total)
    assert path.read_bytes() == whole.read_bytes()
    assert p2uformat.fetch(url, path, **how).fetched == 0


def test_read_where_it_lies(any_served, whole, model):
    url, how = put(any_served, "read/m.p2u", whole.read_bytes())
    with p2uformat.open(url, **how) as artifact:
        source = artifact._contents.container.file.source
        assert source.requests <= 2  # a small file: its length may be a request of its own
        assert np.array_equal(artifact.get("wide", rows=(10, 20)), model["wide"][10:20])
        loaded = artifact.load()
        assert all(np.array_equal(loaded[name], model[name]) for name in model)
    assert p2uformat.verify(url, **how).ok


def test_what_is_not_there(any_served, tmp_path):
    how = {"storage_options": any_served.options}
    with pytest.raises(p2uformat.NotFound):
        p2uformat.open(any_served.url + "none/m.p2u", **how)
    with pytest.raises(p2uformat.NotFound):
        p2uformat.fetch(any_served.url + "none/m.p2u", tmp_path / "a.p2u", **how)
    assert list(tmp_path.iterdir()) == []


def test_an_object_that_is_no_artifact(any_served, tmp_path):
    url, how = put(any_served, "odd/page.html", b"<html>" * 1000)
    with pytest.raises(p2uformat.NotAnArtifact):
        p2uformat.fetch(url, tmp_path / "a.p2u", **how)


@pytest.mark.parametrize("store", ["moto", "azurite", "gcs", "rclone"])
# gcsfs hands large bodies to its client as bytes, which that warns of.
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
def test_results_go_to_a_store_and_sources_come_from_it(store, request, model, whole, tmp_path):
    served = request.getfixturevalue(store)
    how = {"storage_options": served.options}
    url = f"{served.url}results/{store}.p2u"
    p2uformat.pack(model, url, **how)
    p2uformat.fetch(url, tmp_path / "a.p2u", **how)
    assert (tmp_path / "a.p2u").read_bytes() == whole.read_bytes()
    with pytest.raises(p2uformat.DestinationExists):
        p2uformat.pack(model, url, **how)
    p2uformat.unpack(url, f"{served.url}results/{store}.safetensors", **how)
    again = p2uformat.pack(
        f"{served.url}results/{store}.safetensors", tmp_path / "again.p2u", **how
    )
    with p2uformat.open(whole) as artifact:
        assert again.parameters == artifact.summary.parameters


def test_a_web_server_without_ranges(nginx, whole, tmp_path):
    put(nginx, "whole/m.p2u", whole.read_bytes())
    url = nginx.below("noranges/").url + "whole/m.p2u"
    result = p2uformat.fetch(url, tmp_path / "a.p2u", tier="q4")
    assert (result.streamed, result.complete) == (True, ("q4",))
    assert p2uformat.fetch(url, tmp_path / "a.p2u").whole
    assert (tmp_path / "a.p2u").read_bytes() == whole.read_bytes()
    with (
        p2uformat.open(url) as artifact,
        pytest.raises(p2uformat.RangesIgnored, match="ignores ranges"),
    ):
        artifact.get("wide")


def test_a_web_server_that_compresses_is_asked_not_to(nginx, whole, tmp_path):
    put(nginx, "packed/m.p2u", whole.read_bytes())
    result = p2uformat.fetch(nginx.below("gzip/").url + "packed/m.p2u", tmp_path / "a.p2u")
    assert (tmp_path / "a.p2u").read_bytes() == whole.read_bytes()
    assert not result.streamed


def test_a_web_server_that_keeps_it_to_itself(nginx, tmp_path):
    with pytest.raises(p2uformat.AccessDenied, match="403") as caught:
        p2uformat.fetch(nginx.below("private/").url + "m.p2u", tmp_path / "a.p2u")
    assert "credentials" in caught.value.hint


def test_a_bucket_that_is_not_there(moto):
    how = {"storage_options": moto.options}
    with pytest.raises(p2uformat.NotFound):
        p2uformat.open("s3://no-such-bucket/m.p2u", **how)


def test_no_credentials(moto, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    options = {"client_kwargs": moto.options["client_kwargs"], "skip_instance_cache": True}
    with pytest.raises(p2uformat.P2UError) as caught:
        p2uformat.open("s3://probe/m.p2u", storage_options=options)
    assert isinstance(caught.value, p2uformat.AccessDenied | p2uformat.NotFound)


def test_an_object_that_is_replaced_between_two_fetches(moto, whole, next_version, tmp_path):
    url, how = put(moto, "replaced/m.p2u", whole.read_bytes())
    p2uformat.fetch(url, tmp_path / "a.p2u", tier="q4", **how)
    put(moto, "replaced/m.p2u", next_version["alone"].read_bytes())
    with pytest.raises(p2uformat.DestinationExists, match="another artifact"):
        p2uformat.fetch(url, tmp_path / "a.p2u", **how)
    assert p2uformat.verify(tmp_path / "a.p2u", tier="q4").ok


def test_a_name_with_unusual_letters(any_served, whole, tmp_path):
    url, how = put(any_served, "odd/m odel+ä.p2u", whole.read_bytes())
    if url.startswith("http"):
        url = url.replace(" ", "%20").replace("ä", "%C3%A4")
    p2uformat.fetch(url, tmp_path / "a.p2u", **how)
    assert (tmp_path / "a.p2u").read_bytes() == whole.read_bytes()
