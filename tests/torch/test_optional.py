import subprocess
import sys

import pytest

import p2uformat.torch


def run(code):
    return subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)


def test_the_library_does_not_import_pytorch(packed):
    code = (
        "import sys, p2uformat, p2u_cli.app\n"
        f"with p2uformat.open({packed!r}) as artifact: artifact.load()\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert run(code).returncode == 0


def test_without_pytorch_it_says_what_to_install():
    done = run("import sys; sys.modules['torch'] = None; import p2uformat.torch")
    assert done.returncode == 1
    assert done.stderr.endswith(
        "ModuleNotFoundError: p2uformat.torch needs PyTorch\npip install 'p2uformat[torch]'\n"
    )


def test_everything_public_is_there():
    assert all(hasattr(p2uformat.torch, name) for name in p2uformat.torch.__all__)
    assert sorted(p2uformat.torch.__all__) == sorted(set(p2uformat.torch.__all__))


@pytest.mark.parametrize("name", ["ModuleMismatch", "StreamCancelled"])
def test_errors_belong_to_the_family(name):
    error = getattr(p2uformat.torch, name)
    assert issubclass(error, p2uformat.P2UError)
    assert error.code not in {getattr(p2uformat, other).code for other in ("P2UError", "NotFound")}
