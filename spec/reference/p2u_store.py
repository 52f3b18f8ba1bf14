"""Independent reader of p2u stores in folders, written from SPEC.md, section 20, alone.

``python p2u_store.py STORE NAME[@N] [--tier T]`` prints each tensor's digest.
"""
# ruff: noqa: ANN401, D102, D103 - `conform` says what a value is, and SPEC.md what a function does

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from blake3 import blake3
from p2u_layers import MAX_DEPTH, Cursor, RefError, limit, need
from p2u_ref import EXIT, UINT, Artifact, conform, contents, unpack

MAX_PACK_BYTES, MAX_RECORD_BYTES = (1 << 26) + (1 << 16), 1 << 24
MAX_BUNDLE_BYTES, MAX_ENTRY_BYTES, MAX_LIST_BYTES = 1 << 30, 1 << 20, 1 << 26
ID, DIGEST, PLACE = 16, 32, (UINT, UINT, UINT)
RECORD = {"artifacts": [(bytes, [PLACE], [PLACE])], "bundles": [ID], "packs": [(ID, UINT)]}
RECORD |= {"version": UINT, "writer": ID}
REF = {"added": UINT, "content": object, "encoding": object, "generation": object}
REF |= {"gone": [(UINT, UINT)], "previous": object, "size": UINT, "time": UINT}
REF |= {"version": UINT, "writer": ID}
PART = "(?![0-9]{16}$)[A-Za-z0-9][A-Za-z0-9._-]{0,127}"


class Stored(Artifact):
    """A file whose location table nobody stored."""

    placed = False


class Store:
    """A store in a folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        need((self.folder / "p2u.json").is_file(), "no store", "not-found")
        try:
            marker = json.loads((self.folder / "p2u.json").read_bytes())
        except ValueError:
            marker = None
        good = isinstance(marker, dict) and marker.get("format") == "p2u-store"
        need(good, "p2u.json is not a store's")
        need(marker["version"] == 1, "version of the store", "unsupported-format")

    def get(self, key: str, most: int) -> bytes:
        path = self.folder / key
        need(path.is_file(), f"{key} is not there", "not-found")
        limit(path.stat().st_size, most, key)
        return path.read_bytes()

    def value(self, key: str, most: int, form: dict[str, Any]) -> Any:
        cursor = Cursor(self.get(key, most), key, "non-canonical")
        value = unpack(cursor)
        cursor.done()
        conform(value, dict, key)
        need(value.get("version") == 1, f"version of {key}", "unsupported-format")
        need(value.keys() == form.keys(), f"keys of {key}")
        for name, inner in form.items():
            conform(value[name], inner, f"{key}: {name}")
        return value

    def numbers(self, prefix: str, digits: int) -> list[int]:
        found = (self.folder / prefix).glob("[0-9]" * digits)
        return sorted(int(path.name) for path in found if path.is_file())

    def ref(self, name: str, seq: int) -> Any:
        ref = self.value(f"refs/{name}/{seq:016d}", MAX_ENTRY_BYTES, REF)
        end = 0
        for first, stop in ref["gone"]:
            need(end < first < stop <= seq + 1, "runs of a ref")
            end = stop
        gone = any(first <= seq < stop for first, stop in ref["gone"])
        forms = {"content": DIGEST, "encoding": DIGEST, "previous": DIGEST}
        for key, form in {**forms, "generation": range(10**8)}.items():
            need(ref[key] is None or conform(ref[key], form, key) is not None, key)
        kinds = {ref[key] is None for key in ("content", "encoding", "generation")}
        need(kinds == {gone}, "neither a version nor a removal")
        need((ref["previous"] is None) == (seq == 1), "the ref before")
        return ref

    def root(self, name: str, seq: int | None) -> bytes:
        """20.3: the content root of a version."""
        parts = name.split("/")
        need(len(parts) <= 8 and all(re.fullmatch(PART, p) for p in parts), "name", "not-found")
        numbers = self.numbers(f"refs/{name}", 16)
        need(numbers, f"nothing called {name!r}", "not-found")
        gone = self.ref(name, numbers[-1])["gone"]
        left = [n for n in numbers if not any(first <= n < stop for first, stop in gone)]
        need(left and (seq is None or seq in left), f"no such version of {name!r}", "not-found")
        found: bytes = self.ref(name, left[-1] if seq is None else seq)["content"]
        return found

    def artifact(self, root: bytes) -> Artifact:
        """20.2: the artifact of a content root, with what it needs."""
        generations = self.numbers(f"roots/{root.hex()}", 8)
        need(generations, f"no artifact {root.hex()}", "not-found")
        key = f"roots/{root.hex()}/{generations[-1]:08d}"
        record = self.value(key, MAX_RECORD_BYTES, RECORD)
        need(0 < len(record["artifacts"]) <= MAX_DEPTH + 1, "artifacts of a record")
        files = [self.file(record, *placed) for placed in record["artifacts"]]
        need(files[0][16:48] == root, "a record of another artifact", "root-mismatch")
        return Stored(files[0], files[1:])

    def file(self, record: Any, header: bytes, blobs: Any, extents: Any) -> bytes:
        """20.2: return the bytes of a file, zeros for its location table."""
        need(len(header) == 128 and len(blobs) >= 2, "header or blobs")
        last: Any = (-1, 0, 0)
        for pack, offset, length in extents:
            follows = pack == last[0] and offset == last[1] + last[2]
            need(length and not follows, "extents: empty ones, or neighbours that are one")
            last = pack, offset, length
        front = header + b"".join(self.blob(record, *blob) for blob in blobs)
        manifest = int.from_bytes(header[88:96], "little")
        need(len(front) <= manifest <= len(front) + (1 << 30), "lengths of the manifest")
        payload = b"".join(self.extent(record, *extent) for extent in extents)
        return front.ljust(manifest, b"\0") + payload

    def blob(self, record: Any, number: int, offset: int, length: int) -> bytes:
        need(number < len(record["bundles"]), "place of a bundle")
        name = record["bundles"][number].hex()
        data = self.get(f"meta/{name[:2]}/{name}", MAX_BUNDLE_BYTES)
        return data[offset : offset + length]

    def extent(self, record: Any, number: int, offset: int, length: int) -> bytes:
        need(number < len(record["packs"]), "place of a pack")
        writer, pack = record["packs"][number]
        name = writer.hex()
        data = self.get(f"packs/{name[:2]}/{name}/{pack:06d}", MAX_PACK_BYTES)
        # What a pack is too short for is of other bytes than its digest says.
        return data[offset : offset + length].ljust(length, b"\0")


def trailer(data: bytes) -> Any:
    """20.1: tier and chunks of a pack, checked against its bytes."""
    limit(len(data), MAX_PACK_BYTES, "pack")
    need(data[-8:] == b"p2u-pack" and len(data) >= 28, "end of a pack")
    length = int.from_bytes(data[-28:-24], "little")
    need(length <= len(data) - 28, "length of a trailer")
    body = data[len(data) - 28 - length : -28]
    need(blake3(body).digest(16) == data[-24:-8], "digest of a trailer")
    cursor = Cursor(body, "trailer", "non-canonical")
    value = unpack(cursor)
    cursor.done()
    conform(value, dict, "trailer")
    need(value.get("version") == 1, "version of a pack", "unsupported-format")
    need(value.keys() == {"chunks", "tier", "version"}, "keys of a trailer")
    conform(value["chunks"], [(DIGEST, UINT)], "chunks")
    at = 0
    for name, size in value["chunks"]:
        need(blake3(data[at : at + size]).digest() == name, "a chunk", "digest-mismatch")
        at += size
    need(at == len(data) - 28 - length, "chunks fill the pack")
    return value


def read(store: str | Path, address: str, tier: str | None = None) -> dict[str, Any]:
    """Check a version up to a tier (the last complete one), return its tensors as p2u_ref does."""
    name, _, seq = address.partition("@")
    found = Store(store)
    return contents(found.artifact(found.root(name, int(seq) if seq else None)), tier)


def main() -> None:
    parser = argparse.ArgumentParser(description="Read a version of a name, checking all of it.")
    parser.add_argument("store")
    parser.add_argument("address", metavar="NAME[@N]")
    parser.add_argument("--tier", help="default: the last complete one")
    try:
        tensors = read(**vars(parser.parse_args()))
    except (RefError, OSError, ValueError) as error:
        code = getattr(error, "code", "not-found")
        print(f"error: {code}: {error}", file=sys.stderr)
        sys.exit(EXIT.get(code, 4))
    for name, (dtype, shape, data) in tensors.items():
        print(ascii(name)[1:-1], dtype, list(shape), blake3(data).hexdigest(), sep="\t")


if __name__ == "__main__":
    main()
