"""Where nothing can be compiled the package installs all the same, and numpy does the work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import p2uformat

ROOT = Path(p2uformat.__file__).parents[1]

# Packs and unpacks a small checkpoint; prints which kernels did so, and a hash of each file.
ROUND = """
import sys
if "hide" in sys.argv:
    sys.modules["p2uformat._native"] = None  # as if it had not been built
import hashlib, pathlib
import numpy, safetensors.numpy
import p2uformat
folder = pathlib.Path(sys.argv[1])
rng = numpy.random.default_rng(0)
arrays = {
    "a": rng.standard_normal((96, 128)).astype(numpy.float16),
    "b": rng.standard_normal((64, 96), numpy.float32) * 0.02,
}
safetensors.numpy.save_file(arrays, folder / "m.safetensors")
p2uformat.pack(folder / "m.safetensors", folder / "m.p2u")
p2uformat.unpack(folder / "m.p2u", folder / "n.safetensors")
back = safetensors.numpy.load_file(folder / "n.safetensors")
assert all(back[name].tobytes() == arrays[name].tobytes() for name in arrays)
print(p2uformat.__file__)
print(",".join(p2uformat.available_kernels()), p2uformat.kernels_in_use())
print(hashlib.sha256((folder / "m.p2u").read_bytes()).hexdigest())
"""


def _round(folder, package, *options):
    folder.mkdir()
    # Without `site` there is no editable install, which would lend its compiled module.
    places = (str(package), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    done = subprocess.run(
        [sys.executable, "-S", "-c", ROUND, str(folder), *options],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.split("\n")[:3]


def _installed(folder):
    """Install the package into a folder with a compiler that fails; neither network nor cache."""
    source = folder.parent / "source"
    # A copy, in which nothing has been compiled before.
    for name in ("p2uformat", "cli", "native"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("*.so", "*.pyc"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir",
               "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation",
               "--target", str(folder), str(source)]  # fmt: skip
    return subprocess.run(
        command,
        env={**os.environ, "CC": "/bin/false", "CXX": "/bin/false", "LDSHARED": "/bin/false"},
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.mark.skipif(not Path("/bin/false").exists(), reason="needs a compiler that fails")
def test_install_without_a_compiler(tmp_path):
    done = _installed(tmp_path / "site")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site/p2uformat/py.typed").exists()
    assert not list((tmp_path / "site").rglob("*.so"))
    where, kernels, digest = _round(tmp_path / "first", tmp_path / "site")
    assert where == str(tmp_path / "site/p2uformat/__init__.py")
    assert kernels == "numpy numpy"
    assert digest == _round(tmp_path / "second", ROOT)[2]


def test_without_the_compiled_module_numpy_does_the_work(tmp_path):
    _, kernels, digest = _round(tmp_path / "hidden", ROOT, "hide")
    assert kernels == "numpy numpy"
    assert digest == _round(tmp_path / "here", ROOT)[2]
