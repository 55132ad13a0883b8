"""Discovery: where the server is and how to talk to it (Part 4, 5.4).

The URL in every answer is the one the client dialled, as far as it is well-formed: behind a NAT or a host name of the
client's own choice nothing else would work, and CreateSession must return exactly what GetEndpoints did.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from asyncua import ua

from .policy import Policy
from .service import Scope, Service, ServiceError
from .vocabulary import PRODUCT_URI

if TYPE_CHECKING:
    from .channel import ServerSecurity
    from .server import UaServer
    from .wire import Connection

TRANSPORT_PROFILE: Final = "http://opcfoundation.org/UA-Profile/Transport/uatcp-uasc-uabinary"

USER_NAME: Final = "username"
CERTIFICATE: Final = "certificate"
"""PolicyIds of the user tokens we take."""

_URL: Final = re.compile(r"opc\.tcp://(\[[0-9A-Fa-f:.%]{2,64}\]|[A-Za-z0-9._-]{1,255})(?::(\d{1,5}))?(?:/.*)?", re.DOTALL)


def dialled_url(server: UaServer, url: str | None) -> str:
    """Our URL with host and port as the client wrote them; our own URL when it wrote none that makes sense."""
    match = _URL.fullmatch(url or "")
    if match is None or (match[2] is not None and not 0 < int(match[2]) < 65536):
        return server.url
    return f"opc.tcp://{match[1]}:{match[2] or 4840}/"


def application(server: UaServer, url: str) -> ua.ApplicationDescription:
    """Who we are."""
    return ua.ApplicationDescription(
        ApplicationUri=server.application_uri,
        ProductUri=PRODUCT_URI,
        ApplicationName=ua.LocalizedText(server.name),
        ApplicationType=ua.ApplicationType.Server,
        DiscoveryUrls=[url],
    )


def endpoints(server: UaServer, url: str | None, security: ServerSecurity | None = None) -> list[ua.EndpointDescription]:
    """What GetEndpoints and CreateSession answer to a client that dialled `url`: one endpoint per offered policy and mode.

    security: of the channel that asks; it may have been opened with an older certificate than a new one would be.
    """
    security = security or server.security
    dialled = dialled_url(server, url)
    return [
        ua.EndpointDescription(
            EndpointUrl=dialled,
            Server=application(server, dialled),
            ServerCertificate=security.certificate,
            SecurityMode=mode,
            SecurityPolicyUri=policy.uri,
            UserIdentityTokens=_user_tokens(policy),
            TransportProfileUri=TRANSPORT_PROFILE,
            SecurityLevel=policy.security_level(mode),
        )
        for policy, mode in security.offer
    ]


def _user_tokens(policy: Policy) -> list[ua.UserTokenPolicy]:
    kinds = ((USER_NAME, ua.UserTokenType.UserName), (CERTIFICATE, ua.UserTokenType.Certificate))
    return [ua.UserTokenPolicy(PolicyId=name, TokenType=kind, SecurityPolicyUri=policy.uri) for name, kind in kinds]


def get_endpoints(server: UaServer, _: Connection, request: ua.GetEndpointsRequest) -> ua.GetEndpointsResponse:
    """GetEndpoints, Part 4, 5.4.4."""
    response = ua.GetEndpointsResponse()
    profiles = request.Parameters.ProfileUris
    if not profiles or TRANSPORT_PROFILE in profiles:
        response.Endpoints = endpoints(server, request.Parameters.EndpointUrl)
    return response


def find_servers(server: UaServer, _: Connection, request: ua.FindServersRequest) -> ua.FindServersResponse:
    """FindServers, Part 4, 5.4.2. We know one server: ourselves."""
    response = ua.FindServersResponse()
    wanted = request.Parameters.ServerUris
    if not wanted or server.application_uri in wanted:
        response.Servers = [application(server, dialled_url(server, request.Parameters.EndpointUrl))]
    return response


def find_servers_on_network(_: UaServer, __: Connection, ___: ua.FindServersOnNetworkRequest) -> None:
    """We do not listen to multicast announcements."""
    raise ServiceError(ua.StatusCodes.BadServiceUnsupported)


SERVICES: Final = {
    ua.GetEndpointsRequest: Service(get_endpoints, Scope.DISCOVERY),
    ua.FindServersRequest: Service(find_servers, Scope.DISCOVERY),
    ua.FindServersOnNetworkRequest: Service(find_servers_on_network, Scope.DISCOVERY),
}
