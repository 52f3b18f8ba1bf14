"""Fetching each tensor up to a tier of its own."""

import pytest

import p2uformat
from p2uformat import Incomplete, InvalidArgument, TensorNotFound, TierNotFound
from tests.store.conftest import changed, model_of

TIERS = "q2,q4,q6,exact"
WIDTHS = {"l.0.w": "q2", "l.[12].w": "q4", "l.3.w": "exact"}


@pytest.fixture(scope="module")
def wide():
    return model_of(7, size=256)


def check(artifact, model, tiers):
    """Each tensor is there at its tier and not above."""
    with p2uformat.open(artifact) as mine:
        for name, tier in tiers.items():
            assert mine.tier_for(name) == tier
            mine.get(name)
            if tier != "exact":
                with pytest.raises(Incomplete):
                    mine.get(name, tier="exact")
        return {name: mine.get(name, tier=tier) for name, tier in tiers.items()}


def test_tensors_of_a_file(wide, tmp_path):
    p2uformat.pack(wide, tmp_path / "m.p2u", tiers=TIERS, chunk_per_tensor=True)
    plan = p2uformat.plan_fetch(tmp_path / "m.p2u", tmp_path / "part.p2u", tensors=WIDTHS)
    got = p2uformat.fetch(tmp_path / "m.p2u", tmp_path / "part.p2u", tensors=WIDTHS)
    assert (got.tier, got.fetched) == ("exact", plan.fetched)
    tiers = {"l.0.w": "q2", "l.1.w": "q4", "l.2.w": "q4", "l.3.w": "exact"}
    made = check(tmp_path / "part.p2u", wide, tiers)
    with p2uformat.open(tmp_path / "m.p2u") as whole:
        assert all((whole.get(name, tier=tiers[name]) == made[name]).all() for name in made)
        sizes = {name: whole.info(name).stored for name in tiers}
    depth = {"q2": 1, "q4": 2, "exact": 4}
    least = sum(sum(sizes[name][: depth[tier]]) for name, tier in tiers.items())
    assert least <= got.fetched <= least + 4096


def test_finer_tiers_later_move_only_the_rest(wide, tmp_path):
    p2uformat.pack(wide, tmp_path / "m.p2u", tiers=TIERS, chunk_per_tensor=True)
    path = tmp_path / "part.p2u"
    first = p2uformat.fetch(tmp_path / "m.p2u", path, tensors={"*": "q2", "l.0.w": "q4"})
    second = p2uformat.fetch(tmp_path / "m.p2u", path, tensors={"*": "q4"})
    assert second.present == first.total
    assert second.complete == ("q2", "q4")


@pytest.mark.parametrize("grow", ["q2", "q4", "q6", "exact"])
def test_versions_of_a_store(wide, place, tmp_path, grow):
    """A later version at other widths brings what is missing of the earlier ones, and no more."""
    versions = [wide]
    p2uformat.pack(wide, f"{place}#m", tiers=TIERS, chunk_per_tensor=True)
    for step in range(3):
        versions.append(changed(versions[-1], ["l.0.w", "l.1.w", "l.4.w"], step, 1e-3))
        assert p2uformat.pack(versions[-1], f"{place}#m", chunk_per_tensor=True).parent
    path = tmp_path / "m.p2u"
    (tmp_path / "m.p2u.parents").mkdir()
    tiers = {"l.0.w": "q2", "l.1.w": "q4", "l.5.w": "q2"}
    for number in range(1, 5):
        now = tiers | ({"l.1.w": grow} if number == 4 else {})
        got = p2uformat.fetch(f"{place}#m@{number}", path, tensors=now)
        made = check(path, versions[number - 1], now)
        with p2uformat.open(f"{place}#m@{number}") as whole:
            assert all((whole.get(name, tier=now[name]) == made[name]).all() for name in made)
        moved = sum(one.fetched for one in got.beside)
        assert bool(moved) == (number == 4 and grow in ("q6", "exact"))
        path.rename(tmp_path / "m.p2u.parents" / f"{got.root[7:39]}.p2u")


def test_an_inherited_tensor_is_found(wide, place, tmp_path):
    """A version whose pages are its parent's has their tensors too."""
    p2uformat.pack(wide, f"{place}#m")
    p2uformat.pack(changed(wide, ["l.0.w"], 1), f"{place}#m")
    p2uformat.fetch(f"{place}#m", tmp_path / "m.p2u", tensors="l.5.w", tier="q4")
    with p2uformat.open(tmp_path / "m.p2u") as mine, p2uformat.open(f"{place}#m") as whole:
        assert (mine.get("l.5.w") == whole.get("l.5.w", tier="q4")).all()


def test_chosen_by_what_the_manifest_says(wide, tmp_path):
    p2uformat.pack(wide, tmp_path / "m.p2u", tiers=TIERS, chunk_per_tensor=True)

    def choose(artifact):
        assert artifact.tiers == tuple(TIERS.split(","))
        return {name: "q2" for name in artifact if artifact.info(name).quantizer == "bitplane"}

    p2uformat.fetch(tmp_path / "m.p2u", tmp_path / "part.p2u", tensors=choose)
    check(tmp_path / "part.p2u", wide, {f"l.{i}.w": "q2" for i in range(6)})


def test_refusals(wide, tmp_path):
    p2uformat.pack(wide, tmp_path / "m.p2u")

    def refused(error, **how):
        with pytest.raises(error):
            p2uformat.fetch(tmp_path / "m.p2u", tmp_path / "part.p2u", **how)
        assert not (tmp_path / "part.p2u").exists()

    refused(InvalidArgument, tensors={"*": "q4"}, tier="q8")
    refused(InvalidArgument, tensors={})
    refused(TierNotFound, tensors={"*": "q5"})
    refused(TensorNotFound, tensors={"x": "q4"})
