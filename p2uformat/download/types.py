"""What fetching hands out."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from p2uformat.artifact.types import Progress

__all__ = ["FetchPlan", "FetchProgress", "FetchResult"]


@dataclass(frozen=True, slots=True)
class FetchPlan:
    """What a fetch has to do, all in bytes of chunks.

    Parameters
    ----------
    source, destination : str
        From where to where.
    root : str
        Content root.
    tier : str
        The highest tier that is wanted.
    total : int
        All that is wanted.
    present : int
        Of this, what the destination holds already.
    reused : int
        What seeds hold.
    rebuilt : int
        What can be made of other chunks of the seeds.
    fetched : int
        What has to come from the source.
    requests : int
        Ranges that will be asked for, beside those that opened the source.
    gaps : int
        Bytes between the chunks that are read in vain, because one request is better than two.
    parent : str or None
        Content root of the artifact that this one needs to be read.
    """

    source: str
    destination: str
    root: str
    tier: str
    total: int
    present: int
    reused: int
    rebuilt: int
    fetched: int
    requests: int
    gaps: int
    parent: str | None

    def to_dict(self) -> dict[str, object]:
        """Return what becomes JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class FetchProgress(Progress):
    """How far a fetch is; `total` is fixed from the start.

    Parameters
    ----------
    present, reused, rebuilt : int
        Bytes that needed no transfer, as in `FetchPlan`.
    fetched : int
        Verified bytes of chunks from the source.
    verified : int
        All bytes whose digests were compared: the four together.
    received : int
        Bytes that the source sent, those of chunks underway included.
    requests : int
        Requests sent so far.
    seconds : float
        Since the transfer began.
    """

    present: int
    reused: int
    rebuilt: int
    fetched: int
    verified: int
    received: int
    requests: int
    seconds: float

    def to_dict(self) -> dict[str, object]:
        """Return what becomes JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class FetchResult:
    """What a fetch did, all in bytes of chunks unless said otherwise.

    Parameters
    ----------
    source, path : str
        From where to where.
    root, encoding_root : str
        ``blake3:`` and 64 hexadecimal digits.
    authenticated : bool
        The root was compared with an expected one.
    tier : str
        The highest tier that was wanted.
    complete : tuple of str
        Tiers that the file holds whole now, as far as that depends on itself.
    whole : bool
        It is the complete file, byte for byte as it was packed.
    parent : str or None
        Content root of the artifact that it needs to be read.
    total, present, reused, rebuilt, fetched : int
        As in `FetchPlan`.
    verified : int
        Bytes whose digests were compared: `total`.
    received : int
        Bytes that the source sent, manifest and gaps and what came twice included.
    requests, retries : int
        Requests sent, and how many of them were sent again.
    streamed : bool
        The server knows no ranges, and the file was read from its start on.
    seconds : float
        How long the transfer took.
    beside : tuple of FetchResult
        The same for the artifacts that it needs, where these were fetched beside it.
    """

    source: str
    path: str
    root: str
    encoding_root: str
    authenticated: bool
    tier: str
    complete: tuple[str, ...]
    whole: bool
    parent: str | None
    total: int
    present: int
    reused: int
    rebuilt: int
    fetched: int
    verified: int
    received: int
    requests: int
    retries: int
    streamed: bool
    seconds: float
    beside: tuple[FetchResult, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Return what becomes JSON."""
        lists = {"complete": list(self.complete), "beside": [one.to_dict() for one in self.beside]}
        return asdict(self) | lists
