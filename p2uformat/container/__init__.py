"""The one-file form: header, manifest, location table, chunks (SPEC.md, section 9)."""

from p2uformat.container.folder import Folder, publish_folder
from p2uformat.container.header import HEADER_BYTES, Header
from p2uformat.container.inherit import attach
from p2uformat.container.layout import Layout, place
from p2uformat.container.partial import PartialFile
from p2uformat.container.reader import Container, Page, Place, TableFault, open_reader
from p2uformat.container.scan import BadChunk, StoredChunk, check_chunks, stored_chunks
from p2uformat.container.writer import write_artifact
from p2uformat.publishing import Output, publish

__all__ = [
    "HEADER_BYTES",
    "BadChunk",
    "Container",
    "Folder",
    "Header",
    "Layout",
    "Output",
    "Page",
    "PartialFile",
    "Place",
    "StoredChunk",
    "TableFault",
    "attach",
    "check_chunks",
    "open_reader",
    "place",
    "publish",
    "publish_folder",
    "stored_chunks",
    "write_artifact",
]
