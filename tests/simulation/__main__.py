"""`python -m tests.simulation --days 30 --seeds 20`: simulate whole sites; exit status 1 when an invariant does not hold.

    python -m tests.simulation --seed 7 --days 30                          one seed
    python -m tests.simulation --seed 7 --days 30 --until-step 4711 --trace   the same up to a step, told step by step
"""

from __future__ import annotations

import argparse
import sys
import time

from .run import Simulation, Violation


def main() -> int:
    """Run the seeds one after the other."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Whole sites in virtual time, from seeds.")
    parser.add_argument("--days", type=float, default=30.0)
    parser.add_argument("--seeds", type=int, default=20, help="so many, from --first on")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--until-step", type=int)
    parser.add_argument("--trace", action="store_true", help="tell every step")
    options = parser.parse_args()
    seeds = [options.seed] if options.seed is not None else range(options.first, options.first + options.seeds)
    failed = [seed for seed in seeds if not simulate(seed, options.days, options.until_step, trace=options.trace)]
    print(f"{len(seeds)} seeds, {options.days:g} days each, failed: {failed or 'none'}")
    return 1 if failed else 0


def simulate(seed: int, days: float, until_step: int | None, *, trace: bool) -> bool:
    """One seed; False when it fails, with how to replay it."""
    begun = time.perf_counter()
    simulation = Simulation(seed, print if trace else None)
    try:
        figures = simulation.run(days, until_step)
    except Violation as error:
        print(failure(simulation, days, error), flush=True)
        return False
    seconds = time.perf_counter() - begun
    print(
        f"seed {seed}: {figures.sim_s / 86_400:.2f} days, {figures.stepped} steps in {seconds:.1f} s "
        f"({figures.stepped / seconds:.0f}/s), {figures.deeds} deeds, {figures.faults} faults, {figures.restarts} restarts, "
        f"{figures.calms} calms, {figures.modes}, digest {figures.digest}",
        flush=True,
    )
    return True


def failure(simulation: Simulation, days: float, error: Violation) -> str:
    """What failed, where, and how to see it again."""
    seed, step = simulation.case.seed, simulation.cycle
    cause = f" from {error.__cause__!r}" if error.__cause__ is not None else ""
    return f"seed {seed} fails at step {step}: {error}{cause}\n{simulation.describe()}\n  replay: {simulation.replay(days)}"


if __name__ == "__main__":
    sys.exit(main())
