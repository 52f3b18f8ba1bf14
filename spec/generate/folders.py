"""Folders of files: names, paths and digests, as they are and as they must not be (8.3, 10)."""

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

from builder import PLANES, Group, Recipe
from recipes import SMALL, bias, one
from source import File, Tensor, safetensors
from spoil import DIGEST, MALFORMED, add, flip
from valid import vector

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def plain(path: str, data: bytes, tier: int = 0) -> File:
    """Return a file that is its own blob."""
    return File(path, "plain", data, len(data), tier)


def signed(*files: File) -> list[File]:
    """Return files with their SHA-256."""
    for file in files:
        file.ext = {"sha256": hashlib.sha256(file.data).digest()}
    return list(files)


def shards() -> tuple[list[Tensor], list[File]]:
    """Return four tensors in two files, with their index."""
    tensors = [one("BF16", SMALL, [-5], name="embed"), bias()]
    tensors += [one("BF16", SMALL[::-1], [-5], name="head"), Tensor("ids", "U8", [3], b"abc")]
    files = [safetensors(FIRST, tensors[:2]), safetensors(SECOND, tensors[2:])]
    places = {t.name: FIRST if t in tensors[:2] else SECOND for t in tensors}
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    files.append(plain("model.safetensors.index.json", json.dumps(index).encode()))
    return tensors, files


@vector("folder", "8.3", "two shards, their index, a configuration, other weights in the last tier")
def _() -> Recipe:
    tensors, files = shards()
    files.append(plain("config.json", b'{"layers": 2}\n'))
    files.append(plain("onnx/model.onnx", bytes(range(99)), tier=2))
    return Recipe(tensors, signed(*files))


def namesakes() -> tuple[list[Tensor], list[File]]:
    """Return tensors in two files: `w` in both, qualified; `y` qualified in one of them."""
    names = ["a.safetensors:w", "b.safetensors:w", "x"]
    tensors = [one("BF16", SMALL[i:] + SMALL[:i], [-5], name=name) for i, name in enumerate(names)]
    tensors += [Tensor("b.safetensors:y", "U8", [2], b"yb"), Tensor("y", "U8", [2], b"y.")]
    a = safetensors("a.safetensors", [tensors[0], tensors[2], tensors[4]])
    return tensors, [a, safetensors("b.safetensors", [tensors[1], tensors[3]])]


@vector("folder-names", "8.3", "names that two files have, qualified in both, or in one of them")
def _() -> Recipe:
    return Recipe(*namesakes())


@vector("folder-blocks", "5", "a file of two blocks, and one that is cut nowhere")
def _() -> Recipe:
    files = [plain("a/zeros.bin", bytes((1 << 19) + 5), tier=2), plain("a/b/c", b"c")]
    keys = [("a/zeros.bin", 2, block) for block in range(2)]
    return Recipe([], files, groups=[Group(PLANES, keys, zstd=True)])


@vector("folder-neighbours", "8.3", "paths that only begin alike")
def _() -> Recipe:
    return Recipe([], [plain(path, path.encode()) for path in ("a.b/c", "a/b", "a0", "aa/b", "a-")])


def shared() -> tuple[list[Tensor], list[File]]:
    """Return one tensor that two files list."""
    tensor = one("BF16", SMALL, [-5])
    return [tensor], [safetensors(f"{name}.safetensors", [tensor]) for name in "ab"]


@vector("folder-shared", "8.3", "two files list one tensor")
def _() -> Recipe:
    return Recipe(*shared())


def changed(
    make: Callable[[], tuple[list[Tensor], list[File]]],
    path: str,
    index: int,
    change: Any,  # noqa: ANN401
) -> Callable[[], Recipe]:
    """Return a maker that changes a field of a file's record."""

    def hook(records: list[Any], _: object) -> list[Any]:
        for record in records:
            if record[:2] == [1, path]:
                record[index] = change(record[index])
        return records

    def recipe() -> Recipe:
        tensors, files = make()
        return Recipe(tensors, signed(*files), hooks={"records": hook})

    return recipe


def beside(*paths: str) -> Callable[[], Recipe]:
    """Return a maker of plain files."""
    return lambda: Recipe([], [plain(path, b"text") for path in paths])


def without(name: str, more: Sequence[Tensor] = ()) -> Callable[[], Recipe]:
    """Return a maker that leaves a tensor's record out, or puts others in its place."""

    def recipe() -> Recipe:
        tensors, files = namesakes()
        return Recipe([t for t in tensors if t.name != name] + list(more), files)

    return recipe


def twice(records: list[Any], _: object) -> list[Any]:
    """Name the second file like the first."""
    records[1][1] = records[0][1]
    return records


add("path-in-file", MALFORMED, "8.3", "a file that lies in a file", beside("a", "a/b"))
add(
    "path-in-file-apart",
    MALFORMED,
    "8.3",
    "a file that lies in a file, with others between them",
    beside("a/b", "a/b.c", "a/b-d/e", "a/b/c/d"),
)
add(
    "path-twice",
    MALFORMED,
    "8.2",
    "two files of one path",
    lambda: Recipe([], [plain(p, p.encode()) for p in "ab"], hooks={"records": twice}),
)
add(
    "name-without-record",
    MALFORMED,
    "8.3",
    "a head names a tensor that is under neither of its names",
    without("x"),
)
add(
    "name-qualified-first",
    MALFORMED,
    "8.3",
    "the qualified record is meant, though another has the head's dtype and shape",
    without(
        "b.safetensors:w",
        [
            Tensor("b.safetensors:w", "U8", [24], bytes(24)),
            one("BF16", SMALL[1:] + SMALL[:1], [-5]),
        ],
    ),
)
add(
    "sha256-wrong",
    DIGEST,
    "10",
    "a SHA-256 that is not the file's, where the other digest is",
    changed(shards, SECOND, 8, lambda ext: {"sha256": flip(ext["sha256"])}),
)
add(
    "sha256-short",
    MALFORMED,
    "8.3",
    "a SHA-256 of 31 bytes",
    changed(shards, FIRST, 8, lambda ext: {"sha256": ext["sha256"][1:]}),
)
add(
    "sha256-text",
    MALFORMED,
    "8.3",
    "a SHA-256 in hexadecimal",
    changed(shards, FIRST, 8, lambda ext: {"sha256": ext["sha256"].hex()}),
)
add(
    "plain-digest",
    DIGEST,
    "10",
    "the digest of a plain file is not its own",
    changed(shards, "model.safetensors.index.json", 5, flip),
)


add(
    "shared-digest",
    DIGEST,
    "10",
    "the second of two files that list one tensor has another digest",
    changed(shared, "b.safetensors", 5, flip),
)
