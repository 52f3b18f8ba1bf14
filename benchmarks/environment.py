"""Where something was measured."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import p2uformat
from benchmarks import timing

__all__ = ["environment_of"]


def environment_of(packages: Iterable[str]) -> dict[str, str]:
    """Name the machine, and the versions of the packages that are here."""
    versions = {name: _version(name) for name in packages}
    return {
        "p2uformat": p2uformat.__version__,
        "kernels": p2uformat.kernels_in_use(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": str(timing.cores()),
    } | {name: version for name, version in versions.items() if version}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"
