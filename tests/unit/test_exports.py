import subprocess
import sys

import p2uformat


def test_all_is_sorted_and_there():
    def kind(name):  # constants, classes, functions: the order that ruff keeps
        return (not name.isupper(), not name[0].isupper(), name)

    assert sorted(set(p2uformat.__all__), key=kind) == p2uformat.__all__
    assert all(hasattr(p2uformat, name) for name in p2uformat.__all__)


def test_every_lazy_name_is_exported():
    assert set(p2uformat._HOMES) <= set(p2uformat.__all__)


def test_every_public_error_is_exported():
    from p2uformat import errors

    assert set(errors.__all__) - {"from_os_error"} <= set(p2uformat.__all__)


def test_other_names_are_refused():
    assert not hasattr(p2uformat, "nothing")


def test_import_is_light():
    code = "import sys, p2uformat; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
