"""Profiles: a device model as one TOML file.

A profile says which registers are which channels, how they are scaled, which values are nonsense, which registers
are set-points and how the device protects itself when nobody writes any more. README.md explains every key; the shipped
files are examples. A wrong profile is refused with the file, the field and what was expected.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from server.core import natures as known_natures
from server.core.channel import Access, DataType, Spec
from server.core.errors import EmsError
from server.core.nature import Nature

FOLDER = Path(__file__).parent / "profiles"
MAX_BLOCK = 125


class ProfileError(EmsError):
    """A profile is missing or wrong; the text is `file: field: what is wrong`."""


class Kind(StrEnum):
    """How registers make a number."""

    INT16 = "int16"
    UINT16 = "uint16"
    INT32 = "int32"
    UINT32 = "uint32"
    INT64 = "int64"
    UINT64 = "uint64"
    FLOAT32 = "float32"
    FLOAT64 = "float64"

    @property
    def code(self) -> str:
        """Letter of `struct`."""
        return _CODES[self]

    @property
    def words(self) -> int:
        """Registers of one number."""
        return _WORDS[self.code]

    @property
    def is_float(self) -> bool:
        """A floating-point number."""
        return self.code in "fd"

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest number the registers can hold."""
        if self.is_float:
            return -_FLOAT_MAX[self], _FLOAT_MAX[self]
        bits = 16 * self.words
        return (0, 2**bits - 1) if self.code.isupper() else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


_CODES = {
    Kind.INT16: "h", Kind.UINT16: "H", Kind.INT32: "i", Kind.UINT32: "I",
    Kind.INT64: "q", Kind.UINT64: "Q", Kind.FLOAT32: "f", Kind.FLOAT64: "d",
}  # fmt: skip
_FLOAT_MAX = {Kind.FLOAT32: (2 - 2**-23) * 2.0**127, Kind.FLOAT64: sys.float_info.max}
_WORDS = {"h": 1, "H": 1, "i": 2, "I": 2, "f": 2, "q": 4, "Q": 4, "d": 4}

Table = Literal["holding", "input"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Quantity(_Strict):
    """A number in registers: quantity = registers · scale + offset."""

    address: int = Field(ge=0, le=65535)
    type: Kind
    scale: float = 1.0
    offset: float = 0.0

    @model_validator(mode="after")
    def _scale_is_not_zero(self) -> Self:
        if self.scale == 0.0:
            raise ValueError("scale: 0 would lose the value")
        return self


class Point(Quantity):
    """A channel that is read.

    invalid: register numbers that mean "no value". low, high: plausible range of the quantity.
    states: register number to name of the channel's state. bit: the one bit that is the channel.
    bits: bit number to name of a state; the highest of those that are set is the value. length: elements of an array channel.
    """

    channel: str
    invalid: tuple[float, ...] = ()
    low: float | None = None
    high: float | None = None
    states: Mapping[int, str] | None = None
    bit: int | None = Field(None, ge=0, le=63)
    bits: Mapping[int, str] | None = None
    length: int = Field(1, ge=1, le=MAX_BLOCK)

    @property
    def words(self) -> int:
        """Registers the point takes."""
        return self.type.words * self.length


class Block(_Strict):
    """Registers that are read with one request. poll: "fast" is each cycle; otherwise seconds between reads."""

    name: str
    table: Table = "holding"
    address: int = Field(ge=0, le=65535)
    count: int = Field(ge=1, le=MAX_BLOCK)
    poll: Literal["fast"] | float = "fast"
    channels: tuple[Point, ...]

    @property
    def fast(self) -> bool:
        """Read each cycle."""
        return self.poll == "fast"

    @property
    def period_s(self) -> float:
        """Seconds between reads; 0 for a fast block."""
        return 0.0 if isinstance(self.poll, str) else self.poll


class Setpoint(Quantity):
    """A channel that is written.

    low, high: what the device accepts, the default is what the registers can hold. deadband: smaller changes are not written.
    min_interval_s: shortest time between two writes. refresh_s: an unchanged value is written again after this time (0: never).
    fail_safe: value when nobody holds the set-point. read_back: read after each write and compare.
    """

    channel: str
    fail_safe: float
    low: float | None = None
    high: float | None = None
    deadband: float = Field(0.0, ge=0.0)
    min_interval_s: float = Field(0.0, ge=0.0)
    refresh_s: float | None = Field(None, ge=0.0)
    read_back: bool = True
    function: Literal[6, 16] = 16


class Watchdog(Quantity):
    """The register that makes the device fall to safety by itself. value: written as quantity; timeout_s: what it means."""

    value: float
    timeout_s: float = Field(gt=0.0)
    function: Literal[6, 16] = 16


class Identity(_Strict):
    """Text registers that say which device answers; `expect` is how they begin."""

    table: Table = "holding"
    address: int = Field(ge=0, le=65535)
    count: int = Field(ge=1, le=MAX_BLOCK)
    expect: str = Field(min_length=1)


class Alive(_Strict):
    """A register of a fast block that changes while the device works; unchanged for `within_s` means frozen."""

    address: int = Field(ge=0, le=65535)
    within_s: float = Field(gt=0.0)


class Profile(_Strict):
    """A device model. natures: what it can do; source: of the register facts; constants: channels that are in no register."""

    title: str
    natures: tuple[str, ...] = Field(min_length=1)
    source: str = ""
    verified: bool = False
    word_order: Literal["big", "little"] = "big"
    writes_per_minute: float = Field(1200.0, gt=0.0)
    properties: Mapping[str, str] = Field(default_factory=dict)
    constants: Mapping[str, float] = Field(default_factory=dict)
    block: tuple[Block, ...] = Field(min_length=1)
    setpoint: tuple[Setpoint, ...] = ()
    watchdog: Watchdog | None = None
    identity: Identity | None = None
    alive: Alive | None = None

    @property
    def classes(self) -> tuple[type[Nature], ...]:
        """The natures as classes."""
        return tuple(_nature(name) for name in self.natures)

    @property
    def specs(self) -> dict[str, Spec]:
        """Every channel the natures know, by name."""
        found: dict[str, Spec] = dict(known_natures.Device.channels())
        for nature in self.classes:
            found = nature.channels() | found
        return found


def load_profile(name: str) -> Profile:
    """The profile called `name`, or in the file `name` when that ends in .toml. ProfileError with everything that is wrong."""
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ProfileError(_missing(name, path, error)) from error
    return parse_profile(path.name, text)


def parse_profile(file: str, text: str) -> Profile:
    """The profile written in `text`; `file` is its name in messages."""
    try:
        profile = Profile.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"{file}: {error}") from error
    except ValidationError as error:
        raise ProfileError("; ".join(f"{file}: {_problem(e)}" for e in _innermost(error.errors()))) from error
    problems = [f"{file}: {problem}" for problem in _check(profile)]
    if problems:
        raise ProfileError("; ".join(problems))
    return profile


def shipped() -> list[str]:
    """Names of the shipped profiles."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def _missing(name: str, path: Path, error: OSError) -> str:
    if name.endswith(".toml"):
        return f"{path}: cannot be read: {error.strerror}"
    return f"'{name}' is no profile; shipped are {', '.join(shipped())}, and a path may end in .toml"


def _innermost(errors: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Problems without those of lists that only fail because one of their elements does."""
    places = [e["loc"] for e in errors]
    return [e for e in errors if not any(len(p) > len(e["loc"]) and p[: len(e["loc"])] == e["loc"] for p in places)]


def _problem(error: Mapping[str, Any]) -> str:
    """One problem pydantic found, as `field: what is wrong`."""
    if error["type"] == "tuple_type":
        error = {**error, "msg": "Input should be a list"}
    field = ""
    for part in error["loc"]:
        field += f"[{part}]" if isinstance(part, int) else f".{part}"
    return f"{field.lstrip('.') or 'profile'}: {error['msg']}, found {error['input']!r}"[:300]


def _nature(name: str) -> type[Nature]:
    found = getattr(known_natures, name, None)
    if not (isinstance(found, type) and issubclass(found, Nature)):
        raise LookupError(name)
    return found


def _check(profile: Profile) -> Iterator[str]:
    """What the types cannot say: names that must exist, places that must fit."""
    for name in profile.natures:
        try:
            _nature(name)
        except LookupError:
            yield f"natures: '{name}' is no nature"
            return
    checker = _Checker(profile.specs)
    for b, block in enumerate(profile.block):
        yield from checker.block(f"block[{b}]", block)
    for s, setpoint in enumerate(profile.setpoint):
        yield from checker.setpoint(f"setpoint[{s}]", setpoint)
    for name in profile.constants:
        yield from checker.channel("constants", name, (Access.READ,))
    if profile.watchdog:
        yield from checker.registers("watchdog", profile.watchdog, profile.watchdog.function)
        yield from checker.fits("watchdog.value", profile.watchdog.value, *register_limits(profile.watchdog))
    if profile.alive and not any(b.fast and b.address <= profile.alive.address < b.address + b.count for b in profile.block):
        yield f"alive.address: {profile.alive.address} is in no fast block"


@dataclass
class _Checker:
    specs: Mapping[str, Spec]

    def __post_init__(self) -> None:
        self._seen: set[str] = set()

    def channel(self, where: str, name: str, access: tuple[Access, ...]) -> Iterator[str]:
        """The channel exists, is named once, and may be used this way."""
        spec = self.specs.get(name)
        if spec is None:
            yield f"{where}.channel: '{name}' is no channel of the profile's natures"
        elif spec.needs:
            yield f"{where}.channel: '{name}' is decided by the engine"
        elif spec.access not in access:
            yield f"{where}.channel: '{name}' is {spec.access}; a set-point belongs in [[setpoint]], a reading in a block"
        elif spec.data_type is DataType.STRING:
            yield f"{where}.channel: '{name}' is a text, registers hold numbers"
        elif name in self._seen:
            yield f"{where}.channel: '{name}' is there twice"
        self._seen.add(name)

    def block(self, where: str, block: Block) -> Iterator[str]:
        """Every point lies inside the block and fits its channel."""
        if not block.fast and not 0.0 < block.period_s <= 86400.0:
            yield f'{where}.poll: {block.poll} s is not "fast" and not in 0..86400'
        for p, point in enumerate(block.channels):
            here = f"{where}.channels[{p}]"
            yield from self.channel(here, point.channel, (Access.READ,))
            if not block.address <= point.address <= block.address + block.count - point.words:
                last = block.address + block.count - 1
                yield f"{here}.address: {point.address} with {point.words} registers is outside {block.address}..{last}"
            yield from self._meaning(here, point)

    def _meaning(self, where: str, point: Point) -> Iterator[str]:
        spec = self.specs.get(point.channel)
        if sum(x is not None for x in (point.states, point.bit, point.bits)) > 1:
            yield f"{where}: states, bit and bits exclude each other"
        if point.type.is_float and (point.bit is not None or point.bits):
            yield f"{where}.type: {point.type} has no bits"
        if spec is None:
            return
        if point.length > 1 and not spec.array:
            yield f"{where}.length: '{point.channel}' is no array"
        known = spec.states.__members__ if spec.states else {}
        for state in (*(point.states or {}).values(), *(point.bits or {}).values()):
            if state not in known:
                yield f"{where}: '{state}' is no state of {point.channel}; it has {', '.join(known) or 'none'}"

    def setpoint(self, where: str, setpoint: Setpoint) -> Iterator[str]:
        """The set-point may be written, and its fail-safe value is one the device accepts."""
        yield from self.channel(where, setpoint.channel, (Access.PROPOSE, Access.ENGINE))
        yield from self.fits(f"{where}.fail_safe", setpoint.fail_safe, *quantity_limits(setpoint))
        yield from self.registers(where, setpoint, setpoint.function)

    def fits(self, where: str, value: float, low: float, high: float) -> Iterator[str]:
        """The value can be written."""
        if not low <= value <= high:
            yield f"{where}: {value} is not in {low:g}..{high:g}"

    def registers(self, where: str, number: Quantity, function: int) -> Iterator[str]:
        """The function writes all registers of the number."""
        if function == 6 and number.type.words != 1:
            yield f"{where}.function: 6 writes one register, {number.type} takes {number.type.words}"


def register_limits(number: Quantity) -> tuple[float, float]:
    """Lowest and highest quantity that the registers can hold."""
    low, high = sorted(limit * number.scale + number.offset for limit in number.type.limits)
    return low, high


def quantity_limits(setpoint: Setpoint) -> tuple[float, float]:
    """Lowest and highest quantity that may be written."""
    low, high = register_limits(setpoint)
    return low if setpoint.low is None else max(setpoint.low, low), high if setpoint.high is None else min(setpoint.high, high)
