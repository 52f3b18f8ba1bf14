"""What a store is laid beside: casync, restic and borg, and zstd with the older file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

__all__ = ["Borg", "Casync", "Keeper", "Ours", "Restic", "absent", "keepers", "size_of"]


class Keeper(ABC):
    """A program that keeps versions of a file; each step is a process of its own.

    Parameters
    ----------
    folder
        An empty folder for all that it writes.
    """

    name: ClassVar[str]
    command: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"

    @classmethod
    def installed(cls) -> bool:
        """Return whether it can run here."""
        return shutil.which(cls.command) is not None

    def prepare(self) -> None:  # noqa: B027 - most need not
        """Make the store, where that is a step of its own."""

    @abstractmethod
    def adding(self, file: Path, version: int) -> list[str]:
        """Return the command that adds a version."""

    @abstractmethod
    def restoring(self, version: int, target: Path) -> list[str]:
        """Return the command that brings a version back to a file or folder."""

    def environment(self) -> dict[str, str]:
        """Return the environment of the commands."""
        return dict(os.environ)

    def run(self, command: list[str]) -> float:
        """Run a command and return its seconds."""
        start = time.perf_counter()
        subprocess.run(
            command, check=True, capture_output=True, env=self.environment(), cwd=self.folder
        )
        return time.perf_counter() - start


class Ours(Keeper):
    """``p2u pack`` into a store and ``p2u unpack`` from it."""

    name = "p2u"
    command = "p2u"

    @classmethod
    def installed(cls) -> bool:
        """Return True: it is what this measures."""
        return True

    def _program(self) -> str:
        path = os.pathsep.join([sysconfig.get_path("scripts"), str(Path(sys.executable).parent)])
        found = shutil.which("p2u", path=path)
        if found is None:
            raise FileNotFoundError("p2u is not installed beside this interpreter")
        return found

    def adding(self, file: Path, version: int) -> list[str]:
        """Return the command that adds a version."""
        del version
        return [self._program(), "pack", str(file), f"{self.store}#m"]

    def restoring(self, version: int, target: Path) -> list[str]:
        """Return the command that brings a version back to a file."""
        return [self._program(), "unpack", f"{self.store}#m@{version}", str(target), "--overwrite"]


class Casync(Keeper):
    """Chunks cut by content, one index a version."""

    name = "casync"
    command = "casync"

    def adding(self, file: Path, version: int) -> list[str]:
        """Return the command that adds a version."""
        index = self.folder / f"{version}.caibx"
        return ["casync", "make", f"--store={self.store}", str(index), str(file)]

    def restoring(self, version: int, target: Path) -> list[str]:
        """Return the command that brings a version back to a file."""
        index = self.folder / f"{version}.caibx"
        return ["casync", "extract", f"--store={self.store}", str(index), str(target)]


class Restic(Keeper):
    """Encrypted chunks in packs, zstd'd."""

    name = "restic"
    command = "restic"

    def environment(self) -> dict[str, str]:
        """Return the environment of the commands."""
        cache = str(self.folder / "cache")
        return {**os.environ, "RESTIC_PASSWORD": "benchmark", "RESTIC_CACHE_DIR": cache}

    def prepare(self) -> None:
        """Make the store."""
        self.run(["restic", "-r", str(self.store), "init"])

    def adding(self, file: Path, version: int) -> list[str]:
        """Return the command that adds a version."""
        tag = f"v{version}"
        return ["restic", "-r", str(self.store), "backup", "--tag", tag, "--host", "x", str(file)]

    def restoring(self, version: int, target: Path) -> list[str]:
        """Return the command that brings a version back to a folder."""
        chosen = ["latest", "--tag", f"v{version}", "--target", f"{target}-restic"]
        return ["restic", "-r", str(self.store), "restore", *chosen]


class Borg(Keeper):
    """Chunks cut by content, lz4."""

    name = "borg, lz4"
    command = "borg"

    def environment(self) -> dict[str, str]:
        """Return the environment of the commands."""
        base = str(self.folder / "base")
        return {**os.environ, "BORG_BASE_DIR": base, "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes"}

    def prepare(self) -> None:
        """Make the store."""
        self.run(["borg", "init", "-e", "none", str(self.store)])

    def adding(self, file: Path, version: int) -> list[str]:
        """Return the command that adds a version."""
        return ["borg", "create", f"{self.store}::v{version}", str(file)]

    def restoring(self, version: int, target: Path) -> list[str]:
        """Return the command that brings a version back to the folder that it runs in."""
        del target
        return ["borg", "extract", f"{self.store}::v{version}"]


KEEPERS: tuple[type[Keeper], ...] = (Ours, Casync, Restic, Borg)


def keepers() -> list[type[Keeper]]:
    """Return those that are installed, ours first."""
    return [keeper for keeper in KEEPERS if keeper.installed()]


def absent() -> list[str]:
    """Return a line for each that is not."""
    return [f"{keeper.name}: not installed" for keeper in KEEPERS if not keeper.installed()]


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
