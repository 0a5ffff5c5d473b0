"""What came back for a query: the ids of its candidates in both orders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from demo.corpus import Round
from demo.documents import DemoQuery
from repick.client import Job, Ranking


@dataclass(frozen=True, slots=True)
class Answer:
    """Ids of items, the best first: as the encoder found them, and as the judge orders them."""

    query: DemoQuery
    coarse: tuple[str, ...]
    fine: tuple[str, ...]

    @classmethod
    def of(cls, query: DemoQuery, ranking: Ranking) -> Answer:
        """From a ranking of all candidates: one that was cut has lost some of the coarse order."""
        found = sorted(ranking.hits, key=lambda hit: hit.coarse_rank)
        return cls(query, tuple(hit.id for hit in found), tuple(hit.id for hit in ranking.hits))

    def place(self, order: Sequence[str]) -> int | None:
        """The rank of the right item, from 1, or None where it is not among the candidates."""
        return order.index(self.query.target) + 1 if self.query.target in order else None


@dataclass(frozen=True, slots=True)
class Answered:
    """A round with its answers; `judged` is False where the coarse order was kept."""

    round: Round
    answers: tuple[Answer, ...]
    judged: bool

    @classmethod
    def of(cls, asked: Round, job: Job) -> Answered:
        pairs = ((asked.queries[one.query], one) for one in job.rankings)
        return cls(asked, tuple(Answer.of(*pair) for pair in pairs), job.blend < 1)
