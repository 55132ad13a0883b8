"""What a controller was configured with stands beside what it has now."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import pytest

from server.core.channel import writable
from server.core.layout import CONTROLLER, DEVICE, Channel, ObjectSpec
from server.core.natures import ControllerStatus
from server.core.units import Watt
from server.opcua.properties import configured


class Kind(IntEnum):
    Off = 0
    On = 1


def named(name: str, kind: Any) -> Any:
    spec = writable(kind, "A parameter.")
    object.__setattr__(spec, "name", name)
    return spec


@pytest.mark.parametrize(
    ("spec", "settings", "expected"),
    [
        (named("import_max_w", Watt), {"import_max_w": 8000}, 8000.0),
        (named("kind", Kind), {"kind": Kind.On}, 1),
        (named("phases", int), {"phases": 3}, 3),
        (named("import_max_w", Watt), {}, None),
        (ControllerStatus.Enabled, {"enabled": False}, False),
        (ControllerStatus.Enabled, {}, True),
        (ControllerStatus.Priority, {"priority": 10}, None),
    ],
)
def test_parameters_and_the_switch_tell_their_configuration(spec: Any, settings: dict[str, Any], expected: Any) -> None:
    obj = ObjectSpec("peak0", CONTROLLER, "control", (ControllerStatus,), (), settings=settings)
    found = configured(Channel(f"peak0/{spec.name}", "peak0", spec, 0, 1, "control", 0.0), obj)
    assert (found and found.value.Value) == expected
    assert found is None or type(found.value.Value) is type(expected) or isinstance(expected, IntEnum)


def test_a_devices_set_point_is_not_configured() -> None:
    obj = ObjectSpec("ess0", DEVICE, "modbus", (), ())
    assert configured(Channel("ess0/x", "ess0", named("x", Watt), 0, 1, "control", 0.0), obj) is None
