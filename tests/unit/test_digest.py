import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2uformat.digest import Hasher, digest, from_text, to_text
from p2uformat.errors import InvalidArgument


def test_it_is_plain_blake3():
    assert digest(b"abc").hex().startswith("6437b3ac38465133ffb63b75273a8db5")


@given(st.lists(st.binary(max_size=50), max_size=5))
def test_pieces_make_the_whole(pieces):
    hasher = Hasher()
    for piece in pieces:
        hasher.update(piece)
    assert hasher.digest() == digest(b"".join(pieces))


@given(st.binary(min_size=32, max_size=32))
def test_text_returns(value):
    assert from_text(to_text(value)) == value
    assert from_text(value.hex().upper()) == value


@pytest.mark.parametrize(
    "text", ["", "blake3:", "blake3:" + "0" * 63, "sha256:" + "0" * 64, "g" * 64]
)
def test_other_text_is_refused(text):
    with pytest.raises(InvalidArgument):
        from_text(text)
