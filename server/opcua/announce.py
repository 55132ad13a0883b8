"""The server announces itself on the local network (Part 12, annex C): mDNS, service type `_opcua-tcp._tcp`.

Off unless `[opcua] announce` says so: it opens UDP port 5353 to everybody on the network and tells the site's name to all of
them. What it tells are name, address, port and capabilities; nothing is learned from others.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import socket
from typing import TYPE_CHECKING, Final

import ifaddr
from zeroconf import InterfaceChoice, IPVersion, NonUniqueNameException
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

if TYPE_CHECKING:
    from .server import UaServer

_log = logging.getLogger("ems.opcua")

SERVICE: Final = "_opcua-tcp._tcp.local."
CAPABILITIES: Final = "DA,HD,AC,HE"
"""Data, history, alarms, history of events (Part 12, annex D)."""
LABEL_BYTES_MAX: Final = 63  # RFC 1035, 2.3.4
EVERYWHERE: Final = ("0.0.0.0", "::", "")


class Announcement:
    """The announcement of one server that listens. Made, started and stopped once."""

    def __init__(self, server: UaServer) -> None:
        self._server = server
        host = server.settings.host
        self._addresses = own_addresses() if host in EVERYWHERE else _resolved(host)
        self._multicast: AsyncZeroconf | None = None

    async def start(self) -> None:
        """Announce. What goes wrong is logged: the server serves all the same."""
        everywhere = self._server.settings.host in EVERYWHERE
        try:
            interfaces = InterfaceChoice.All if everywhere else self._addresses
            self._multicast = AsyncZeroconf(interfaces=interfaces, ip_version=IPVersion.All if everywhere else None)
            await (await self._multicast.async_register_service(self._service(), allow_name_change=True))
        except (OSError, NonUniqueNameException) as error:
            _log.warning("the server cannot be announced by mDNS: %s", error)
        else:
            _log.info("announced by mDNS at %s", ", ".join(self._addresses))

    async def stop(self) -> None:
        """Take it back."""
        if self._multicast is not None:
            await self._multicast.async_unregister_all_services()
            await self._multicast.async_close()

    def _service(self) -> AsyncServiceInfo:
        return AsyncServiceInfo(
            SERVICE,
            f"{label(self._server.name)}.{SERVICE}",
            port=self._server.port,
            parsed_addresses=self._addresses,
            properties={"path": "/", "caps": CAPABILITIES},
            server=f"{label(socket.gethostname().partition('.')[0])}.local.",
        )


def label(name: str) -> str:
    """A name as one label of DNS: no dots, no control characters, at most 63 bytes."""
    plain = re.sub(r"[\x00-\x1f.\x7f]+", " ", name).strip() or "EMS"
    return plain.encode()[:LABEL_BYTES_MAX].decode(errors="ignore")


def own_addresses() -> list[str]:
    """The addresses of this host that others can reach."""
    ips = (ip.ip if isinstance(ip.ip, str) else str(ip.ip[0]) for adapter in ifaddr.get_adapters() for ip in adapter.ips)
    return [text for text in ips if _reachable(ipaddress.ip_address(text.partition("%")[0]))]


def _reachable(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return not address.is_loopback and not address.is_link_local


def _resolved(host: str) -> list[str]:
    return sorted({str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)})
