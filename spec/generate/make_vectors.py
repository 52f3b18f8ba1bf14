"""Write the vectors, or check that they are what this code makes.

``python spec/generate/make_vectors.py`` writes ``spec/vectors``; with ``--check`` it writes nothing
and fails when a file there is missing, superfluous or different.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import spoil
import valid
from builder import Build
from vector import Vector
from wire import digest

FOLDER = Path(__file__).resolve().parent.parent / "vectors"
FAULTS = (
    "invalid_manifest",
    "invalid_pages",
    "invalid_chunks",
    "invalid_layers",
    "folders",
    "versions",
    "invalid_versions",
    "quantizers",
    "levels",
)
EXIT = {None: 0, "not-an-artifact": 5, "unsupported-format": 5, "incomplete": 6}
EXIT |= {"parent-required": 6}


def describe(vector: Vector) -> dict[str, Any]:
    """Return the expected outcome; its digests come from the weights, not from a reader."""
    recipe = vector.make()
    readable = vector.error is None or vector.complete is not None
    complete = len(recipe.tiers) if vector.error is None else vector.complete or 0
    tiers, files = {}, {}
    if readable:
        kinds = {tensor.name: tensor for tensor in recipe.tensors}
        for tier, tensors in valid.expected(recipe, complete).items():
            tiers[tier] = {
                name: {
                    "dtype": kinds[name].dtype,
                    "shape": list(kinds[name].shape),
                    "blake3": digest(data).hex(),
                }
                for name, data in tensors.items()
            }
        files = {file.path: digest(file.data).hex() for file in recipe.files}
    return {
        "description": vector.description,
        "spec": vector.spec,
        "valid": vector.error is None,
        "error": vector.error,
        "exit": EXIT.get(vector.error, 3),
        "complete": [name for name, _ in recipe.tiers[:complete]],
        "tiers": tiers,
        "files": {} if vector.error or recipe.lossy else files,
        **({"parents": [f"{name}.p2u" for name in vector.parents]} if vector.parents else {}),
    }


def everything() -> dict[str, bytes]:
    """Return the name and content of every file that belongs into the folder."""
    result: dict[str, bytes] = {}
    for name in FAULTS:
        importlib.import_module(name)  # which registers its vectors
    for vector in (*valid.VECTORS, *spoil.VECTORS):
        if f"{vector.name}.p2u" in result:
            raise ValueError(f"two vectors are named {vector.name}")
        text = json.dumps(describe(vector), indent=1, ensure_ascii=True) + "\n"
        result[f"{vector.name}.p2u"] = Build(vector.make()).bytes()
        result[f"{vector.name}.json"] = text.encode()
    return result


def check(files: dict[str, bytes]) -> int:
    """Compare the folder with what belongs there; return the number of differences."""
    present = {path.name for path in FOLDER.iterdir()} if FOLDER.is_dir() else set[str]()
    wrong = [f"missing: {name}" for name in sorted(files.keys() - present)]
    wrong += [f"superfluous: {name}" for name in sorted(present - files.keys())]
    for name in sorted(present & files.keys()):
        if (FOLDER / name).read_bytes() != files[name]:
            wrong.append(f"different: {name}")
    for line in wrong:
        print(line, file=sys.stderr)
    return len(wrong)


def write(files: dict[str, bytes]) -> None:
    """Write the folder, and remove vectors that are no more."""
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.iterdir():
        if path.name not in files and path.suffix in (".p2u", ".json"):
            path.unlink()
    for name, data in files.items():
        (FOLDER / name).write_bytes(data)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    options = parser.parse_args()
    files = everything()
    if options.check:
        return 1 if check(files) else 0
    write(files)
    print(f"{len(files) // 2} vectors, {sum(map(len, files.values()))} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
