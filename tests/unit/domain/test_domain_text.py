"""Text of files, whatever editor has saved them."""

import pytest

from services.domain import text
from services.domain.text import TextError, decode


@pytest.mark.parametrize(
    "data",
    [b"a\n\xc3\xa9\n", b"a\r\n\xc3\xa9\r\n", b"a\r\xc3\xa9\r", b"\xef\xbb\xbfa\r\n\xc3\xa9\n"],
    ids=["plain", "crlf", "cr", "mark"],
)
def test_decode_gives_the_same_text_however_it_was_saved(data: bytes) -> None:
    assert decode(data, "f") == "a\né\n"


def test_normalized_is_idempotent_and_keeps_inner_marks() -> None:
    once = text.normalized("\ufeffa\r\nb\ufeff")
    assert once == "a\nb\ufeff" == text.normalized(once)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("a".encode("utf-16"), "f is UTF-16 text"),
        (b"a\nb\xe9\n", r"f is not UTF-8 text \(line 2, byte 3\)"),
    ],
)
def test_decode_refuses_other_encodings_with_the_place(data: bytes, why: str) -> None:
    with pytest.raises(TextError, match=why) as e:
        decode(data, "f")
    assert e.value.hint == "Save it as UTF-8."
