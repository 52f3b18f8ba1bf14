"""The interface of safetensors, beside safetensors itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors import safe_open as their_open

import p2uformat
from p2uformat.testing import FaultServer
from p2uformat.torch import load_file, safe_open, save_file


@pytest.fixture(scope="module")
def tensors():
    torch.manual_seed(0)
    return {
        "wide": torch.randn(4096, 300),
        "cube": torch.arange(4 * 5 * 6).reshape(4, 5, 6),
        "half": torch.randn(64, 64).half(),
        "brain": torch.randn(64, 64).bfloat16(),
        "flags": torch.tensor([True, False]),
        "one": torch.tensor(3.5),
        "none": torch.zeros(0, 3),
        "complex": torch.randn(3, dtype=torch.complex64),
        "eight": torch.randn(64, 64).to(torch.float8_e4m3fn),
    }


@pytest.fixture(scope="module")
def files(tensors, tmp_path_factory):
    folder = tmp_path_factory.mktemp("safe")
    safetensors.torch.save_file(tensors, folder / "m.safetensors", {"made": "here"})
    p2uformat.pack(folder / "m.safetensors", folder / "m.p2u")
    return folder / "m.safetensors", folder / "m.p2u"


def test_names_texts_and_tensors_are_those_of_safetensors(files, tensors):
    with their_open(files[0], "pt") as theirs, safe_open(files[1], framework="pt") as ours:
        assert sorted(ours.keys()) == ours.keys() == sorted(theirs.keys())
        assert ours.offset_keys() == theirs.offset_keys()
        assert ours.metadata() == theirs.metadata() == {"made": "here"}
        for name, tensor in tensors.items():
            got = ours.get_tensor(name)
            assert (got.dtype, got.shape) == (tensor.dtype, tensor.shape)
            assert torch.equal(got.reshape(-1).view(torch.uint8), raw(tensor))
            part = ours.get_slice(name)
            assert part.get_shape() == theirs.get_slice(name).get_shape()
            assert part.get_dtype() == theirs.get_slice(name).get_dtype()


def raw(tensor):
    return tensor.reshape(-1).view(torch.uint8)


INDICES = [
    np.s_[:],
    np.s_[1:3],
    np.s_[2:],
    np.s_[-1:],
    np.s_[:0],
    np.s_[3:1],
    np.s_[::2],
    np.s_[1:4:2],
    np.s_[0],
    np.s_[-1],
    np.s_[1:3, 2],
    np.s_[1:3, :, ::2],
    np.s_[2, 3, 4],
    np.s_[...],
    np.s_[..., 1],
    np.s_[1, ..., 1:3],
    np.s_[None, 1:2],
    np.s_[:100],
    (),
]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_slices_are_those_of_the_tensor(files, tensors, index):
    with safe_open(files[1]) as ours:
        got = ours.get_slice("cube")[index]
        assert torch.equal(got, tensors["cube"][index])
        assert torch.equal(ours.get_slice("wide")[1000:1010], tensors["wide"][1000:1010])


@pytest.mark.parametrize("index", [4, -5, np.s_[::-1], np.s_[0, 0, 0, 0], "a", 1.5], ids=str)
def test_what_is_no_part_of_a_tensor_is_refused(files, index):
    with safe_open(files[1]) as ours, pytest.raises(p2uformat.InvalidArgument, match="'cube'"):
        ours.get_slice("cube")[index]


def test_a_single_number_has_no_rows(files, tensors):
    with safe_open(files[1]) as ours:
        assert torch.equal(ours.get_slice("one")[...], tensors["one"])
        with pytest.raises(p2uformat.InvalidArgument, match="'one'"):
            ours.get_slice("one")[0]


def test_only_the_rows_are_read(files):
    data = files[1].read_bytes()
    with FaultServer({"m.p2u": data}) as server, safe_open(server.url_of("m.p2u")) as ours:
        opened = server.bytes_sent
        ours.get_slice("wide")[:10, 5]
        rows = server.bytes_sent - opened
        ours.get_tensor("wide")
        everything = server.bytes_sent - opened
    assert 0 < rows < 0.6 * everything


def test_tiers(files, tensors):
    with p2uformat.open(files[1]) as artifact, safe_open(files[1], tier="q4") as ours:
        rough = torch.from_numpy(artifact.get("wide", "q4"))
        assert not torch.equal(rough, tensors["wide"])
        assert torch.equal(ours.get_tensor("wide"), rough)
        assert torch.equal(ours.get_slice("wide")[7], rough[7])
        assert torch.equal(load_file(artifact, tier="q4")["wide"], rough)
    with pytest.raises(p2uformat.TierNotFound, match="q5"):
        safe_open(files[1], tier="q5")


def test_of_a_part_it_reads_the_best_that_is_here(files, tmp_path):
    p2uformat.fetch(files[1], tmp_path / "a.p2u", tier="q8")
    with p2uformat.open(files[1]) as artifact, safe_open(tmp_path / "a.p2u") as ours:
        expected = torch.from_numpy(artifact.get("wide", "q8"))
        assert torch.equal(ours.get_tensor("wide"), expected)
        assert torch.equal(ours.get_slice("wide")[3:5], expected[3:5])


def test_names_and_frameworks_that_are_not_known(files):
    with safe_open(files[1]) as ours:
        for ask in (ours.get_tensor, ours.get_slice):
            with pytest.raises(p2uformat.TensorNotFound, match="nothing"):
                ask("nothing")
    with pytest.raises(p2uformat.InvalidArgument, match="got 'np'"):
        safe_open(files[1], framework="np")
    with pytest.raises(p2uformat.NotFound):
        safe_open(Path("nowhere.p2u"))


def test_loading_a_file_is_that_of_safetensors(files):
    ours, theirs = load_file(files[1]), safetensors.torch.load_file(files[0])
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(raw(ours[name]), raw(theirs[name])) for name in ours)
    meta = load_file(files[1], device="meta")
    assert all(tensor.is_meta for tensor in meta.values())


def test_tensors_come_back_from_a_file(tensors, tmp_path):
    odd = {
        **tensors,
        "transposed": tensors["wide"].T,
        "same": tensors["wide"],
        "conjugate": tensors["complex"].conj(),
        "leaf": torch.nn.Parameter(torch.ones(3)),
        **{str(d): torch.arange(4).to(d) for d in (torch.uint16, torch.uint32, torch.uint64)},
    }
    summary = save_file(odd, tmp_path / "m.p2u", tiers="q4,exact")
    assert [tier.name for tier in summary.tiers] == ["q4", "exact"]
    got = load_file(tmp_path / "m.p2u")
    assert got.keys() == odd.keys()
    for name, tensor in odd.items():
        assert got[name].dtype == tensor.dtype
        assert torch.equal(raw(got[name]), raw(tensor.detach().resolve_conj().contiguous()))


def test_what_cannot_be_stored_is_named(tmp_path):
    for tensor, match in (
        (torch.zeros(2, dtype=torch.complex128), "'w': cannot store dtype torch.complex128"),
        (torch.zeros(2, device="meta"), "'w' is on the meta device"),
        (torch.eye(3).to_sparse(), "'w' is of layout"),
        ([1.0], "'w': expected a tensor, got list"),
    ):
        with pytest.raises(p2uformat.InvalidArgument, match=match):
            save_file({"w": tensor}, tmp_path / "m.p2u")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["F4", "F8_E4M3FNUZ", "F8_E8M0"])
def test_dtypes_that_numpy_has_no_name_for(tmp_path, name):
    from p2uformat.torch.tensors import torch_dtype

    data = bytes(range(64))
    shape = [8, 16] if name == "F4" else [8, 8]
    head = f'{{"w":{{"dtype":"{name}","shape":{shape},"data_offsets":[0,64]}}}}'.encode()
    (tmp_path / "m.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + data)
    p2uformat.pack(tmp_path / "m.safetensors", tmp_path / "m.p2u")
    tensor = load_file(tmp_path / "m.p2u")["w"]
    assert tensor.dtype == torch_dtype(name)
    assert tuple(tensor.shape) == (8, 8)
    assert bytes(tensor.view(torch.uint8).flatten().tolist()) == data
    with safe_open(tmp_path / "m.p2u") as ours:
        assert ours.get_tensor("w").shape == (8, 8)


def test_a_dtype_that_pytorch_has_not(tmp_path):
    head = b'{"w":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3]}}'
    (tmp_path / "m.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + b"abc")
    p2uformat.pack(tmp_path / "m.safetensors", tmp_path / "m.p2u")
    with pytest.raises(p2uformat.InvalidArgument, match="no dtype for F6_E2M3"):
        load_file(tmp_path / "m.p2u")
