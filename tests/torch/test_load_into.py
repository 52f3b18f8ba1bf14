"""Modules filled from artifacts: names, ties, buffers, dtypes, meta, and nothing by halves."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import p2uformat
from p2uformat.testing import FaultServer
from p2uformat.torch import ModuleMismatch, load_into, save_file
from tests.torch.conftest import TIERS, made


def snapshot(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(module, state):
    now = module.state_dict()
    return now.keys() == state.keys() and all(torch.equal(now[n], state[n]) for n in state)


def bits(tensor):
    return tensor.contiguous().view(torch.uint8)


def test_the_exact_tier_is_the_module_bit_for_bit(net, original, packed):
    assert not same(net, original.state_dict())
    keys = load_into(net, packed, "exact")
    assert (keys.missing_keys, keys.unexpected_keys) == ([], [])
    assert same(net, original.state_dict())


def test_q4_is_the_default_and_what_the_artifact_says_it_is(net, original, packed):
    load_into(net, packed)
    with p2uformat.open(packed) as artifact:
        rough = artifact.load("q4")
    assert not torch.equal(net.embed.weight, original.embed.weight)
    assert all(np.array_equal(net.state_dict()[n].numpy(), rough[n]) for n in rough)


def test_without_a_tier_it_is_the_best_that_is_whole(net, packed, tmp_path):
    p2uformat.fetch(packed, tmp_path / "part.p2u", tier="q8")
    load_into(net, tmp_path / "part.p2u", None)
    other = made(3)
    load_into(other, packed, "q8")
    assert same(net, other.state_dict())


def test_integers_and_booleans_travel_exactly_in_every_tier(net, original, packed):
    for tier in TIERS:
        load_into(net, packed, tier)
        assert torch.equal(net.ids, original.ids)
        assert torch.equal(net.mask, original.mask)
        assert int(net.body[1].num_batches_tracked) == 2**53 + 1


def test_parameters_stay_the_same_objects_in_the_same_memory(net, packed):
    before = {name: (item, item.data_ptr()) for name, item in net.named_parameters()}
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    view = net.head.weight[:2]
    load_into(net, packed, "exact")
    after = {name: (item, item.data_ptr()) for name, item in net.named_parameters()}
    assert all(after[n][0] is before[n][0] and after[n][1] == before[n][1] for n in before)
    assert optimizer.param_groups[0]["params"][0] is net.embed.weight
    assert torch.equal(view, net.head.weight[:2])
    assert all(item.requires_grad for item in net.parameters())


def test_buffers_that_are_not_persistent_are_left_alone(net, packed):
    net.scratch.fill_(7)
    load_into(net, packed, "exact")
    assert torch.equal(net.scratch, torch.full((4,), 7.0))


@pytest.mark.parametrize("left_out", ["head.weight", "embed.weight"])
def test_a_tied_tensor_needs_one_name_only(original, net, tmp_path, left_out):
    state = original.state_dict()
    del state[left_out]
    save_file(state, tmp_path / "m.p2u")
    keys = load_into(net, tmp_path / "m.p2u", "exact")
    assert keys.missing_keys == []
    assert net.head.weight is net.embed.weight
    assert torch.equal(net.head.weight, original.head.weight)


def test_names_are_strict_with_the_words_of_pytorch(net, original, tmp_path):
    state = original.state_dict()
    state["body.9.weight"] = state.pop("body.0.weight")
    save_file(state, tmp_path / "m.p2u")
    before = snapshot(net)
    with pytest.raises(RuntimeError) as theirs:
        made(5).load_state_dict(state)
    with pytest.raises(ModuleMismatch) as ours:
        load_into(net, tmp_path / "m.p2u", "exact")
    assert ours.value.message == str(theirs.value)
    assert ours.value.missing == ("body.0.weight",)
    assert ours.value.unexpected == ("body.9.weight",)
    assert "\nnothing was changed" in str(ours.value)
    assert same(net, before)


def test_names_that_are_not_strict_are_returned(net, original, tmp_path):
    state = original.state_dict()
    state["body.9.weight"] = state.pop("body.0.weight")
    save_file(state, tmp_path / "m.p2u")
    before = net.body[0].weight.clone()
    keys = load_into(net, tmp_path / "m.p2u", "exact", strict=False)
    theirs = made(5).load_state_dict(state, strict=False)
    assert keys == theirs
    assert torch.equal(net.body[0].weight, before)
    assert torch.equal(net.body[2].weight, original.body[2].weight)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("assign", [None, True])
def test_shapes_that_do_not_fit_change_nothing(original, net, tmp_path, strict, assign):
    state = original.state_dict()
    state["body.2.bias"] = torch.zeros(127)
    state["body.0.weight"] = torch.zeros(128, 129)
    save_file(state, tmp_path / "m.p2u")
    before, objects = snapshot(net), list(net.parameters())
    with pytest.raises(ModuleMismatch, match=r"size mismatch for body\.0\.weight.*\n.*2\.bias"):
        load_into(net, tmp_path / "m.p2u", "exact", strict=strict, assign=assign)
    assert same(net, before)
    assert all(a is b for a, b in zip(net.parameters(), objects, strict=True))


def test_damage_and_absence_change_nothing(net, packed, tmp_path):
    data = bytearray(Path(packed).read_bytes())
    before = snapshot(net)
    data[-5] ^= 1
    with pytest.raises(p2uformat.CorruptData):
        load_into(net, bytes(data), "exact")
    with pytest.raises(p2uformat.Incomplete):
        load_into(net, bytes(data[: len(data) // 2]), "exact")
    with pytest.raises(p2uformat.TierNotFound):
        load_into(net, packed, "q2")
    with pytest.raises(p2uformat.NotFound):
        load_into(net, tmp_path / "none.p2u")
    assert same(net, before)


DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
FP8 = [torch.float8_e4m3fn, torch.float8_e5m2]


@pytest.mark.parametrize("source", DTYPES)
@pytest.mark.parametrize("target", DTYPES)
def test_the_dtype_of_the_module_is_kept(tmp_path, source, target):
    torch.manual_seed(0)
    model = nn.Linear(128, 64, dtype=source)
    save_file(model.state_dict(), tmp_path / "m.p2u")
    other = nn.Linear(128, 64, dtype=target)
    load_into(other, tmp_path / "m.p2u", "exact")
    assert other.weight.dtype == target
    assert torch.equal(bits(other.weight), bits(model.weight.to(target)))
    load_into(other, tmp_path / "m.p2u", "q4")
    with p2uformat.open(tmp_path / "m.p2u") as artifact:
        name = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16"}
        rough = artifact.get("weight", "q4", dtype=name.get(target, "BF16"))
    assert bits(other.weight).numpy().tobytes() == rough.tobytes()


@pytest.mark.parametrize("dtype", FP8)
def test_fp8(tmp_path, dtype):
    weight = torch.randn(128, 64, generator=torch.Generator().manual_seed(0)).to(dtype)
    save_file({"weight": weight}, tmp_path / "m.p2u")
    for target in (dtype, torch.float32):
        module = nn.Module()
        module.register_buffer("weight", torch.zeros(128, 64, dtype=target))
        load_into(module, tmp_path / "m.p2u", "exact")
        assert torch.equal(module.weight.float(), weight.float())
        assert module.weight.dtype == target


def test_a_meta_module_gets_memory(original, packed, words):
    with torch.device("meta"):
        net = type(original)().eval()
    assert net.embed.weight.is_meta
    net.body[2].weight.requires_grad_(False)
    net.half()
    load_into(net, packed, "exact")
    assert net.head.weight is net.embed.weight
    assert net.embed.weight.dtype == torch.float16
    assert isinstance(net.embed.weight, nn.Parameter)
    assert net.embed.weight.requires_grad
    assert not net.body[2].weight.requires_grad
    assert torch.equal(net.ids, original.ids)
    assert torch.equal(net.float()(words), made_half(original)(words))


def made_half(module):
    return copy.deepcopy(module).half().float()


def test_a_meta_module_that_does_not_fit_stays_one(original, packed):
    with torch.device("meta"):
        net = type(original)()
        net.body[0] = nn.Linear(64, 128)
    with pytest.raises(ModuleMismatch, match=r"size mismatch for body\.0\.weight"):
        load_into(net, packed)
    with pytest.raises(p2uformat.InvalidArgument, match="on the meta device, 'ids' first"):
        load_into(net, packed, assign=False)
    assert all(tensor.is_meta for tensor in net.state_dict().values())


def test_assigning_makes_new_tensors_and_keeps_ties(net, original, packed):
    before = net.embed.weight
    load_into(net, packed, "exact", assign=True)
    assert net.embed.weight is not before
    assert net.embed.weight is net.head.weight
    assert same(net, original.state_dict())


def test_modules_with_hooks_of_their_own_see_what_pytorch_gives_them(original, packed):
    class Renamed(type(original)):
        def _load_from_state_dict(self, state_dict, prefix, *rest):
            state_dict[f"{prefix}count"] = state_dict.pop(f"{prefix}ids").clone()
            super()._load_from_state_dict(state_dict, prefix, *rest)

    net = Renamed().eval()
    del net.ids
    net.register_buffer("count", torch.zeros(5, dtype=torch.int64))
    load_into(net, packed, "exact")
    assert torch.equal(net.count, original.ids)


def test_modules_made_under_inference_mode(original, packed):
    with torch.inference_mode():
        net = type(original)()
    load_into(net, packed, "exact")
    assert torch.equal(net.embed.weight, original.embed.weight)


def test_lstm_weights(tmp_path):
    torch.manual_seed(0)
    model, other = nn.LSTM(64, 64, 2), nn.LSTM(64, 64, 2)
    save_file(model.state_dict(), tmp_path / "m.p2u")
    load_into(other, tmp_path / "m.p2u", "exact")
    value = torch.randn(3, 2, 64)
    assert torch.equal(model(value)[0], other(value)[0])
    with torch.device("meta"):
        other = nn.LSTM(64, 64, 2)
    load_into(other, tmp_path / "m.p2u", "exact")
    assert torch.equal(model(value)[0], other(value)[0])


def test_an_open_artifact_stays_open_and_a_url_is_read(net, original, packed):
    with p2uformat.open(packed) as artifact:
        load_into(net, artifact, "q4")
        load_into(net, artifact, "exact")
    assert same(net, original.state_dict())
    with FaultServer({"m.p2u": Path(packed).read_bytes()}) as server:
        other = made(7)
        load_into(other, server.url_of("m.p2u"), "exact")
    assert same(other, original.state_dict())


def test_what_is_no_module_is_refused(packed):
    for fill in (load_into, p2uformat.torch.stream):
        with pytest.raises(p2uformat.InvalidArgument, match="expected a module, got dict"):
            fill({}, packed)


def test_a_compiled_module_has_the_names_of_its_own(net, original, packed, words):
    compiled = torch.compile(net, backend="eager")
    load_into(compiled, packed, "exact")
    assert same(net, original.state_dict())


def test_an_update_is_no_model(tmp_path):
    net = nn.Linear(64, 64)
    before = copy.deepcopy(net.state_dict())
    save_file(before, tmp_path / "m.p2u")
    after = {name: value.numpy() + 1 for name, value in before.items()}
    p2uformat.pack_update(after, tmp_path / "m.p2u", tmp_path / "u.p2u")
    with pytest.raises(p2uformat.InvalidArgument, match="no model"):
        load_into(net, tmp_path / "u.p2u")
    assert all(torch.equal(net.state_dict()[name], before[name]) for name in before)
