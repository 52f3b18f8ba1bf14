"""Modules whose parameters live compressed: values, gradients, steps, memory, and going back."""

from __future__ import annotations

import copy
import gc
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import p2uformat
from p2uformat import Minifloat, Policy, Transform
from p2uformat.floats import FORMATS
from p2uformat.quant.minifloat import encode, words_of
from p2uformat.torch import EachParameter, compressed, load_into, save_file, stream
from p2uformat.torch.omc.floats import codes_of, format_of, values
from p2uformat.torch.omc.lanes import pack, packed_bytes, unpack
from p2uformat.torch.omc.packed import CompressedParameter, Packed

ALL = Policy(keep=0)
F32 = FORMATS["F32"]
FORMS = [
    Minifloat(3, 7),
    Minifloat(4, 14, specials="finite"),
    Minifloat(2, 3, specials="nan"),
    Minifloat(3, 7, bias=9),
    Minifloat(5, 10),
    Minifloat(8, 7),
    Minifloat(1, 4, specials="finite"),
    Minifloat(8, 22),
]


@pytest.mark.parametrize("bits", range(1, 25))
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 1000])
def test_codes_of_any_width_come_back_from_their_bytes(bits, count):
    codes = torch.randint(0, 1 << bits, (count,), dtype=torch.int32)
    packed = pack(codes, bits)
    assert packed.dtype == torch.uint8
    assert len(packed) == packed_bytes(count, bits) == (count + 7) // 8 * bits
    assert torch.equal(unpack(packed, count, bits), codes)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.name}-{form.specials}")
def test_codes_and_values_are_those_of_the_quantizer(form):
    draw = torch.Generator().manual_seed(0)
    value = torch.randn(50_000, generator=draw)
    value *= torch.exp2(torch.randint(-24, 6, (50_000,), generator=draw).float())
    table = words_of(form, None, F32, F32, np.array([form.largest_code])).view(np.float32)
    value = value.clamp(-float(table[0]), float(table[0]))
    ours = codes_of(format_of(form), value).numpy().astype(np.uint32)
    theirs = encode(form, F32, value.numpy().view(np.uint32))
    assert np.array_equal(ours, theirs)
    affine = torch.tensor([0.0123, 1e-5], dtype=torch.float64)
    for part in (slice(None), slice(0, 10)):  # by a table of all codes, and without
        got = values(form, torch.from_numpy(ours[part].astype(np.int32)), affine)
        expected = words_of(form, Transform(*affine.tolist()), F32, F32, theirs[part])
        assert np.array_equal(got.numpy().view(np.uint32), expected)


def plain_values(packed):
    """Return the values of its codes, before scale and offset; zeros are equal, whatever sign."""
    left, found = packed.shape.numel(), [torch.empty(0)]
    for block in packed.codes.split(packed_bytes(1 << 15, packed.form.width)):
        count = min(left, 1 << 15)
        found.append(values(packed.form, unpack(block, count, packed.form.width)))
        left -= count
    return torch.cat(found)


@pytest.mark.parametrize("name", ["S1E3M7", "S1E4M14", "S1E2M3", "S1E8M7", "S1E5M10"])
@pytest.mark.parametrize("shape", [(300, 257), (5,), (0, 4), (1, 1)])
@pytest.mark.parametrize("scale", [1e-6, 0.05, 3e4])
def test_a_packed_tensor_is_near_and_packs_to_itself(name, shape, scale):
    form = format_of(name)
    value = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * scale
    packed = Packed(form, value)
    near = packed.expand()
    assert (near.shape, near.dtype) == (value.shape, value.dtype)
    if value.numel():
        # Half a step of normal numbers; the smallest are subnormal, or were moved by the offset.
        bound = 2.0**-form.mantissa * value.abs() + value.abs().max() * 2.0 ** -(form.mantissa + 1)
        assert bool(((near - value).abs() <= bound).all())
    found = plain_values(packed)
    packed.store(near)
    assert torch.allclose(packed.expand(), near, rtol=1e-6, atol=scale * 1e-7)
    # Of wider formats, codes near zero are finer than the float32 that they were added to.
    if form.exponent + form.mantissa <= 10:
        assert torch.equal(plain_values(packed), found)


def test_the_scale_and_offset_are_the_least_squares_fit():
    value = torch.randn(999, generator=torch.Generator().manual_seed(2)) + 0.5
    packed = Packed(format_of("S1E2M1"), value)
    codes = unpack(packed.codes, 999, packed.form.width)
    found = values(packed.form, codes).double()
    slope, center = np.polyfit(found.numpy(), value.double().numpy(), 1)
    assert packed.affine.tolist() == pytest.approx([slope, center], rel=1e-9)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_constant_tensors(value):
    packed = Packed(format_of("S1E3M7"), torch.full((10, 10), value))
    assert torch.equal(packed.expand(), torch.full((10, 10), value))


def test_what_is_not_finite_is_refused():
    for bad in (torch.nan, torch.inf, -torch.inf):
        with pytest.raises(p2uformat.InvalidArgument, match="not finite"):
            Packed(format_of("S1E3M7"), torch.tensor([1.0, bad]))


@pytest.mark.parametrize("form", ["S0E3M7", "S1E11M20", "S1E3M0", Minifloat(3, 7, bias=300)])
def test_formats_that_parameters_cannot_have(form):
    with pytest.raises(p2uformat.InvalidArgument):
        compressed(nn.Linear(4, 4), ALL, form=form)


# Modules.


def lstm_out(module, value):
    return module(value)[0]


CASES = {
    "linear": (lambda: nn.Linear(40, 30), lambda m, x: m(x), lambda: torch.randn(5, 40)),
    "conv1d": (lambda: nn.Conv1d(8, 6, 3), lambda m, x: m(x), lambda: torch.randn(2, 8, 20)),
    "conv2d": (
        lambda: nn.Conv2d(8, 6, 3, groups=2, padding_mode="circular", padding=1),
        lambda m, x: m(x),
        lambda: torch.randn(2, 8, 9, 9),
    ),
    "embedding": (
        lambda: nn.Embedding(20, 12, padding_idx=3),
        lambda m, x: m(x),
        lambda: torch.tensor([[1, 3, 1], [2, 19, 0]]),
    ),
    "lstm": (
        lambda: nn.LSTM(12, 16, 2, bidirectional=True, batch_first=True),
        lstm_out,
        lambda: torch.randn(3, 7, 12),
    ),
}


@pytest.fixture(params=CASES)
def case(request):
    torch.manual_seed(0)
    make, run, value = CASES[request.param]
    return make(), run, value()


def test_outputs_and_gradients_are_those_of_the_expanded_module(case):
    module, run, value = case
    keys = list(module.state_dict())
    done = compressed(module, ALL)
    plain = copy.deepcopy(done.module)
    assert type(plain) is type(module)
    plain = type(done)(plain, done.names, done.kept, 0).expand()
    assert type(plain) is type(module).__mro__[2]
    assert list(module.state_dict()) == keys == list(plain.state_dict())
    assert all(torch.equal(plain.state_dict()[k], module.state_dict()[k]) for k in keys)
    assert list(dict(module.named_parameters())) == list(dict(plain.named_parameters()))
    inputs = [value.clone().requires_grad_(value.is_floating_point()) for _ in range(2)]
    outputs = [run(m, x) for m, x in zip((module, plain), inputs, strict=True)]
    assert torch.equal(*outputs)
    weights = torch.linspace(-1, 1, outputs[0].numel()).view(outputs[0].shape)
    for output in outputs:
        (output * weights).sum().backward()
    for (name, ours), theirs in zip(module.named_parameters(), plain.parameters(), strict=True):
        assert ours.grad.shape == theirs.grad.shape, name
        assert torch.equal(ours.grad, theirs.grad), name
    if value.is_floating_point():
        assert torch.equal(inputs[0].grad, inputs[1].grad)
    with torch.no_grad():
        assert torch.equal(run(module, value), run(plain, value))


def alive(shape):
    """Count float tensors of a shape that have memory of their own."""
    gc.collect()
    # By type: asking some objects of PyTorch for their class warns.
    found = [item for item in gc.get_objects() if issubclass(type(item), torch.Tensor)]
    return sum(
        item.shape == shape and item.untyped_storage().nbytes() >= 4 * item.numel()
        for item in found
        if item.layout is torch.strided
    )


def test_autograd_keeps_no_expanded_tensor():
    net = nn.Sequential(nn.Linear(37, 41), nn.ReLU(), nn.Linear(41, 43))
    shapes = [net[0].weight.shape, net[2].weight.shape]
    kept = []
    compressed(net, ALL)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor
    ):
        loss = net(torch.randn(3, 37, requires_grad=True)).sum()
    assert all(tensor.shape not in shapes and tensor.T.shape not in shapes for tensor in kept)
    assert [alive(shape) for shape in shapes] == [0, 0]
    loss.backward()


def twins(make, **options):
    """Return a compressed module and an ordinary one of the same values."""
    torch.manual_seed(0)
    module = make()
    compressed(module, ALL, **options)
    plain = make()
    plain.load_state_dict(module.state_dict())
    return module, plain


def tied():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(30, 24), nn.Linear(24, 30, bias=False)
            self.twice = nn.Linear(24, 24)
            self.head.weight = self.embed.weight

        def forward(self, words):
            return self.head(self.twice(torch.tanh(self.twice(self.embed(words)))))

    return Tied()


@pytest.mark.parametrize("in_backward", [False, True])
@pytest.mark.parametrize("options", [{"lr": 0.1}, {"lr": 0.1, "momentum": 0.9, "nesterov": True}])
def test_a_step_is_that_of_the_optimizer_and_compressed_again(in_backward, options):
    module, plain = twins(tied)
    ours = EachParameter(
        module.parameters(), torch.optim.SGD, in_backward=in_backward, weight_decay=0.01, **options
    )
    theirs = torch.optim.SGD(plain.parameters(), weight_decay=0.01, **options)
    words = torch.arange(30)
    for _ in range(3):
        for net, optimizer in ((module, ours), (plain, theirs)):
            optimizer.zero_grad()
            functional.cross_entropy(net(words), words).backward()
            optimizer.step()
        for name, parameter in dict(plain.named_parameters()).items():
            mine = dict(module.named_parameters())[name]
            if isinstance(mine, CompressedParameter):
                mine.packed.store(mine.packed.expand())
                parameter.data = Packed(mine.packed.form, parameter).expand()
                near = mine.packed.expand()
                assert torch.allclose(near, parameter, rtol=0.02, atol=0.002), name
                parameter.data = near
            else:
                assert torch.allclose(mine, parameter, rtol=1e-5, atol=1e-6), name
    assert module.head._parameters["weight"] is module.embed._parameters["weight"]
    if in_backward:
        assert all(parameter.grad is None for parameter in compressed_of(module))


def test_gradients_do_not_live_all_at_once():
    net = nn.Sequential(*(nn.Linear(16, 16) for _ in range(4)))
    compressed(net, ALL)
    seen = []
    matrices = [parameter for parameter in net.parameters() if parameter.dim() > 1]
    for parameter in matrices:
        parameter.register_post_accumulate_grad_hook(
            lambda _: seen.append(sum(p.grad is not None for p in matrices))
        )
    optimizer = EachParameter(net.parameters(), torch.optim.SGD, in_backward=True, lr=0.1)
    before = net[3].weight.clone()
    net(torch.ones(2, 16)).sum().backward()
    assert seen == [1] * 4
    assert all(parameter.grad is None for parameter in matrices)
    after, bias = net[3].weight.clone(), net[3].bias.clone()
    assert not torch.equal(after, before)
    optimizer.step()
    assert torch.equal(net[3].weight, after)
    assert not torch.equal(net[3].bias, bias)


def test_schedulers_and_saved_states():
    def steps(net, optimizer, count):
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
        for _ in range(count):
            optimizer.zero_grad()
            net(torch.ones(2, 16)).square().sum().backward()
            optimizer.step()
            scheduler.step()

    def made(net, lr):
        return EachParameter(net.parameters(), torch.optim.Adam, lr=lr)

    torch.manual_seed(0)
    net = nn.Linear(16, 16)
    compressed(net, ALL)
    optimizer = made(net, 0.01)
    steps(net, optimizer, 2)
    assert optimizer.param_groups[0]["lr"] == 0.0025
    other, saved = copy.deepcopy(net), copy.deepcopy(optimizer.state_dict())
    assert set(saved["state"][0]) == {"step", "exp_avg", "exp_avg_sq"}
    again = made(other, 5.0)
    again.load_state_dict(saved)
    steps(net, optimizer, 2)
    steps(other, again, 2)
    assert torch.equal(net.weight, other.weight)
    assert torch.equal(net.bias, other.bias)


def test_an_ordinary_optimizer_is_refused_by_pytorch():
    net = nn.Linear(16, 16)
    compressed(net, ALL)
    net(torch.ones(16)).sum().backward()
    with pytest.raises(RuntimeError, match="single memory location"):
        torch.optim.SGD(net.parameters(), 0.1).step()


def test_a_step_between_forward_and_backward_is_an_error():
    net = nn.Linear(16, 16)
    compressed(net, ALL)
    optimizer = EachParameter(net.parameters(), torch.optim.SGD, lr=0.1)
    loss = net(torch.ones(16, requires_grad=True)).square().sum()
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(p2uformat.InvalidArgument, match="has changed since its forward pass"):
        loss.backward()


def test_parameters_that_need_no_gradient():
    net = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 4))
    net[0].requires_grad_(False)
    compressed(net, ALL)
    assert [p.requires_grad for p in net.parameters()] == [False, False, True, True]
    optimizer = EachParameter(net[1].parameters(), torch.optim.SGD, in_backward=True, lr=0.1)
    before = net[0].weight.clone()
    net(torch.ones(2, 16)).sum().backward()
    optimizer.step()
    assert torch.equal(net[0].weight, before)


# Choice, memory, and the way back.


def test_the_policy_chooses():
    net = nn.Sequential(*(nn.Linear(32, 32) for _ in range(20)))
    done = compressed(net, Policy(keep=0.1, seed=3, client=1, round=2))
    assert (len(done.names), len(done.kept)) == (18, 2)
    assert all(name.endswith("weight") for name in (*done.names, *done.kept))
    again = compressed(nn.Sequential(*(nn.Linear(32, 32) for _ in range(20))))
    assert again.kept != done.kept
    kept = {f"{i}.bias" for i in range(20)} | set(done.kept)
    types = {n: isinstance(p, CompressedParameter) for n, p in net.named_parameters()}
    assert {name for name, is_compressed in types.items() if not is_compressed} == kept


def test_parameters_take_two_fifths_of_their_memory():
    net = nn.Sequential(*(nn.Linear(256, 256, bias=False) for _ in range(20)))
    done = compressed(net, Policy(keep=0.1))
    assert done.dense_bytes == 20 * 4 * 256 * 256
    assert 0.4093 < done.bytes / done.dense_bytes < 0.41
    memory = {p.packed.codes.untyped_storage().nbytes() for p in compressed_of(net)}
    assert memory == {256 * 256 * 11 // 8}
    assert all(p.untyped_storage().nbytes() == 4 for p in compressed_of(net))


def compressed_of(net):
    return [p for p in net.parameters() if isinstance(p, CompressedParameter)]


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: nn.MultiheadAttention(8, 2), "'in_proj_weight': it belongs to a MultiheadAttenti"),
        (lambda: nn.Sequential(nn.Bilinear(3, 4, 5)), "'0.weight': it belongs to a Bilinear"),
        (lambda: nn.Embedding(9, 4, sparse=True), "'weight': sparse gradients"),
        (lambda: nn.Embedding(9, 4, max_norm=1.0), "max_norm"),
        (lambda: nn.Linear(4, 4, device="meta"), "'weight': it has no values"),
        (lambda: nn.Linear(4, 4, dtype=torch.complex64), "it has dtype torch.complex64"),
        (lambda: compressed(nn.Linear(4, 4), ALL).module, "compressed already"),
        (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), "it belongs to a"),
    ],
)
def test_what_cannot_be_compressed_is_named_and_nothing_is_changed(make, match):
    net = nn.Sequential(nn.Linear(4, 4), make())
    before = [type(part) for part in net.modules()], list(net.parameters())
    with pytest.raises(p2uformat.InvalidArgument, match=match.replace("'", "'.*", 1)):
        compressed(net, ALL)
    assert before[0] == [type(part) for part in net.modules()]
    assert all(a is b for a, b in zip(before[1], net.parameters(), strict=True))


def test_going_back_gives_ordinary_modules():
    for make in (tied, lambda: nn.LSTM(8, 8)):
        module, plain = twins(make)
        state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        done = compressed(plain, ALL)
        assert done.expand() is plain
        assert not compressed_of(plain)
        assert "Live" not in repr([type(part).__name__ for part in plain.modules()])
        assert plain.state_dict().keys() == state.keys()
        torch.optim.SGD(plain.parameters(), 0.1).step()
    net = tied()
    compressed(net, ALL).expand()
    assert net.head.weight is net.embed.weight


def test_states_are_loaded_with_the_words_of_pytorch():
    module, plain = twins(lambda: nn.Sequential(nn.Linear(8, 8), nn.LSTM(8, 8)))
    state = {name: torch.randn_like(tensor) for name, tensor in plain.state_dict().items()}
    module.load_state_dict(state)
    for name, tensor in module.state_dict().items():
        assert torch.allclose(tensor, state[name], rtol=0.01, atol=0.01), name
    wrong = {**state, "0.weight": torch.zeros(3, 3), "more": torch.zeros(1)}
    del wrong["1.weight_hh_l0"]
    said = []
    for net in (module, plain):
        with pytest.raises(RuntimeError) as caught:
            net.load_state_dict(wrong)
        said.append(sorted(str(caught.value).splitlines()[1:]))
    assert said[0] == said[1]
    part = {"0.weight": state["0.weight"]}
    keys = [net.load_state_dict(part, strict=False) for net in (module, plain)]
    assert set(keys[0].missing_keys) == set(keys[1].missing_keys)


def test_artifacts_fill_them_whole_or_not_at_all(tmp_path):
    module, _ = twins(lambda: nn.Sequential(nn.Linear(128, 64), nn.Linear(64, 128)))
    source = nn.Sequential(nn.Linear(128, 64), nn.Linear(64, 128))
    save_file(source.state_dict(), tmp_path / "m.p2u")
    save_file({**source.state_dict(), "1.bias": torch.zeros(3)}, tmp_path / "wrong.p2u")
    before = module.state_dict()
    with pytest.raises(p2uformat.torch.ModuleMismatch):
        load_into(module, tmp_path / "wrong.p2u", "exact")
    assert all(torch.equal(before[name], now) for name, now in module.state_dict().items())
    for fill in (
        lambda: load_into(module, tmp_path / "m.p2u", "exact"),
        lambda: stream(module, tmp_path / "m.p2u").result(),
    ):
        module.load_state_dict(before)
        fill()
        assert torch.allclose(module[0].weight, source[0].weight, rtol=0.01, atol=1e-3)
        assert torch.equal(module[1].bias, source[1].bias)


def test_artifacts_of_small_floats_fill_modules(tmp_path):
    source = nn.Linear(64, 128)
    save_file(source.state_dict(), tmp_path / "m.p2u", quantizer="minifloat:S1E3M7:bias=9:fit")
    with p2uformat.open(tmp_path / "m.p2u") as artifact:
        rough, values = artifact.tiers[0], artifact.load(artifact.tiers[0])
    net = nn.Linear(64, 128)
    load_into(net, tmp_path / "m.p2u", rough)
    assert torch.equal(net.weight, torch.from_numpy(values["weight"]))
    assert not torch.equal(net.weight, source.weight)
    load_into(net, tmp_path / "m.p2u", None)
    assert torch.equal(net.weight, source.weight)


def test_moves_copies_and_pickles():
    module, _ = twins(lambda: nn.Sequential(nn.Linear(8, 8), nn.LSTM(8, 8)))
    state = module.state_dict()
    module.double()
    assert module[0].weight.dtype == torch.float64
    assert all(p.untyped_storage().nbytes() == 8 for p in compressed_of(module))
    out = module[1](module[0](torch.ones(1, 8, dtype=torch.float64)))[0]
    out.sum().backward()
    assert module[0]._parameters["weight"].grad.dtype == torch.float64
    module.float()
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert all(torch.equal(state[name], now) for name, now in other.state_dict().items())
        other.load_state_dict({name: torch.zeros_like(t) for name, t in state.items()})
        assert all(p.untyped_storage().nbytes() == 4 for p in compressed_of(other))
    assert all(torch.equal(state[name], now) for name, now in module.state_dict().items())
    assert "S1E3M7" in repr(module[0]._parameters["weight"])
    shared = copy.deepcopy(compressed(tied(), ALL).module)
    assert shared.head._parameters["weight"] is shared.embed._parameters["weight"]


def digits():
    datasets = pytest.importorskip("sklearn.datasets")
    value, kind = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(kind))
    value = torch.from_numpy(value[order].astype(np.float32) / 16)
    return value.view(-1, 1, 8, 8), torch.from_numpy(kind[order])


def trained(value, kind, *, live):
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10)),
    )
    done = compressed(net, Policy(keep=0.1)) if live else None
    optimizer = EachParameter(
        net.parameters(), torch.optim.SGD, in_backward=live, lr=0.1, momentum=0.9
    )
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)
    for _ in range(8):
        for rows in torch.randperm(1200).split(60):
            optimizer.zero_grad()
            functional.cross_entropy(net(value[rows]), kind[rows]).backward()
            optimizer.step()
        scheduler.step()
    with torch.no_grad():
        right = net(value[1200:]).argmax(1) == kind[1200:]
    return float(right.float().mean()), done


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # for operations as short as these, several only wait for each other
    yield
    torch.set_num_threads(before)


def test_a_compressed_model_learns_as_well(one_thread):
    value, kind = digits()
    plain, _ = trained(value, kind, live=False)
    live, done = trained(value, kind, live=True)
    assert plain > 0.95
    assert live > plain - 0.01
    assert done.bytes < 0.45 * done.dense_bytes


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.name}-{form.specials}")
@pytest.mark.parametrize("fit", [True, False])
@pytest.mark.parametrize("count", [3, 1000, 70_001])
def test_compiled_kernels_give_what_operations_of_pytorch_give(form, fit, count):
    before = p2uformat.kernels_in_use()
    draw = torch.Generator().manual_seed(count)
    value = torch.randn(count, generator=draw) * torch.exp2(torch.randn(count, generator=draw) * 4)
    found = []
    try:
        for kernels in ("numpy", p2uformat.available_kernels()[-1]):
            p2uformat.use_kernels(kernels)
            packed = Packed(form, value, fit=fit)
            first = packed.expand()
            packed.store(first * 1.01)
            found.append((packed.codes, packed.affine, first, packed.expand()))
    finally:
        p2uformat.use_kernels(before)
    for ours, theirs in zip(*found, strict=True):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)


def test_without_the_fit_values_are_those_of_the_format():
    value = torch.tensor([0.3, -0.0004, 1.003, 1e9, -1e9, 0.0])
    packed = Packed(format_of("S1E5M10"), value, fit=False)
    expected = value.clamp(-65504, 65504).half().float()
    assert torch.equal(packed.expand(), expected)
    assert packed.affine.tolist() == [1.0, 0.0]
    packed.store(2 * value)
    assert torch.equal(packed.expand(), (2 * value).clamp(-65504, 65504).half().float())
    with pytest.raises(p2uformat.InvalidArgument, match="not finite"):
        Packed(format_of("S1E5M10"), torch.tensor([torch.nan]), fit=False)
    assert Packed(format_of("S1E5M10"), torch.empty(0, 2), fit=False).expand().shape == (0, 2)


def test_a_module_can_do_without_the_fit():
    net = nn.Linear(64, 64)
    weight = net.weight.detach().clone()
    done = compressed(net, ALL, form="S1E5M10", fit=False)
    assert done.names == ("weight",)
    assert torch.equal(net.weight, weight.half().float())
    copied = copy.deepcopy(net)
    optimizer = EachParameter(copied.parameters(), torch.optim.SGD, lr=0.1)
    copied(torch.ones(64)).sum().backward()
    optimizer.step()
    assert torch.equal(copied.weight, copied.weight.half().float())
    assert not torch.equal(copied.weight, net.weight)
