"""Modules that improve while they run: whole tiers only, whatever happens to the transfer."""

from __future__ import annotations

import copy
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

import p2uformat
from p2uformat.testing import FaultServer
from p2uformat.torch import StreamCancelled, load_into, save_file, stream
from tests.torch.conftest import TIERS, made

PATIENT = 60.0  # seconds after which a test is stuck; none depends on it


class Steps:
    """A callback that lets a stream go on to the next tier when the test says so."""

    def __init__(self):
        self.seen = []
        self._next = threading.Semaphore(0)

    def __call__(self, tier, progress):
        self.seen.append((tier, progress))
        assert self._next.acquire(timeout=PATIENT)

    def go(self, times=1):
        self._next.release(times)


class Pause(nn.Module):
    """A layer in the middle of which a test can stop a forward pass."""

    def __init__(self):
        super().__init__()
        self.armed = False
        self.entered, self.leave = threading.Event(), threading.Event()

    def forward(self, value):
        if self.armed:
            self.entered.set()
            assert self.leave.wait(PATIENT)
        return value


def forward(module, words):
    with torch.no_grad():
        return module(words)


def tier_of(output, answers):
    return next((tier for tier, answer in answers.items() if torch.equal(output, answer)), None)


def threads_now():
    return [thread for thread in threading.enumerate() if thread.name == "p2u-stream"]


@pytest.fixture
def served(packed):
    with FaultServer({"m.p2u": Path(packed).read_bytes()}) as server:
        yield server


def test_every_tier_comes_in_turn(net, packed, words, answers):
    steps = Steps()
    with stream(net, packed, callback=steps) as handle:
        for number, tier in enumerate(TIERS):
            assert handle.wait(tier)
            assert (handle.tier, handle.done, handle.error) == (tier, False, None)
            assert torch.equal(forward(net, words), answers[tier])
            assert not handle.wait(TIERS[number + 1], 0.01) if number < 2 else True
            steps.go()
        assert handle.result() == "exact"
        assert handle.done
    assert [tier for tier, _ in steps.seen] == list(TIERS)
    with p2uformat.open(packed) as artifact:
        sizes = [tier.bytes for tier in artifact.summary.tiers]
    assert [p.done for _, p in steps.seen] == [sum(sizes[: n + 1]) for n in range(3)]
    assert {(p.phase, p.total) for _, p in steps.seen} == {("swap", sum(sizes))}
    assert threads_now() == []
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


def test_passes_on_other_threads_see_whole_tiers_only(net, packed, words, answers):
    steps, stop, wrong, counts = Steps(), threading.Event(), [], []

    def run(part):
        while not stop.is_set():
            found = tier_of(part(words), answers)
            (counts if found else wrong).append(found)

    def indirectly(value):  # a part called by itself, as `generate` of many models does
        return net.head(net.body(net.embed(value)))

    runners = [threading.Thread(target=run, args=(net,)) for _ in range(3)]
    with torch.inference_mode(False), stream(net, packed, callback=steps) as handle:
        for runner in runners:
            runner.start()
        for tier in TIERS:
            handle.wait(tier)
            reached = len(counts)
            while len(counts) < reached + 6 and not wrong:
                threading.Event().wait(0.005)
            steps.go()
        handle.result()
        stop.set()
        for runner in runners:
            runner.join(PATIENT)
    assert wrong == []
    assert set(counts) == set(TIERS)
    assert torch.equal(forward(net, words), answers["exact"])


def paused():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(128, 128), Pause(), nn.Linear(128, 128)).eval()
    return net, torch.ones(4, 128)


@pytest.mark.parametrize("way", ["module", "part", "hold"])
def test_a_swap_waits_for_the_pass_that_runs(tmp_path, way):
    source, value = paused()
    save_file(source.state_dict(), tmp_path / "m.p2u")
    net, _ = paused()
    steps, results = Steps(), []
    expected = {}
    for tier in TIERS:
        load_into(net, tmp_path / "m.p2u", tier)
        expected[tier] = forward(net, value)
    with stream(net, tmp_path / "m.p2u", callback=steps) as handle:
        net[1].armed = True

        def run():
            if way == "hold":
                with handle.hold():
                    results.append(net[2].forward(net[1].forward(net[0].forward(value))))
            elif way == "part":
                results.append(nn.Sequential.forward(nn.Sequential(net), value))
            else:
                results.append(net(value))

        runner = threading.Thread(target=run)
        runner.start()
        assert net[1].entered.wait(PATIENT)
        steps.go(3)
        # The first layer of the pass is at q4. If swaps did not wait, now is when one would come.
        assert not handle.wait("q8", 0.3)
        net[1].leave.set()
        runner.join(PATIENT)
        assert handle.result() == "exact"
    assert tier_of(results[0].detach(), expected) == "q4"
    assert torch.equal(forward(net, value), expected["exact"])


def test_a_pass_that_waits_for_one_on_another_thread_is_no_deadlock(packed, words, answers):
    inner = made(1)

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = inner
            self.begun = threading.Event()
            self.go = threading.Event()

        def forward(self, value):
            self.begun.set()
            assert self.go.wait(PATIENT)
            found = []
            worker = threading.Thread(target=lambda: found.append(forward(self.inner, value)))
            worker.start()
            worker.join(PATIENT)
            return found[0]

    outer, found, steps = Outer().eval(), [], Steps()
    state = {f"inner.{name}": tensor for name, tensor in made(0).state_dict().items()}
    with p2uformat.open(packed) as artifact:
        keys = set(artifact.keys())
    assert {name.removeprefix("inner.") for name in state} == keys
    handle = stream(outer.inner, packed, callback=steps)
    handle._guard.attach(outer)
    with handle:
        runner = threading.Thread(target=lambda: found.append(outer(words)))
        runner.start()
        assert outer.begun.wait(PATIENT)
        steps.go(3)
        assert not handle.wait("q8", 0.1)  # a swap waits for the outer pass, and keeps others out
        outer.go.set()
        runner.join(PATIENT)
        assert handle.result() == "exact"
    assert tier_of(found[0], answers) == "q4"


def test_a_stream_that_ends_during_a_held_pass_leaves_nobody_inside(packed, words):
    """Its hooks go at the end: those after a pass that runs then are not called any more."""
    inside = threading.Event()
    net = made(1)

    def linger(*_):
        inside.set()
        handle._thread.join(10)

    # Its pass ends only once the stream has ended.
    net.body.register_forward_hook(linger)
    callback = lambda *_: inside.wait(10)  # noqa: E731 - the stream cannot end before that
    with stream(net, packed, tiers=["exact"], callback=callback) as handle:
        with handle.hold():
            net(words)
        assert handle.done
        assert handle.result() == "exact"


def test_errors_and_interrupts_in_a_pass_do_not_keep_swaps_out(packed, words):
    class Failing(nn.Module):
        error = None

        def forward(self, value):
            if self.error is not None:
                raise self.error
            return value

    net = made(1)
    net.body.append(Failing())
    steps = Steps()
    with stream(net, packed, callback=steps) as handle:
        for error in (ValueError("no"), KeyboardInterrupt()):
            net.body[3].error = error
            with pytest.raises(type(error)):
                net(words)
        net.body[3].error = None
        steps.go(3)
        assert handle.result() == "exact"


def test_a_hook_that_fails_before_ours_leaves_the_outer_pass_inside(net, packed, words):
    def fail(module, args):
        raise ValueError("not here")

    steps = Steps()
    with stream(net, packed, callback=steps) as handle:
        broken = net.embed.register_forward_pre_hook(fail, prepend=True)
        with handle.hold():
            with pytest.raises(ValueError, match="not here"):
                net(words)
            assert handle._guard.held_here()
        assert not handle._guard.held_here()
        broken.remove()
        steps.go(3)
        assert handle.result() == "exact"


def test_objects_memory_ties_and_buffers_stay(net, packed, original):
    before = {
        name: (item, item.data_ptr()) for name, item in net.state_dict(keep_vars=True).items()
    }
    view = net.embed.weight.detach()[3]
    stream(net, packed).result()
    after = net.state_dict(keep_vars=True)
    assert all(after[n] is item and item.data_ptr() == at for n, (item, at) in before.items())
    assert net.head.weight is net.embed.weight
    assert torch.equal(view, original.embed.weight[3])
    assert torch.equal(net.ids, original.ids)


def test_a_backward_pass_over_a_swap_is_an_error_and_not_a_wrong_gradient(net, packed, words):
    steps = Steps()
    with stream(net, packed, callback=steps) as handle:
        loss = net(words).sum()
        steps.go()
        handle.wait("q8")
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()
        with handle.hold():
            net(words).sum().backward()
        steps.go(2)
        handle.result()


def test_what_was_trained_is_not_overwritten(net, packed, words):
    steps = Steps()
    handle = stream(net, packed, callback=steps)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    with handle.hold():
        net(words).sum().backward()
        optimizer.step()
    trained = net.embed.weight.clone()
    steps.go(3)
    with pytest.raises(p2uformat.InvalidArgument, match="changed since tier q4 came"):
        handle.result()
    assert torch.equal(net.embed.weight, trained)
    assert handle.tier == "q4"


@pytest.mark.parametrize("kept", [True, False])
def test_from_a_server(net, served, packed, words, answers, tmp_path, kept):
    destination = tmp_path / "mine.p2u" if kept else None
    with stream(net, served.url_of("m.p2u"), destination) as handle:
        assert handle.result() == "exact"
        assert handle.progress.phase in ("fetch", "verify")
    assert torch.equal(forward(net, words), answers["exact"])
    if kept:
        assert destination.read_bytes() == Path(packed).read_bytes()
    # It is opened twice, each time with the first 64 KiB.
    assert served.bytes_sent < Path(packed).stat().st_size + (1 << 17)


def payload(packed, tier):
    with p2uformat.open(packed) as artifact:
        return artifact.summary.manifest_bytes + sum(
            t.bytes for t in artifact.summary.tiers[: artifact.tiers.index(tier) + 1]
        )


def test_a_transfer_that_dies_leaves_the_last_tier_and_goes_on_later(
    net, served, packed, words, answers, tmp_path
):
    steps = Steps()
    path = tmp_path / "mine.p2u"
    handle = stream(net, served.url_of("m.p2u"), path, callback=steps)
    served.script = "403..."
    steps.go(3)
    with pytest.raises(p2uformat.AccessDenied):
        handle.result()
    with pytest.raises(p2uformat.AccessDenied):
        handle.wait("q8")
    assert isinstance(handle.error, p2uformat.AccessDenied)
    assert handle.wait("q4")
    assert (handle.tier, handle.done) == ("q4", True)
    assert torch.equal(forward(net, words), answers["q4"])
    assert threads_now() == []
    assert not net._forward_hooks
    served.script = ""
    sent = served.bytes_sent
    again = stream(net, served.url_of("m.p2u"), path)
    assert again.result() == "exact"
    assert torch.equal(forward(net, words), answers["exact"])
    moved = payload(packed, "exact") - payload(packed, "q4")
    assert served.bytes_sent - sent < moved + (1 << 16) + 1000


def test_damage_on_the_way_is_an_error_at_its_tier(net, packed, words, answers):
    data = bytearray(Path(packed).read_bytes())
    data[payload(packed, "q8") + 100] ^= 1
    with FaultServer({"m.p2u": bytes(data)}) as server:
        handle = stream(net, server.url_of("m.p2u"))
        with pytest.raises(p2uformat.DigestMismatch):
            handle.result()
    assert handle.tier == "q8"
    assert torch.equal(forward(net, words), answers["q8"])


def test_a_first_tier_that_does_not_come_is_raised_at_once(net, tmp_path, packed, served):
    before = copy.deepcopy(net.state_dict())
    served.script = "404..."
    for source, error in (
        (tmp_path / "none.p2u", p2uformat.NotFound),
        (served.url_of("m.p2u"), p2uformat.NotFound),
        (Path(packed).read_bytes()[:200], p2uformat.Incomplete),
    ):
        with pytest.raises(error):
            stream(net, source)
    with pytest.raises(p2uformat.torch.ModuleMismatch):
        stream(nn.Linear(3, 3), packed)
    with pytest.raises(p2uformat.TierNotFound):
        stream(net, packed, tiers=["q5"])
    for tiers in ([], ["q8", "q4"], ["q4", "q4"]):
        with pytest.raises(p2uformat.InvalidArgument):
            stream(net, packed, tiers=tiers)
    assert all(torch.equal(before[name], now) for name, now in net.state_dict().items())
    assert threads_now() == []


def test_some_tiers(net, packed, words, answers):
    with stream(net, packed, tiers=["q8"]) as handle:
        assert handle.result() == "q8"
        assert handle.wait("q4")
        with pytest.raises(p2uformat.TierNotFound):
            handle.wait("exact")
    assert torch.equal(forward(net, words), answers["q8"])


def test_cancelling_between_tiers(net, packed, words, answers):
    steps = Steps()
    handle = stream(net, packed, callback=steps)
    threading.Timer(0.05, steps.go).start()
    handle.cancel()
    assert handle.done
    assert threads_now() == []
    assert handle.wait("q4")
    for ask in (handle.result, lambda: handle.wait("exact")):
        with pytest.raises(StreamCancelled):
            ask()
    assert torch.equal(forward(net, words), answers["q4"])


def test_cancelling_in_the_middle_of_a_transfer(net, served, words, answers):
    with stream(net, served.url_of("m.p2u"), tiers=["q4"]):
        pass
    steps = Steps()
    with stream(net, served.url_of("m.p2u"), callback=steps) as handle:
        served.script = "stall@10..."
        steps.go()
        while not any("stall" in record.fault for record in served.requests):
            threading.Event().wait(0.01)
    assert isinstance(handle.error, StreamCancelled)
    assert torch.equal(forward(net, words), answers["q4"])


def test_cancelling_while_a_pass_keeps_the_swap_out(tmp_path):
    net, value = paused()
    save_file(net.state_dict(), tmp_path / "m.p2u")
    steps = Steps()
    handle = stream(net, tmp_path / "m.p2u", callback=steps)
    net[1].armed = True
    runner = threading.Thread(target=net, args=(value,))
    runner.start()
    assert net[1].entered.wait(PATIENT)
    steps.go()
    handle.wait("q8", 0.1)
    handle.cancel()
    assert (handle.tier, handle.done) == ("q4", True)
    net[1].leave.set()
    runner.join(PATIENT)


def test_an_error_of_the_callback_ends_the_stream(net, packed):
    def callback(tier, progress):
        raise ZeroDivisionError("mine")

    handle = stream(net, packed, callback=callback)
    with pytest.raises(ZeroDivisionError, match="mine"):
        handle.result()
    assert handle.tier == "q4"


def test_waiting_where_it_would_be_for_ever_is_refused(net, packed):
    steps, said = Steps(), []

    def callback(tier, progress):
        with pytest.raises(p2uformat.InvalidArgument) as caught:
            handle.wait("exact")
        said.append(caught.value)
        steps(tier, progress)

    handle = stream(net, packed, wait=False, callback=callback)
    handle.wait()
    with handle.hold(), pytest.raises(p2uformat.InvalidArgument, match="cannot wait"):
        handle.result()
    steps.go(3)
    assert handle.result() == "exact"
    assert len(said) == 3


def test_a_meta_module_and_dtypes(original, packed):
    with torch.device("meta"):
        net = type(original)().bfloat16().eval()
    stream(net, packed).result()
    assert net.head.weight is net.embed.weight
    assert torch.equal(net.embed.weight, original.embed.weight.bfloat16())


def test_an_open_artifact(net, packed, words, answers, tmp_path):
    with p2uformat.open(packed) as artifact:
        stream(net, artifact).result()
        assert torch.equal(forward(net, words), answers["exact"])
        with pytest.raises(p2uformat.InvalidArgument, match="open artifact"):
            stream(net, artifact, tmp_path / "a.p2u")


def test_a_version_that_needs_its_parent(net, original, packed, tmp_path, served):
    newer = {name: tensor.clone() for name, tensor in original.state_dict().items()}
    newer["body.0.weight"][0] += 0.01
    save_file(newer, tmp_path / "child.p2u", parent=packed)
    child = (tmp_path / "child.p2u").read_bytes()
    with FaultServer({"m.p2u": child}) as server:
        assert stream(net, server.url_of("m.p2u"), parents=packed).result() == "exact"
    assert torch.equal(net.body[0].weight, newer["body.0.weight"])


def test_a_compiled_module_improves_without_being_compiled_again(net, packed, words, answers):
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    fast, steps = torch.compile(net, backend=backend), Steps()
    with stream(fast, packed, callback=steps) as handle:
        for tier in TIERS:
            handle.wait(tier)
            assert tier_of(forward(fast, words), answers) == tier
            steps.go()
        handle.result()
    assert len(compiled) == 1


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_module_without_hooks_is_refused(packed, tmp_path):
    net = nn.Sequential(nn.Linear(8, 8), torch.jit.script(nn.Linear(8, 8)))
    save_file(net.state_dict(), tmp_path / "m.p2u")
    with pytest.raises(p2uformat.InvalidArgument, match="ScriptModule"):
        stream(net, tmp_path / "m.p2u")
    assert not net._forward_hooks
    load_into(net, tmp_path / "m.p2u")


def test_copies_of_a_module_that_improves_are_their_own(net, packed, words, answers):
    steps = Steps()
    with stream(net, packed, callback=steps) as handle:
        with handle.hold():
            other = copy.deepcopy(net)
        steps.go(3)
        handle.result()
    assert torch.equal(forward(other, words), answers["q4"])
    assert torch.equal(forward(net, words), answers["exact"])


def test_two_layers_of_transformers_keep_their_fused_kernel(tmp_path):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(64, 2, 64, batch_first=True)
    net = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    save_file(net.state_dict(), tmp_path / "m.p2u")
    value = torch.ones(1, 3, 64)
    before = forward(net, value)
    steps = Steps()
    with stream(net, tmp_path / "m.p2u", tiers=["exact"], callback=steps) as handle:
        assert torch.equal(forward(net, value), before)
        assert net._forward_hooks
        assert not any(
            part._forward_hooks for part in net.layers.modules() if part is not net.layers
        )
        steps.go()
        handle.result()


def test_the_end_of_the_program_ends_a_stream(packed, tmp_path):
    import subprocess
    import sys

    code = (
        "import torch, sys\n"
        "from p2uformat.testing import FaultServer\n"
        "from p2uformat.torch import stream\n"
        "from tests.torch.conftest import made\n"
        f"data = open({packed!r}, 'rb').read()\n"
        "server = FaultServer({'m.p2u': data}).__enter__()\n"
        "def slow(tier, progress): server.script = 'stall@10...'\n"
        "handle = stream(made(1), server.url_of('m.p2u'), callback=slow)\n"
        "print(handle.tier)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
        timeout=PATIENT,
    )
    assert (done.returncode, done.stdout) == (0, "q4\n"), done.stderr
