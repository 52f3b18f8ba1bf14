"""Folders of model files, there and back."""

import hashlib
import shutil

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

import p2uformat
from p2uformat.errors import TensorNotFound
from tests.folders import FIRST, SECOND, cached, contents, make_model, weights


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("hub") / "model")


@pytest.fixture(scope="module")
def artifact(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "m.p2u"
    p2uformat.pack(model, path, sha256=True)
    return path


def test_every_file_returns(model, artifact, tmp_path):
    result = p2uformat.unpack(artifact, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(model)
    assert (result.identical, result.files, result.left_out) == (True, 7, ())
    assert result.bytes == sum(map(len, contents(model).values()))
    assert result.tensors == 4
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert p2uformat.verify(artifact, deep=True).ok


def test_files_are_told(model, artifact):
    with p2uformat.open(artifact) as opened:
        files = {file.path: file for file in opened.files}
        assert opened.metadata == {"format": "pt"}
    data = contents(model)
    assert list(files) == sorted(data, key=str.encode)
    for path, file in files.items():
        assert file.bytes == len(data[path])
        assert file.sha256 == hashlib.sha256(data[path]).hexdigest()
        assert file.digest.startswith("blake3:")
        assert (file.layout == "safetensors") == path.endswith(".safetensors")
    assert {path for path, file in files.items() if file.tier == "exact"} == {"onnx/model.onnx"}
    assert {file.tier for file in files.values()} == {"q4", "exact"}


def test_sha256_is_only_there_on_request(model, tmp_path):
    p2uformat.pack(model, tmp_path / "m.p2u")
    with p2uformat.open(tmp_path / "m.p2u") as opened:
        assert {file.sha256 for file in opened.files} == {None}


def test_the_tensors_of_all_shards_are_there(model, artifact):
    with p2uformat.open(artifact) as opened:
        assert opened.keys() == ("embed", "norm", "ids", "head")
        for shard in (FIRST, SECOND):
            for name, array in safetensors.numpy.load_file(model / shard).items():
                assert opened.get(name).tobytes() == array.tobytes()
                assert opened.info(name).shape == array.shape


def test_threads_make_no_difference(model, tmp_path):
    for threads in (1, 3):
        p2uformat.pack(model, tmp_path / f"{threads}.p2u", threads=threads)
    assert (tmp_path / "1.p2u").read_bytes() == (tmp_path / "3.p2u").read_bytes()


def test_links_into_a_cache_are_followed(model, artifact, tmp_path):
    snapshot = cached(tmp_path / "models--x", model)
    summary = p2uformat.pack(snapshot, tmp_path / "m.p2u", sha256=True)
    with p2uformat.open(artifact) as plain:
        assert summary.root == plain.root
    p2uformat.unpack(tmp_path / "m.p2u", tmp_path / "out")
    assert contents(tmp_path / "out") == contents(model)
    assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))


def test_a_lower_tier_is_a_model_too(model, artifact, tmp_path):
    result = p2uformat.unpack(artifact, tmp_path / "out", tier="q4")
    assert not result.identical
    assert result.left_out == ("onnx/model.onnx",)
    data, source = contents(tmp_path / "out"), contents(model)
    assert data.keys() == source.keys() - {"onnx/model.onnx"}
    for path in data.keys() - {FIRST, SECOND}:
        assert data[path] == source[path]
    with p2uformat.open(artifact) as opened, safe_open(tmp_path / "out" / SECOND, "np") as shard:
        assert set(shard.keys()) == {"ids", "head"}
        assert shard.metadata() == {"format": "pt", "part": "2"}
        assert shard.get_tensor("head").tobytes() == opened.get("head", tier="q4").tobytes()
        assert shard.get_tensor("head").tobytes() != opened.get("head").tobytes()


def test_patterns_and_dtypes_choose(artifact, tmp_path):
    result = p2uformat.unpack(artifact, tmp_path / "out", tensors="he*", dtype="F32")
    assert (result.tensors, result.left_out) == (1, (FIRST,))
    loaded = safetensors.numpy.load_file(tmp_path / "out" / SECOND)
    assert {name: array.dtype for name, array in loaded.items()} == {"head": np.float32}
    with pytest.raises(TensorNotFound):
        p2uformat.unpack(artifact, tmp_path / "none", tensors="none")
    assert not (tmp_path / "none").exists()


def test_large_and_many_blocked_files_go_last(tmp_path, monkeypatch):
    monkeypatch.setattr("p2uformat.artifact.blobs.MAX_RECORD_BLOCKS", 2)
    monkeypatch.setattr("p2uformat.artifact.encode.MAX_RECORD_BLOCKS", 2)
    monkeypatch.setattr("p2uformat.artifact.catalog.MAX_RECORD_BLOCKS", 2)
    monkeypatch.setattr("p2uformat.manifest.records.MAX_RECORD_BLOCKS", 2)
    source = tmp_path / "source"
    source.mkdir()
    rng = np.random.default_rng(0)
    (source / "big.json").write_bytes(rng.bytes(1 << 20) * 16 + b"x")
    (source / "edge.json").write_bytes(bytes(1 << 24))
    (source / "small.pt").write_bytes(b"weights")
    p2uformat.pack(source, tmp_path / "m.p2u", threads=2)
    assert (tmp_path / "m.p2u").stat().st_size < 3 << 20
    with p2uformat.open(tmp_path / "m.p2u") as opened:
        tiers = {file.path: file.tier for file in opened.files}
    assert tiers == {"big.json": "exact", "edge.json": "q4", "small.pt": "exact"}
    assert p2uformat.verify(tmp_path / "m.p2u", deep=True).ok
    p2uformat.unpack(tmp_path / "m.p2u", tmp_path / "out")
    assert contents(tmp_path / "out") == contents(source)


def test_text_is_compressed(model, artifact):
    with p2uformat.open(artifact) as opened:
        stored = opened.summary.tiers[0].exact_bytes
    assert stored < (model / "tokenizer.json").stat().st_size / 3


@pytest.mark.parametrize("shape", [(80, 64), (512, 512), (30,)])
def test_tied_and_duplicated_tensors_are_stored_once(tmp_path, shape):
    tied, other = weights(*shape), weights(*shape, seed=9)
    sizes = []
    for copies in (1, 4):
        source = tmp_path / f"source{copies}"
        source.mkdir()
        for number in range(copies):
            tensors = {f"w{number}": tied, f"tied{number}": tied, "other": other}
            safetensors.numpy.save_file(tensors, source / f"{number}.safetensors")
        summary = p2uformat.pack(source, tmp_path / f"{copies}.p2u")
        sizes.append(summary.bytes - summary.manifest_bytes)
        assert p2uformat.verify(tmp_path / f"{copies}.p2u", deep=True).ok
        p2uformat.unpack(tmp_path / f"{copies}.p2u", f"{tmp_path}/out{copies}/")
        assert contents(tmp_path / f"out{copies}") == contents(source)
    # Only the heads are new.
    assert sizes[1] - sizes[0] < 800


def test_equal_files_are_stored_once(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    data = np.random.default_rng(0).bytes(50_000)
    for name in "abcdef":
        (source / name).write_bytes(data)
    summary = p2uformat.pack(source, tmp_path / "m.p2u")
    assert summary.bytes < 60_000
    p2uformat.unpack(tmp_path / "m.p2u", tmp_path / "out")
    assert contents(tmp_path / "out") == contents(source)


def test_a_name_of_several_files_is_qualified(tmp_path):
    source = tmp_path / "source"
    for number, name in enumerate(("text", "image")):
        (source / name).mkdir(parents=True)
        tensors = {"conv": weights(70, 64, seed=number), name: np.arange(3)}
        safetensors.numpy.save_file(tensors, source / name / "m.safetensors")
    p2uformat.pack(source, tmp_path / "m.p2u", overrides={"text/*": "exact"})
    with p2uformat.open(tmp_path / "m.p2u") as opened:
        assert opened.keys() == (
            "image",
            "image/m.safetensors:conv",
            "text",
            "text/m.safetensors:conv",
        )
        assert opened.info("text/m.safetensors:conv").quantizer == "opaque"
        assert opened.info("image/m.safetensors:conv").quantizer == "bitplane"
        want = weights(70, 64, seed=1).tobytes()
        assert opened.get("image/m.safetensors:conv").tobytes() == want
    p2uformat.unpack(tmp_path / "m.p2u", tmp_path / "out")
    assert contents(tmp_path / "out") == contents(source)
    p2uformat.unpack(tmp_path / "m.p2u", tmp_path / "q8", tier="q8", tensors="text*")
    loaded = safetensors.numpy.load_file(tmp_path / "q8" / "text" / "m.safetensors")
    assert set(loaded) == {"conv", "text"}
    assert loaded["conv"].tobytes() == weights(70, 64, seed=0).tobytes()


def test_a_name_that_looks_qualified_is_nobody_elses(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    safetensors.numpy.save_file({"w": np.arange(4)}, source / "a.safetensors")
    odd = {"a.safetensors:w": np.arange(4, 8), "m.safetensors:x": np.arange(2), "x": np.arange(3)}
    safetensors.numpy.save_file(odd, source / "m.safetensors")
    p2uformat.pack(source, tmp_path / "m.p2u")
    p2uformat.unpack(tmp_path / "m.p2u", tmp_path / "out")
    assert contents(tmp_path / "out") == contents(source)
    assert p2uformat.verify(tmp_path / "m.p2u", deep=True).ok
    # A single file can hold such names too.
    p2uformat.pack(source / "m.safetensors", tmp_path / "one.p2u")
    p2uformat.unpack(tmp_path / "one.p2u", tmp_path / "one")
    assert (tmp_path / "one").read_bytes() == (source / "m.safetensors").read_bytes()


def test_a_parent_lends_its_steps(model, artifact, tmp_path):
    again = p2uformat.pack(model, tmp_path / "again.p2u", parent=artifact, sha256=True)
    with p2uformat.open(artifact) as first:
        assert again.root == first.root


def test_tools_own_folders_are_left_out(model, artifact, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(model, copy)
    for name in (".git", ".cache/huggingface", "onnx/.git"):
        (copy / name).mkdir(parents=True)
        (copy / name / "x").write_bytes(b"x")
    assert contents(copy).keys() > contents(model).keys()
    with p2uformat.open(artifact) as first:
        assert p2uformat.pack(copy, tmp_path / "m.p2u", sha256=True).root == first.root


class TestFolderOrFile:
    def test_one_safetensors_file_is_a_file(self, model, tmp_path):
        (tmp_path / "source").mkdir()
        (tmp_path / "source" / "m.safetensors").write_bytes((model / FIRST).read_bytes())
        p2uformat.pack(tmp_path / "source", tmp_path / "m.p2u")
        p2uformat.unpack(tmp_path / "m.p2u", tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == (model / FIRST).read_bytes()
        p2uformat.unpack(tmp_path / "m.p2u", f"{tmp_path}/folder/")
        assert contents(tmp_path / "folder") == contents(tmp_path / "source")
        # As the file alone, packed from where it lies.
        p2uformat.pack(tmp_path / "source" / "m.safetensors", tmp_path / "f.p2u")
        with p2uformat.open(tmp_path / "m.p2u") as a, p2uformat.open(tmp_path / "f.p2u") as b:
            assert a.root == b.root

    def test_a_path_makes_it_a_folder(self, model, tmp_path):
        (tmp_path / "source" / "sub").mkdir(parents=True)
        (tmp_path / "source" / "sub" / "m.safetensors").write_bytes((model / FIRST).read_bytes())
        p2uformat.pack(tmp_path / "source", tmp_path / "m.p2u")
        p2uformat.unpack(tmp_path / "m.p2u", tmp_path / "out")
        assert contents(tmp_path / "out") == contents(tmp_path / "source")


part = st.text(
    st.characters(codec="utf-8", exclude_characters="/\\\0", exclude_categories=["Cs"]),
    min_size=1,
    max_size=8,
).filter(lambda text: text not in (".", "..", ".git", ".cache") and len(text.encode()) < 200)
trees = st.dictionaries(
    st.lists(part, min_size=1, max_size=3).map("/".join),
    st.one_of(
        st.binary(max_size=300),
        st.integers(0, 3).map(lambda seed: np.random.default_rng(seed).bytes(5000)),
        st.sampled_from([b"", bytes(200_000)]),
    ),
    min_size=1,
    max_size=8,
)


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    tree=trees, names=st.lists(st.sampled_from(["w", "x", "y:z", "a.safetensors:w"]), max_size=6)
)
def test_any_tree_returns(tree, names, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree")
    source = folder / "source"
    source.mkdir()
    for path, data in tree.items():
        try:
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            if not path.endswith((".safetensors", ".index.json")):
                (source / path).write_bytes(data)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue  # a file is in the way: the tree is smaller then
    for number, name in enumerate(names):
        shard = source / f"{'abcdef'[number % 3]}.safetensors"
        tensors = safetensors.numpy.load_file(shard) if shard.exists() else {}
        tensors[name] = np.full((3, 1500), number % 2, np.float32)
        safetensors.numpy.save_file(tensors, shard)
    if not contents(source):
        return
    p2uformat.pack(source, folder / "m.p2u", sha256=True, threads=1)
    assert p2uformat.verify(folder / "m.p2u", deep=True).ok
    result = p2uformat.unpack(folder / "m.p2u", f"{folder}/out/", threads=1)
    assert result.identical
    assert contents(folder / "out") == contents(source)
