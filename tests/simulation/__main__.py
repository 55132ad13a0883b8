"""`python -m tests.simulation --days 30 --seeds 20`: simulate whole sites; exit status 1 when an invariant does not hold.

python -m tests.simulation --seed 7 --days 30                             one seed
python -m tests.simulation --seed 7 --days 30 --until-step 4711 --trace   the same up to a step, told step by step
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from .run import Figures, Simulation, Violation


def main() -> int:
    """Run the seeds, as many at a time as there are cores."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Whole sites in virtual time, from seeds.")
    parser.add_argument("--days", type=float, default=30.0)
    parser.add_argument("--seeds", type=int, default=20, help="so many, from --first on")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--until-step", type=int)
    parser.add_argument("--trace", action="store_true", help="tell every step")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="seeds at a time")
    options = parser.parse_args()
    work = partial(simulate, days=options.days, until_step=options.until_step, trace=options.trace)
    begun = time.perf_counter()
    if options.seed is not None:
        failed, seeds = ([] if work(options.seed) else [options.seed]), 1
    else:
        chosen = range(options.first, options.first + options.seeds)
        failed, seeds = _side_by_side(work, chosen, options.jobs), len(chosen)
    print(f"{seeds} seeds of {options.days:g} days in {time.perf_counter() - begun:.0f} s, failed: {failed or 'none'}")
    return 1 if failed else 0


def _side_by_side(work: partial[bool], seeds: Sequence[int], jobs: int) -> list[int]:
    """The seeds that failed."""
    with ProcessPoolExecutor(jobs) as pool:
        return [seed for seed, kept in zip(seeds, pool.map(work, seeds), strict=True) if not kept]


def simulate(seed: int, days: float, until_step: int | None = None, *, trace: bool = False) -> bool:
    """One seed; False when it fails. Prints what was done, or what failed and how to see it again."""
    begun = time.perf_counter()
    simulation = Simulation(seed, print if trace else None)
    try:
        figures = simulation.run(days, until_step)
    except Violation as error:
        print(failure(simulation, days, error), flush=True)
        return False
    print(told(seed, figures, time.perf_counter() - begun), flush=True)
    return True


def told(seed: int, figures: Figures, seconds: float) -> str:
    """A line about a seed that kept its invariants."""
    return (
        f"seed {seed}: {figures.sim_s / 86_400:.2f} days in {figures.stepped} steps ({figures.stepped / seconds:.0f}/s), "
        f"{figures.deeds} deeds, {figures.faults} faults, {figures.restarts} restarts, {figures.calms} calm, "
        f"{sum(figures.checked.values())} judgements, digest {figures.digest}"
    )


def failure(simulation: Simulation, days: float, error: Violation) -> str:
    """What failed, where, and how to see it again."""
    seed, step = simulation.case.seed, simulation.cycle
    cause = f" from {error.__cause__!r}" if error.__cause__ is not None else ""
    return f"seed {seed} fails at step {step}: {error}{cause}\n{simulation.describe()}\n  replay: {simulation.replay(days)}"


if __name__ == "__main__":
    sys.exit(main())
