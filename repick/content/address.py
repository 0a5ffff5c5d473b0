"""An image's address on the web, parsed once: what was checked is what is fetched.

The grammar is narrower than RFC 3986 on purpose: two parsers that read one text differently are how
a check is passed by. The host and target found here are handed to the connection as they are; no
text is parsed again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from repick.errors import InvalidField

MAX_CHARS = 2_048
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_PATTERN = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*):(?://(?P<authority>[^/?#]*)(?P<target>[^#]*)(?:#.*)?)?.*",
    re.IGNORECASE | re.DOTALL,
)
_TARGET = re.compile(r"[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]*")


@dataclass(frozen=True, slots=True)
class ImageAddress:
    """`https://host/target`, port 443; the host is one of the operator's."""

    host: str
    target: str


def parse_hosts(setting: str) -> tuple[str, ...]:
    """The operator's hosts out of `a.example, *.b.example`; raises ValueError for anything that is
    no name, an address of IP among them."""
    hosts = tuple(part.strip().lower() for part in setting.split(",") if part.strip())
    for one in hosts:
        if not _PATTERN.fullmatch(one) or _NUMBER.fullmatch(one):
            raise ValueError(f"REPICK_URL_HOSTS: {one!r} is no host name")
    return hosts


def read_address(value: str, field: str, hosts: Sequence[str]) -> ImageAddress:
    """Raises InvalidField: `urls_disabled`, `unsupported_scheme`, `invalid_url` (a user, a port, an
    odd character, too long), or `host_not_allowed`."""
    if not hosts:
        detail = "images are given as base64 or as a data URL; other URLs are switched off"
        raise InvalidField(field, detail, code="urls_disabled")
    found = _URL.fullmatch(value) if len(value) <= MAX_CHARS else None
    if found is None:
        raise _invalid(field)
    if found["scheme"].lower() != "https":
        detail = "images are fetched by https alone"
        raise InvalidField(field, detail, code="unsupported_scheme")
    host = (found["authority"] or "").lower().removesuffix(":443")
    target = found["target"] or ""
    if not _HOST.fullmatch(host) and not host.startswith("["):
        raise _invalid(field)
    if not _TARGET.fullmatch(target):
        raise _invalid(field)
    if not allowed(host, hosts):
        detail = "the operator of this service does not allow this host"
        raise InvalidField(field, detail, code="host_not_allowed")
    return ImageAddress(host, target if target.startswith("/") else f"/{target}")


def allowed(host: str, hosts: Sequence[str]) -> bool:
    """By name, and `*.` for what is below a name; never an address of IP in any spelling."""
    if _NUMBER.fullmatch(host):
        return False
    return any(
        host.endswith(one[1:]) and len(host) >= len(one) if one.startswith("*.") else host == one
        for one in hosts
    )


def _invalid(field: str) -> InvalidField:
    detail = "not an address of the form https://host/path: no user, no other port, ASCII alone"
    return InvalidField(field, detail, code="invalid_url")
