"""Who calls, as far as the network says."""

import ipaddress
from typing import Any

from django.conf import settings


def client_ip(request: Any) -> str:
    """Return the caller's address, past exactly TRUSTED_PROXIES proxies; what lies beyond may be forged."""
    return address(request.META.get("REMOTE_ADDR", ""), request.META.get("HTTP_X_FORWARDED_FOR", ""))


def counted_ip(request: Any) -> str:
    """Return the caller's address as callers are counted."""
    return counted(client_ip(request))


def counted(address: str) -> str:
    """Return what an address counts as: of IPv6 its /64, because who has one address there has 2^64."""
    if ":" not in address:
        return address
    return str(ipaddress.IPv6Network((address.partition("%")[0], 64), strict=False).network_address)


def address(peer: str, forwarded: str) -> str:
    """Return the caller's address from the connection's peer and its X-Forwarded-For."""
    address = peer
    if settings.TRUSTED_PROXIES:
        hops = [hop.strip() for hop in forwarded.split(",")]
        if len(hops) >= settings.TRUSTED_PROXIES:
            address = hops[-settings.TRUSTED_PROXIES]
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "0.0.0.0"  # noqa: S104
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)
