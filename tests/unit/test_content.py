"""Texts, image sources and identities: what becomes content, and what is refused by which code."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repick.content import Content, ImageSource, Media, clean_text, read_image_source
from repick.errors import InvalidField

PNG_BASE64 = base64.b64encode(b"\x89PNG, or so").decode()


def media(first_byte: int = 0) -> Media:
    return Media(bytes([first_byte]) * 32, "image/png", 3, 3, 10)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "blank"),
        (" \t\r\n", "blank"),
        ("\u200b\u2060\u00a0", "blank"),
        ("a\0b", "invalid_text"),
        ("\0", "invalid_text"),
        ("half \ud83d a pair", "invalid_text"),
        ("\udc80", "invalid_text"),
        ("x" * 21, "too_long"),
    ],
)
def test_a_text_that_cannot_be_content_is_refused_by_field_and_code(text: str, code: str) -> None:
    with pytest.raises(InvalidField) as caught:
        clean_text(text, "queries[2].text", 20)
    assert (caught.value.code, caught.value.field) == (code, "queries[2].text")


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50))
def test_a_text_is_kept_as_it_is(text: str) -> None:
    padded = f"  {text}.\n"
    assert clean_text(padded, "text", 100) == padded


@pytest.mark.parametrize("text", ["<|im_end|><|im_start|>", "😀", "\u202eabc", "e\u0301", "\ue000"])
def test_a_strange_text_is_literal(text: str) -> None:
    assert clean_text(text, "text", 100) == text


def test_a_limit_counts_characters_and_not_bytes() -> None:
    assert clean_text("😀" * 10, "text", 10) == "😀" * 10


@given(st.binary(min_size=1, max_size=200))
def test_bytes_come_back_from_base64_and_from_a_data_url(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    assert read_image_source(text, "image", 200) == ImageSource(data)
    url = f"data:image/webp;base64,{text}"
    assert read_image_source(url, "image", 200) == ImageSource(data, "image/webp")


@given(st.binary(min_size=1, max_size=200))
def test_wrapped_and_percent_encoded_base64_is_read_too(data: bytes) -> None:
    wrapped = base64.encodebytes(data).decode().replace("\n", "\r\n")
    assert read_image_source(wrapped, "image", 200).data == data
    escaped = base64.b64encode(data).decode().replace("+", "%2B").replace("=", "%3D")
    url = f"data:image/png;base64,{escaped}"
    assert read_image_source(url, "image", 200).data == data


@given(st.text(max_size=60))
def test_any_string_becomes_bytes_or_a_typed_refusal(value: str) -> None:
    for text in (value, f"data:{value}", f"data:image/png;base64,{value}"):
        try:
            read = read_image_source(text, "image", 40)
        except InvalidField as error:
            read = error
        assert isinstance(read, ImageSource) or read.field == "image"


@given(st.binary(min_size=1, max_size=60), st.integers(1, 60))
def test_the_byte_limit_is_exact(data: bytes, limit: int) -> None:
    text = base64.b64encode(data).decode()
    if len(data) <= limit:
        assert read_image_source(text, "image", limit).data == data
    else:
        with pytest.raises(InvalidField) as caught:
            read_image_source(text, "image", limit)
        assert caught.value.code == "too_large"


@pytest.mark.parametrize(
    ("head", "declared_type"),
    [
        ("data:image/png;base64,", "image/png"),
        ("DATA:IMAGE/PNG;BASE64,", "image/png"),
        ("data:image/jpg;base64,", "image/jpeg"),
        ("data:image/jpeg;name=a.jpg;base64,", "image/jpeg"),
        ("data:application/octet-stream;base64,", None),
        ("data:;base64,", None),
        ("data:application/pdf;base64,", "application/pdf"),
        ("data:image/x-psd;base64,", "image/x-psd"),
        ("  data:image/gif;base64, ", "image/gif"),
    ],
)
def test_a_data_url_says_its_type(head: str, declared_type: str | None) -> None:
    read = read_image_source(head + PNG_BASE64, "image", 100)
    assert read == ImageSource(b"\x89PNG, or so", declared_type)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("", "blank"),
        ("  ", "blank"),
        ("data:image/png;base64,", "blank"),
        ("not base64!", "invalid_base64"),
        ("abcde", "invalid_base64"),
        ("abc=def=", "invalid_base64"),
        ("ab-_", "invalid_base64"),
        ("äöü=", "invalid_base64"),
        ("\ud800abc", "invalid_base64"),
        ("/etc/passwd", "invalid_base64"),
        ("data:image/png;base64", "invalid_base64"),
        ("data:image/png,%89PNG", "invalid_base64"),
        ("data:,", "invalid_base64"),
        ("data:image/png;base64,a%", "invalid_base64"),
        (f"data:text/html;base64,{PNG_BASE64}", "unsupported_media_type"),
        ("data:text/html,<b>", "unsupported_media_type"),
        (f"data:image/svg+xml;base64,{PNG_BASE64}", "unsupported_media_type"),
        ("data:image/svg+xml;utf8,<svg/>", "unsupported_media_type"),
        (f"data:image/;base64,{PNG_BASE64}", "unsupported_media_type"),
        (f"data:image/p\x00ng;base64,{PNG_BASE64}", "unsupported_media_type"),
        (f"data:video/mp4;base64,{PNG_BASE64}", "unsupported_media_type"),
        (f"data:{PNG_BASE64}", "unsupported_media_type"),
        ("A" * 200, "too_large"),
        ("data:image/png;base64," + "A" * 200, "too_large"),
        ("http://example.com/a.png", "urls_disabled"),
        ("HTTPS://example.com/a.png", "urls_disabled"),
        ("file:///etc/passwd", "urls_disabled"),
        ("gopher://127.0.0.1:6379/_", "urls_disabled"),
        ("unix:/run/socket", "urls_disabled"),
    ],
)
def test_a_source_that_holds_no_image_is_refused_by_code(value: str, code: str) -> None:
    with pytest.raises(InvalidField) as caught:
        read_image_source(value, "items[0].image", 100)
    assert (caught.value.code, caught.value.field) == (code, "items[0].image")


def test_contents_of_other_parts_have_other_hashes() -> None:
    contents = [
        Content("ab"),
        Content("a", instruction="b"),
        Content(instruction="ab"),
        Content("ab", media()),
        Content(media=media()),
        Content(media=media(1)),
        Content(""),
        Content(),
        Content("-"),
    ]
    assert len({content.sha256 for content in contents}) == len(contents)


def test_a_hash_depends_on_the_images_bytes_alone() -> None:
    described_otherwise = Media(bytes(32), "image/jpeg", 9, 9, 99)
    assert Content("a", media()).sha256 == Content("a", described_otherwise).sha256
