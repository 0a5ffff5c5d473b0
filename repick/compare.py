"""Two runs beside each other: what entered, left and moved, and how alike two orders are. Pure.

A document is its external id. An order is compared as it is kept: cut at top_n, so that two orders
usually share only a part of their documents.

* **Kendall's τ** is τ-b over the documents of both orders, where all that an order lacks stand tied
  on one place below its last. 1 is the same order, −1 the reversed one; None where it has no
  meaning (fewer than two documents, or an empty order).
* **Rank-biased overlap** is RBO_ext (Webber, Moffat, Zobel 2010, eq. 32) with p = 0.9, which puts
  86 % of its weight on the first ten places: 1 for equal orders, 0 for disjoint ones.
* **Churn** of a query is the share of the newer order's documents that the older one lacks.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

RBO_P = 0.9
TOP_MOVERS = 20


@dataclass(frozen=True, slots=True)
class Order:
    """One query's kept order: documents, the best first, with their scores and contents."""

    ids: Sequence[str]
    scores: Sequence[float]
    content_ids: Sequence[int]


@dataclass(frozen=True, slots=True)
class Change:
    """A document in both orders; ranks from 1, and whether its content became another one."""

    id: str
    before: int
    after: int
    score_change: float
    content_changed: bool


@dataclass(frozen=True, slots=True)
class QueryDiff:
    """One query in two runs. `entered` and `left` give ranks, from 1; `changed` lists what moved,
    what has another score, and what has another content, by its newer rank."""

    query: str
    entered: Mapping[str, int]
    left: Mapping[str, int]
    changed: Sequence[Change]
    kept: int
    tau: float | None
    rbo: float
    churn: float
    top1_changed: bool

    @property
    def same(self) -> bool:
        return not (
            self.entered or self.left or any(one.before != one.after for one in self.changed)
        )


def diff(query: str, before: Order, after: Order) -> QueryDiff:
    """What changed for a query from an older order to a newer one."""
    old = {one: rank for rank, one in enumerate(before.ids, 1)}
    new = {one: rank for rank, one in enumerate(after.ids, 1)}
    entered = {one: rank for one, rank in new.items() if one not in old}
    both = [
        Change(
            one,
            old[one],
            rank,
            after.scores[rank - 1] - before.scores[old[one] - 1],
            after.content_ids[rank - 1] != before.content_ids[old[one] - 1],
        )
        for one, rank in new.items()
        if one in old
    ]
    return QueryDiff(
        query=query,
        entered=entered,
        left={one: rank for one, rank in old.items() if one not in new},
        changed=[c for c in both if c.before != c.after or c.score_change or c.content_changed],
        kept=len(both),
        tau=kendall_tau(before.ids, after.ids),
        rbo=rank_biased_overlap(before.ids, after.ids),
        churn=len(entered) / len(new) if new else float(bool(old)),
        top1_changed=list(before.ids[:1]) != list(after.ids[:1]),
    )


def kendall_tau(before: Sequence[str], after: Sequence[str]) -> float | None:
    """τ-b as this module defines it, in O(n log n) comparisons (Knight 1966)."""
    if not before or not after:
        return None
    old = {one: rank for rank, one in enumerate(before)}
    new = {one: rank for rank, one in enumerate(after)}
    places = sorted((old.get(one, len(before)), new.get(one, len(after))) for one in {**old, **new})
    # A lack in one order is a tie in it; lacking in both cannot be, so no pair is tied twice.
    pairs = math.comb(len(places), 2)
    ties_old = math.comb(len(places) - len(before), 2)
    ties_new = math.comb(len(places) - len(after), 2)
    scale = (pairs - ties_old) * (pairs - ties_new)
    if not scale:
        return None
    discordant = _inversions([place for _, place in places])
    concordant = pairs - ties_old - ties_new - discordant
    return (concordant - discordant) / math.sqrt(scale)


def _inversions(values: Sequence[int]) -> int:
    """Pairs of which the greater stands before the smaller."""
    seen: list[int] = []
    found = 0
    for value in values:
        found += len(seen) - bisect_right(seen, value)
        insort(seen, value)
    return found


def rank_biased_overlap(before: Sequence[str], after: Sequence[str], p: float = RBO_P) -> float:
    """RBO_ext of two orders without repetitions, of any lengths; two empty ones are equal."""
    short, long = sorted((before, after), key=len)
    if not short:
        return 0.0 if long else 1.0
    seen_short: set[str] = set()
    seen_long: set[str] = set()
    overlap = at_short = 0
    total = 0.0
    for depth, one in enumerate(long, start=1):
        seen_long.add(one)
        overlap += one in seen_short
        if depth <= len(short):
            seen_short.add(short[depth - 1])
            overlap += short[depth - 1] in seen_long
            at_short = overlap
        weight = p**depth
        total += overlap / depth * weight
        if depth > len(short):
            total += at_short * (depth - len(short)) / (len(short) * depth) * weight
    beyond = (overlap - at_short) / len(long) + at_short / len(short)
    return (1 - p) / p * total + beyond * p ** len(long)


@dataclass(frozen=True, slots=True)
class Mover:
    """A document over all queries: how many places it moved in sum, where it entered and left.

    Entering and leaving count as a move from or to the place below the order's last.
    """

    id: str
    places: int
    queries: int
    entered: int
    left: int


@dataclass(frozen=True, slots=True)
class Summary:
    """All queries together; means are over the queries that both runs ranked, None without any."""

    queries: int
    only_before: int
    only_after: int
    unchanged: int
    entered: int
    left: int
    moved: int
    churn: float | None
    top1_churn: float | None
    tau_mean: float | None
    tau_min: float | None
    rbo_mean: float | None
    rbo_min: float | None
    score_change_mean: float | None
    movers: Sequence[Mover]
    least_alike: Sequence[str]


@dataclass(slots=True)
class Tally:
    """Sums query by query, so that no more than one query's orders are held."""

    only_before: int = 0
    only_after: int = 0
    unchanged: int = 0
    entered: int = 0
    left: int = 0
    moved: int = 0
    top1: int = 0
    kept: int = 0
    score_change: float = 0.0
    churns: list[float] = field(default_factory=list)
    taus: list[float] = field(default_factory=list)
    rbos: list[tuple[float, str]] = field(default_factory=list)
    places: Counter[str] = field(default_factory=Counter)
    in_queries: Counter[str] = field(default_factory=Counter)
    entries: Counter[str] = field(default_factory=Counter)
    exits: Counter[str] = field(default_factory=Counter)

    def add(self, one: QueryDiff) -> None:
        self.unchanged += one.same
        self.entered += len(one.entered)
        self.left += len(one.left)
        self.top1 += one.top1_changed
        self.kept += one.kept
        self.score_change += math.fsum(abs(change.score_change) for change in one.changed)
        self.churns.append(one.churn)
        self.rbos.append((one.rbo, one.query))
        if one.tau is not None:
            self.taus.append(one.tau)
        self._add_moves(one)

    def _add_moves(self, one: QueryDiff) -> None:
        size_before, size_after = one.kept + len(one.left), one.kept + len(one.entered)
        moves = {c.id: abs(c.before - c.after) for c in one.changed if c.before != c.after}
        self.moved += len(moves)
        moves |= {
            id: size_before + 1 - rank for id, rank in one.entered.items() if rank <= size_before
        }
        moves |= {id: size_after + 1 - rank for id, rank in one.left.items() if rank <= size_after}
        self.places.update(moves)
        self.in_queries.update({*moves, *one.entered, *one.left})
        self.entries.update(one.entered.keys())
        self.exits.update(one.left.keys())

    def summary(self) -> Summary:
        n = len(self.rbos)
        least = sorted(one for one in self.rbos if one[0] < 1 - 1e-12)[:TOP_MOVERS]
        # By places, then by id: `most_common` would leave ties to chance.
        top = sorted(self.in_queries, key=lambda id: (-self.places[id], id))[:TOP_MOVERS]
        return Summary(
            queries=n,
            only_before=self.only_before,
            only_after=self.only_after,
            unchanged=self.unchanged,
            entered=self.entered,
            left=self.left,
            moved=self.moved,
            churn=fmean(self.churns) if n else None,
            top1_churn=self.top1 / n if n else None,
            tau_mean=fmean(self.taus) if self.taus else None,
            tau_min=min(self.taus, default=None),
            rbo_mean=fmean(rbo for rbo, _ in self.rbos) if n else None,
            rbo_min=min(self.rbos)[0] if n else None,
            score_change_mean=self.score_change / self.kept if self.kept else None,
            movers=[
                Mover(id, self.places[id], self.in_queries[id], self.entries[id], self.exits[id])
                for id in top
            ],
            least_alike=[query for _, query in least],
        )
