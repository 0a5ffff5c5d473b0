"""Which addresses may be connected to, and that a pinned connection goes nowhere else."""

from __future__ import annotations

import time
from collections.abc import Sequence

import httpcore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repick.errors import AddressBlocked, Unavailable
from repick.outbound import Pinned, check_host, is_global, resolve

GLOBAL = ["93.184.216.34", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946"]
INSIDE = [
    *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1"),
    *("169.254.169.254", "100.64.0.1", "100.127.255.254", "192.0.0.1", "198.18.0.1"),
    *("224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "192.0.2.1"),
    *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00::1", "fec0::1", "ff02::1"),
    *("::ffff:10.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::7f00:1"),
    *("2002:7f00:1::", "2001:0:1:2:3:4:80ff:fffe", "2001:db8::1", "", "nonsense", "1.2.3"),
]


def answering(*addresses: str) -> object:
    def resolver(host: str, port: int) -> Sequence[str]:
        return addresses

    return resolver


@pytest.mark.parametrize("address", GLOBAL)
def test_a_public_address_is_global(address: str) -> None:
    assert is_global(address)


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_is_not(address: str) -> None:
    assert not is_global(address)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_in_ipv6_clothes_is_never_global(address: object) -> None:
    assert not is_global(f"::ffff:{address}")
    assert not is_global(f"64:ff9b::{address}")


def test_one_private_address_among_public_ones_blocks_the_host() -> None:
    assert check_host("a.example", 443, answering(*GLOBAL)) == GLOBAL  # type: ignore[arg-type]
    for inside in INSIDE:
        with pytest.raises(AddressBlocked):
            check_host("a.example", 443, answering(GLOBAL[0], inside))  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "0177.0.0.1", "127.1", "localhost"])
def test_other_spellings_of_this_machine_are_seen_by_their_address(host: str) -> None:
    with pytest.raises(AddressBlocked):
        check_host(host, 443, resolve)


@pytest.mark.parametrize("host", ["", "a..example", "x" * 70 + ".example"])
def test_a_name_without_an_address_is_unknown(host: str) -> None:
    def nothing(host: str, port: int) -> Sequence[str]:
        raise OSError

    with pytest.raises((Unavailable, AddressBlocked)):
        check_host(host, 443, resolve if host else nothing)


class Recording(httpcore.NetworkBackend):
    """Notes where it was asked to connect, and refuses."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, float | None]] = []

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, *_: object) -> object:  # type: ignore[override]
        self.asked.append((host, timeout))
        raise httpcore.ConnectError


def test_a_pinned_connection_goes_to_the_checked_addresses_only() -> None:
    backend = Recording()
    pinned = Pinned(GLOBAL, time.monotonic() + 5, backend)
    with (
        httpcore.ConnectionPool(network_backend=pinned) as pool,
        pytest.raises(httpcore.ConnectError),
    ):
        pool.request("GET", "https://localhost/")
    assert [host for host, _ in backend.asked] == GLOBAL
    assert all(timeout is not None and timeout <= 5 for _, timeout in backend.asked)


def test_after_the_deadline_nothing_is_connected() -> None:
    backend = Recording()
    with pytest.raises(httpcore.ConnectTimeout):
        Pinned(GLOBAL, time.monotonic() - 1, backend).connect_tcp("a.example", 443)
    assert backend.asked == []
