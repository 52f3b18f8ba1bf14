"""``--plot``: one page or one picture, whatever the artifact holds."""

import struct
import sys
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest

import p2uformat

# What a page may load, run or leave through.
LOADS = {"src", "href", "xlink:href", "srcset", "data", "action", "poster", "background"}
SCRIPTS = {"script", "iframe", "object", "embed", "link", "base", "form", "foreignobject"}
VOID = {"meta", "br", "hr", "img", "input"}

HOSTILE = {
    "<script>alert(1)</script>": "<script>alert(1)</script>",
    "$x^2$ \\frac{1}{2}": "$x^2$ \\\\frac{1}{2}",
    "a\x1b[31m\nb": "a\\x1b[31m\\nb",
    "\u202egnp.exe": "\\u202egnp.exe",
    "שלום.משקל": "שלום.משקל",
    '" onload="alert(1)': '" onload="alert(1)',
    "--></svg></style><b>": "--></svg></style><b>",
    "&amp;lt;": "&amp;lt;",
    "x" * 400: "x" * 400,
    "重み": "重み",
}


class Page(HTMLParser):
    """Checks a page while it is read, and keeps its texts."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.texts, self.tags, self.ids = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self._check(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self._check(tag, attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def _check(self, tag, attrs):
        assert tag not in SCRIPTS
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name in LOADS:
                assert value.startswith("#"), (tag, name, value)
            if name == "id":
                self.ids.append(value)
            assert "url(" not in value or "url(#" in value


def page(path):
    text = path.read_text(encoding="utf-8")
    found = Page(text)
    assert "http:" not in text
    assert "https:" not in text
    assert "@import" not in text
    assert len(found.ids) == len(set(found.ids))
    return found


def picture(path):
    """Return width, height, and how many different bytes its pixels have."""
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    at, pixels = 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        assert zlib.crc32(kind + body) == struct.unpack(">I", data[at + 8 + length :][:4])[0]
        if kind == b"IHDR":
            width, height = struct.unpack(">II", body[:8])
        if kind == b"IDAT":
            pixels += body
        at += length + 12
    return width, height, len(set(zlib.decompress(pixels)))


def normal(*shape, seed=0):
    return (np.random.default_rng(seed).standard_normal(shape) * 0.02).astype(np.float32)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Two artifacts whose names are up to no good."""
    folder = tmp_path_factory.mktemp("hostile")
    arrays = {name: normal(96, 64, seed=i) for i, name in enumerate(HOSTILE)}
    for values in arrays.values():
        values[0, :3] = 50, -np.inf, np.nan
    p2uformat.pack(arrays, folder / "<b>a.p2u")
    changed = {name: values + normal(96, 64, seed=99) for name, values in arrays.items()}
    p2uformat.pack(changed, folder / "b.p2u")
    return folder / "<b>a.p2u", folder / "b.p2u"


def test_a_page_shows_figures_and_numbers(p2u, packed, tmp_path):
    result = p2u("inspect", packed.artifact, "--plot", tmp_path / "m.html")
    assert (result.code, result.err) == (0, "")
    assert f"plot     {tmp_path / 'm.html'}\n" in result.out
    found = page(tmp_path / "m.html")
    assert found.tags.count("h1") == 1
    # Each figure twice, for wide and for narrow screens.
    assert found.tags.count("svg") == 10
    assert found.tags.count("table") == 3
    for title in ("Bytes per tier", "Where the bytes went", "Outliers", "Tensors in numbers"):
        assert title in found.texts
    assert packed.document["root"] in found.texts
    for tier in packed.document["tiers"]:
        assert f"{tier['bytes']:,}" in found.texts
    assert "layer.0.weight" in found.texts
    parts = p2uformat.anatomy(packed.artifact).parts
    assert all(f"{part.bytes:,}" in found.texts for part in parts)


def test_a_page_of_differences(p2u, hostile, tmp_path):
    result = p2u("diff", *hostile, "--plot", tmp_path / "d.html", "--json")
    assert (result.code, result.document["plot"]) == (0, str(tmp_path / "d.html"))
    found = page(tmp_path / "d.html")
    assert "<b>a.p2u → b.p2u" in found.texts
    assert {"To fetch", "Layers", "How far apart"} <= set(found.texts)


@pytest.mark.parametrize("command", ["inspect", "diff"])
def test_names_are_only_names(p2u, hostile, tmp_path, command):
    arguments = hostile[:1] if command == "inspect" else hostile
    assert p2u(command, *arguments, "--plot", tmp_path / "h.html").err == ""
    texts = page(tmp_path / "h.html").texts
    for shown in HOSTILE.values():
        assert shown in texts  # in the table
    # In the figures too: no mathematics, and what the font lacks by its number.
    assert texts.count("$x^2$ \\\\frac{1}{2}") >= 3
    assert "\\u91cd\\u307f" in texts
    assert "\x1b" not in "".join(texts)
    assert "\u202e" not in "".join(texts)


@pytest.mark.parametrize("command", ["inspect", "diff"])
def test_a_picture_is_a_png_with_something_on_it(p2u, hostile, tmp_path, command):
    arguments = hostile[:1] if command == "inspect" else hostile
    result = p2u(command, *arguments, "--plot", tmp_path / "h.PNG")
    assert (result.code, result.err) == (0, "")
    width, height, shades = picture(tmp_path / "h.PNG")
    assert width > 1000
    assert height > 500
    assert shades > 20


@pytest.mark.parametrize("suffix", ["html", "png"])
def test_the_same_artifact_gives_the_same_bytes(p2u, packed, tmp_path, suffix):
    for name in ("a", "b"):
        path = tmp_path / f"{name}.{suffix}"
        assert p2u("inspect", packed.artifact, "--plot", path, "--threads", "1").code == 0
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


SMALL = {
    "none": {},
    "empty": {"e": np.zeros((0, 3), np.float32)},
    "integers": {"ids": np.arange(3000)},
    "one": {"w": normal(128, 128)},
}


@pytest.mark.parametrize("which", SMALL)
def test_artifacts_with_little_in_them(p2u, tmp_path, which):
    p2uformat.pack(SMALL[which], tmp_path / "m.p2u")
    for suffix in ("html", "png"):
        result = p2u("inspect", tmp_path / "m.p2u", "--plot", tmp_path / f"m.{suffix}")
        assert (result.code, result.err) == (0, "")
        result = p2u(
            "diff", tmp_path / "m.p2u", tmp_path / "m.p2u", "--plot", tmp_path / f"d.{suffix}"
        )
        assert (result.code, result.err) == (0, "")
    page(tmp_path / "m.html")
    page(tmp_path / "d.html")


def test_two_thousand_tensors_stay_legible(p2u, tmp_path):
    arrays = {f"blocks.{i}.weight": normal(65, 64, seed=i % 7) for i in range(2000)}
    p2uformat.pack(arrays, tmp_path / "m.p2u")
    assert p2u("inspect", tmp_path / "m.p2u", "--plot", tmp_path / "m.html").code == 0
    found = page(tmp_path / "m.html")
    assert (tmp_path / "m.html").stat().st_size < 2_000_000
    assert "1,980 others" in found.texts
    assert any("there are 1,800 more" in text for text in found.texts)
    assert any("the 800 largest are drawn" in text for text in found.texts)


def test_figures_at_the_ends_of_what_floats_hold(p2u, tmp_path):
    rng = np.random.default_rng(4)
    tiny, huge = rng.standard_normal((2, 80, 64))
    tiny[0, 0], huge[0, 0] = 5e307, 5e-324
    arrays = {"tiny": tiny * 1e-322, "huge": huge * 1e307, "zero": np.zeros((80, 64))}
    p2uformat.pack(arrays, tmp_path / "a.p2u")
    changed = {name: values[::-1].copy() for name, values in arrays.items()}
    changed["zero"] = changed["tiny"]
    p2uformat.pack(changed, tmp_path / "b.p2u", tiers=("q4", "exact"))
    for name in ("a", "b"):
        out = tmp_path / f"{name}.html"
        result = p2u("inspect", tmp_path / f"{name}.p2u", "--plot", out)
        assert (result.code, result.err) == (0, "")
        page(out)
    result = p2u("diff", tmp_path / "a.p2u", tmp_path / "b.p2u", "--plot", tmp_path / "d.html")
    assert (result.code, result.err) == (0, "")
    assert "from nothing but zeros" in page(tmp_path / "d.html").texts


def test_a_cut_file_is_drawn_with_what_is_missing(p2u, packed, tmp_path):
    cut = packed.cut(tmp_path / "cut.p2u", packed.ends["q4"])
    assert p2u("inspect", cut, "--plot", tmp_path / "m.html").code == 0
    assert "missing" in page(tmp_path / "m.html").texts


def test_damage_is_told_and_nothing_drawn(p2u, packed, tmp_path):
    damaged = packed.flip(tmp_path / "d.p2u", packed.ends["q4"] + 9)
    assert p2u("inspect", damaged).code == 0  # the manifest is sound
    result = p2u("inspect", damaged, "--plot", tmp_path / "m.html", "--json")
    assert (result.code, result.error["code"]) == (3, "digest-mismatch")
    assert result.error["tier"] == "q8"
    assert [path.name for path in tmp_path.iterdir()] == ["d.p2u"]


@pytest.mark.parametrize("name", ["m.pdf", "m", "html", "m.html.gz"])
def test_other_suffixes_are_refused_before_any_work(p2u, tmp_path, name):
    result = p2u("inspect", tmp_path / "not-there.p2u", "--plot", tmp_path / name)
    assert result.code == 2
    error, hint = result.err.splitlines()
    assert "neither a page nor a picture" in error
    assert hint == "hint: end its name in .html or .png"


def test_a_file_that_exists_is_kept_unless_it_may_go(p2u, packed, tmp_path):
    (tmp_path / "m.html").write_text("precious")
    result = p2u("inspect", packed.artifact, "--plot", tmp_path / "m.html", "--json")
    assert (result.code, result.error["code"]) == (2, "destination-exists")
    assert (tmp_path / "m.html").read_text() == "precious"
    result = p2u("inspect", packed.artifact, "--plot", tmp_path / "m.html", "--overwrite")
    assert result.code == 0
    page(tmp_path / "m.html")
    assert [path.name for path in tmp_path.iterdir()] == ["m.html"]
    (tmp_path / "folder.png").mkdir()
    result = p2u("inspect", packed.artifact, "--plot", tmp_path / "folder.png", "--overwrite")
    assert (result.code, "is a folder" in result.err) == (2, True)
    result = p2u("inspect", packed.artifact, "--plot", tmp_path / "no" / "m.html", "--json")
    assert (result.code, result.error["code"]) == (4, "store-unavailable")


def test_a_file_that_appears_meanwhile_is_kept(packed, tmp_path, monkeypatch):
    from p2u_cli import plotting

    (tmp_path / "m.html").write_text("precious")
    with pytest.raises(p2uformat.DestinationExists):
        plotting._publish(tmp_path / "m.html", b"page", overwrite=False)
    assert (tmp_path / "m.html").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["m.html"]


def test_without_matplotlib_the_extra_is_named(monkeypatch, tmp_path):
    from p2u_cli import plotting

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(p2uformat.InvalidArgument) as error:
        plotting.prepare(str(tmp_path / "m.html"), overwrite=False)
    assert error.value.message == "--plot needs matplotlib, which is not installed"
    assert error.value.hint == "pip install 'p2uformat[plot]'"


def test_settings_of_the_user_change_nothing(p2u, packed, tmp_path):
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nsvg.fonttype: path\nfont.size: 40\n")
    for name, more in (("a", {}), ("b", {"MATPLOTLIBRC": str(tmp_path / "matplotlibrc")})):
        path = tmp_path / f"{name}.html"
        assert p2u("inspect", packed.artifact, "--plot", path, **more).code == 0
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_nothing_draws_unless_asked(p2u, packed):
    result = p2u("inspect", packed.artifact, PYTHONPROFILEIMPORTTIME="1")
    assert "numpy" in result.err
    assert "matplotlib" not in result.err


def test_examples_in_docstrings_run():
    import doctest

    from p2u_cli.plots import bars, theme

    for module in (bars, theme):
        failed, attempted = doctest.testmod(module)
        assert (failed, attempted > 0) == (0, True)
