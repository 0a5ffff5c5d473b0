"""repick eval and eval-import: how well the service ranks a labelled data set."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from repick.cli.connect import AsJson, Key, Url, client
from repick.cli.output import console, errors
from repick.client import Client
from repick.evaluation.importers import Layout, import_dataset

if TYPE_CHECKING:
    from repick.evaluation.asking import Asked, Tell
    from repick.evaluation.dataset import Dataset
    from repick.evaluation.results import Scored

K = 20


def evaluate(
    folder: Annotated[
        Path, typer.Argument(help="A data set in BEIR's layout.", exists=True, file_okay=False)
    ],
    scorer: Annotated[
        list[str] | None, typer.Option(help="As `model:readout`; may be repeated.")
    ] = None,
    split: Annotated[str, typer.Option(help="Of the qrels.")] = "test",
    k: Annotated[int, typer.Option(min=1, help="Candidates to judge of each query.")] = K,
    out: Annotated[
        Path | None, typer.Option(help="For report.html, results.json and the TREC run files.")
    ] = None,
    ablate: Annotated[
        bool,
        typer.Option(
            "--ablate",
            help="Every readout of the scorer's model, enhanced and plain, and other k and blends.",
        ),
    ] = False,
    exclude_self: Annotated[
        bool, typer.Option("--exclude-self", help="Leave out the document with the query's id.")
    ] = False,
    url: Url = None,
    key: Key = None,
    as_json_: AsJson = False,
) -> None:
    """Load a labelled data set, rank its queries, and measure coarse and fine side by side."""
    from repick.evaluation.dataset import open_dataset
    from repick.evaluation.results import as_json

    dataset = open_dataset(folder, split)
    with client(url, key) as api:
        scorers = _every_readout(api, scorer or []) if ablate else _named(scorer)
        found = _measured(api, dataset, scorers, k, ablate, exclude_self)
    result = as_json(dataset, k, found)
    if as_json_:
        console.print(json.dumps(result, indent=2), markup=False, highlight=False, soft_wrap=True)
    else:
        for table in tables(dataset, found):
            console.print(table)
    _warn(found)
    if out:
        _write(out, dataset, k, found, result)


def _measured(
    api: Client,
    dataset: Dataset,
    scorers: Sequence[str | None],
    k: int,
    ablate: bool,
    exclude_self: bool,
) -> list[Scored]:
    from repick.evaluation.ablation import rows
    from repick.evaluation.asking import ask, load
    from repick.evaluation.results import Scored

    with _bar("embedding documents") as tell:
        corpus = load(api, dataset, tell)
    found = []
    for name in scorers:
        with _bar(f"ranking with {name or 'the default scorer'}") as tell:
            asked: Asked = ask(
                api, dataset, corpus, k=k, scorer=name, exclude_self=exclude_self, tell=tell
            )
        found.append(Scored.of(asked, dataset, rows(asked, dataset.qrels, k) if ablate else {}))
    return found


def _named(scorers: Sequence[str] | None) -> list[str | None]:
    """The default scorer where none is named."""
    return list(scorers) if scorers else [None]


def _every_readout(api: Client, named: Sequence[str]) -> list[str | None]:
    """Registered scorers of the models that are named, or of all; without those that truncate."""
    from repick.specs import LengthPolicy

    models = {name.split(":")[0] for name in named}
    names = [str(one["name"]) for one in api.scorers()]
    return [
        name
        for name in names
        if (not models or name.split(":")[0] in models)
        and LengthPolicy.TRUNCATE.value not in name.split(":")
    ]


@contextmanager
def _bar(title: str) -> Iterator[Tell]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=errors) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def tables(dataset: Dataset, found: Sequence[Scored]) -> Iterator[Table]:
    """The two orders and their difference, a table a scorer; then its ablation."""
    from repick.evaluation.measures import means

    for one in found:
        asked = one.asked
        title = (
            f"{dataset.name}, {len(dataset.queries)} queries, {asked.scorer}: {asked.pairs} pairs,"
            f" {asked.reused} from the ledger"
        )
        table = Table(title=title, title_justify="left", box=None)
        for name in ("measure", "coarse", "fine", "gain", "95 % interval", "p"):
            table.add_column(name, justify="left" if name == "measure" else "right")
        coarse, fine = means(one.coarse), means(one.fine)
        for name, gain in one.gains.items():
            interval = f"{gain.low:+.3f} … {gain.high:+.3f}"
            style = "green" if gain.low > 0 else "red" if gain.high < 0 else ""
            table.add_row(
                name,
                f"{coarse[name]:.3f}",
                f"{fine[name]:.3f}",
                Text(f"{gain.mean:+.3f}", style),
                interval,
                f"{gain.p:.4f}",
            )
        yield table
        if one.ablation:
            yield _ablation(one)


def _ablation(one: Scored) -> Table:
    names = list(next(iter(one.ablation.values())))
    title = f"ablation of {one.asked.scorer}"
    table = Table("variant", title=title, title_justify="left", box=None)
    for name in names:
        table.add_column(name, justify="right")
    for variant, values in one.ablation.items():
        table.add_row(variant, *(f"{values[name]:.3f}" for name in names))
    return table


def _warn(found: Sequence[Scored]) -> None:
    from repick.evaluation.results import FEW_QUERIES

    for one in found:
        asked, gain = one.asked, one.gains["R@1"]
        if one.harmful:
            detail = f"reranking does harm here: R@1 changes by {gain.mean:+.3f}"
            errors.print(Text(f"warning: {asked.scorer}: {detail}", "yellow"))
        if one.few_queries:
            detail = f"fewer than {FEW_QUERIES} queries: intervals and p mean little"
            errors.print(Text(f"warning: {asked.scorer}: {detail}", "yellow"))
        if asked.failed:
            detail = f"{asked.failed} pairs have no score and stand in neither order"
            errors.print(Text(f"warning: {asked.scorer}: {detail}", "yellow"))
        if asked.untrained:
            errors.print(Text(f"warning: {asked.scorer} or its encoder is untrained", "yellow"))


def _write(
    out: Path, dataset: Dataset, k: int, found: Sequence[Scored], result: dict[str, object]
) -> None:
    from repick.evaluation.report import page
    from repick.evaluation.results import write_runs

    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    write_runs(out, found)
    (out / "report.html").write_text(page(dataset, k, found, result), encoding="utf-8")
    errors.print(Text(f"Written: {out / 'report.html'}", "green"))


def import_(
    layout: Annotated[Layout, typer.Argument(help="What SOURCE is.")],
    source: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    images: Annotated[Path, typer.Argument(help="Where its pictures are.", exists=True)],
    folder: Annotated[Path, typer.Argument(help="Where the data sets are written.")],
    split: Annotated[str, typer.Option(help="Of the source; names the qrels.")] = "test",
    pool: Annotated[
        Path | None, typer.Option(help="m-beir: the candidates.", exists=True, dir_okay=False)
    ] = None,
) -> None:
    """Write a labelled data set of another layout as `repick eval` reads it."""
    for written in import_dataset(layout, source, images, folder, split=split, pool=pool):
        console.print(str(written), highlight=False, soft_wrap=True)
