"""What a store's commands hand out: plain values, each with the dict that becomes JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from p2uformat.artifact.types import Damage

__all__ = ["RepairResult", "StoreDamage", "StoreReport"]


@dataclass(frozen=True, slots=True)
class StoreDamage:
    """One thing that is wrong with an artifact in a store.

    Parameters
    ----------
    address : str
        A version that it hits: ``STORE#name@3``.
    key : str
        The object that is damaged or missing.
    offset : int
        Where in the object.
    damage : Damage
        What it means for the artifact; its offset is in that.
    """

    address: str
    key: str
    offset: int
    damage: Damage

    def to_dict(self) -> dict[str, object]:
        """Return what becomes JSON."""
        own = {"address": self.address, "key": self.key, "object_offset": self.offset}
        return own | self.damage.to_dict()


@dataclass(frozen=True, slots=True)
class StoreReport:
    """What verifying a store found.

    Parameters
    ----------
    ok : bool
        Nothing of what was looked at is damaged or missing.
    versions : int
        Versions, of all names, that are not removed.
    artifacts : int
        Different artifacts that these stand for or need.
    chunks, bytes : int
        Different chunks of them, and how long they are together.
    checked_chunks, checked_bytes : int
        How many of these were read and compared with their ids.
    damage : tuple of StoreDamage
        All that is wrong.
    """

    ok: bool
    versions: int
    artifacts: int
    chunks: int
    bytes: int
    checked_chunks: int
    checked_bytes: int
    damage: tuple[StoreDamage, ...]

    def to_dict(self) -> dict[str, object]:
        """Return what becomes JSON."""
        return asdict(self) | {"damage": [one.to_dict() for one in self.damage]}


@dataclass(frozen=True, slots=True)
class RepairResult:
    """What a repair did.

    Parameters
    ----------
    address : str
        The file or store.
    checked_chunks, checked_bytes : int
        How much was read and compared.
    damaged, repaired : int
        Pieces that were damaged or missing, and how many of these are sound now.
    moved : int
        Bytes of pieces that were taken from elsewhere.
    left : tuple of Damage or StoreDamage
        What is still wrong.
    """

    address: str
    checked_chunks: int
    checked_bytes: int
    damaged: int
    repaired: int
    moved: int
    left: tuple[Damage | StoreDamage, ...]

    @property
    def ok(self) -> bool:
        """Whether all is sound now."""
        return not self.left

    def to_dict(self) -> dict[str, object]:
        """Return what becomes JSON."""
        return asdict(self) | {"ok": self.ok, "left": [one.to_dict() for one in self.left]}
