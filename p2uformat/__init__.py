"""One file that holds a model at 4 bits, at 8 bits and bit for bit, each tier on top of the last.

Examples
--------
>>> import p2uformat
>>> p2uformat.FORMAT_VERSION
(1, 0)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from p2uformat.errors import (
    AccessDenied,
    Conflict,
    CorruptData,
    DestinationExists,
    DigestMismatch,
    Incomplete,
    InvalidArgument,
    InvalidSource,
    LeaseLost,
    LimitExceeded,
    Malformed,
    NonCanonical,
    NotAnArtifact,
    NotFound,
    P2UError,
    ParentMismatch,
    ParentRequired,
    RangesIgnored,
    RootMismatch,
    SeveralWriters,
    SourceChanged,
    StoreUnavailable,
    TensorNotFound,
    TierNotFound,
    TransferFailed,
    UnsupportedFormat,
    VersionConflict,
)

if TYPE_CHECKING:
    from p2uformat.artifact.anatomy import anatomy
    from p2uformat.artifact.anatomytypes import Anatomy, Part, TensorAnatomy
    from p2uformat.artifact.arrays import save_array, save_arrays
    from p2uformat.artifact.diff import diff
    from p2uformat.artifact.difftypes import (
        DiffReport,
        Distance,
        FileDiff,
        TensorDiff,
        TierDiff,
    )
    from p2uformat.artifact.open import Artifact, open  # noqa: A004
    from p2uformat.artifact.pack import pack
    from p2uformat.artifact.push import PushResult, push
    from p2uformat.artifact.squash import squash
    from p2uformat.artifact.types import (
        Damage,
        FileInfo,
        Progress,
        Summary,
        TensorInfo,
        TierSummary,
        UnpackResult,
        VerifyReport,
    )
    from p2uformat.artifact.unpack import unpack
    from p2uformat.artifact.update import apply_update, pack_update
    from p2uformat.artifact.updatetypes import UpdateInfo
    from p2uformat.artifact.verify import verify
    from p2uformat.download import FetchPlan, FetchProgress, FetchResult, fetch, plan_fetch
    from p2uformat.kernels import available_kernels, kernels_in_use, use_kernels
    from p2uformat.quant.affine import Affine
    from p2uformat.quant.levels import Levels
    from p2uformat.quant.minifloat import Minifloat
    from p2uformat.quant.packed import PackedArray, dequantize, quantize
    from p2uformat.quant.policy import Policy
    from p2uformat.quant.quantizer import parse_quantizer
    from p2uformat.quant.transform import Transform
    from p2uformat.repository.listing import NameInfo, VersionInfo
    from p2uformat.repository.store import Store, is_store, repair
    from p2uformat.repository.types import RepairResult, StoreDamage, StoreReport
    from p2uformat.store.collector import CollectReport

__version__: Final = "0.1.0"
FORMAT_VERSION: Final = (1, 0)

__all__ = [
    "FORMAT_VERSION",
    "AccessDenied",
    "Affine",
    "Anatomy",
    "Artifact",
    "CollectReport",
    "Conflict",
    "CorruptData",
    "Damage",
    "DestinationExists",
    "DiffReport",
    "DigestMismatch",
    "Distance",
    "FetchPlan",
    "FetchProgress",
    "FetchResult",
    "FileDiff",
    "FileInfo",
    "Incomplete",
    "InvalidArgument",
    "InvalidSource",
    "LeaseLost",
    "Levels",
    "LimitExceeded",
    "Malformed",
    "Minifloat",
    "NameInfo",
    "NonCanonical",
    "NotAnArtifact",
    "NotFound",
    "P2UError",
    "PackedArray",
    "ParentMismatch",
    "ParentRequired",
    "Part",
    "Policy",
    "Progress",
    "PushResult",
    "RangesIgnored",
    "RepairResult",
    "RootMismatch",
    "SeveralWriters",
    "SourceChanged",
    "Store",
    "StoreDamage",
    "StoreReport",
    "StoreUnavailable",
    "Summary",
    "TensorAnatomy",
    "TensorDiff",
    "TensorInfo",
    "TensorNotFound",
    "TierDiff",
    "TierNotFound",
    "TierSummary",
    "TransferFailed",
    "Transform",
    "UnpackResult",
    "UnsupportedFormat",
    "UpdateInfo",
    "VerifyReport",
    "VersionConflict",
    "VersionInfo",
    "__version__",
    "anatomy",
    "apply_update",
    "available_kernels",
    "dequantize",
    "diff",
    "fetch",
    "is_store",
    "kernels_in_use",
    "open",
    "pack",
    "pack_update",
    "parse_quantizer",
    "plan_fetch",
    "push",
    "quantize",
    "repair",
    "save_array",
    "save_arrays",
    "squash",
    "unpack",
    "use_kernels",
    "verify",
]

# numpy and the rest load when the first of these is asked for: `p2u --help` should not wait.
_HOMES: Final = {
    "Affine": "quant.affine",
    "Anatomy": "artifact.anatomytypes",
    "Artifact": "artifact.open",
    "CollectReport": "store.collector",
    "Damage": "artifact.types",
    "DiffReport": "artifact.difftypes",
    "Distance": "artifact.difftypes",
    "FetchPlan": "download",
    "FetchProgress": "download",
    "FetchResult": "download",
    "FileDiff": "artifact.difftypes",
    "FileInfo": "artifact.types",
    "Levels": "quant.levels",
    "Minifloat": "quant.minifloat",
    "NameInfo": "repository.listing",
    "PackedArray": "quant.packed",
    "Part": "artifact.anatomytypes",
    "Policy": "quant.policy",
    "Progress": "artifact.types",
    "PushResult": "artifact.push",
    "RepairResult": "repository.types",
    "Store": "repository.store",
    "StoreDamage": "repository.types",
    "StoreReport": "repository.types",
    "Summary": "artifact.types",
    "TensorAnatomy": "artifact.anatomytypes",
    "TensorDiff": "artifact.difftypes",
    "TensorInfo": "artifact.types",
    "TierDiff": "artifact.difftypes",
    "TierSummary": "artifact.types",
    "Transform": "quant.transform",
    "UnpackResult": "artifact.types",
    "UpdateInfo": "artifact.updatetypes",
    "VerifyReport": "artifact.types",
    "VersionInfo": "repository.listing",
    "anatomy": "artifact.anatomy",
    "apply_update": "artifact.update",
    "available_kernels": "kernels",
    "dequantize": "quant.packed",
    "diff": "artifact.diff",
    "fetch": "download",
    "is_store": "repository.store",
    "kernels_in_use": "kernels",
    "open": "artifact.open",
    "pack": "artifact.pack",
    "pack_update": "artifact.update",
    "parse_quantizer": "quant.quantizer",
    "plan_fetch": "download",
    "push": "artifact.push",
    "quantize": "quant.packed",
    "repair": "repository.store",
    "save_array": "artifact.arrays",
    "save_arrays": "artifact.arrays",
    "squash": "artifact.squash",
    "unpack": "artifact.unpack",
    "use_kernels": "kernels",
    "verify": "artifact.verify",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
