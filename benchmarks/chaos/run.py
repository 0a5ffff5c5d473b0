"""One run: load and faults together, quiet, then what must hold."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from sqlalchemy import text

from benchmarks.chaos.checks import Findings, batches_again, examine
from benchmarks.chaos.client import Accepted, Client, Load, submit_all
from benchmarks.chaos.commits import LATE, overlaps
from benchmarks.chaos.faults import Injector, percentile
from benchmarks.chaos.function import calls
from benchmarks.chaos.plan import Fault, schedule
from benchmarks.chaos.stack import Death, Setup, Stack, running
from benchmarks.report import Row
from repick.errors import Unavailable
from repick.store import waiting
from repick.store.database import Database

STEP_S = 0.1


@dataclass(frozen=True, slots=True)
class Outcome:
    findings: Findings
    accepted: int
    injected: tuple[str, ...]
    rescues: tuple[tuple[str, float], ...]
    final_after_s: float
    """From the last fault until the last job was final, seconds."""
    again_a_kill: tuple[int, ...]
    """For each killed fine worker, how many batches were scored again for its death."""
    forgotten: int = 0
    """Slices that wait while their queue stands empty: nobody will ever hear of them."""
    died: tuple[Death, ...] = ()
    """Processes that ended by themselves, and no fault was the cause."""
    overlaps: int = 0
    """Slices that were another's when a late batch of theirs came to its commit."""

    @property
    def violations(self) -> int:
        return self.findings.violations + self.forgotten + len(self.died)

    def harm_without(self, broken: str) -> int:
        """What only the lack of this protection explains; not what a slow machine left undone."""
        found = self.findings
        if broken == "sweep":
            return self.forgotten
        return found.stale + found.overdone + found.different + found.doubled

    def rows(self) -> list[Row]:
        found = self.findings
        waits = [seconds for _, seconds in self.rescues]
        return [
            Row("accepted", self.accepted, "jobs"),
            Row("lost", found.lost, "jobs", 0, "<="),
            Row("failed_unexpected", found.failed_unexpected, "jobs", 0, "<="),
            Row("scored_again", found.scored_again, "pairs"),
            Row("different", found.different, "scores", 0, "<="),
            Row("unfinished", found.unfinished, "jobs", 0, "<="),
            Row("doubled", found.doubled, "jobs", 0, "<="),
            Row("leases_held", found.held, "slices", 0, "<="),
            Row("slices_overdone", found.overdone, "slices", 0, "<="),
            Row("stale_commits", found.stale, "batches", 0, "<="),
            Row("overlaps", self.overlaps, "slices"),
            Row("forgotten", self.forgotten, "slices", 0, "<="),
            Row("died_by_themselves", len(self.died), "processes", 0, "<="),
            Row("faults", len(self.injected), "faults"),
            Row("rescue_p99_s", percentile(waits, 0.99), "s", 45, "<="),
            Row("final_after_last_fault_s", self.final_after_s, "s", 120, "<="),
            Row("rescored_batches_per_kill", max(self.again_a_kill, default=0), "batches", 1, "<="),
        ]

    def table(self) -> str:
        """A line for each kind of fault: how often, and how soon orphaned slices were rescued."""
        lines = [f"{'fault':<20} {'times':>5} {'orphans':>8} {'p50 s':>7} {'p99 s':>7}"]
        for kind, times in sorted(Counter(self.injected).items()):
            waits = [seconds for name, seconds in self.rescues if name == kind]
            p50, p99 = (f"{percentile(waits, share):.1f}" if waits else "" for share in (0.5, 0.99))
            lines.append(f"{kind:<20} {times:>5} {len(waits):>8} {p50:>7} {p99:>7}")
        lines += [f"died by itself: {one.name}, with {one.code}\n{one.last}" for one in self.died]
        return "\n".join([*lines, f"violations: {self.violations}"])


def run(
    setup: Setup,
    load: Load,
    scale: float = 1.0,
    *,
    faults: Sequence[Fault] | None = None,
    quiet_s: float = 180,
) -> Outcome:
    """The given faults, or the seeded schedule's at this scale.

    Raises Unavailable where the service does not even start, or a client is refused."""
    with running(setup) as stack:
        database = Database(stack.servers.database_url, connections=2)
        documents = [f"document {number}" for number in range(load.k)]
        client = Client(stack.api_url, stack.key, stack.folder / "accepted.jsonl")
        try:
            client.load(documents)
            injector = Injector(stack, database, random.Random(load.seed + 1))
            planned = schedule(load.seed, load.seconds, scale) if faults is None else faults
            last_fault = _storm(injector, client, load, list(planned))
            final_after = _until_final(injector, client.accepted, last_fault, quiet_s)
            return _outcome(stack, injector, client.accepted, documents, final_after)
        finally:
            client.close()
            database.close()


def run_broken(broken: str, load: Load, scale: float, *, control: bool = False) -> Outcome:
    """A run without `fencing` or without the `sweep`, with what that protection is there for.

    Commits that come late, with slow batches, so that another is in the middle of the slice by
    then; messages that are surely lost, early, so that somebody waits for them. The `control` is
    the same run with nothing broken.
    """
    kind, count = {"fencing": (LATE, 5), "sweep": ("lose messages", 1)}[broken]
    planned = [Fault((no + 0.5) / (count + 1) * load.seconds, kind) for no in range(count)]
    setup = Setup(broken="" if control else broken)
    if broken == "fencing":
        setup = replace(setup, delay_s=0.05)
        load = replace(load, poisoned=0, cancelled=0)
    else:
        planned += schedule(load.seed, load.seconds, scale)
    faults = sorted(planned, key=lambda fault: fault.at_s)
    return run(setup, load, faults=faults, quiet_s=60)


def _storm(injector: Injector, client: Client, load: Load, faults: list[Fault]) -> float:
    """All submits and all faults; gives when the last fault struck."""
    stopping, started = threading.Event(), time.monotonic()
    last = started
    with ThreadPoolExecutor(1, "client") as pool:
        submits = pool.submit(submit_all, client, load, stopping)
        try:
            while faults or not submits.done():
                if faults and time.monotonic() - started >= faults[0].at_s:
                    injector.inject(faults.pop(0).kind)
                    last = time.monotonic()
                injector.step()
                time.sleep(STEP_S)
        finally:
            stopping.set()
        submits.result()
    return last


def _until_final(
    injector: Injector, accepted: list[Accepted], last_fault: float, within_s: float
) -> float:
    """Wait until every job is final and nothing stalls; gives the seconds since the last fault."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        injector.step()
        if injector.quiet and _live(injector.database) == 0:
            break
        time.sleep(STEP_S)
    return time.monotonic() - last_fault


def _live(database: Database) -> int:
    try:
        with database.begin() as connection:
            statement = text("SELECT count(*) FROM job WHERE finished_at IS NULL")
            return int(connection.execute(statement).scalar_one())
    except Unavailable:
        return -1


def _outcome(
    stack: Stack,
    injector: Injector,
    accepted: list[Accepted],
    documents: list[str],
    final_after: float,
) -> Outcome:
    made = calls(stack.folder)
    with injector.database.begin() as connection:
        found = examine(connection, accepted, documents, made, 2 * stack.setup.sweep_s)
        waited_for = waiting.queues_waited_for(connection)
    empty = [queue for queue in waited_for if not stack.waiting_messages(queue)]
    return Outcome(
        found,
        len(accepted),
        tuple(injector.injected),
        tuple(injector.rescues),
        final_after,
        tuple(batches_again(made, injector.killed)),
        sum(waited_for[queue] for queue in empty),
        tuple(injector.unexplained),
        overlaps(stack.folder),
    )
