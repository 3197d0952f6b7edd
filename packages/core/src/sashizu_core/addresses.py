"""Which addresses are public, and so may be dialled without being listed.

The blocks are those of the IANA registries of special-purpose addresses (IPv4: RFC 6890 and later,
IPv6: RFC 4291 and later), and the addresses under which clouds serve the secrets of a machine,
some of which look public. Everything outside `2000::/3` is refused in IPv6: nothing else is in use.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

__all__ = ["canonical", "why_not_public"]

_BLOCKS_4 = {
    "169.254.169.254/32": "the metadata service of a cloud",
    "168.63.129.16/32": "the metadata service of a cloud",
    "100.100.100.200/32": "the metadata service of a cloud",
    "192.0.0.192/32": "the metadata service of a cloud",
    "0.0.0.0/8": "this machine",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "shared by the customers of a carrier",
    "127.0.0.0/8": "loopback",
    "169.254.0.0/16": "link-local",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "reserved for protocols",
    "192.0.2.0/24": "reserved for documentation",
    "192.88.99.0/24": "a relay of 6to4",
    "192.168.0.0/16": "private",
    "198.18.0.0/15": "reserved for benchmarks",
    "198.51.100.0/24": "reserved for documentation",
    "203.0.113.0/24": "reserved for documentation",
    "224.0.0.0/4": "multicast",
    "255.255.255.255/32": "broadcast",
    "240.0.0.0/4": "reserved",
}

_BLOCKS_6 = {
    "fd00:ec2::254/128": "the metadata service of a cloud",
    "fd20:ce::254/128": "the metadata service of a cloud",
    "::/128": "this machine",
    "::1/128": "loopback",
    "::/96": "an IPv4 address in IPv6 (compatible)",
    "::ffff:0:0/96": "an IPv4 address in IPv6 (mapped)",
    "::ffff:0:0:0/96": "an IPv4 address in IPv6 (translated)",
    "64:ff9b::/96": "an IPv4 address in IPv6 (NAT64)",
    "64:ff9b:1::/48": "an IPv4 address in IPv6 (local NAT64)",
    "2001::/32": "an IPv4 address in IPv6 (Teredo)",
    "2001::/23": "reserved for protocols",
    "2001:db8::/32": "reserved for documentation",
    "2002::/16": "an IPv4 address in IPv6 (6to4)",
    "3fff::/20": "reserved for documentation",
    "fc00::/7": "private",
    "fe80::/10": "link-local",
    "fec0::/10": "site-local",
    "ff00::/8": "multicast",
}

_ISATAP = (0x00005EFE, 0x02005EFE)
"""The third quarter of an IPv6 address that ends in an IPv4 address (RFC 5214, section 6.1)."""


def _table(blocks: dict[str, str]) -> tuple[tuple[int, int, str], ...]:
    """Mask, network and reason; the first that fits counts."""
    networks = [(ip_network(text), why) for text, why in blocks.items()]
    return tuple((int(net.netmask), int(net.network_address), why) for net, why in networks)


_TABLE_4 = _table(_BLOCKS_4)
_TABLE_6 = _table(_BLOCKS_6)


@lru_cache(maxsize=1024)
def why_not_public(address: str) -> str:
    """Why an address is not one of a public server; empty if it is one.

    Pure: the same answer on every version of Python, and whatever the machine's own networks are.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return "no address"
    number = int(found)
    if isinstance(found, IPv4Address):
        return _reason(number, _TABLE_4)
    if found.scope_id is not None:
        return "bound to an interface of this machine"
    if (number >> 32) & 0xFFFFFFFF in _ISATAP:
        return "an IPv4 address in IPv6 (ISATAP)"
    if why := _reason(number, _TABLE_6):
        return why
    return "" if number >> 125 == 0b001 else "outside the addresses that are in use"


def _reason(number: int, table: tuple[tuple[int, int, str], ...]) -> str:
    return next((why for mask, network, why in table if number & mask == network), "")


def canonical(address: str) -> str:
    """The one way to write an address: IPv6 without brackets, lower case, all of it hexadecimal.

    Raises:
        ValueError: it is no address, has a zone, or leading zeros that some read as octal.
    """
    found = ip_address(address)
    if isinstance(found, IPv6Address):
        if found.scope_id is not None:
            raise ValueError(f"{address!r} has a zone")
        if (mapped := found.ipv4_mapped) is not None:  # newer Pythons write these with dots
            high, low = divmod(int(mapped), 0x10000)
            return f"::ffff:{high:x}:{low:x}"
    return str(found)
