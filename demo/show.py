"""What the demo puts on the screen: progress bars, one table a round, and where to go next."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich import box
from rich.console import Console, JustifyMethod
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from demo.answers import Answer, Answered
from demo.documents import DemoItem
from repick.client import Corpus, Hit, Job, JobSummary, PutResult, Ranking
from repick.stack import Addresses

PATIENCE_S = 600.0
WIDE = 120
TOP = 5
SHOWS = "what it shows"
FIGURES = ("score", "margin", "coarse → fine", "enhanced")
RIGHT = "bold green"


class Screen:
    """One console; every figure on it comes from the API."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def sending(self, name: str, count: int) -> Iterator[Callable[[PutResult], None]]:
        """A progress bar of items that are put."""
        with self._bars() as bars:
            task = bars.add_task(f"sending {name}", total=count)
            yield lambda put: bars.advance(task, put.stored + put.unchanged + len(put.failed))

    def embedding(self, name: str, put: PutResult, ask: Callable[[], Corpus]) -> None:
        """Follow a corpus until every item has a vector or a reason why not."""
        with self._bars() as bars:
            task = bars.add_task(f"embedding {name}", total=None)
            deadline = time.monotonic() + PATIENCE_S
            while True:
                corpus = ask()
                bars.update(task, completed=corpus.embedded, total=corpus.items)
                # The counts are not of one moment: the last vectors may be in one of them only.
                if corpus.embedded + sum(corpus.failed.values()) >= corpus.items:
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
        """A progress bar of a job's pairs."""
        with self._bars() as bars:
            task = bars.add_task(title, total=None)

            def follow(job: JobSummary) -> None:
                progress = job.progress
                bars.update(task, completed=progress.done, total=progress.total or None)

            yield follow

    def answers(self, one: Answered, items: Mapping[str, DemoItem]) -> None:
        """A round as a table: each query, where the right item came, and what came first."""
        self._console.print(f"\n[bold]{one.round.title}[/bold]", highlight=False)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("query", max_width=62)
        table.add_column("right one", justify="right", no_wrap=True)
        table.add_column("first hit", max_width=44)
        for answer in one.answers:
            first = next(iter(answer.fine), None)
            hit = Text(
                items[first].metadata["shows"] if first else "–",
                RIGHT if first == answer.query.target else "",
            )
            table.add_row(Text(answer.query.words), _places(answer, judged=one.judged), hit)
        self._console.print(table)

    def in_full(self, answer: Answer, ranking: Ranking, items: Mapping[str, DemoItem]) -> None:
        """The ranking that `answer` is of, whole: what differs is often the last word."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in ("rank", "item", SHOWS, *FIGURES):
            justify: JustifyMethod = "right" if heading in FIGURES else "left"
            table.add_column(heading, justify=justify, no_wrap=heading != SHOWS, max_width=44)
        for hit in ranking.hits[:TOP]:
            cells = [str(hit.rank), hit.id, items[hit.id].metadata["shows"], *_figures(hit)]
            table.add_row(*cells, style=RIGHT if hit.id == answer.query.target else "")
        self._console.print(Text.assemble(("\nin full: ", "bold"), answer.query.words))
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
        for no, error in job.query_errors.items():
            self._console.print(f"  [red]query {no}: {error}[/red]")

    def totals(self, rounds: Sequence[Answered]) -> None:
        """How often the right item came first, in either order."""
        self._console.print()
        for one in rounds:
            coarse = [answer.place(answer.coarse) == 1 for answer in one.answers]
            fine = [answer.place(answer.fine) == 1 for answer in one.answers]
            judged = f", judge {sum(fine)}" if one.judged else " (not judged)"
            self._console.print(
                f"  right one first: encoder {sum(coarse)}{judged} of {len(fine)}"
                f"  [dim]{one.round.title}[/dim]",
                highlight=False,
            )

    def sheet(self, path: Path) -> None:
        self._console.print(
            f"\n[bold]All of it as pictures:[/bold] {path}", soft_wrap=True, highlight=False
        )

    def goodbye(self, addresses: Addresses, *, untrained: bool) -> None:
        warning = (
            "The models are tiny and [bold]untrained[/bold]: these rankings show the path, not the"
            " quality.\n\n"
        )
        lines = Text.from_markup(
            (warning if untrained else "")
            + f"While the stack runs, the API's docs are at [link]{addresses.docs_url}[/link]\n"
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


def _places(answer: Answer, *, judged: bool) -> str:
    """The right item's coarse and fine rank; a dash where it is not among the candidates."""
    orders = (answer.coarse, answer.fine) if judged else (answer.coarse,)
    return " → ".join(str(answer.place(order) or "–") for order in orders)


def _figures(hit: Hit) -> list[str]:
    return [
        f"{hit.score:.3f}",
        "" if hit.margin is None else f"{hit.margin:+.3f}",
        f"{hit.coarse_rank} → {hit.rank}",
        "–" if hit.enhanced_at is None else f"layer {hit.enhanced_at}",
    ]
