"""The OPC UA client that the panel, analytics and gateways use; they know little else of the server.

    async with Client(Identity("opc.tcp://127.0.0.1:4840", certificate, key, ca=ca, user="me", password="...")) as client:
        power = await client.read(["meter0/ActivePower"])
        async for table in await client.subscribe(nodes, interval_ms=100): ...

Many values travel as Tables of NumPy columns, decoded a block at a time.
"""

from server.core.series import Series

from .alarms import Alarm, Alarms
from .client import CLOSED, CONNECTED, RECONNECTING, Client, Reference
from .errors import ClientError, LoginRefused, status_name
from .events import Event, EventSubscription
from .identity import Identity
from .model import ChannelInfo, Model, ObjectInfo
from .nodes import node_id, node_name
from .subscription import Subscription
from .table import Table

__all__ = [
    "CLOSED",
    "CONNECTED",
    "RECONNECTING",
    "Alarm",
    "Alarms",
    "ChannelInfo",
    "Client",
    "ClientError",
    "Event",
    "EventSubscription",
    "Identity",
    "LoginRefused",
    "Model",
    "ObjectInfo",
    "Reference",
    "Series",
    "Subscription",
    "Table",
    "node_id",
    "node_name",
    "status_name",
]
