"""Roots, pages and records: what is stored, and by which chunks (SPEC.md, section 8)."""

from p2uformat.manifest.assemble import Manifest, assemble
from p2uformat.manifest.content import ContentPage, ContentRoot, PageRef, Totals
from p2uformat.manifest.encoding import (
    ChunkEntry,
    Codec,
    EncodingPage,
    EncodingPageRef,
    EncodingRoot,
    ParentRef,
    RecordLayers,
    codecs_for,
)
from p2uformat.manifest.paginate import PAGE_TARGET, page_bytes, paginate, starts_page
from p2uformat.manifest.parameters import (
    BitplaneParameters,
    BitplaneTier,
    OpaqueParameters,
    TierSpec,
)
from p2uformat.manifest.quantized import (
    AffineParameters,
    Figures,
    LevelsParameters,
    MinifloatParameters,
    QuantizedParameters,
    policy_from_value,
    policy_to_value,
    quantized_parameters,
)
from p2uformat.manifest.records import LEVELS, LOSSY, QUANTIZERS, FileRecord, Record, TensorRecord
from p2uformat.manifest.sequence import check_sequence

__all__ = [
    "LEVELS",
    "LOSSY",
    "PAGE_TARGET",
    "QUANTIZERS",
    "AffineParameters",
    "BitplaneParameters",
    "BitplaneTier",
    "ChunkEntry",
    "Codec",
    "ContentPage",
    "ContentRoot",
    "EncodingPage",
    "EncodingPageRef",
    "EncodingRoot",
    "Figures",
    "LevelsParameters",
    "FileRecord",
    "Manifest",
    "MinifloatParameters",
    "OpaqueParameters",
    "PageRef",
    "ParentRef",
    "QuantizedParameters",
    "Record",
    "RecordLayers",
    "TensorRecord",
    "TierSpec",
    "Totals",
    "assemble",
    "check_sequence",
    "codecs_for",
    "page_bytes",
    "paginate",
    "policy_from_value",
    "policy_to_value",
    "quantized_parameters",
    "starts_page",
]
