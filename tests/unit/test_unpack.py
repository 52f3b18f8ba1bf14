import numpy as np
import pytest
from safetensors import safe_open

import p2uformat
from p2uformat.errors import (
    DestinationExists,
    InvalidArgument,
    NotFound,
    TensorNotFound,
    TierNotFound,
)


def read(path):
    with safe_open(path, "np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("tier", [None, "exact"])
def test_the_source_comes_back(artifact_path, checkpoint, tmp_path, threads, tier):
    seen = []
    result = p2uformat.unpack(
        artifact_path, tmp_path / "m", tier=tier, threads=threads, progress=seen.append
    )
    assert (tmp_path / "m").read_bytes() == checkpoint.read_bytes()
    assert result.identical
    assert result.bytes == checkpoint.stat().st_size
    assert result.to_dict()["tier"] == "exact"
    assert seen[-1].done == seen[-1].total == result.bytes
    assert {progress.phase for progress in seen} == {"unpack"}


@pytest.mark.parametrize("tier", ["q4", "q8"])
def test_a_tier_is_a_sound_file(artifact_path, arrays, tmp_path, tier):
    result = p2uformat.unpack(artifact_path, tmp_path / "m", tier=tier)
    loaded, metadata = read(tmp_path / "m")
    assert metadata == {"format": "pt"}
    assert not result.identical
    assert result.tensors == len(arrays) == len(loaded)
    with p2uformat.open(artifact_path) as artifact:
        for name, array in loaded.items():
            want = artifact.get(name, tier)
            assert array.shape == want.shape
            assert array.tobytes() == want.tobytes()


def test_patterns_choose(artifact_path, tmp_path):
    result = p2uformat.unpack(artifact_path, tmp_path / "m", tensors=["l.[01]", "ids"])
    assert set(read(tmp_path / "m")[0]) == {"l.0", "l.1", "ids"}
    assert result.tensors == 3
    assert not result.identical
    with pytest.raises(TensorNotFound, match=r"no tensor matches 'L\.\*'"):
        p2uformat.unpack(artifact_path, tmp_path / "n", tensors="L.*")
    assert not (tmp_path / "n").exists()


def test_floats_convert_and_integers_stay(artifact_path, arrays, tmp_path):
    p2uformat.unpack(artifact_path, tmp_path / "m", tier="q8", dtype="float16")
    loaded, _ = read(tmp_path / "m")
    assert loaded["ids"].tobytes() == arrays["ids"].tobytes()
    for name in ("l.0", "half", "brain", "double", "scalar", "empty"):
        assert loaded[name].dtype == np.float16
        assert loaded[name].shape == arrays[name].shape


def test_arguments_are_checked(artifact_path, tmp_path):
    for options, error in (
        ({"tier": "q5"}, TierNotFound),
        ({"dtype": "I32"}, InvalidArgument),
        ({"dtype": "x"}, InvalidArgument),
        ({"threads": 0}, InvalidArgument),
    ):
        with pytest.raises(error):
            p2uformat.unpack(artifact_path, tmp_path / "m", **options)
    with pytest.raises(NotFound):
        p2uformat.unpack(tmp_path / "none", tmp_path / "m")
    with pytest.raises(NotFound):
        p2uformat.unpack(artifact_path, tmp_path / "none" / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_kept_unless_told(artifact_path, tmp_path):
    (tmp_path / "m").write_bytes(b"old")
    with pytest.raises(DestinationExists):
        p2uformat.unpack(artifact_path, tmp_path / "m")
    p2uformat.unpack(artifact_path, tmp_path / "m", overwrite=True)
    assert (tmp_path / "m").stat().st_size > 3


def test_an_artifact_may_be_replaced_by_its_source(small_path, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(small_path.read_bytes())
    result = p2uformat.unpack(path, path, overwrite=True)
    assert path.stat().st_size == result.bytes


def test_an_interrupt_leaves_nothing(artifact_path, tmp_path):
    def interrupt(progress):
        if progress.done > 1000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        p2uformat.unpack(artifact_path, tmp_path / "m", threads=2, progress=interrupt)
    assert list(tmp_path.iterdir()) == []
