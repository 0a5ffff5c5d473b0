"""The calls about runs, and about jobs as runs: `client.runs`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO
from urllib.parse import quote

from repick.client.transport import Transport

Json = Mapping[str, Any]


class Runs:
    """Values are the API's JSON. Raises what every call of the client does."""

    def __init__(self, api: Transport) -> None:
        self._api = api

    def diff(self, after: str, before: str | None = None) -> Iterator[Json]:
        """What changed for each query, against another run or the one before."""
        for one in self._api.every(_diff(after, before)):
            yield dict(one)

    def summary(self, after: str, before: str | None = None) -> Json:
        """What changed over all queries."""
        found: Json = self._api.request("GET", _diff(after, before) + "/summary")
        return found

    def export(self, run: str, target: BinaryIO, form: str = "jsonl") -> None:
        """Write a run's or job's rankings to a file: `jsonl`, `csv`, `parquet` or `trec`."""
        path = f"/v1/jobs/{quote(run, safe='')}/export"
        self._api.save(path, target, {"format": form})

    def report(self, run: str, target: BinaryIO) -> None:
        """Write the run's page of HTML to a file."""
        self._api.save(f"/v1/runs/{quote(run, safe='')}/report", target)


def _diff(after: str, before: str | None) -> str:
    run = quote(after, safe="")
    if before is None:
        return f"/v1/runs/{run}/diff"
    return f"/v1/runs/{quote(before, safe='')}/diff/{run}"
