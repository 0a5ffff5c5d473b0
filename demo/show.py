"""What the demo puts on the screen: progress bars, one table a ranking, and where to go next."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich import box
from rich.console import Console, JustifyMethod
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from demo.corpus import DemoQuery
from repick.client import Corpus, Hit, Job, JobSummary, PutResult
from repick.stack import Addresses

PATIENCE_S = 600.0
WIDE = 120
"""Columns from which on a table also says what each item shows."""
FIGURES = ("score", "margin", "coarse → final", "enhanced")


class Screen:
    """One console; every figure on it comes from the API."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def embedding(self, name: str, put: PutResult, ask: Callable[[], Corpus]) -> None:
        """Follow a corpus until every item has a vector or a reason why not."""
        with self._bars() as bars:
            task = bars.add_task(f"embedding {name}", total=None)
            deadline = time.monotonic() + PATIENCE_S
            while True:
                corpus = ask()
                bars.update(task, completed=corpus.embedded, total=corpus.items)
                if corpus.pending == 0:
                    break
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{corpus.pending} items of {name} still wait")
                time.sleep(0.1)
        failed = f", [red]{len(put.failed)} failed[/red]" if put.failed else ""
        self._console.print(
            f"  {corpus.items} items with encoder [bold]{corpus.encoder.name}[/bold]"
            f" ({put.stored} new or changed, {put.unchanged} unchanged{failed})",
            highlight=False,
        )

    @contextmanager
    def following(self, title: str) -> Iterator[Callable[[JobSummary], None]]:
        """A progress bar of a job's pairs, under its title."""
        self._console.print(f"\n[bold]{title}[/bold]")
        with self._bars() as bars:
            task = bars.add_task(f"{'queued':9}", total=None)

            def follow(job: JobSummary) -> None:
                progress = job.progress
                bars.update(
                    task,
                    description=f"{job.state:9}",
                    completed=progress.done,
                    total=progress.total or None,
                )

            yield follow

    def ranking(self, job: Job, no: int, query: DemoQuery, shows: Mapping[str, str]) -> None:
        """One query's ranking as a table, the item that it looks for in bold."""
        ranking = next((one for one in job.rankings if one.query == no), None)
        if ranking is None:
            self._console.print(f"[red]no ranking: {job.query_errors.get(no) or job.error}[/red]")
            return
        wide = self._console.width >= WIDE
        headings = ["rank", "item", *["what it shows"] * wide, *FIGURES]
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in headings:
            justify: JustifyMethod = "right" if heading in FIGURES else "left"
            table.add_column(heading, justify=justify, no_wrap=True)
        for hit in ranking.hits:
            cells = [str(hit.rank), hit.id, *[_short(shows.get(hit.id, ""))] * wide, *_figures(hit)]
            table.add_row(*cells, style="bold green" if hit.id == query.target else "")
        self._console.print(_asked(query))
        self._console.print(table)

    def account(self, job: Job) -> None:
        """Where the job's scores come from: how many were computed, how many the ledger had."""
        progress = job.progress
        scored = progress.done - progress.reused - progress.failed
        seconds = ""
        if job.started_at and job.finished_at:
            seconds = f" in {(job.finished_at - job.started_at).total_seconds():.2f} s"
        self._console.print(
            f"  [dim]{scored} pairs scored, {progress.reused} from the ledger{seconds}"
            f" · {job.scorer.name}[/dim]",
            highlight=False,
        )

    def goodbye(self, addresses: Addresses) -> None:
        lines = Text.from_markup(
            "The models are tiny and [bold]untrained[/bold]: these rankings show the path, not the"
            " quality. The item that a query looks for is [bold green]green[/bold green] where it"
            " is among its hits.\n\n"
            f"While the stack runs, the API's docs are at [link]{addresses.docs_url}[/link]\n"
            f"and Flower at [link]{addresses.flower_url}[/link]; everything stops now.\n"
            "[bold]make up[/bold] leaves it running and prints addresses, key and password.\n"
            "With your own models: REPICK_ENCODER=… REPICK_SCORER=… make demo"
        )
        self._console.print()
        self._console.print(Panel(lines, title="That was Repick", expand=False))

    def _bars(self) -> Progress:
        return Progress(
            TextColumn("[cyan]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
        )


def _asked(query: DemoQuery) -> Text:
    parts = ["[picture]"] * (query.image is not None) + [f"“{query.text}”"] * bool(query.text)
    title = Text(" + ".join(parts), style="italic")
    if query.instruction:
        title.append(f"  ({query.instruction})", style="dim")
    return title


def _figures(hit: Hit) -> list[str]:
    return [
        f"{hit.score:.3f}",
        "" if hit.margin is None else f"{hit.margin:+.3f}",
        f"{hit.coarse_rank} → {hit.rank}",
        "–" if hit.enhanced_at is None else f"layer {hit.enhanced_at}",
    ]


def _short(words: str, length: int = 40) -> str:
    return words if len(words) <= length else words[: length - 1].rstrip() + "…"
