# Made from schedules.py by `python -m repick.client.generate`: change that instead.
"""The calls about standing queries, schedules and their runs: `client.schedules`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from repick.client.async_transport import AsyncTransport

Json = Mapping[str, Any]


class AsyncSchedules:
    """Values are the API's JSON. Raises what every call of the client does."""

    def __init__(self, api: AsyncTransport) -> None:
        self._api = api

    async def put_queries(self, corpus: str, queries: Sequence[Json]) -> Json:
        """Put up to 1,000 standing queries: id, text, image (base64) or both, tags, metadata."""
        body = {"queries": [dict(one) for one in queries]}
        return await self._json("PUT", _queries(corpus), body)

    async def queries(self, corpus: str, tag: str | None = None) -> AsyncIterator[Json]:
        """The corpus's standing queries, by id."""
        wanted = {"tag": tag} if tag is not None else None
        async for one in self._api.every(_queries(corpus), query=wanted):
            yield dict(one)

    async def delete_query(self, corpus: str, query: str) -> None:
        await self._api.request("DELETE", f"{_queries(corpus)}/{quote(query)}", repeatable=False)

    async def create(self, name: str, corpus: str, cron: str, **options: Any) -> Json:
        """Make a schedule; `options` are the other fields of the API's request."""
        body = {"name": name, "corpus": corpus, "cron": cron} | options
        return await self._json("POST", "/v1/schedules", body, repeatable=False)

    async def all(self) -> AsyncIterator[Json]:
        """The tenant's schedules, by name."""
        async for one in self._api.every("/v1/schedules"):
            yield dict(one)

    async def show(self, name: str) -> Json:
        return await self._json("GET", _path(name))

    async def change(self, name: str, changes: Json) -> Json:
        """Change what is given; None takes an optional value away."""
        return await self._json("PATCH", _path(name), dict(changes))

    async def delete(self, name: str) -> None:
        await self._api.request("DELETE", _path(name), repeatable=False)

    async def pause(self, name: str) -> Json:
        return await self._json("POST", f"{_path(name)}/pause")

    async def resume(self, name: str) -> Json:
        return await self._json("POST", f"{_path(name)}/resume")

    async def run(self, name: str, date: str | None = None) -> Json:
        """Run now, or the tick of a date (`2026-11-26`); the run's id is its job's."""
        body = {"date": date} if date is not None else {}
        return await self._json("POST", f"{_path(name)}/runs", body, repeatable=False)

    async def runs(self, name: str, limit: int = 30) -> Sequence[Json]:
        """The last runs, the newest tick first."""
        return await self._first(f"{_path(name)}/runs", limit)

    async def run_of(self, run: str) -> Json:
        return await self._json("GET", f"/v1/runs/{quote(run, safe='')}")

    async def latest(self, name: str, query: str | None = None) -> Json:
        """The latest published run with its first rankings, or with one query's.

        Where its `next` is not None, `rankings` of the run's id gives them all.
        """
        wanted = {"query": query} if query is not None else None
        return await self._json("GET", f"{_path(name)}/latest", query=wanted)

    async def rankings(self, run: str) -> AsyncIterator[Json]:
        """All rankings of a run, with the ids of their standing queries."""
        async for one in self._api.every(f"/v1/runs/{quote(run, safe='')}/rankings"):
            yield dict(one)

    async def history(self, name: str, query: str, limit: int = 30) -> Sequence[Json]:
        """A standing query's last rankings, the newest tick first."""
        return await self._first(f"{_path(name)}/queries/{quote(query)}/history", limit)

    async def confirm(self, name: str, run: str) -> Json:
        """Publish a run that is held back."""
        path = f"{_path(name)}/runs/{quote(run, safe='')}/confirm"
        return await self._json("POST", path, repeatable=False)

    async def _first(self, path: str, limit: int) -> Sequence[Json]:
        """That many of a list at most, over as many pages as that takes."""
        found: list[Json] = []
        async for one in self._api.every(path, {"limit": min(limit, 100)}):
            found.append(one)
            if len(found) == limit:
                break
        return found

    async def _json(
        self,
        method: str,
        path: str,
        body: object = None,
        query: Json | None = None,
        *,
        repeatable: bool = True,
    ) -> dict[str, Any]:
        answer: dict[str, Any] = await self._api.request(
            method, path, body=body, query=query, repeatable=repeatable
        )
        return answer


def _path(name: str) -> str:
    return f"/v1/schedules/{quote(name, safe='')}"


def _queries(corpus: str) -> str:
    return f"/v1/corpora/{quote(corpus, safe='')}/queries"
