"""Runs cases of OpenEMS, and of any file of the same format, on this product's controllers and solver in virtual time.

    python tests/peers/run_openems_cases.py --cases FILE [--only ID] [--verbose] [--json]

Each case is `same`, `differs` or `not mapped`; reasons are in openems_differences.toml. The last line counts them. The exit
status is 0 unless a case fails to run, or differs without a reason.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from openems.case import Case, FormatError, NotMapped, load
from openems.families import FAMILIES

REASONS = Path(__file__).parent / "openems_differences.toml"


class Outcome(StrEnum):
    """What became of a case."""

    Same = "same"
    Differs = "differs"
    NotMapped = "not mapped"


@dataclass(frozen=True)
class Verdict:
    """A case's outcome. reason: why it is not the same; empty where nobody has given one. compared: how many values were."""

    id: str
    controller: str
    outcome: Outcome
    reason: str = ""
    compared: int = 0
    details: tuple[str, ...] = ()
    failed: bool = False

    @property
    def unexplained(self) -> bool:
        """It differs and nobody said why, or it did not run."""
        return self.failed or (self.outcome is Outcome.Differs and not self.reason)


@dataclass(frozen=True)
class Reasons:
    """Why cases differ, and why others have no counterpart, by id or controller with wildcards."""

    differs: dict[str, str] = field(default_factory=dict)
    not_mapped: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def load(path: Path = REASONS) -> Reasons:
        """The committed reasons."""
        data = tomllib.loads(path.read_text())
        tables = (
            {case: entry["reason"] for entry in data.get(name, []) for case in entry["cases"]}
            for name in ("differs", "not_mapped")
        )
        return Reasons(*tables)

    def of(self, case: Case, table: dict[str, str]) -> str:
        """The reason for a case, empty when there is none."""
        return next((why for name, why in table.items() if fnmatchcase(case.id, name) or case.controller == name), "")


def judge(case: Case, reasons: Reasons) -> Verdict:
    """Run a case and compare."""
    family = FAMILIES.get(case.controller)
    if family is None:
        return _not_mapped(case, reasons, f"there is no counterpart of {case.controller}")
    try:
        compared, found = family.compare(case)
    except NotMapped as why:
        return _not_mapped(case, reasons, str(why))
    except Exception as error:  # noqa: BLE001  # a case must not end the others
        return Verdict(
            case.id, case.controller, Outcome.Differs, "", 0, (f"failed: {type(error).__name__}: {error}",), failed=True
        )
    if not found:
        return Verdict(case.id, case.controller, Outcome.Same, "", compared)
    reason = reasons.of(case, reasons.differs)
    return Verdict(case.id, case.controller, Outcome.Differs, reason, compared, tuple(map(str, found)))


def _not_mapped(case: Case, reasons: Reasons, why: str) -> Verdict:
    return Verdict(case.id, case.controller, Outcome.NotMapped, reasons.of(case, reasons.not_mapped) or why)


def judge_all(cases: Iterable[Case], reasons: Reasons | None = None) -> list[Verdict]:
    """The verdicts of many cases."""
    known = Reasons.load() if reasons is None else reasons
    return [judge(case, known) for case in cases]


def summary(verdicts: Sequence[Verdict]) -> str:
    """same N, differs N, not mapped N"""
    return ", ".join(f"{outcome} {sum(v.outcome is outcome for v in verdicts)}" for outcome in Outcome)


def report(verdict: Verdict, verbose: bool) -> Iterable[str]:
    """The lines of a case: what and why; when verbose, or when nobody knows why, each value that differs."""
    why = verdict.reason or ("NO REASON IS GIVEN" if verdict.unexplained else f"{verdict.compared} values")
    yield f"{verdict.outcome:<11} {verdict.id} ({verdict.controller}): {why}"
    if verbose or verdict.unexplained:
        yield from (f"    {line}" for line in verdict.details)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Cases of OpenEMS on this product's controllers and solver.")
    parser.add_argument("--cases", type=Path, required=True, help="file of cases")
    parser.add_argument("--only", default="*", metavar="ID", help="cases whose id matches, * stands for anything")
    parser.add_argument("--verbose", action="store_true", help="every value that differs")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args(arguments)
    try:
        cases = [case for case in load(options.cases) if fnmatchcase(case.id, options.only)]
    except FormatError as error:
        print(error, file=sys.stderr)
        return 2
    verdicts = judge_all(cases)
    if options.json:
        counts = {outcome.value: sum(v.outcome is outcome for v in verdicts) for outcome in Outcome}
        print(json.dumps({"counts": counts, "cases": [asdict(v) for v in verdicts]}, indent=1))
    else:
        for verdict in verdicts:
            print(*report(verdict, options.verbose), sep="\n")
        print(summary(verdicts))
    return 1 if any(v.unexplained for v in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
