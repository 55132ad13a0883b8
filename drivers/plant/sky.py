"""Sun, clouds and what a tilted PV plane receives from them.

Sources: declination and equation of time J. W. Spencer, "Fourier series representation of the position of the sun",
Search 2 (1971) 172; relative air mass F. Kasten, A. T. Young, Appl. Opt. 28 (1989) 4735, doi:10.1364/AO.28.004735;
direct irradiance A. B. Meinel, M. P. Meinel, Applied Solar Energy (1976): 1353 · 0.7^(AM^0.678) W/m², and a tenth of it
as diffuse light of a clear sky. Good to some per cent, which is what a demonstration needs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .noise import Floats, octaves, smooth

DAY_S = 86400.0
YEAR_DAYS = 365.2425


@dataclass(frozen=True, slots=True)
class Place:
    """Where the plant stands and how its modules face. Degrees; latitude + north, longitude + east, azimuth 180 = south."""

    latitude: float = 48.2
    longitude: float = 16.4
    tilt: float = 30.0
    azimuth: float = 180.0


def day_angle(unix_s: ArrayLike) -> Floats:
    """Angle of the year in radians, 0 at the start of January."""
    days = np.asarray(unix_s, np.float64) / DAY_S
    return 2.0 * np.pi * np.mod(days, YEAR_DAYS) / YEAR_DAYS


def declination(unix_s: ArrayLike) -> Floats:
    """Declination of the sun in radians (Spencer 1971)."""
    g = day_angle(unix_s)
    return (
        0.006918 - 0.399912 * np.cos(g) + 0.070257 * np.sin(g) - 0.006758 * np.cos(2 * g)
        + 0.000907 * np.sin(2 * g) - 0.002697 * np.cos(3 * g) + 0.00148 * np.sin(3 * g)
    )  # fmt: skip


def equation_of_time(unix_s: ArrayLike) -> Floats:
    """Apparent less mean solar time in seconds (Spencer 1971)."""
    g = day_angle(unix_s)
    minutes = 229.18 * (
        0.000075 + 0.001868 * np.cos(g) - 0.032077 * np.sin(g) - 0.014615 * np.cos(2 * g) - 0.040849 * np.sin(2 * g)
    )
    return minutes * 60.0


def solar_time(unix_s: ArrayLike, place: Place) -> Floats:
    """Apparent solar time in seconds of the day, 43200 when the sun is highest."""
    moment = np.asarray(unix_s, np.float64)
    return np.mod(moment + place.longitude * 240.0 + equation_of_time(moment), DAY_S)


def unix_at_solar_time(day_unix_s: float, solar_s: float, place: Place) -> float:
    """The moment of the UTC day of `day_unix_s` at which the apparent solar time is `solar_s` seconds."""
    midnight = day_unix_s - day_unix_s % DAY_S
    guess = midnight + solar_s - place.longitude * 240.0
    return guess - float(equation_of_time(guess))


def _sun(unix_s: ArrayLike, place: Place) -> tuple[Floats, Floats, Floats]:
    """Unit vector to the sun as (east, north, up)."""
    hour = (solar_time(unix_s, place) - 43200.0) / 43200.0 * np.pi
    tilt, latitude = declination(unix_s), np.radians(place.latitude)
    east = -np.cos(tilt) * np.sin(hour)
    north = np.cos(latitude) * np.sin(tilt) - np.sin(latitude) * np.cos(tilt) * np.cos(hour)
    up = np.sin(latitude) * np.sin(tilt) + np.cos(latitude) * np.cos(tilt) * np.cos(hour)
    return east, north, up


def elevation(unix_s: ArrayLike, place: Place) -> Floats:
    """Elevation of the sun in degrees, negative below the horizon."""
    return np.degrees(np.arcsin(np.clip(_sun(unix_s, place)[2], -1.0, 1.0)))


def clear_irradiance(unix_s: ArrayLike, place: Place) -> Floats:
    """Irradiance of the module plane under a clear sky in W/m²."""
    east, north, up = _sun(unix_s, place)
    tilt, azimuth = np.radians(place.tilt), np.radians(place.azimuth)
    incidence = (east * np.sin(azimuth) + north * np.cos(azimuth)) * np.sin(tilt) + up * np.cos(tilt)
    height = np.degrees(np.arcsin(np.clip(up, -1.0, 1.0)))
    risen = height > 0.0
    safe = np.where(risen, height, 1.0)
    air_mass = 1.0 / (np.sin(np.radians(safe)) + 0.50572 * (safe + 6.07995) ** -1.6364)
    direct = 1353.0 * 0.7 ** (air_mass**0.678)
    return np.where(risen, direct * np.clip(incidence, 0.0, None) + 0.1 * direct, 0.0)


def cloud_cover(unix_s: ArrayLike, seed: int) -> Floats:
    """Cloud cover 0 to 1: the weather of hours sets how many of the passing clouds of minutes are seen."""
    weather = smooth(seed, unix_s, 3.0 * 3600.0)
    passing = octaves(seed + 100, unix_s, (420.0, 130.0, 45.0))
    return np.clip((0.6 * weather + passing - 0.72) * 2.5, 0.0, 1.0)


def irradiance(clear: float, cover: float) -> float:
    """Irradiance in W/m² that `cover` (0 to 1) leaves of the clear sky's; full cover leaves a fifth."""
    return clear * (1.0 - 0.8 * cover)


def air_temperature(unix_s: ArrayLike, place: Place, seed: int) -> Floats:
    """Air temperature in °C: a yearly and a daily wave, and the weather."""
    moment = np.asarray(unix_s, np.float64)
    year = -10.0 * np.cos(day_angle(moment) - 0.35)
    day = -4.0 * np.cos(2.0 * np.pi * (solar_time(moment, place) - 3 * 3600.0) / DAY_S)
    return 11.0 + year + day + 4.0 * (smooth(seed + 200, moment, 6 * 3600.0) - 0.5)
