"""One harness under atheris, in a process of its own: `python -m tests.fuzz.parsers.engine NAME`.

What follows the name goes to libFuzzer as it is.
"""

from __future__ import annotations

import resource
import shlex
import sys
import warnings
from functools import partial
from types import ModuleType

# An allocation that fails is a finding where it is not mapped; without a limit the system would
# grant terabytes that nobody touches.
_MOST_MEMORY = 6 << 30


def _harnesses(atheris: ModuleType) -> ModuleType:
    """Import the harnesses with both readers instrumented, so that coverage is theirs."""
    with atheris.instrument_imports(include=["p2uformat", "p2u_ref", "p2u_layers"]):
        from tests.fuzz.parsers import registry
    return registry


def main() -> None:
    """Fuzz one harness; does not return."""
    import atheris

    registry = _harnesses(atheris)
    from tests.fuzz.parsers.mutate import mutated

    name, *options = sys.argv[1:]
    harness = registry.HARNESSES[name]
    warnings.simplefilter("error")
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))

    def run(data: bytes) -> None:
        harness.run(bytes(data))

    def mutator(data: bytes, most: int, seed: int) -> bytes:
        return mutate(bytes(data), most, seed, atheris.Mutate)

    mutate = partial(mutated, harness.form)
    # To merge, libFuzzer hands this to a shell, with other options behind it.
    again = shlex.join([sys.executable, "-m", "tests.fuzz.parsers.engine", name])
    arguments = [again, f"-max_len={harness.most}", *options]
    # Bytes without a structure are mutated better by libFuzzer alone, which also crosses them.
    keywords = {} if harness.form is None else {"custom_mutator": mutator}
    atheris.Setup(arguments, run, **keywords)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
