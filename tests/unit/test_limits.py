import re
from pathlib import Path

from p2uformat import errors, limits

SPEC = (Path(__file__).parents[2] / "SPEC.md").read_text(encoding="utf-8")


def test_limits_are_those_of_the_specification():
    rows = dict(re.findall(r"^\| (MAX_[A-Z_]+) \| (\d+) \|", SPEC, re.MULTILINE))
    ours = {name: str(value) for name, value in vars(limits).items() if name.startswith("MAX_")}
    assert rows
    assert ours == rows


def test_error_codes_are_those_of_the_specification():
    section = SPEC.split("\n## 13 ")[1].split("\n## ")[0]
    codes = set(re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE))
    classes = vars(errors).values()
    assert codes
    assert codes <= {getattr(item, "code", None) for item in classes}
