"""Deep verification: decode everything, and compare with all that is recorded (SPEC.md, 10)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from p2uformat.artifact.blockcheck import BlockCheck, BlockResult, Finding, Stage
from p2uformat.artifact.catalog import StoredFile, StoredTensor
from p2uformat.artifact.contents import Contents
from p2uformat.artifact.source import matching_tensor, read_head
from p2uformat.artifact.types import Damage
from p2uformat.digest import Hasher
from p2uformat.errors import CorruptData, DigestMismatch, Incomplete, Malformed
from p2uformat.manifest import BitplaneParameters
from p2uformat.parallel import MOST_ENCODERS, ordered_map

__all__ = ["DeepCheck"]


@dataclass(slots=True)
class _FileCheck:
    """The digest of a source file, taken along while its pieces pass by."""

    stored: StoredFile
    hasher: Hasher = field(default_factory=Hasher)
    size: int = 0
    whole: bool = True

    def add(self, result: BlockResult) -> None:
        if result.data is None:
            self.whole = False
        elif self.whole:
            self.hasher.update(result.data)
            self.size += len(result.data)

    def findings(self) -> list[Finding]:
        record = self.stored.record
        got = self.hasher.digest()
        if not self.whole or (got == record.digest and self.size == record.size):
            return []
        damage = Damage(
            None, None, None, "file", 0, record.digest.hex(), got.hex(), DigestMismatch.code
        )
        return [Finding(Stage.FILE, damage)]


@dataclass(frozen=True, slots=True)
class _Job:
    stored: StoredTensor | StoredFile
    block: int
    file: _FileCheck | None


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
        jobs = self._jobs(files)
        for job, result in ordered_map(self._run, jobs, self._threads):
            self._findings += result.findings
            if job.file is not None:
                job.file.add(result)
            if result.step is not None and job.stored.name is not None:
                steps[job.stored.name] = max(result.step, steps.get(job.stored.name, result.step))
            advance(_source_bytes(job))
        for file in files if self._exact else ():
            self._findings += file.findings()
        for name, step in steps.items():
            self._check_bounds(self._contents.catalog.tensors[name], step)
        self._findings.sort(key=lambda finding: finding.stage)
        return [finding.damage for finding in self._findings]

    def _run(self, job: _Job) -> tuple[_Job, BlockResult]:
        return job, self._check.run(job.stored, job.block)

    def _jobs(self, files: list[_FileCheck]) -> Iterator[_Job]:
        """Yield files as they are rebuilt, then the tensors that are in none."""
        done: set[str | None] = set()
        for file in files:
            yield from (_Job(file.stored, block, file) for block in range(file.stored.blocks))
            for stored in self._tensors_of(file):
                # A tensor that two files list is decoded once, for the first.
                if stored.name not in done and stored in self._scope:
                    yield from (_Job(stored, block, file) for block in range(stored.blocks))
                    done.add(stored.name)
                else:
                    file.whole = False
        for rest in self._scope:
            if isinstance(rest, StoredTensor) and rest.name not in done:
                yield from (_Job(rest, block, None) for block in range(rest.blocks))

    def _tensors_of(self, file: _FileCheck) -> list[StoredTensor]:
        """Return the tensors of a source file in order, as far as its head can be read."""
        contents = self._contents
        try:
            head = read_head(contents.reader, file.stored)
            rows = head.tensors if head is not None else ()
            return [matching_tensor(contents.catalog, row) for row in rows]
        except (DigestMismatch, Incomplete):  # a chunk or a page, and reported as such
            file.whole = False
        except CorruptData as error:
            file.whole = False
            error.region = error.region or "file"
            self._findings.append(Finding(Stage.FILE, Damage.of(error, "file")))
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
