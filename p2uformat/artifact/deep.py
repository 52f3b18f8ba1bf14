"""Deep verification: decode everything, and compare with all that is recorded (SPEC.md, 10)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from p2uformat.artifact.ahead import expecting
from p2uformat.artifact.blockcheck import BlockCheck, BlockResult, Finding, Stage
from p2uformat.artifact.catalog import StoredFile, StoredTensor
from p2uformat.artifact.contents import Contents
from p2uformat.artifact.quantized import is_lossy
from p2uformat.artifact.source import matching_tensor, read_head
from p2uformat.artifact.types import Damage
from p2uformat.digest import Hasher
from p2uformat.errors import CorruptData, DigestMismatch, Incomplete, Malformed
from p2uformat.manifest import BitplaneParameters
from p2uformat.parallel import MOST_ENCODERS, ordered_map

__all__ = ["DeepCheck"]


class _FileCheck:
    """The digests of a source file, taken along while its pieces pass by."""

    def __init__(self, stored: StoredFile) -> None:
        self.stored = stored
        self.whole = True
        self._blake3 = Hasher()
        self._sha256 = None if stored.record.sha256 is None else hashlib.sha256()
        self._size = 0

    def add(self, result: BlockResult) -> None:
        if result.data is None:
            self.whole = False
        elif self.whole:
            self._blake3.update(result.data)
            if self._sha256 is not None:
                self._sha256.update(result.data)
            self._size += len(result.data)

    def findings(self) -> list[Finding]:
        record = self.stored.record
        if not self.whole:
            return []
        found = []
        got = self._blake3.digest()
        if got != record.digest or self._size != record.size:
            found.append(_differs(record.path, record.digest, got))
        if self._sha256 is not None and record.sha256 is not None:
            got = self._sha256.digest()
            if got != record.sha256:
                found.append(_differs(record.path, record.sha256, got))
        return found


def _differs(path: str, expected: bytes, got: bytes) -> Finding:
    code = DigestMismatch.code
    damage = Damage(None, None, None, "file", 0, expected.hex(), got.hex(), code, path)
    return Finding(Stage.FILE, damage)


@dataclass(frozen=True, slots=True)
class _Job:
    stored: StoredTensor | StoredFile
    block: int
    file: _FileCheck | None
    again: bool = False  # for another file, which lists the same tensor


class DeepCheck:
    """Decodes all blocks up to a tier.

    Parameters
    ----------
    contents : Contents
        The open file.
    last : int
        Number of the last tier to check.
    threads : int
        How many threads to use.

    Attributes
    ----------
    total : int
        Source bytes of what is decoded.
    """

    def __init__(self, contents: Contents, last: int, threads: int) -> None:
        self._contents = contents
        self._last = last
        self._exact = last == contents.reader.exact
        self._threads = min(threads, MOST_ENCODERS)  # it encodes each block again
        self._check = BlockCheck(contents, last)
        self._findings: list[Finding] = []
        self._scope = [s for s in contents.catalog.everything() if s.record.layer_tier(0) <= last]
        self.total = sum(s.geometry.elements * s.geometry.element_size for s in self._scope)

    def run(self, advance: Callable[[int], None]) -> list[Damage]:
        """Check, and return all damage that chunk ids do not show, in SPEC.md's order."""
        steps: dict[str, int] = {}
        files = [_FileCheck(f) for f in self._contents.catalog.files.values() if f in self._scope]
        wanted = ((job.stored, job.block, self._last) for job in self._jobs(files))
        with expecting(self._contents.reader, wanted):
            for job, result in ordered_map(self._run, self._jobs(files), self._threads):
                self._findings += () if job.again else map(self._named(job), result.findings)
                if job.file is not None:
                    job.file.add(result)
                name = job.stored.name
                if result.step is not None and name is not None:
                    steps[name] = max(result.step, steps.get(name, result.step))
                advance(_source_bytes(job))
        for file in files if self._exact else ():
            self._findings += file.findings()
        for name, step in steps.items():
            self._check_bounds(self._contents.catalog.tensors[name], step)
        self._findings.sort(key=lambda finding: finding.stage)
        return [finding.damage for finding in self._findings]

    def _run(self, job: _Job) -> tuple[_Job, BlockResult]:
        return job, self._check.run(job.stored, job.block)

    def _named(self, job: _Job) -> Callable[[Finding], Finding]:
        """Return what adds to a finding the file whose own bytes it is in."""
        if isinstance(job.stored, StoredTensor):
            return lambda finding: finding
        path = job.stored.record.path
        return lambda finding: replace(finding, damage=replace(finding.damage, file=path))

    def _jobs(self, files: list[_FileCheck]) -> Iterator[_Job]:
        """Yield files as they are rebuilt, then the tensors that are in none."""
        done: set[str | None] = set()
        for file in files:
            yield from (_Job(file.stored, block, file) for block in range(file.stored.blocks))
            for stored in self._tensors_of(file):
                again = stored.name in done
                yield from (_Job(stored, block, file, again) for block in range(stored.blocks))
                done.add(stored.name)
        for rest in self._scope:
            if isinstance(rest, StoredTensor) and rest.name not in done:
                yield from (_Job(rest, block, None) for block in range(rest.blocks))

    def _tensors_of(self, file: _FileCheck) -> list[StoredTensor]:
        """Return the tensors of a source file in order, as far as its head can be read."""
        contents = self._contents
        try:
            head = read_head(contents.reader, file.stored)
            rows = head.tensors if head is not None else ()
            path = file.stored.record.path
            tensors = [matching_tensor(contents.catalog, path, row) for row in rows]
        except (DigestMismatch, Incomplete):  # a chunk or a page, and reported as such
            file.whole = False
        except CorruptData as error:
            file.whole = False
            error.region = error.region or "file"
            self._findings.append(Finding(Stage.FILE, Damage.of(error, "file")))
        else:
            above = any(stored.record.layer_tier(0) > self._last for stored in tensors)
            # What is above the last tier is not looked at; what is lossy is not what the file was.
            file.whole = file.whole and not above and not any(map(is_lossy, tensors))
            return [] if above else tensors
        return []

    def _check_bounds(self, stored: StoredTensor, step: int) -> None:
        """Compare the recorded bounds with the largest step exponent there is."""
        parameters = stored.record.parameters
        if not isinstance(parameters, BitplaneParameters):
            return
        for number, tier in enumerate(parameters.tiers):
            digits = self._contents.container.content.tiers[number].digits
            assert digits is not None
            if tier.bound != step - digits:
                damage = Damage(
                    stored.name,
                    self._contents.tiers[number],
                    (0, stored.geometry.elements),
                    "page",
                    0,
                    f"bound {step - digits}",
                    f"bound {tier.bound}",
                    Malformed.code,
                )
                self._findings.append(Finding(Stage.BOUND, damage))


def _source_bytes(job: _Job) -> int:
    start, stop = job.stored.geometry.block_range(job.block)
    return (stop - start) * job.stored.geometry.element_size
