"""What a place for a store has to do, as checks that any implementation can run.

Derive a class from `ObjectsChecks`, give it the fixtures, and let pytest collect it. The hooks
reach the place in another way than the implementation does, so that both cannot share a mistake.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pytest

__all__ = ["ObjectsChecks"]

_RACERS = 8


class ObjectsChecks:
    """Checks of an implementation of ``p2uformat.store.objects.Objects``.

    Attributes
    ----------
    conditions, ranges : bool
        What the place is known to do, which `probe` has to find out.
    race_keys : int
        How many keys are raced for.
    many : int
        How many objects one listing has to give: more than the place gives at once.
    large : int
        Bytes of the largest object that is written.
    """

    conditions: ClassVar[bool] = True
    ranges: ClassVar[bool] = True
    race_keys: ClassVar[int] = 20
    many: ClassVar[int] = 50
    large: ClassVar[int] = 1 << 20

    @pytest.fixture
    def objects(self) -> Any:  # noqa: ANN401 - a structural type
        """Return an implementation at an empty place of its own."""
        raise NotImplementedError

    @pytest.fixture
    def raw(self) -> tuple[Callable[[str], bytes | None], Callable[[str, bytes], None]]:
        """Return what reads a key (None if it is free) and what writes one, both otherwise."""
        raise NotImplementedError

    @pytest.fixture
    def ready(self, objects: Any) -> Any:  # noqa: ANN401
        """Return the implementation once it knows what the place does, as writers use it."""
        objects.create("p2u.json", b"{}")
        objects.probe("p2u.json", b"{}")
        return objects

    def test_what_is_created_is_there(self, ready: Any, raw: Any) -> None:  # noqa: ANN401
        """An object has the bytes that were given, whoever looks."""
        read, write = raw
        assert ready.create("a/b/c", b"one")
        assert read("a/b/c") == b"one" == ready.get("a/b/c", most=3)
        write("a/other", b"two")
        assert ready.get("a/other", most=100) == b"two"

    def test_a_taken_key_stays(self, ready: Any, raw: Any) -> None:  # noqa: ANN401
        """Creating again changes nothing, and says whose bytes are there."""
        read, _ = raw
        assert ready.create("taken", b"first")
        assert not ready.create("taken", b"second")
        assert not ready.create("taken", b"firs")
        assert ready.create("taken", b"first")
        assert read("taken") == b"first"

    def test_racers_have_one_winner(self, ready: Any, raw: Any) -> None:  # noqa: ANN401
        """Of several that create one key at the same moment, one has it."""
        if not self.conditions:
            pytest.skip("the place keeps no conditions")
        read, _ = raw
        barrier = threading.Barrier(_RACERS)

        def race(number: int, key: str) -> bool:
            barrier.wait(30)
            won: bool = ready.create(key, b"racer %d" % number)
            return won

        with ThreadPoolExecutor(_RACERS) as pool:
            for key in (f"race/{number}" for number in range(self.race_keys)):
                won = list(pool.map(race, range(_RACERS), [key] * _RACERS))
                assert won.count(True) == 1, key
                assert read(key) == b"racer %d" % won.index(True)

    def test_put_replaces(self, ready: Any) -> None:  # noqa: ANN401
        """Writing without a condition replaces."""
        ready.put("index/x", b"old and long")
        ready.put("index/x", b"new")
        assert ready.get("index/x", most=100) == b"new"

    def test_limits_are_kept(self, ready: Any) -> None:  # noqa: ANN401
        """More than was asked for is not read."""
        ready.create("large", bytes(1000))
        assert len(ready.get("large", most=1000)) == 1000
        with pytest.raises(Exception, match="999"):
            ready.get("large", most=999)

    def test_empty_objects(self, ready: Any) -> None:  # noqa: ANN401
        """An object without bytes is an object."""
        assert ready.create("empty/0", b"")
        assert ready.get("empty/0", most=0) == b""
        assert [(stat.key, stat.size) for stat in ready.scan("empty/")] == [("empty/0", 0)]

    def test_listings_are_fresh(self, ready: Any, raw: Any) -> None:  # noqa: ANN401
        """A listing has what is there now, with lengths, below the prefix only, in order."""
        _, write = raw
        assert ready.scan("none/") == []
        ready.create("list/b/2", b"22")
        ready.create("list/a", b"1")
        ready.create("lists/x", b"no")
        assert [(stat.key, stat.size) for stat in ready.scan("list/")] == [
            ("list/a", 1),
            ("list/b/2", 2),
        ]
        write("list/c", b"333")
        assert [stat.key for stat in ready.scan("list/")] == ["list/a", "list/b/2", "list/c"]
        ready.delete(["list/a", "list/c"])
        assert [stat.key for stat in ready.scan("list/")] == ["list/b/2"]

    def test_listings_are_whole(self, ready: Any, raw: Any) -> None:  # noqa: ANN401
        """However many there are, all are listed, and all can be deleted at once."""
        _, write = raw
        keys = [f"many/{number // 100:03d}/{number:06d}" for number in range(self.many)]
        with ThreadPoolExecutor(_RACERS) as pool:
            list(pool.map(lambda key: write(key, b"1"), keys))
        assert [stat.key for stat in ready.scan("many/")] == keys
        ready.delete([*keys, "many/never"])
        assert ready.scan("many/") == []

    def test_listing_while_others_write(self, ready: Any) -> None:  # noqa: ANN401
        """What was there before stays in every listing, whatever comes and goes beside it."""
        ready.create("busy/stays", b"x")
        stop = threading.Event()

        def come_and_go() -> None:
            while not stop.is_set():
                ready.put("busy/goes", b"y")
                ready.delete(["busy/goes"])

        with ThreadPoolExecutor(2) as pool:
            underway = [pool.submit(come_and_go) for _ in range(2)]
            try:
                for _ in range(5):
                    keys = [stat.key for stat in ready.scan("busy/")]
                    assert [key for key in keys if key != "busy/goes"] == ["busy/stays"]
            finally:
                stop.set()
            for one in underway:
                one.result()

    def test_large_objects(self, ready: Any) -> None:  # noqa: ANN401
        """The largest object is created like the smallest one."""
        data = random.Random(1).randbytes(self.large)  # noqa: S311 - no secret
        assert ready.create("packs/large", data)
        assert ready.create("packs/large", data)
        other = bytearray(data)
        other[-1] ^= 1
        assert not ready.create("packs/large", bytes(other))
        reader = ready.reader("packs/large")
        try:
            assert reader.size == len(data)
            if self.ranges:
                assert bytes(reader.read(len(data) - 1000, 2000)) == data[-1000:]
        finally:
            reader.close()

    def test_deleting(self, ready: Any, raw: Any) -> None:  # noqa: ANN401
        """What is deleted is gone; what is not there does not matter."""
        read, _ = raw
        ready.create("gone/1", b"x")
        ready.delete(["gone/1", "gone/2"])
        ready.delete(["gone/1"])
        ready.delete([])
        assert read("gone/1") is None
        with pytest.raises(Exception, match="gone"):
            ready.get("gone/1", most=10)
        assert ready.create("gone/1", b"y")

    def test_reading_ranges(self, ready: Any) -> None:  # noqa: ANN401
        """A reader gives exactly the bytes asked for, fewer at the end."""
        data = bytes(range(256)) * 1000
        ready.create("packs/x", data)
        reader = ready.reader("packs/x")
        try:
            assert reader.size == len(data)
            if self.ranges:
                for start, length in ((0, 10), (100_001, 77_777), (255_990, 10), (255_990, 20)):
                    assert bytes(reader.read(start, length)) == data[start : start + length]
        finally:
            reader.close()

    def test_a_missing_object_is_not_found(self, ready: Any) -> None:  # noqa: ANN401
        """Reading what is not there is an error of its own."""
        with pytest.raises(Exception) as got:  # noqa: PT011 - by its code
            ready.get("no/such", most=9)
        with pytest.raises(Exception) as read:  # noqa: PT011
            ready.reader("no/such").read(0, 1)
        codes = [getattr(caught.value, "code", None) for caught in (got, read)]
        assert codes == ["not-found"] * 2

    def test_keys_lead_nowhere_else(self, ready: Any) -> None:  # noqa: ANN401
        """A key is a relative name."""
        for key in ("../x", "/x", "a/../../x", "a//b", "", "a/", ".hidden", "a\\b", "a\0b"):
            with pytest.raises(Exception) as caught:  # noqa: PT011
                ready.create(key, b"no")
            assert getattr(caught.value, "code", None) == "invalid-argument", key

    def test_time(self, ready: Any) -> None:  # noqa: ANN401
        """The place's clock goes on, and is the one that objects are dated by."""
        before = ready.now()
        ready.create("time/1", b"x")
        (stat,) = ready.scan("time/")
        after = ready.now()
        assert before - 2 <= stat.modified <= after + 2

    def test_probe(self, objects: Any) -> None:  # noqa: ANN401
        """What the place does is found out, and the object stays what it is."""
        objects.create("p2u.json", b"{marker}")
        found = objects.probe("p2u.json", b"{marker}")
        assert (found.conditions, found.ranges) == (self.conditions, self.ranges)
        assert objects.get("p2u.json", most=100) == b"{marker}"
        assert objects.probe("p2u.json", b"{marker}") == found
