"""The Live page as data: readings in, small JSON values by key out. Pure; only keys that changed travel to the browser."""

from __future__ import annotations

import time
from typing import Any

from server.core.natures import RunState

from . import numbers, setpoints
from .catalogue import Catalogue, label
from .explanation import wants
from .quality import UNCERTAIN
from .readings import Readings

FLOW_NODES = (
    "site/GridPower", "site/ProductionPower", "site/EssPower", "site/ConsumptionPower", "site/EvPower", "site/EssSoc",
    "site/ProductionToConsumption", "site/GridToConsumption", "site/EssToConsumption",
)  # fmt: skip

_SITE = ("WorstState", "SelfConsumption", "Autarky", "Frequency", "EmergencyStopActive", "OverrideRemaining",
         "Explanation", "EssCapacity")  # fmt: skip
_CYCLE = ("CycleTime", "Counter", "Slips", "LastDuration", "WorstDuration", "Jitter", "Restarts")
_EVERYWHERE = ("State", "CommState", "NoFailSafe", "RunState", "Reason", "NextRetry", "Explanation", "Claims", "Schedule",
               "Priority", "BuyPrice", "SellPrice", "Currency")  # fmt: skip

_IDLE_W = 20.0
SLIP_SHOWN_S = 300.0


def slow_nodes(catalogue: Catalogue) -> list[str]:
    """Everything the page shows beside the flow, as far as the site has it."""
    wanted = [f"site/{n}" for n in _SITE] + [f"cycle/{n}" for n in _CYCLE] + catalogue.named(*_EVERYWHERE)
    return [n for n in catalogue.known(*wanted, *setpoints.nodes(catalogue)) if n not in FLOW_NODES]


class Live:
    """The Live page of one tab; remembers a slip of the cycle."""

    def __init__(self, catalogue: Catalogue, readings: Readings) -> None:
        self._catalogue = catalogue
        self._readings = readings
        self._slips: float | None = None
        self._slipped_at = 0.0

    def values(self) -> dict[str, Any]:
        """All values of the page, now."""
        now = time.time()
        return live(self._catalogue, self._readings, now, slipped=self._slipped(now))

    def _slipped(self, now: float) -> bool:
        """True for some minutes after the cycle slipped while this tab was open."""
        slips = self._readings.number("cycle/Slips")
        if slips is not None and self._slips is not None and slips > self._slips:
            self._slipped_at = now
        self._slips = slips
        return now - self._slipped_at < SLIP_SHOWN_S


def live(catalogue: Catalogue, readings: Readings, now: float, slipped: bool = False) -> dict[str, Any]:
    """All values of the Live page but the alarms. now: s since 1970; slipped: the cycle did lately."""
    return {
        **_flow(readings, now),
        "shares": [_share(readings, n, now) for n in ("site/EssSoc", "site/Autarky", "site/SelfConsumption")],
        "cycle": _cycle(readings) | {"tone": "warn" if slipped else ""},
        "why": _why(catalogue, readings),
        "price": _price(catalogue, readings),
        "heard": readings.number("site/WorstState") is not None,
        "hand": hand(readings),
        **{f"point.{p.channel.node}": _point(p, readings, now) for p in setpoints.setpoints(catalogue)},
    }


def _flow(readings: Readings, now: float) -> dict[str, Any]:
    ev = readings.number("site/EvPower")
    used = readings.number("site/ConsumptionPower")
    home = None if used is None else used - (ev or 0.0)
    return {
        "grid": _power(readings, "site/GridPower", now, "importing", "exporting"),
        "pv": _power(readings, "site/ProductionPower", now, "producing", "drawing"),
        "ess": _power(readings, "site/EssPower", now, "discharging", "charging"),
        "ev": _power(readings, "site/EvPower", now, "charging", "feeding back"),
        "used": _power(readings, "site/ConsumptionPower", now, "using", "feeding"),
        "home": _arc(home, readings.note("site/ConsumptionPower", now), "using", "feeding"),
        "mix": [_positive(readings.number(f"site/{n}ToConsumption")) for n in ("Production", "Ess", "Grid")],
    }


def _power(readings: Readings, node: str, now: float, plus: str, minus: str) -> dict[str, Any]:
    return _arc(readings.number(node), readings.note(node, now), plus, minus)


def _arc(watts: float | None, note: tuple[str, str], plus: str, minus: str) -> dict[str, Any]:
    if watts is None:
        return {"w": 0, "text": numbers.DASH, "word": note[1] or "no data", "q": note[0] or "bad"}
    word = "idle" if _idle(watts) else plus if watts > 0 else minus
    return {"w": round(watts), "text": numbers.kilowatts(watts), "word": note[1] or word, "q": note[0]}


def _idle(watts: float | None) -> bool:
    return watts is not None and abs(watts) < _IDLE_W


def _positive(watts: float | None) -> int:
    return round(max(0.0, watts or 0.0))


def _share(readings: Readings, node: str, now: float) -> dict[str, Any]:
    value = readings.number(node)
    grade, words = readings.note(node, now)
    if node == "site/SelfConsumption" and value is None and _idle(readings.number("site/ProductionPower")):
        grade, words = UNCERTAIN, "no solar power now"
    return {"v": round(value or 0.0, 1), "text": numbers.percent(value), "q": grade, "note": words}


def _cycle(readings: Readings) -> dict[str, Any]:
    def text(name: str, factor: float) -> str:
        value = readings.number(f"cycle/{name}")
        return numbers.DASH if value is None else numbers.signed(value * factor, 0 if value * factor >= 9.5 else 2)

    slips = readings.number("cycle/Slips")
    period, last = readings.number("cycle/CycleTime"), readings.number("cycle/LastDuration")
    return {
        "period": text("CycleTime", 1e3),
        "last": text("LastDuration", 1e3),
        "worst": text("WorstDuration", 1e3),
        "jitter": text("Jitter", 1e6),
        "slips": numbers.DASH if slips is None else f"{slips:,.0f}",
        "load": round(100 * last / period, 1) if period and last is not None else 0,
        "work": None if last is None else round(last * 1e3, 3),
    }


def _why(catalogue: Catalogue, readings: Readings) -> dict[str, Any]:
    active = [t for t in catalogue.having("RunState", "Explanation") if readings.number(f"{t.alias}/RunState") == RunState.Active]
    active.sort(key=lambda t: readings.number(f"{t.alias}/Priority") or 0.0)
    rows = [{"name": label(t), "wants": wants(t.alias, readings, catalogue)} for t in active]
    return {"text": catalogue.speak(readings["site/Explanation"].text), "rows": [r for r in rows if r["wants"]]}


def _price(catalogue: Catalogue, readings: Readings) -> dict[str, str] | None:
    """What energy costs now, of the first tariff; None on a site without one."""
    tariff = next(iter(catalogue.having("BuyPrice")), None)
    if tariff is None:
        return None
    buy, sell = (readings.number(f"{tariff.alias}/{name}") for name in ("BuyPrice", "SellPrice"))
    texts = {name: numbers.DASH if value is None else numbers.signed(value, 3) for name, value in (("buy", buy), ("sell", sell))}
    return texts | {"unit": f"{readings[f'{tariff.alias}/Currency'].text or 'currency'}/kWh", "name": label(tariff)}


def hand(readings: Readings) -> dict[str, Any]:
    """What an operator does by hand: s left of the override, and whether the site is stopped."""
    left = readings.number("site/OverrideRemaining") or 0.0
    return {"left": round(left), "text": numbers.duration(left), "stopped": bool(readings.number("site/EmergencyStopActive"))}


def _point(point: setpoints.Setpoint, readings: Readings, now: float) -> dict[str, Any]:
    low, high = point.limits(readings)
    asked = readings.number(point.channel.node)
    actual = readings.number(point.actual)
    return {
        "low": round(low / 1000, 2),
        "high": round(high / 1000, 2),
        "asked": None if asked is None else round(asked / 1000, 3),
        "askedText": numbers.kilowatts(asked),
        "actual": None if actual is None else round(actual / 1000, 3),
        "actualText": numbers.kilowatts(actual),
        "note": readings.note(point.actual, now)[1],
    }
