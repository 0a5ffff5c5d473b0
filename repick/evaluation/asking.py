"""From a data set to rankings: its corpus, its queries as jobs, and what came back."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from repick.client import ApiError, Client, Hit, Item, Job, Query
from repick.errors import Conflict
from repick.evaluation.dataset import Dataset, Record, records_hash
from repick.jobs import JobState

QUERIES_A_JOB = 50
PATIENCE_S = 3600.0
POLL_S = 0.2

Tell = Callable[[int, int], None]
"""Told how many are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What one scorer answered: hits by query, in the final order, every candidate among them.

    `seconds` from the first start to the last end of its jobs; `reused` pairs were in the ledger.
    """

    scorer: str
    fingerprint: str
    untrained: bool
    hits: Mapping[str, Sequence[Hit]]
    pairs: int
    reused: int
    failed: int
    seconds: float
    jobs: Sequence[str]

    def fine(self) -> dict[str, list[str]]:
        return {query: [hit.id for hit in hits] for query, hits in self.hits.items()}

    def coarse(self) -> dict[str, list[str]]:
        return {
            query: [hit.id for hit in sorted(hits, key=lambda hit: hit.coarse_rank)]
            for query, hits in self.hits.items()
        }


def corpus_name(dataset: Dataset) -> str:
    """Of the documents' contents: another data set of this name has another corpus."""
    slug = re.sub(r"[^a-z0-9]+", "-", dataset.name.lower()).strip("-")[:40] or "set"
    return f"eval-{slug}-{dataset.corpus_hash()[:12]}"


def load(client: Client, dataset: Dataset, tell: Tell) -> str:
    """Put the documents that are not there, wait for their vectors; returns the corpus's name.

    Raises Conflict where a document has no vector: it could never be found, and every figure
    would be of another corpus.
    """
    name, wanted = corpus_name(dataset), len(dataset.documents)
    try:
        client.create_corpus(name)
    except ApiError as exc:
        if exc.code != "corpus_exists":
            raise
    if client.corpus(name).items < wanted:
        items = (Item(one.id, one.text, one.image) for one in dataset.documents.values())
        failed = client.put_items(name, items).failed
        if failed:
            raise _lacking(name, failed[0].id, failed[0].code, len(failed))
    deadline = time.monotonic() + PATIENCE_S
    while (corpus := client.corpus(name)).embedded < wanted:
        tell(corpus.embedded, wanted)
        if corpus.failures:
            first = corpus.failures[0]
            raise _lacking(name, first.id, first.code, sum(corpus.failed.values()))
        if time.monotonic() > deadline:
            raise Conflict(f"{corpus.pending} documents still wait for vectors", code="not_ready")
        time.sleep(POLL_S)
    tell(wanted, wanted)
    return name


def ask(
    client: Client,
    dataset: Dataset,
    corpus: str,
    *,
    k: int,
    tell: Tell,
    scorer: str | None = None,
    exclude_self: bool = False,
) -> Asked:
    """Rank `k` candidates of every query.

    Submitting is idempotent: an evaluation that was broken off finds its jobs for a day, and its
    pairs in the ledger for ever. `exclude_self` leaves out the document with the query's own id.
    Raises Conflict where a job has not succeeded or a query has no ranking.
    """
    wanted = list(dataset.queries.values())
    parts = [wanted[at : at + QUERIES_A_JOB] for at in range(0, len(wanted), QUERIES_A_JOB)]
    depth = k + exclude_self
    jobs = [_submit(client, corpus, part, depth, scorer, dataset.name) for part in parts]
    hits: dict[str, Sequence[Hit]] = {}
    ended = []
    for part, job in zip(parts, jobs, strict=True):
        ended.append(done := client.wait(job))
        hits |= dict(_hits(done, part, exclude_self))
        tell(len(hits), len(wanted))
    return _asked(ended, hits)


def _submit(
    client: Client, corpus: str, part: Sequence[Record], k: int, scorer: str | None, name: str
) -> Job:
    facts = [corpus, k, scorer, records_hash(part)]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]

    def send(key: str | None) -> Job:
        return client.submit(
            corpus,
            [Query(one.text, one.image) for one in part],
            k=k,
            top_n=k,
            scorer=scorer,
            metadata={"evaluation": name, "query_ids": [one.id for one in part]},
            idempotency_key=key,
        )

    job = send(key)
    ended_badly = {JobState.FAILED, JobState.CANCELLED, JobState.PARTIAL}
    return send(None) if job.state in ended_badly else job


def _hits(job: Job, part: Sequence[Record], exclude_self: bool) -> Iterator[tuple[str, list[Hit]]]:
    if job.state is not JobState.SUCCEEDED or len(job.rankings) != len(part):
        detail = f"job {job.id} is {job.state} with {len(job.rankings)} of {len(part)} rankings"
        raise Conflict(detail, code="job_not_succeeded", job=job.id)
    for ranking in job.rankings:
        query = part[ranking.query].id
        yield query, [hit for hit in ranking.hits if not (exclude_self and hit.id == query)]


def _asked(jobs: Sequence[Job], hits: Mapping[str, Sequence[Hit]]) -> Asked:
    started = [job.started_at for job in jobs if job.started_at]
    finished = [job.finished_at for job in jobs if job.finished_at]
    return Asked(
        scorer=jobs[0].scorer.name,
        fingerprint=jobs[0].scorer.fingerprint,
        untrained=any(job.untrained for job in jobs),
        hits=hits,
        pairs=sum(job.progress.total for job in jobs),
        reused=sum(job.progress.reused for job in jobs),
        failed=sum(job.progress.failed for job in jobs),
        seconds=(max(finished) - min(started)).total_seconds(),
        jobs=[job.id for job in jobs],
    )


def _lacking(corpus: str, item: str, code: str, count: int) -> Conflict:
    detail = f"{count} documents of {corpus} cannot be found, the first is {item!r}: {code}"
    return Conflict(detail, code="documents_failed", corpus=corpus, item=item)
