"""What the site produced, used, bought and sold since midnight: its energy counters now, less what they showed then."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from nicegui import background_tasks

from server.client import Client, ClientError, Series
from server.core.ticks import to_datetime

from . import numbers
from .catalogue import Catalogue
from .readings import Readings
from .visit import Visit


@dataclass(frozen=True)
class Meter:
    """A counter of the site: its colour, what it counted, and the powers that it adds up."""

    carrier: str
    word: str
    powers: tuple[str, ...]


METERS = {
    "site/ProductionEnergy": Meter("pv", "produced", ("site/ProductionPower",)),
    "site/ConsumptionEnergy": Meter("load", "used", ("site/ConsumptionPower",)),
    "site/GridImportEnergy": Meter("grid", "bought", ("site/GridToConsumption", "site/GridToEss")),
    "site/GridExportEnergy": Meter("sold", "sold", ("site/ProductionToGrid", "site/EssToGrid")),
}

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

log = logging.getLogger("ems.ui")


class Today:
    """Energies of the day in the site's own time zone; counters are read anew after midnight."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._zone = zone(visit.person.catalogue)
        self._midnight: datetime | None = None
        self._then: dict[str, float] = {}

    def values(self) -> dict[str, Any]:
        """The key `today`: rows of colour, words and kWh; empty until the counters of midnight are known."""
        midnight = datetime.combine(datetime.now(self._zone).date(), time.min, self._zone)
        if midnight != self._midnight:
            self._midnight, self._then = midnight, {}
            background_tasks.create(self._read(midnight), name="energy counters of midnight")
        return {"today": rows(self._then, self._visit.readings)}

    async def _read(self, midnight: datetime) -> None:
        person = self._visit.person
        for node in person.catalogue.known(*METERS):
            try:
                found = await at(person.client, node, midnight)
            except ClientError as error:
                log.info("%s at midnight is not known: %s", node, error)
                continue
            if found is not None and midnight == self._midnight:
                self._then[node] = found
        self._visit.changed()


def zone(catalogue: Catalogue) -> ZoneInfo:
    """The site's time zone; UTC when it tells none that is known here."""
    site = catalogue.model.objects.get("site")
    try:
        return ZoneInfo(str(site.properties.get("TimeZone") or "UTC") if site else "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


async def at(client: Client, node: str, moment: datetime) -> float | None:
    """What a counter showed at a moment, in Wh; None when nobody knows.

    A counter that began to count later would have shown less, by the energy of the powers it adds up.
    """
    if before := _good(await client.history_read(node, moment, _LONG_AGO, 1)):
        return before[0][1]
    first = _good(await client.history_read(node, moment, datetime.now(UTC), 1))
    if not first:
        return None
    began, shown = first[0]
    return shown - sum([await energy(client, power, moment, began) for power in METERS[node].powers])


async def energy(client: Client, power: str, start: datetime, end: datetime) -> float:
    """Wh of a power between two times, as far as the history knows it."""
    if start >= end:
        return 0.0
    total = await client.history_aggregate(power, start, end, 0, "Total2")
    return sum(joules for _, joules in _good(total)) / 3600


def _good(series: Series) -> list[tuple[datetime, float]]:
    rows = zip(series.times.tolist(), series.values.tolist(), strict=True)
    return [(moment, v) for t, v in rows if math.isfinite(v) and (moment := to_datetime(t)) is not None]


def rows(then: dict[str, float], readings: Readings) -> list[dict[str, Any]]:
    """One row for each counter that is known now and then. A counter that went back counts from zero."""
    found = []
    for node, meter in METERS.items():
        now = readings.number(node)
        if now is not None and node in then:
            kwh = max(0.0, now - then[node] if now >= then[node] else now) / 1000
            found.append({"c": meter.carrier, "word": meter.word, "kwh": round(kwh, 1), "text": numbers.signed(kwh, 1)})
    return found
