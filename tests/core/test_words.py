"""Numbers, reasons and constraints in words."""

from __future__ import annotations

from math import inf, nan

import pytest

from server.core.constraint import ACTIVE, Add, Bound, ConstraintError, Node, Reserve, Target
from server.core.words import duration, percent, power, render

N = Node("ess0", ACTIVE, 0, 1)


@pytest.mark.parametrize(
    ("watts", "text"),
    [
        (0, "0 W"),
        (-0.2, "0 W"),
        (849.6, "850 W"),
        (999.6, "1 kW"),
        (3249, "3.2 kW"),
        (-8000, "-8 kW"),
        (123_456, "123 kW"),
        (2.5e6, "2.5 MW"),
    ],
)
def test_power(watts, text):
    assert power(watts) == text


def test_percent_and_duration():
    assert [percent(15), percent(7.54)] == ["15 %", "7.5 %"]
    assert [duration(45), duration(720), duration(9000)] == ["45 s", "12 min", "2.5 h"]


@pytest.mark.parametrize(
    ("why", "text"),
    [
        ("as it is, {not a template}", "as it is, {not a template}"),
        (("keeps import under {:W}", 8000.0), "keeps import under 8 kW"),
        (("blocks at {:%}, {:s} left, {:.1f}, {}", 15, 30, 2.0, "x"), "blocks at 15 %, 30 s left, 2.0, x"),
    ],
)
def test_reasons(why, text):
    assert render(why) == text


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Bound(N, at_most=nan), "ess0: nan is not a finite number"),
        (lambda: Target(N, equals=inf), "ess0: inf is not a finite number"),
        (lambda: Add(N, nan), "ess0: nan is not a finite number"),
        (lambda: Reserve(N, up=inf), "ess0: inf is not a finite number"),
        (lambda: Reserve(N, up=-1), "not negative"),
        (lambda: Bound(N), "one of at_least, at_most, equals"),
        (lambda: Bound(N, equals=1, at_most=2), "equals excludes"),
        (lambda: Bound(N, at_least=3, at_most=2), "at_least 3 is above at_most 2"),
    ],
)
def test_constraints_that_say_nothing_sensible_are_refused(make, problem):
    with pytest.raises(ConstraintError, match=problem):
        make()
