"""The compiled kernels: built where there is a compiler, left out where there is none."""

import os
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup

if sys.platform == "win32":
    FLAGS = ["/O2"]
else:
    # No contraction: a fused multiply-add rounds once where the specification rounds twice.
    FLAGS = ["-std=gnu11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden"]
    # Straight-line code is written as it should run: pointers do not belong into vectors.
    FLAGS += ["-fno-tree-slp-vectorize"]
    FLAGS += ["-Wall", "-Wextra"]

# `make sanitize`: what reads or writes out of bounds, or is undefined, ends the process.
SANITIZE = bool(os.environ.get("P2U_SANITIZE"))
CHECKS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"] if SANITIZE else []
if SANITIZE:
    FLAGS += [*CHECKS, "-g", "-O1", "-fno-omit-frame-pointer"]

# Free-threaded Python has no stable ABI yet: numpy kernels serve it.
STABLE = not sysconfig.get_config_var("Py_GIL_DISABLED")

native = Extension(
    "p2uformat._native",
    sources=sorted(str(path) for path in Path("native").glob("*.c")),
    depends=sorted(str(path) for path in Path("native").glob("*.h")),
    extra_compile_args=FLAGS,
    extra_link_args=CHECKS,
    py_limited_api=True,
    # Without a compiler the package installs all the same, and decodes with numpy.
    optional=not SANITIZE,
)

setup(
    ext_modules=[native] if STABLE else [],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if STABLE else {},
)
