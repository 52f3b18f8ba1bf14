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
from p2uformat.manifest.records import FileRecord, Record, TensorRecord
from p2uformat.manifest.sequence import check_sequence

__all__ = [
    "PAGE_TARGET",
    "BitplaneParameters",
    "BitplaneTier",
    "ChunkEntry",
    "Codec",
    "ContentPage",
    "ContentRoot",
    "EncodingPage",
    "EncodingPageRef",
    "EncodingRoot",
    "FileRecord",
    "Manifest",
    "OpaqueParameters",
    "PageRef",
    "ParentRef",
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
    "starts_page",
]
