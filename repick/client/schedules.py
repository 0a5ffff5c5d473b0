"""The calls about standing queries, schedules and their runs: `client.schedules`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from repick.client.transport import Transport

Json = Mapping[str, Any]


class Schedules:
    """Values are the API's JSON. Raises what every call of the client does."""

    def __init__(self, api: Transport) -> None:
        self._api = api

    def put_queries(self, corpus: str, queries: Sequence[Json]) -> Json:
        """Put up to 1,000 standing queries: id, text, image (base64) or both, tags, metadata."""
        body = {"queries": [dict(one) for one in queries]}
        return self._json("PUT", _queries(corpus), body)

    def queries(self, corpus: str, tag: str | None = None) -> Iterator[Json]:
        """The corpus's standing queries, by id."""
        wanted = {"tag": tag} if tag is not None else None
        for one in self._api.every(_queries(corpus), query=wanted):
            yield dict(one)

    def delete_query(self, corpus: str, query: str) -> None:
        self._api.request("DELETE", f"{_queries(corpus)}/{quote(query)}", repeatable=False)

    def create(self, name: str, corpus: str, cron: str, **options: Any) -> Json:
        """Make a schedule; `options` are the other fields of the API's request."""
        body = {"name": name, "corpus": corpus, "cron": cron} | options
        return self._json("POST", "/v1/schedules", body, repeatable=False)

    def all(self) -> Iterator[Json]:
        """The tenant's schedules, by name."""
        for one in self._api.every("/v1/schedules"):
            yield dict(one)

    def show(self, name: str) -> Json:
        return self._json("GET", _path(name))

    def change(self, name: str, changes: Json) -> Json:
        """Change what is given; None takes an optional value away."""
        return self._json("PATCH", _path(name), dict(changes))

    def delete(self, name: str) -> None:
        self._api.request("DELETE", _path(name), repeatable=False)

    def pause(self, name: str) -> Json:
        return self._json("POST", f"{_path(name)}/pause")

    def resume(self, name: str) -> Json:
        return self._json("POST", f"{_path(name)}/resume")

    def run(self, name: str, date: str | None = None) -> Json:
        """Run now, or the tick of a date (`2026-11-26`); the run's id is its job's."""
        body = {"date": date} if date is not None else {}
        return self._json("POST", f"{_path(name)}/runs", body, repeatable=False)

    def runs(self, name: str, limit: int = 30) -> Sequence[Json]:
        """The last runs, the newest tick first."""
        return self._first(f"{_path(name)}/runs", limit)

    def run_of(self, run: str) -> Json:
        return self._json("GET", f"/v1/runs/{quote(run, safe='')}")

    def latest(self, name: str, query: str | None = None) -> Json:
        """The latest published run with its first rankings, or with one query's.

        Where its `next` is not None, `rankings` of the run's id gives them all.
        """
        wanted = {"query": query} if query is not None else None
        return self._json("GET", f"{_path(name)}/latest", query=wanted)

    def rankings(self, run: str) -> Iterator[Json]:
        """All rankings of a run, with the ids of their standing queries."""
        for one in self._api.every(f"/v1/runs/{quote(run, safe='')}/rankings"):
            yield dict(one)

    def history(self, name: str, query: str, limit: int = 30) -> Sequence[Json]:
        """A standing query's last rankings, the newest tick first."""
        return self._first(f"{_path(name)}/queries/{quote(query)}/history", limit)

    def confirm(self, name: str, run: str) -> Json:
        """Publish a run that is held back."""
        path = f"{_path(name)}/runs/{quote(run, safe='')}/confirm"
        return self._json("POST", path, repeatable=False)

    def _first(self, path: str, limit: int) -> Sequence[Json]:
        """That many of a list at most, over as many pages as that takes."""
        found: list[Json] = []
        for one in self._api.every(path, {"limit": min(limit, 100)}):
            found.append(one)
            if len(found) == limit:
                break
        return found

    def _json(
        self,
        method: str,
        path: str,
        body: object = None,
        query: Json | None = None,
        *,
        repeatable: bool = True,
    ) -> dict[str, Any]:
        answer: dict[str, Any] = self._api.request(
            method, path, body=body, query=query, repeatable=repeatable
        )
        return answer


def _path(name: str) -> str:
    return f"/v1/schedules/{quote(name, safe='')}"


def _queries(corpus: str) -> str:
    return f"/v1/corpora/{quote(corpus, safe='')}/queries"
