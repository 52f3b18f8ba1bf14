"""The limits of SPEC.md, section 12: same names, same values.

A reader compares a length with its limit before it allocates, so that a few hostile bytes cannot
ask for gigabytes.
"""

from __future__ import annotations

from typing import Final

MAX_ROOT_BYTES: Final = 1 << 18
MAX_PAGE_BYTES: Final = 1 << 20
MAX_PAGES: Final = 1 << 16
MAX_NESTING: Final = 16
MAX_BLOCK_ELEMENTS: Final = 1 << 19
MAX_RECORD_BLOCKS: Final = 1024
MAX_RANK: Final = 64
MAX_NAME_BYTES: Final = 4096
MAX_FILES: Final = 1 << 16
MAX_ELEMENTS: Final = 1 << 48
MAX_TIERS: Final = 16
MAX_DIGITS: Final = 24
MAX_CHUNK_BYTES: Final = 1 << 26
MAX_CHUNK_MEMBERS: Final = 4096
MAX_STREAMS: Final = 300
MAX_STREAM_BYTES: Final = 1 << 26
MAX_WINDOW_LOG: Final = 23
MAX_STEP_EXPONENT: Final = 2000
MAX_DEPTH: Final = 16
MAX_FILE_BYTES: Final = (1 << 63) - 1
MAX_PACK_BYTES: Final = (1 << 26) + (1 << 16)
MAX_RECORD_BYTES: Final = 1 << 24
MAX_BUNDLE_BYTES: Final = 1 << 30
MAX_ENTRY_BYTES: Final = 1 << 20
MAX_LIST_BYTES: Final = 1 << 26
