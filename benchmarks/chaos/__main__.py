"""`python -m benchmarks.chaos [--seed N] [--minutes M | --quick] [--json F] [--only FAULT]`.

With `--break WHAT [--control]` in place of `--only` something is broken on purpose; with
`scenario NAME [--times N]` it is one question at a time.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from benchmarks.chaos.client import Load
from benchmarks.chaos.plan import COUNTS, Fault, only, quick
from benchmarks.chaos.run import Outcome, run, run_broken
from benchmarks.chaos.scenarios import SCENARIOS, scenario
from benchmarks.chaos.stack import Setup
from benchmarks.report import Row, machine, print_table, write_json

LONG_MINUTES = 20.0
"""What the issue's counts of faults and 1,000 jobs are spread over."""
QUICK_JOBS = 20
"""In six seconds: so many that a worker that is killed holds something."""


def main(argv: list[str]) -> int:
    """1 where anything was violated or a goal was missed; of a broken system, where nothing was."""
    # Whoever ends the harness ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos")
    parser.add_argument("--seed", type=int, default=1)
    long = parser.add_mutually_exclusive_group()
    long.add_argument("--minutes", type=float, help="2, with --break fencing 1")
    long.add_argument("--quick", action="store_true", help="five faults in six seconds")
    parser.add_argument("--jobs", type=int, default=0, help="50 a minute unless given")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--control", action="store_true", help="--break's run, nothing broken")
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--only", choices=sorted(COUNTS), help="as often as in the long run")
    one.add_argument("--break", dest="broken", choices=("fencing", "sweep"), default="")
    parser.add_argument("what", nargs="?", choices=("storm", "scenario"), default="storm")
    parser.add_argument("name", nargs="?", choices=sorted(SCENARIOS))
    parser.add_argument("--times", type=int, default=0, help="of a scenario")
    asked = parser.parse_args(argv)
    if asked.what == "scenario":
        if asked.name is None:
            parser.error(f"scenario needs one of {', '.join(sorted(SCENARIOS))}")
        return _report(f"chaos-{asked.name}", scenario(asked.name, asked.times), asked.json)
    minutes = _minutes(asked)
    jobs = asked.jobs or (QUICK_JOBS if asked.quick else max(5, round(50 * minutes)))
    load = Load(jobs, 50, minutes * 60, asked.seed)
    print(f"seed {asked.seed}: {jobs} jobs of 50 candidates over {minutes:g} minutes")
    scale = min(1.0, minutes / LONG_MINUTES)
    if asked.broken:
        outcome = run_broken(asked.broken, load, scale, control=asked.control)
        name = f"chaos-with{'' if asked.control else 'out'}-{asked.broken}"
    else:
        outcome, name = run(Setup(), load, scale, faults=_faults(asked, load)), "chaos"
    print(outcome.table())
    missed = _report(name, outcome.rows(), asked.json, quick=minutes < LONG_MINUTES)
    if asked.broken and not asked.control:
        return caught(asked.broken, outcome)
    if asked.broken == "fencing" and not outcome.overlaps:
        print("no slice was another's when its late batch came: nothing was tried", file=sys.stderr)
        return 1
    return missed or int(outcome.violations > 0)


def _minutes(asked: argparse.Namespace) -> float:
    if asked.minutes:
        return float(asked.minutes)
    if asked.quick:
        return 0.1
    return 1.0 if asked.broken == "fencing" else 2.0


def _faults(asked: argparse.Namespace, load: Load) -> list[Fault] | None:
    """None for the seed's own schedule."""
    if asked.only:
        return only(asked.only, load.seed, load.seconds)
    return quick(load.seed, load.seconds) if asked.quick else None


def caught(broken: str, outcome: Outcome) -> int:
    """1 where the harness found nothing wrong with a system that is broken: it proves nothing."""
    found = outcome.harm_without(broken)
    if found:
        print(f"without {broken}: caught, {found} times")
    else:
        print(f"without {broken}: NOT CAUGHT, a broken system passed", file=sys.stderr)
    return int(not found)


def _report(name: str, rows: list[Row], path: Path | None, *, quick: bool = False) -> int:
    print_table(rows)
    if path:
        write_json(path, name, machine(), rows, quick=quick)
    return int(any(row.met is False for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
