"""Versions through the installed command: --parent, --with, squash, and what goes wrong."""

import numpy as np
import pytest
import safetensors.numpy


@pytest.fixture(scope="module")
def chain(p2u, tmp_path_factory):
    """Return a folder with three versions, each but the first packed by what changed."""
    folder = tmp_path_factory.mktemp("chain")
    rng = np.random.default_rng(3)
    weights = {"w": (rng.standard_normal((96, 64)) * 0.05).astype(np.float32)}
    for number in (1, 2, 3):
        source = folder / f"v{number}.safetensors"
        safetensors.numpy.save_file(weights, source, metadata={"format": "pt"})
        words = ["pack", source, folder / f"v{number}.p2u"]
        if number > 1:
            words += ["--parent", folder / f"v{number - 1}.p2u", "--with", folder / "v1.p2u"]
        assert p2u(*words).code == 0
        weights["w"] = weights["w"] + np.float32(1e-5)
    return folder


def test_unpack_with_the_parents_in_any_order(p2u, chain, tmp_path):
    for number, order in enumerate((("v1", "v2"), ("v2", "v1"))):
        parents = [word for name in order for word in ("--with", chain / f"{name}.p2u")]
        out = tmp_path / f"{number}.safetensors"
        assert p2u("unpack", chain / "v3.p2u", out, *parents).code == 0
        assert out.read_bytes() == (chain / "v3.safetensors").read_bytes()


def test_without_parents(p2u, chain, tmp_path):
    result = p2u("unpack", chain / "v2.p2u", tmp_path / "x", "--json")
    assert (result.code, result.error["code"]) == (6, "parent-required")
    assert result.error["parent"].startswith("blake3:")
    assert "--with" in result.error["hint"]
    assert not list(tmp_path.iterdir())
    result = p2u("verify", chain / "v2.p2u", "--json")
    assert (result.code, result.document["ok"]) == (0, True)
    assert result.document["complete_tiers"] == []
    for options in ((), ("--tensors",), ("--files",)):
        result = p2u("inspect", chain / "v2.p2u", *options)
        assert result.code == 0
        assert "needs" in result.out
    assert p2u("inspect", chain / "v2.p2u", "--json").document["metadata"] == {}
    assert p2u("verify", chain / "v2.p2u", "--deep").code == 6
    assert p2u("squash", chain / "v2.p2u", tmp_path / "x").code == 6


def test_the_wrong_parent(p2u, chain, tmp_path):
    result = p2u("unpack", chain / "v2.p2u", tmp_path / "x", "--with", chain / "v3.p2u", "--json")
    assert (result.code, result.error["code"]) == (3, "parent-mismatch")
    result = p2u("unpack", chain / "v3.p2u", tmp_path / "x", "--with", chain / "v2.p2u", "--json")
    assert (result.code, result.error["code"]) == (6, "parent-required")
    result = p2u("verify", chain / "v2.p2u", "--with", chain / "no.p2u", "--json")
    assert (result.code, result.error["code"]) == (4, "not-found")


def test_squash_makes_the_file_of_self_contained(p2u, chain, tmp_path):
    parents = ["--with", chain / "v2.p2u", "--with", chain / "v1.p2u"]
    result = p2u("squash", chain / "v3.p2u", tmp_path / "s.p2u", *parents, "--json")
    assert (result.code, result.document["parent"]) == (0, None)
    words = ["--parent", chain / "v2.p2u", "--with", chain / "v1.p2u", "--self-contained"]
    assert p2u("pack", chain / "v3.safetensors", tmp_path / "a.p2u", *words).code == 0
    assert (tmp_path / "s.p2u").read_bytes() == (tmp_path / "a.p2u").read_bytes()
    assert p2u("verify", tmp_path / "s.p2u", "--deep").code == 0
    assert p2u("squash", chain / "v3.p2u", tmp_path / "s.p2u", *parents).code == 2


def test_other_tiers_than_the_parents(p2u, chain, tmp_path):
    words = ["pack", chain / "v2.safetensors", tmp_path / "x.p2u", "--parent", chain / "v1.p2u"]
    result = p2u(*words, "--tiers", "q3,exact", "--json")
    assert (result.code, result.error["code"]) == (2, "invalid-argument")
    assert not list(tmp_path.iterdir())


def test_diff_takes_a_as_a_parent_of_b(p2u, chain):
    result = p2u("diff", chain / "v1.p2u", chain / "v2.p2u", "--json")
    assert result.code == 0
    (tensor,) = result.document["tensors"]
    assert (tensor["name"], tensor["status"]) == ("w", "changed")
