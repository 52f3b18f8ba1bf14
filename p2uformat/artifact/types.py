"""What the library hands out: plain values, each with the dict that becomes JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from p2uformat.errors import CorruptData
from p2uformat.progress import Progress

if TYPE_CHECKING:
    from p2uformat.artifact.updatetypes import UpdateInfo

__all__ = [
    "Damage",
    "FileInfo",
    "Progress",
    "Summary",
    "TensorInfo",
    "TierSummary",
    "UnpackResult",
    "VerifyReport",
]


@dataclass(frozen=True, slots=True)
class TierSummary:
    """One tier of an artifact.

    Parameters
    ----------
    name : str
        Its name.
    bytes : int
        Stored bytes of its own chunks.
    bits_per_weight : float
        Stored bits it adds per quantized weight.
    exact_bytes : int
        Stored bytes of what travels in it as it is: opaque tensors and file heads.
    max_error : float
        No finite quantized weight is further off than this after it; 0.0 for ``exact``.
    rms_error : float
        Relative root mean square error over the quantized weights after it; 0.0 for ``exact``.
    """

    name: str
    bytes: int
    bits_per_weight: float
    exact_bytes: int
    max_error: float
    rms_error: float

    def to_dict(self) -> dict[str, object]:
        """Return what becomes JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Summary:
    """An artifact in figures.

    Parameters
    ----------
    root, encoding_root : str
        ``blake3:`` and 64 hexadecimal digits.
    bytes : int
        Bytes of the complete file: the manifest's and the tiers' together.
    manifest_bytes : int
        Bytes before the first chunk.
    source_bytes : int
        Bytes of the source file.
    parameters : int
        Elements of all tensors.
    quantized_parameters : int
        Of these, in tensors that have lossy tiers.
    tiers : tuple of TierSummary
        Base first.
    complete : tuple of str
        The tiers that are whole here.
    parent : str or None
        Content root of the artifact that this one is stored as differences from, and needs.
    lossy : bool
        Whether it has no exact tier: the source is not to be had from it.
    policy : mapping or None
        Which tensors a quantizer other than the ladder was for, as the content root has it; `keep`
        is in millionths.
    update : UpdateInfo or None
        Of an update, what it is to, and its figures.
    """

    root: str
    encoding_root: str
    bytes: int
    manifest_bytes: int
    source_bytes: int
    parameters: int
    quantized_parameters: int
    tiers: tuple[TierSummary, ...]
    complete: tuple[str, ...]
    parent: str | None = None
    lossy: bool = False
    policy: Mapping[str, object] | None = None
    update: UpdateInfo | None = None

    def to_dict(self) -> dict[str, object]:
        """Return what becomes JSON."""
        return {
            "root": self.root,
            "encoding_root": self.encoding_root,
            "bytes": self.bytes,
            "manifest_bytes": self.manifest_bytes,
            "source_bytes": self.source_bytes,
            "parameters": self.parameters,
            "quantized_parameters": self.quantized_parameters,
            "complete": list(self.complete),
            "parent": self.parent,
            "lossy": self.lossy,
            "policy": None if self.policy is None else dict(self.policy),
            "update": None if self.update is None else self.update.to_dict(),
            "tiers": [tier.to_dict() for tier in self.tiers],
        }


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is wrong with an artifact.

    Parameters
    ----------
    tensor : str or None
        The tensor hit; None for a file's head and for what no tensor alone depends on.
    tier : str or None
        The tier hit.
    elements : tuple of int or None
        Half-open element range of the tensor; bytes of a file's head.
    region : str
        ``header``, ``root``, ``page``, ``table``, ``chunk``, ``layer``, ``file`` or ``trailing``.
    offset : int
        Where in the artifact the damaged piece starts.
    expected, got : str
        Digests in hexadecimal, or what a rule asks for and what there is.
    code : str
        Code of the error class, e.g. ``digest-mismatch``.
    file : str or None
        Path of the source file hit, if it is a file's own bytes or digest.
    """

    tensor: str | None
    tier: str | None
    elements: tuple[int, int] | None
    region: str
    offset: int
    expected: str
    got: str
    code: str
    file: str | None = None

    @classmethod
    def of(cls, error: CorruptData, region: str) -> Damage:
        """Return the damage that an error tells of."""
        return cls(
            error.tensor,
            error.tier,
            error.elements,
            error.region or region,
            error.offset or 0,
            error.expected or "",
            error.got or error.message,
            error.code,
            error.file,
        )

    def to_dict(self) -> dict[str, object]:
        """Return what becomes JSON."""
        return {
            "code": self.code,
            "file": self.file,
            "tensor": self.tensor,
            "tier": self.tier,
            "elements": None if self.elements is None else list(self.elements),
            "region": self.region,
            "offset": self.offset,
            "expected": self.expected,
            "got": self.got,
        }


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What `verify` found.

    Parameters
    ----------
    ok : bool
        Nothing is damaged and nothing that was asked for is missing.
    root : str or None
        Content root; None if the header or the root itself is damaged.
    authenticated : bool
        The root was compared with an expected one. Without that, a sound file is consistent with
        itself and no more.
    checked_chunks, checked_bytes : int
        How much was read.
    complete_tiers : tuple of str
        Tiers that are whole here and undamaged, with all below them.
    missing_chunks : int
        Chunks that the file is too short for.
    damage : tuple of Damage
        All that is wrong.
    parent : str or None
        Content root of the artifact that its layers are read with, if it needs one.
    """

    ok: bool
    root: str | None
    authenticated: bool
    checked_chunks: int
    checked_bytes: int
    complete_tiers: tuple[str, ...]
    missing_chunks: int
    damage: tuple[Damage, ...]
    parent: str | None = None

    def to_dict(self) -> dict[str, object]:
        """Return what becomes JSON."""
        return {
            "ok": self.ok,
            "root": self.root,
            "authenticated": self.authenticated,
            "checked_chunks": self.checked_chunks,
            "checked_bytes": self.checked_bytes,
            "complete_tiers": list(self.complete_tiers),
            "missing_chunks": self.missing_chunks,
            "parent": self.parent,
            "damage": [damage.to_dict() for damage in self.damage],
        }


@dataclass(frozen=True, slots=True)
class UnpackResult:
    """What `unpack` wrote.

    Parameters
    ----------
    path : str
        The file or the folder.
    bytes : int
        Its length; of a folder that of all files.
    tier : str
        The tier its tensors are at.
    tensors : int
        How many there are.
    identical : bool
        It is the source, bit for bit.
    files : int
        How many files there are.
    left_out : tuple of str
        Paths of the source's files that are not part of what was asked for.
    """

    path: str
    bytes: int
    tier: str
    tensors: int
    identical: bool
    files: int = 1
    left_out: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Return what becomes JSON."""
        return asdict(self) | {"left_out": list(self.left_out)}


@dataclass(frozen=True, slots=True)
class FileInfo:
    """One source file of an artifact.

    Parameters
    ----------
    path : str
        Its relative path, with ``/``.
    layout : str
        ``safetensors``, whose tensors are the artifact's, or ``plain``.
    bytes : int
        Its size.
    digest : str
        ``blake3:`` and 64 hexadecimal digits.
    sha256 : str or None
        64 hexadecimal digits, where it was asked for when the artifact was made.
    tier : str
        From this tier on the file can be written: a plain one as it was, a safetensors file with
        the tensors of the tier.
    """

    path: str
    layout: str
    bytes: int
    digest: str
    sha256: str | None
    tier: str

    def to_dict(self) -> dict[str, object]:
        """Return what becomes JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of an artifact.

    Parameters
    ----------
    name : str
        Its name.
    dtype : str
        Safetensors dtype name.
    shape : tuple of int
        Its shape.
    quantizer : str
        ``bitplane`` or ``opaque``; or a quantizer with its numbers, as `parse_quantizer` takes
        it, such as ``minifloat:S1E3M7``.
    blocks : int
        Blocks it is cut into.
    parameters : int
        Elements; bytes, where the dtype has no element size.
    bytes : int
        Source bytes.
    stored : tuple of int
        Stored bytes per tier; a chunk shared with others is apportioned.
    max_error, rms_error : tuple of float
        Per tier: bound of the absolute error, and relative root mean square error.
    steps : tuple of int or None
        Smallest and largest step exponent; None if not asked for, or if there are none.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    quantizer: str
    blocks: int
    parameters: int
    bytes: int
    stored: tuple[int, ...]
    max_error: tuple[float, ...]
    rms_error: tuple[float, ...]
    steps: tuple[int, int] | None

    def to_dict(self) -> dict[str, object]:
        """Return what becomes JSON."""
        value = asdict(self)
        return {key: list(item) if isinstance(item, tuple) else item for key, item in value.items()}
