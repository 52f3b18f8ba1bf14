"""Writers, collectors, removals and crashes in one store, in any order: nothing is lost (R15)."""

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from p2uformat.errors import Conflict, NotFound
from p2uformat.store import collector as collector_module
from p2uformat.store import lease as lease_module
from p2uformat.store import marking as marking_module
from p2uformat.store.collector import collect
from p2uformat.store.keys import new_id
from p2uformat.store.lease import LEASE_SECONDS
from p2uformat.store.versions import remove
from p2uformat.stored import uploads
from p2uformat.stored.publish import publish
from tests.store.life import Actor, Inline, Life, artifact, known_of, violations

SOAK = os.environ.get("P2U_SOAK") == "1"
GRACE = 1000.0
NAMES = st.sampled_from(["a", "b"])
# Chunks of some length: with those of a byte no pack would be worn.
CHUNKS = st.frozensets(
    st.tuples(st.integers(0, 1), st.sampled_from([bytes([n]) * 40 for n in range(8)])),
    min_size=1,
    max_size=6,
)


WAITS = st.sampled_from([1.0, GRACE / 2, GRACE + 1, LEASE_SECONDS / 2, LEASE_SECONDS + 1])


class Lives(RuleBasedStateMachine):
    """Any number of actors; each rule lets one of them start, go on, or die."""

    def __init__(self):
        super().__init__()
        self.life = Life()
        self.actors = []
        self.checked = -1
        self.pushed = []

    @rule(name=NAMES, chunks=CHUNKS)
    def push(self, name, chunks):
        """Start a writer, who looks first what the name has, and may find another's artifact."""

        def work(objects):
            try:
                known = known_of(objects, name)
            except NotFound:
                return None  # a reader of an old record: it would look again
            return publish(objects, artifact(chunks), known, name=name)

        self.actors.append(Actor(self.life, "push", work))

    @rule(name=NAMES)
    def remove(self, name):
        self.actors.append(Actor(self.life, "remove", lambda o: remove(o, name, new_id())))

    @rule(keep=st.sampled_from([None, 1, 2]), delete=st.booleans())
    def collect(self, keep, delete):
        self.actors.append(
            Actor(
                self.life,
                "collect",
                lambda o: collect(o, keep=keep, grace=GRACE, delete=delete),
            )
        )

    @precondition(lambda self: self.actors)
    @rule(which=st.integers(0, 5), count=st.integers(1, 12))
    def go_on(self, which, count):
        self.actors[which % len(self.actors)].step(count)
        self._sweep()

    @precondition(lambda self: self.actors)
    @rule(which=st.integers(0, 5))
    def finish(self, which):
        self.actors[which % len(self.actors)].finish()
        self._sweep()

    @precondition(lambda self: self.actors)
    @rule(which=st.integers(0, 5))
    def crash(self, which):
        self.actors[which % len(self.actors)].crash()
        self._sweep()

    @rule(
        seconds=st.sampled_from([1.0, GRACE / 2, GRACE + 1, LEASE_SECONDS / 2, LEASE_SECONDS + 1])
    )
    def wait(self, seconds):
        self.life.advance(seconds)

    @invariant()
    def nothing_is_lost(self):
        if self.checked != (self.life.deletions, len(self.life.objects.held)):
            self.checked = self.life.deletions, len(self.life.objects.held)
            assert not list(violations(self.life))

    def teardown(self):
        for actor in self.actors:
            actor.finish()
        self._sweep()
        assert not list(violations(self.life))

    def _sweep(self):
        for actor in self.actors:
            # Whoever comes too late, or finds nothing, says so; anything else is a fault.
            if actor.error is not None and not isinstance(actor.error, Conflict | NotFound):
                raise actor.error
        self.actors = [actor for actor in self.actors if not actor.done]


@pytest.fixture(autouse=True)
def _one_thread_and_our_time(monkeypatch):
    """Actors are one thread each, and what time it is their life says."""
    lives = []
    make = Lives.__init__

    def remembering(self):
        make(self)
        lives.append(self.life)

    class Time:
        @staticmethod
        def monotonic():
            return lives[-1].time

    monkeypatch.setattr(Lives, "__init__", remembering)
    monkeypatch.setattr(uploads, "ThreadPoolExecutor", Inline)
    monkeypatch.setattr(lease_module, "time", Time)


def run(examples, steps=40):
    run_state_machine_as_test(
        Lives,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


def test_nothing_is_lost():
    run(150)


@pytest.mark.soak
@pytest.mark.skipif(not SOAK, reason="long; `make soak` runs it")
def test_nothing_is_lost_in_ten_thousand_schedules():
    run(10_000, 60)


def _without_looking_again(monkeypatch):
    """Delete what is on a list, whatever lives by now."""

    def delete_list(self, name, keys):
        self._objects.delete(list(keys))
        self._objects.delete([name])

    monkeypatch.setattr(collector_module._Collection, "_delete_list", delete_list)


def _without_pins(monkeypatch):
    """Mark by refs only."""

    def read_pins(_objects, _now, **_how):
        return marking_module.Pinned()

    monkeypatch.setattr(marking_module, "read_pins", read_pins)


def _without_reading_what_is_condemned(monkeypatch):
    monkeypatch.setattr(lease_module, "condemned_keys", lambda _objects: frozenset())
    monkeypatch.setattr(lease_module, "_missing", lambda _objects, _keys: frozenset())


def _refs_before_pins(monkeypatch):
    """Mark in the order in which a writer makes things."""
    real = marking_module.read_pins
    seen = {}

    def live_refs(objects, keep=None):
        return iter(seen.pop("refs"))

    def read_pins(objects, now, **how):
        seen["refs"] = list(original(objects))
        return real(objects, now, **how)

    original = marking_module.live_refs
    monkeypatch.setattr(marking_module, "live_refs", live_refs)
    monkeypatch.setattr(marking_module, "read_pins", read_pins)


FAULTS = [
    _without_looking_again,
    _without_pins,
    _without_reading_what_is_condemned,
    _refs_before_pins,
]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_protocol_is_found(fault, monkeypatch):
    """What these tests are worth: each of these loses something, and they see it."""
    life = Life()
    fault(monkeypatch)
    SCHEDULES[fault.__name__](life)
    assert list(violations(life))


def _patched(life):
    lease_module.time.monotonic = staticmethod(life.monotonic)


def _push(life, name, chunks):
    def work(objects):
        return publish(objects, artifact(chunks), known_of(objects, name), name=name)

    return Actor(life, "push", work)


A, B, C = ((0, bytes([n]) * 40) for n in range(3))


def _dead(life):
    """Have an artifact that nobody needs any more, and that is not young."""
    _patched(life)
    _push(life, "a", {A, B}).finish()
    Actor(life, "remove", lambda o: remove(o, "a", new_id())).finish()
    life.advance(GRACE + 1)


def _collecting(life):
    return Actor(life, "collect", lambda o: collect(o, grace=GRACE, delete=True))


def _until(actor, what, key):
    """Let an actor go on until it is about to do something."""
    while not actor.done and actor.operations[-1] != (what, key):
        if actor.operations[-1][0] == what and actor.operations[-1][1].startswith(key):
            return
        actor.step()


def _schedule_condemned_behind_its_back(life):
    """A writer pins and looks after a collector has marked, before that writes its list."""
    _dead(life)
    collecting = _collecting(life)
    _until(collecting, "create", "gc/")
    _push(life, "b", {A, B}).finish()
    collecting.finish()
    life.advance(GRACE + 1)
    _collecting(life).finish()


def _schedule_slow_writer(life):
    """A writer relies on what is dead while two collections go by."""
    _dead(life)
    writer = _push(life, "b", {A, B})
    _until(writer, "create", "refs/b/")
    for _ in range(2):
        _collecting(life).finish()
        life.advance(GRACE + 1)
    writer.finish()


def _schedule_late_writer(life):
    """A writer comes when something is condemned and a collector has looked again."""
    _dead(life)
    _collecting(life).finish()
    life.advance(GRACE + 1)
    collecting = _collecting(life)
    _until(collecting, "list", "packs/")
    _push(life, "b", {A, B}).finish()
    collecting.finish()


def _schedule_comes_to_its_end(life):
    """A writer names what it relies on, and lets its pins go, between two steps of a marking."""
    _dead(life)
    first = _collecting(life)
    _until(first, "create", "gc/")
    writer = _push(life, "b", {A, B})
    _until(writer, "create", "pins/")
    while not writer.operations[-1][1].endswith(".end"):
        writer.step()
    first.finish()
    life.advance(GRACE + 1)
    second = _collecting(life)
    _until(second, "list", "pins/")
    writer.finish()
    second.finish()


def _schedule_stalled_collector(life):
    """A collector stands still between its marking and its deleting, and others go by."""
    _dead(life)
    stalled = _collecting(life)
    _until(stalled, "list", "packs/")
    other = _collecting(life)
    _until(other, "create", "gc/")
    _push(life, "b", {A, B}).finish()
    other.finish()
    life.advance(GRACE + 1)
    stalled.finish()


def _schedule_spared(life):
    """What was condemned and lives stays on its list: somebody may still mean to delete it."""
    _dead(life)
    condemning = _collecting(life)
    _until(condemning, "create", "gc/")
    _push(life, "b", {A, B}).finish()
    condemning.finish()
    life.advance(GRACE + 1)
    _collecting(life).finish()
    Actor(life, "remove", lambda o: remove(o, "b", new_id())).finish()
    late = _collecting(life)
    _until(late, "list", "packs/")
    _push(life, "c", {A, B}).finish()
    late.finish()


def _schedule_lost_lease(life):
    """A writer that lost its lease writes no record, which others' versions would have to use."""
    _dead(life)
    writer = _push(life, "b", {A, B, C})
    while not writer.operations[-1][1].endswith(".end"):
        writer.step()
    life.advance(LEASE_SECONDS + 1)
    for _ in range(2):
        _collecting(life).finish()
        life.advance(GRACE + 1)
    _push(life, "d", {A, B, C}).finish()
    writer.finish()
    assert isinstance(writer.error, Conflict)


SCHEDULES = {
    "_without_looking_again": _schedule_condemned_behind_its_back,
    "_without_pins": _schedule_slow_writer,
    "_without_reading_what_is_condemned": _schedule_late_writer,
    "_refs_before_pins": _schedule_comes_to_its_end,
}


OTHERS = (_schedule_stalled_collector, _schedule_spared, _schedule_lost_lease)


@pytest.mark.parametrize("schedule", [*SCHEDULES.values(), *OTHERS])
def test_the_same_schedules_lose_nothing_as_it_is(schedule):
    life = Life()
    schedule(life)
    assert not list(violations(life))


def test_repacked_while_others_write():
    """What lives of a worn pack moves, whoever relies on it."""
    life = Life()
    _patched(life)
    _push(life, "a", {A, B, C}).finish()
    _push(life, "a", {A}).finish()
    for steps in range(0, 60, 3):
        writer = _push(life, "b", {A, (0, bytes([50 + steps]) * 40)})
        writer.step(steps % 25)
        life.advance(GRACE + 1)
        collecting = Actor(life, "collect", lambda o: collect(o, keep=1, grace=GRACE, delete=True))
        collecting.step(steps)
        writer.finish()
        collecting.finish()
        assert not list(violations(life)), steps
