"""Faults written as strings.

::

    script   = rule { ";" rule }
    rule     = [ selector ":" ] step { " " step } [ "..." ]
    selector = "GET" | "HEAD" | [ ( "GET" | "HEAD" ) " " ] glob
    step     = ( "ok" | random | fault { "&" fault } ) [ "*" times ]
    random   = "random(" probability "," fault { "&" fault } [ ",seed=" number ] ")"

The n-th step of a rule applies to the n-th request that the rule's selector matches, GETs of any
object where there is none; a request belongs to the first rule that matches. ``ok`` is a sound
answer, and so is what follows the last step, unless ``...`` starts again. Faults joined by ``&``
come together. ``random`` draws by its seed and the number of the request alone, so a run can be
repeated.

The faults are those of `FAULTS`; `docs/testing.md` has their table.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import accumulate
from typing import Final

from p2uformat.errors import InvalidArgument
from p2uformat.testing.answers import (
    NoRange,
    OtherEtag,
    OtherTotal,
    Redirect,
    ShiftRange,
    Status,
    Whole,
)
from p2uformat.testing.bodies import Endless, Flip, Gzip, Long, Shift
from p2uformat.testing.fault import ROLES, Fault
from p2uformat.testing.transport import Cut, Delay, Slow

__all__ = ["FAULTS", "Player", "Rule", "Script", "Step", "parse_script"]

FAULTS: Final[tuple[type[Fault], ...]] = (
    Cut,
    Delay,
    Slow,
    Status,
    Redirect,
    Whole,
    NoRange,
    ShiftRange,
    OtherTotal,
    Shift,
    Long,
    Endless,
    Flip,
    Gzip,
    OtherEtag,
)

_SELECTOR: Final = re.compile(r"(?:(GET|HEAD)(?:\s+([^\s;]+?))?|([^\s;]+?)):(?=[\s;]|$)")
_RANDOM: Final = re.compile(r"random\((0(?:\.\d{1,9})?|1(?:\.0{1,9})?),")
_SEED: Final = re.compile(r",seed=(\d{1,9})")
_TIMES: Final = re.compile(r"\*(0*[1-9]\d{0,8})")
_WORD: Final = re.compile(r"[^\s;&]*")
_AFTER_STEP: Final = re.compile(r"\s|;|\.\.\.|$")


@dataclass(frozen=True, slots=True)
class Step:
    """Faults that come together.

    Attributes
    ----------
    faults : tuple of Fault
        In the order in which they apply; empty is a sound answer.
    times : int
        For how many requests.
    probability : float or None
        How likely they come; None is always, without a draw.
    seed : int
        What the draw depends on, beside the number of the request.

    Examples
    --------
    >>> str(Step((Status(503),), times=3))
    '503*3'
    """

    faults: tuple[Fault, ...]
    times: int = 1
    probability: float | None = None
    seed: int = 0

    def __str__(self) -> str:
        text = "&".join(map(str, self.faults)) or "ok"
        if self.probability is not None:
            chance = f"{self.probability:.9f}".rstrip("0").rstrip(".")
            text = f"random({chance},{text},seed={self.seed})"
        return text if self.times == 1 else f"{text}*{self.times}"

    def draw(self, number: int) -> tuple[Fault, ...]:
        """Return what happens to request `number` of its rule.

        Examples
        --------
        >>> step = Step((Status(503),), probability=0.5, seed=7)
        >>> [len(step.draw(n)) for n in range(8)] == [len(step.draw(n)) for n in range(8)]
        True
        """
        if self.probability is None:
            return self.faults
        # Draws make test data, not secrets.
        drawn = random.Random(f"{self.seed}:{number}").random()  # noqa: S311
        return self.faults if drawn < self.probability else ()


@dataclass(frozen=True, slots=True)
class Rule:
    """Steps for the requests that match.

    Attributes
    ----------
    steps : tuple of Step
        In order.
    forever : bool
        Whether they start again after the last.
    method, glob : str
        Which requests: ``*`` in `glob` stands for any characters, ``/`` among them.

    Examples
    --------
    >>> str(Rule((Step((Status(405),)),), forever=True, method="HEAD", glob="packs/*"))
    'HEAD packs/*: 405...'
    """

    steps: tuple[Step, ...]
    forever: bool = False
    method: str = "GET"
    glob: str = "*"

    def __str__(self) -> str:
        steps = " ".join(map(str, self.steps)) + ("..." if self.forever else "")
        if (self.method, self.glob) == ("GET", "*"):
            return steps
        return f"{self.method}{'' if self.glob == '*' else ' ' + self.glob}: {steps}"

    def matches(self, method: str, name: str) -> bool:
        """Return whether a request is this rule's."""
        return method == self.method and fnmatchcase(name, self.glob)

    def faults(self, number: int) -> tuple[Fault, ...]:
        """Return what happens to request `number`, counted from 0.

        Examples
        --------
        >>> rule = parse_script("503*2 reset@7").rules[0]
        >>> [" ".join(map(str, rule.faults(n))) for n in range(4)]
        ['503', '503', 'reset@7', '']
        """
        ends = list(accumulate(step.times for step in self.steps))
        place = number % ends[-1] if self.forever else number
        for step, end in zip(self.steps, ends, strict=True):
            if place < end:
                return step.draw(number)
        return ()


@dataclass(frozen=True, slots=True)
class Script:
    """What goes wrong, request by request. Its text is one that parses to the same.

    Examples
    --------
    >>> str(parse_script("503(0.50)   reset@1K*2"))
    '503(0.5) reset@1024*2'
    """

    rules: tuple[Rule, ...] = ()

    def __str__(self) -> str:
        return "; ".join(map(str, self.rules))


class Player:
    """A script and how far it is; threads may share one.

    Examples
    --------
    >>> player = Player(parse_script("ok 404"))
    >>> [len(player.next("GET", "a")) for _ in range(3)]
    [0, 1, 0]
    """

    __slots__ = ("_counts", "_lock", "script")

    def __init__(self, script: Script) -> None:
        self.script = script
        self._lock = threading.Lock()
        self._counts = [0] * len(script.rules)

    def next(self, method: str, name: str) -> tuple[Fault, ...]:
        """Return what happens to a request that came in now."""
        for place, rule in enumerate(self.script.rules):
            if rule.matches(method, name):
                with self._lock:
                    number = self._counts[place]
                    self._counts[place] += 1
                return rule.faults(number)
        return ()


def parse_script(text: str, *, known: Collection[type[Fault]] = FAULTS) -> Script:
    """Return the script that `text` spells.

    Parameters
    ----------
    text : str
        In the grammar above; empty for no faults.
    known : collection of fault classes
        Which faults there are.

    Raises
    ------
    InvalidArgument
        With the position of what is wrong, and the faults that are known.

    Examples
    --------
    >>> str(parse_script("503*2 ok reset@100..."))
    '503*2 ok reset@100...'
    >>> parse_script("503 rest@100")
    Traceback (most recent call last):
    ...
    p2uformat.errors.InvalidArgument: script, position 4: not a fault: 'rest@100'
    known: ok, reset[@N] close[@N] stall[@N], ...
    """
    if not isinstance(text, str):
        raise InvalidArgument(f"script: expected a string, got {type(text).__name__}")
    return _Reader(text, known).script()


class _Reader:
    """A place in the text of a script."""

    __slots__ = ("_at", "_known", "_text")

    def __init__(self, text: str, known: Collection[type[Fault]]) -> None:
        self._text = text
        self._at = 0
        self._known = known

    def script(self) -> Script:
        if not self._text.strip():
            return Script()
        rules = [self._rule()]
        while self._literal(";"):
            rules.append(self._rule())
        if self._at < len(self._text):
            raise self._wrong("expected ';' or the end")
        return Script(tuple(rules))

    def _rule(self) -> Rule:
        self._space()
        method, glob = "GET", "*"
        if found := self._match(_SELECTOR):
            method, glob = found[1] or "GET", found[2] or found[3] or "*"
            self._space()
        steps = [self._step()]
        self._space()
        while not self._text.startswith("...", self._at) and not self._ended():
            steps.append(self._step())
            self._space()
        forever = self._literal("...")
        self._space()
        return Rule(tuple(steps), forever, method, glob)

    def _step(self) -> Step:
        start = self._at
        probability, seed = None, 0
        faults: tuple[Fault, ...] = ()
        if chance := self._match(_RANDOM):
            probability, faults = float(chance[1]), self._faults()
            found = self._match(_SEED)
            seed = int(found[1]) if found else 0
            if not self._literal(")"):
                raise self._wrong("expected ')'")
        elif not self._literal("ok"):
            faults = self._faults()
        times = self._match(_TIMES)
        if not _AFTER_STEP.match(self._text, self._at):
            self._at = start
            raise self._wrong("not a fault")
        return Step(faults, int(times[1]) if times else 1, probability, seed)

    def _faults(self) -> tuple[Fault, ...]:
        start = self._at
        faults = [self._fault()]
        while self._literal("&"):
            faults.append(self._fault())
        roles = [fault.role for fault in faults]
        if twice := [role for role in ROLES if roles.count(role) > 1]:
            self._at = start
            raise self._wrong(f"two faults change the same ({twice[0]})")
        return tuple(sorted(faults, key=lambda fault: ROLES.index(fault.role)))

    def _fault(self) -> Fault:
        for kind in self._known:
            if found := self._match(kind.pattern):
                return kind.read(found)
        raise self._wrong("not a fault")

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return found

    def _literal(self, text: str) -> bool:
        found = self._text.startswith(text, self._at)
        self._at += len(text) * found
        return found

    def _space(self) -> None:
        while self._text[self._at : self._at + 1].isspace():
            self._at += 1

    def _ended(self) -> bool:
        return self._at == len(self._text) or self._text[self._at] == ";"

    def _wrong(self, what: str) -> InvalidArgument:
        found = _WORD.match(self._text, self._at)
        word = found[0] if found else ""
        spellings = ", ".join(["ok", *(kind.spelling for kind in self._known)])
        return InvalidArgument(
            f"script, position {self._at}: {what}: {word!r}"
            if word
            else f"script, position {self._at}: {what}, got the end of it",
            hint=f"known: {spellings}, random(P,FAULT,seed=N)",
        )
