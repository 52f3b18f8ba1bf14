"""Flower is imported by what is for Flower, and by nothing else."""

import subprocess
import sys

import p2uformat.flower


def run(code):
    return subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)


def test_the_library_does_not_import_flower():
    code = (
        "import sys, p2uformat, p2uformat.federated, p2u_cli.app; sys.exit('flwr' in sys.modules)"
    )
    assert run(code).returncode == 0


def test_without_flower_it_says_what_to_install():
    done = run("import sys; sys.modules['flwr'] = None; import p2uformat.flower")
    assert done.returncode == 1
    assert done.stderr.endswith(
        "ModuleNotFoundError: p2uformat.flower needs Flower\npip install 'p2uformat[flower]'\n"
    )


def test_everything_public_is_there():
    assert all(hasattr(p2uformat.flower, name) for name in p2uformat.flower.__all__)
    assert sorted(p2uformat.flower.__all__) == sorted(set(p2uformat.flower.__all__))
