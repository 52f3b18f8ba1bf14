"""Fail unless the one wheel in a folder holds the two packages, their metadata and nothing else."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

PACKAGES = {"p2uformat", "p2u_cli"}
SUFFIXES = {".py", ".pyi", ".typed", ".so", ".pyd"}


def strangers(wheel: Path) -> list[str]:
    """Return the members of `wheel` that do not belong to it."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    found = {name.split("/")[0] for name in names}
    missing = [f"missing: {package}" for package in sorted(PACKAGES - found)]
    return missing + [name for name in names if not _belongs(Path(name))]


def _belongs(member: Path) -> bool:
    top = member.parts[0]
    return top.endswith(".dist-info") or (top in PACKAGES and member.suffix in SUFFIXES)


def main() -> int:
    """Check the wheel in the folder named on the command line."""
    wheels = sorted(Path(sys.argv[1]).glob("*.whl"))
    if len(wheels) != 1:
        print(f"expected one wheel, got {len(wheels)}")
        return 1
    bad = strangers(wheels[0])
    print(
        f"{wheels[0].name}: "
        + ("holds only " + ", ".join(sorted(PACKAGES)) if not bad else "is wrong")
    )
    print("\n".join(bad))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
