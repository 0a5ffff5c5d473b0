# Made from api.py by `python -m repick.client.generate`: change that instead.
"""The calls of the API."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx

from repick.client.async_hooks import AsyncWebhooks
from repick.client.async_runs import AsyncRuns
from repick.client.async_schedules import AsyncSchedules
from repick.client.async_transport import AsyncTransport
from repick.client.batches import batches
from repick.client.values import (
    Calibration,
    Corpus,
    Document,
    Failure,
    Item,
    Job,
    JobSummary,
    PutResult,
    Query,
    Ranking,
    document_body,
    query_body,
)
from repick.jobs import JobKind, JobState

WAIT_S = 30
FIRST_POLL_S, LONGEST_POLL_S = 0.1, 1.0


class AsyncClient:
    """An API and a key. Every call raises ApiError, or Unavailable where the API is not reached."""

    def __init__(
        self, base_url: str, key: str, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._api = AsyncTransport(base_url, key, transport=transport)
        self.schedules = AsyncSchedules(self._api)
        self.runs = AsyncRuns(self._api)
        self.webhooks = AsyncWebhooks(self._api)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._api.close()

    async def create_corpus(self, name: str, encoder: str | None = None) -> Corpus:
        """Make a corpus, with the encoder that was served last unless one is named."""
        body = {"name": name} | ({"encoder": encoder} if encoder else {})
        return Corpus.of(
            await self._api.request("POST", "/v1/corpora", body=body, repeatable=False)
        )

    async def corpora(self) -> list[str]:
        return [one["name"] for one in (await self._api.request("GET", "/v1/corpora"))["items"]]

    async def corpus(self, name: str) -> Corpus:
        return Corpus.of(await self._api.request("GET", f"/v1/corpora/{quote(name, safe='')}"))

    async def wait_for_corpus(
        self,
        name: str,
        on_progress: Callable[[Corpus], None] | None = None,
        timeout_s: float | None = None,
    ) -> Corpus:
        """Wait until every item has a vector, or a reason in `failed` why it has none.

        A job finds what has a vector when it runs, and warns `items_pending` of the others.
        Raises TimeoutError after `timeout_s`: the embedding goes on.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        pause = FIRST_POLL_S
        while True:
            corpus = await self.corpus(name)
            if on_progress:
                on_progress(corpus)
            # The counts are not of one moment: the last vectors may be in one of them only.
            if corpus.embedded + sum(corpus.failed.values()) >= corpus.items:
                return corpus
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"{corpus.pending} items of {name} still wait for vectors")
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LONGEST_POLL_S)

    async def delete_corpus(self, name: str) -> None:
        await self._api.request("DELETE", f"/v1/corpora/{quote(name, safe='')}", repeatable=False)

    async def put_items(
        self,
        corpus: str,
        items: Iterable[Item],
        on_batch: Callable[[PutResult], None] | None = None,
    ) -> PutResult:
        """Put any number of items, in requests of bounded size.

        `on_batch` is told of each request's result. Raises OSError for an image file that cannot
        be read; what was sent before it is stored.
        """
        stored = unchanged = 0
        failed: list[Failure] = []
        for batch in batches(items):
            result = await self.put_batch(corpus, batch)
            stored, unchanged = stored + result.stored, unchanged + result.unchanged
            failed.extend(result.failed)
            if on_batch:
                on_batch(result)
        return PutResult(stored, unchanged, tuple(failed))

    async def put_batch(self, corpus: str, batch: Sequence[Mapping[str, Any]]) -> PutResult:
        """Put one batch that `repick.client.batches` made; any thread may send one."""
        path = f"/v1/corpora/{quote(corpus, safe='')}/items"
        answer = await self._api.request("PUT", path, body={"items": list(batch)})
        failed = tuple(Failure(**one) for one in answer["failed"])
        return PutResult(answer["stored"], answer["unchanged"], failed)

    async def submit(
        self,
        corpus: str | None,
        queries: Query | Sequence[Query],
        *,
        documents: Sequence[Document] | None = None,
        k: int | None = None,
        top_n: int | None = None,
        scorer: str | None = None,
        instruction: str | None = None,
        filter: Mapping[str, Any] | None = None,
        blend: float | None = None,
        min_score: float | None = None,
        length_policy: str | None = None,
        time_limit_s: int | None = None,
        kind: JobKind | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Submit a job over a corpus or, with None for it, over `documents`.

        A key of its own makes repeating a lost request harmless. Raises OSError for an image file
        that cannot be read.
        """
        optional = {
            "corpus": corpus,
            "documents": [document_body(one) for one in documents] if documents else None,
            "k": k,
            "top_n": top_n,
            "scorer": scorer,
            "instruction": instruction,
            "filter": dict(filter) if filter is not None else None,
            "blend": blend,
            "min_score": min_score,
            "length_policy": length_policy,
            "time_limit_s": time_limit_s,
            "kind": kind,
            "metadata": dict(metadata) if metadata else None,
        }
        body: dict[str, Any] = {name: v for name, v in optional.items() if v is not None}
        if isinstance(queries, Query):
            body["query"] = query_body(queries)
        else:
            body["queries"] = [query_body(one) for one in queries]
        headers = {"Idempotency-Key": idempotency_key or uuid4().hex}
        return Job.of(await self._api.request("POST", "/v1/jobs", body=body, headers=headers))

    async def job(self, job_id: str) -> Job:
        """The job as it is now, with every ranking that it has."""
        return await self._complete(await self._show(job_id))

    async def jobs(
        self,
        state: JobState | None = None,
        corpus: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[JobSummary]:
        """The tenant's jobs, the newest first, fetched as they are asked for.

        Those in a state, over a corpus, or whose metadata contain what is given.
        """
        contained = json.dumps(dict(metadata)) if metadata else None
        wanted = {"state": state, "corpus": corpus, "metadata": contained}
        given = {name: one for name, one in wanted.items() if one is not None}
        async for one in self._api.every("/v1/jobs", given or None):
            yield JobSummary.of(one)

    async def wait(
        self,
        job: str | JobSummary,
        on_progress: Callable[[JobSummary], None] | None = None,
        timeout_s: float | None = None,
    ) -> Job:
        """Wait until the job is final; `on_progress` is told of it about once a second.

        Raises TimeoutError after `timeout_s`: the job goes on, and can be waited for again.
        """
        job_id = job if isinstance(job, str) else job.id
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        pause = FIRST_POLL_S
        while True:
            left = WAIT_S if deadline is None else max(0.0, deadline - time.monotonic())
            value = await self._show(job_id, 0 if on_progress else min(WAIT_S, int(left)))
            if on_progress:
                on_progress(JobSummary.of(value))
            if value["final"]:
                return await self._complete(value)
            if left <= 0:
                raise TimeoutError(f"job {job_id} is still {value['state']}")
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 1.5, LONGEST_POLL_S)

    async def rank(
        self,
        corpus: str | None,
        queries: Query | Sequence[Query],
        *,
        on_progress: Callable[[JobSummary], None] | None = None,
        timeout_s: float | None = None,
        **options: Any,
    ) -> Job:
        """Submit and wait; `options` are those of `submit`."""
        return await self.wait(
            await self.submit(corpus, queries, **options), on_progress, timeout_s
        )

    async def cancel(self, job_id: str) -> Job:
        """End a job that has not ended; raises ApiError 409 `job_final` where it has."""
        path = f"/v1/jobs/{quote(job_id, safe='')}/cancel"
        return Job.of(await self._api.request("POST", path, repeatable=False))

    async def audit(self, job_id: str, query: int, item: str) -> Mapping[str, Any]:
        """How a hit came by its score: prompts, logits of the labels, scorer, provenance."""
        path = f"/v1/jobs/{quote(job_id, safe='')}/rankings/{query}/{quote(item)}"
        found: Mapping[str, Any] = await self._api.request("GET", path)
        return found

    async def encoders(self) -> list[Mapping[str, Any]]:
        """Registered encoders: name, fingerprint, untrained, specification."""
        return list((await self._api.request("GET", "/v1/encoders"))["items"])

    async def scorers(self) -> list[Mapping[str, Any]]:
        """Registered scorers: name, fingerprint, untrained, specification."""
        return list((await self._api.request("GET", "/v1/scorers"))["items"])

    async def calibration(self, fingerprint: str) -> Calibration:
        """What was put last for a scorer; raises ApiError 404 `calibration_not_found`."""
        return Calibration.of(
            await self._api.request("GET", f"/v1/scorers/{fingerprint}/calibration")
        )

    async def put_calibration(
        self, fingerprint: str, map: Mapping[str, Any], figures: Mapping[str, Any]
    ) -> Calibration:
        """Put a map in the place of the last; needs the scope `admin`."""
        body = {"map": dict(map), "figures": dict(figures)}
        path = f"/v1/scorers/{fingerprint}/calibration"
        return Calibration.of(await self._api.request("PUT", path, body=body))

    async def _show(self, job_id: str, wait_s: int = 0) -> Any:
        headers = {"Prefer": f"wait={wait_s}"} if wait_s else None
        return await self._api.request("GET", f"/v1/jobs/{quote(job_id, safe='')}", headers=headers)

    async def _complete(self, value: Mapping[str, Any]) -> Job:
        """The job with the rankings of the pages past its first."""
        more: list[Ranking] = []
        if value["next"] is not None:
            async for one in self._api.every(value["next"]):
                more.append(Ranking.of(one))
        return Job.of(value, more)
