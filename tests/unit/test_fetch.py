"""Images by address: what is parsed, where the connection goes, and when it is given up."""

from __future__ import annotations

import gzip
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repick.content.address import ImageAddress, allowed, parse_hosts, read_address
from repick.content.fetch import ImageFetcher
from repick.errors import ContentError, InvalidField
from tests.web import PUBLIC, Answer, Web, answer, dripping, endless, redirect, serving_web

HOSTS = ("a.example", "*.b.example")
NAMES = {
    "a.example": [PUBLIC],
    "x.b.example": ["8.8.8.8", PUBLIC],
    "inside.b.example": ["10.0.0.1"],
    "mixed.b.example": [PUBLIC, "127.0.0.1"],
    "meta.b.example": ["169.254.169.254"],
    "mapped.b.example": ["::ffff:10.0.0.1"],
}
PIXEL = b"\x89PNG\r\n\x1a\n" + b"rest of it"


@pytest.fixture
def web() -> Iterator[Web]:
    with serving_web(NAMES) as web:
        yield web


def fetcher(web: Web, **changes: Any) -> ImageFetcher:
    options: dict[str, Any] = {"max_bytes": 100_000, "max_bytes_together": 300_000, "seconds": 5.0}
    options |= {"resolver": web.resolve, "backend": web.backend, "context": web.context} | changes
    return ImageFetcher(HOSTS, **options)


def address(url: str) -> ImageAddress:
    return read_address(url, "image", HOSTS)


def refused(web: Web, url: str, **changes: Any) -> ContentError:
    with pytest.raises(ContentError) as error:
        fetcher(web, **changes).fetch(address(url))
    return error.value


@pytest.mark.parametrize(
    ("url", "code"),
    [
        *((f"{scheme}a.example/x", "unsupported_scheme") for scheme in ("http://", "ftp://")),
        *((f"{s}a.example", "unsupported_scheme") for s in ("file:///", "gopher://", "unix:/")),
        ("https:a.example/x", "invalid_url"),
        ("https://", "invalid_url"),
        ("https:///x", "invalid_url"),
        ("https://user@a.example/x", "invalid_url"),
        ("https://user:pw@a.example/x", "invalid_url"),
        ("https://a.example@evil.example/x", "invalid_url"),
        ("https://a.example:6379/x", "invalid_url"),
        ("https://a.example:443:6379/x", "invalid_url"),
        ("https://a.example:/x", "invalid_url"),
        ("https://a.example\\@evil.example/x", "invalid_url"),
        ("https://a.example/\\evil", "invalid_url"),
        ("https://a.example /x", "invalid_url"),
        ("https://a.example/a b", "invalid_url"),
        ("https://a.example/a\r\nHost: b", "invalid_url"),
        ("https://a.example\n/x", "invalid_url"),
        ("https://ä.example/x", "invalid_url"),
        ("https://ａ.example/x", "invalid_url"),
        ("https://a%2eexample/x", "invalid_url"),
        ("https://a.example./x", "invalid_url"),
        ("https://-a.example/x", "invalid_url"),
        ("https://a.example/" + "x" * 2048, "invalid_url"),
        ("https://a.example.evil.example/x", "host_not_allowed"),
        ("https://evil.example/a.example", "host_not_allowed"),
        ("https://evil.example#a.example", "host_not_allowed"),
        ("https://evil.example?a.example", "host_not_allowed"),
        ("https://b.example/x", "host_not_allowed"),
        ("https://evilb.example/x", "host_not_allowed"),
        ("https://localhost/x", "host_not_allowed"),
        *(
            (f"https://{one}/x", "host_not_allowed")
            for one in (
                *("127.0.0.1", "169.254.169.254", "2130706433", "0x7f.1", "0x7f000001"),
                *("0177.1", "127.1", "0", "0.0.0.0", "100.64.0.1", "8.8.8.8", PUBLIC),
                *("[::1]", "[::ffff:10.0.0.1]", "[fe80::1%25eth0]"),
            )
        ),
    ],
)
def test_what_is_no_address_of_an_allowed_host_is_refused(url: str, code: str) -> None:
    with pytest.raises(InvalidField) as error:
        address(url)
    assert error.value.code == code


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.example", ImageAddress("a.example", "/")),
        ("HTTPS://A.Example/X?y=1#z", ImageAddress("a.example", "/X?y=1")),
        ("https://a.example:443/x", ImageAddress("a.example", "/x")),
        ("https://a.example?q", ImageAddress("a.example", "/?q")),
        ("https://deep.x.b.example/%20", ImageAddress("deep.x.b.example", "/%20")),
    ],
)
def test_an_allowed_address_is_taken_apart_once(url: str, expected: ImageAddress) -> None:
    assert address(url) == expected


@given(st.text(max_size=60), st.sampled_from(["", "https://", "https://a.example", "//", "http:"]))
def test_any_text_is_refused_or_names_an_allowed_host(tail: str, start: str) -> None:
    try:
        found = address(start + tail)
    except InvalidField:
        return
    assert allowed(found.host, HOSTS)
    assert found.target.startswith("/")
    assert found.target.isascii()
    assert not set(found.target) & set(" \r\n\t\\")


@pytest.mark.parametrize(
    "setting", ["127.0.0.1", "*", "https://a.example", "a.example:443", "2130706433", "a..b"]
)
def test_an_operator_can_allow_names_alone(setting: str) -> None:
    with pytest.raises(ValueError, match="no host name"):
        parse_hosts(setting)


def test_hosts_are_told_with_commas() -> None:
    assert parse_hosts(" A.example, *.b.example ,") == ("a.example", "*.b.example")
    assert parse_hosts("") == ()


def test_the_bytes_come_from_the_checked_address_under_the_urls_own_name(web: Web) -> None:
    web.pages["/cup.png?size=1"] = answer(PIXEL, "Content-Type: text/plain")
    found = fetcher(web).fetch(address("https://a.example/cup.png?size=1"))
    assert (found.data, found.declared_type) == (PIXEL, None)
    assert web.connected == [PUBLIC]
    assert web.requests == [("a.example", "/cup.png?size=1")]
    assert web.lookups == ["a.example"], "resolved once"


@pytest.mark.parametrize("host", ["inside", "mixed", "meta", "mapped"])
def test_a_host_with_a_private_address_is_never_connected_to(host: str, web: Web) -> None:
    web.pages["/"] = answer(PIXEL)
    assert refused(web, f"https://{host}.b.example/").code == "address_blocked"
    assert (web.connected, web.accepted) == ([], 0)


@pytest.mark.parametrize(
    "to",
    [
        *("https://inside.b.example/", "https://mixed.b.example/", "https://127.0.0.1/"),
        *("http://a.example/", "https://evil.example/", "//evil.example/", "file:///etc/passwd"),
        *("https://a.example:6379/", "https://[::1]/", "", "elsewhere"),
    ],
)
def test_a_redirect_to_anything_unchecked_is_blocked(to: str, web: Web) -> None:
    web.pages["/"] = redirect(to)
    assert refused(web, "https://a.example/").code == "address_blocked"
    assert web.connected == [PUBLIC]
    assert web.accepted == 1


def test_a_redirect_to_an_allowed_host_is_checked_and_followed(web: Web) -> None:
    web.pages |= {
        "/1": redirect("/2"),
        "/2": redirect("https://x.b.example/3"),
        "/3": answer(PIXEL),
    }
    assert fetcher(web).fetch(address("https://a.example/1")).data == PIXEL
    assert web.connected == [PUBLIC, PUBLIC, "8.8.8.8"]
    web.pages["/1"] = redirect("/1")
    assert refused(web, "https://a.example/1").code == "fetch_failed"


@pytest.mark.parametrize(
    "start",
    [b"", b"HTTP/1.1 200 OK\r\nX-A: ", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"],
    ids=["status line", "headers", "body"],
)
def test_a_slow_drip_ends_at_the_deadline(start: bytes, web: Web) -> None:
    web.pages["/"] = dripping(start, b"H", 0.02)
    began = time.monotonic()
    error = refused(web, "https://a.example/", seconds=0.4)
    assert (error.code, error.retryable) == ("fetch_timeout", True)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "page",
    [
        answer(PIXEL, length=10**12),
        answer(bytes(100_001)),
        endless(),
        answer(gzip.compress(bytes(50_000_000)), "Content-Encoding: gzip"),
        endless("Content-Encoding: identity"),
    ],
    ids=["announced", "a byte over", "endless", "gzip bomb", "identity"],
)
def test_more_bytes_than_the_cap_are_not_read(page: Any, web: Web) -> None:
    web.pages["/"] = page
    assert refused(web, "https://a.example/").code == "too_large"


def test_a_compressed_image_is_read_under_the_same_cap(web: Web) -> None:
    web.pages["/"] = answer(gzip.compress(PIXEL), "Content-Encoding: gzip")
    assert fetcher(web).fetch(address("https://a.example/")).data == PIXEL


@pytest.mark.parametrize(
    "page",
    [
        answer(b"", status="404 Not Found"),
        answer(PIXEL, length=1000),
        answer(PIXEL, length=int("9" * 30)),
        answer(b"not gzip", "Content-Encoding: gzip"),
        answer(PIXEL, "Content-Encoding: br"),
        lambda connection: connection.sendall(b"nonsense\r\n\r\n"),
        lambda connection: None,
    ],
    ids=[
        "missing",
        "cut short",
        "a length of 30 digits",
        "no gzip",
        "unknown coding",
        "no HTTP",
        "nothing",
    ],
)
def test_what_is_no_answer_with_an_image_has_failed(page: Any, web: Web) -> None:
    web.pages["/"] = page
    assert refused(web, "https://a.example/").code == "fetch_failed"


def test_a_certificate_of_another_name_is_not_believed(web: Web) -> None:
    web.names["other.b.example"] = [PUBLIC]
    assert refused(web, "https://other.b.example/").code == "fetch_failed"
    assert web.requests == []


def test_a_name_without_an_address_has_failed_and_may_be_tried_again(web: Web) -> None:
    error = refused(web, "https://nothing.b.example/")
    assert (error.code, error.retryable, web.connected) == ("fetch_failed", True, [])


def in_halves(body: bytes, first_sent: threading.Barrier) -> Answer:
    """The second half comes once the first halves of all have been sent."""

    def write(connection: ssl.SSLSocket) -> None:
        try:
            answer(body[: len(body) // 2], length=len(body))(connection)
        finally:
            first_sent.wait(10)
        connection.sendall(body[len(body) // 2 :])

    return write


def test_those_that_fit_a_request_s_bytes_are_had_though_others_come_beside_them(web: Web) -> None:
    first_sent = threading.Barrier(6)
    web.pages |= {f"/{no}": in_halves(bytes([no]) * 90_000, first_sent) for no in range(6)}
    wanted = [address(f"https://a.example/{no}") for no in range(6)]
    found = fetcher(web).fetch_many(wanted)
    refusals = [one.code for one in found if isinstance(one, ContentError)]
    assert refusals == ["too_large"] * 3
    assert all(
        one.data[0] == no for no, one in enumerate(found) if not isinstance(one, ContentError)
    )


def test_what_does_not_fit_takes_no_room_from_what_does(web: Web) -> None:
    web.pages |= {"/large": answer(bytes(90_000)), "/small": answer(bytes(20_000))}
    budget = {"max_bytes_together": 50_000}
    large, small = fetcher(web, **budget).fetch_many(
        [address("https://a.example/large"), address("https://a.example/small")]
    )
    assert isinstance(large, ContentError)
    assert not isinstance(small, ContentError)


def test_many_are_fetched_within_one_time(web: Web) -> None:
    web.pages["/slow"] = dripping(b"", b"H", 0.05)
    slow = fetcher(web, seconds=0.3).fetch_many([address("https://a.example/slow")] * 40)
    assert {one.code for one in slow if isinstance(one, ContentError)} == {"fetch_timeout"}
