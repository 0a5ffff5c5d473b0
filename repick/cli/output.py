"""Tables for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from repick.client import Corpus, Job, JobSummary, Ranking

console = Console()
errors = Console(stderr=True)

_JOB_COLUMNS = {"job": 36, "state": 10, "corpus": 8, "pairs": 5, "created": 11} | {
    "queries": None,
    "scorer": None,
}
"""With their least widths: an id is there to be copied, and what a narrow screen cuts is last."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_STYLES = {
    "succeeded": "green",
    "partial": "yellow",
    "failed": "red",
    "cancelled": "dim",
}


def print_json(value: Any) -> None:
    """A dataclass, or several, as JSON on standard output."""
    text = json.dumps(_plain(value), default=str, ensure_ascii=False, indent=2)
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def state_text(state: str) -> Text:
    return Text(state, style=_STYLES.get(state, "cyan"))


def jobs_table(jobs: Iterable[JobSummary]) -> Table:
    table = Table(box=None)
    for name, width in _JOB_COLUMNS.items():
        table.add_column(name, no_wrap=True, min_width=width)
    for job in jobs:
        table.add_row(
            job.id,
            state_text(job.state),
            Text(job.corpus or "–"),
            f"{job.progress.done}/{job.progress.total}",
            f"{job.created_at:%m-%d %H:%M}",
            str(job.queries),
            Text(job.scorer.name),
        )
    return table


def corpus_table(corpus: Corpus) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_row("corpus", Text(corpus.name))
    table.add_row("encoder", Text(corpus.encoder.name + (" (untrained)" * corpus.untrained)))
    table.add_row("items", str(corpus.items))
    table.add_row("embedded", str(corpus.embedded))
    table.add_row("pending", str(corpus.pending))
    for code, count in corpus.failed.items():
        table.add_row("failed", Text(f"{count} {code}", style="red"))
    table.add_row("search", "HNSW index" if corpus.indexed else "exact")
    return table


def job_table(job: JobSummary) -> Table:
    """The job's facts, one a row."""
    progress = job.progress
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_row("job", job.id)
    table.add_row("state", state_text(job.state))
    table.add_row("corpus", Text(job.corpus or "–"))
    table.add_row("scorer", Text(job.scorer.name + (" (untrained)" * job.untrained)))
    table.add_row("pairs", f"{progress.done} of {progress.total}, {progress.reused} reused")
    if progress.failed:
        table.add_row("failed", Text(f"{progress.failed} pairs", style="red"))
    for warning in job.warnings:
        table.add_row("warning", Text(_facts(warning), style="yellow"))
    if job.error:
        table.add_row("error", Text(_facts(job.error), style="red"))
    return table


def ranking_table(ranking: Ranking, title: str | None = None) -> Table:
    """Rank, item, score, margin, the way from the coarse rank, and the layer that fired."""
    table = Table(title=title or f"query {ranking.query}", title_justify="left", box=None)
    for name in ("rank", "item", "score", "margin", "coarse → final", "layer"):
        table.add_column(name, justify="left" if name == "item" else "right")
    for hit in ranking.hits:
        table.add_row(
            str(hit.rank),
            Text(hit.id),
            f"{hit.score:.4f}",
            "–" if hit.margin is None else f"{hit.margin:+.4f}",
            moved(hit.coarse_rank, hit.rank),
            "–" if hit.enhanced_at is None else str(hit.enhanced_at),
        )
    return table


def models_table(kinds: Mapping[str, Iterable[Mapping[str, Any]]]) -> Table:
    """What workers have registered: encoders and scorers by name, with their fingerprints."""
    table = Table("kind", "name", "trained", "fingerprint", box=None)
    for kind, models in kinds.items():
        for one in models:
            trained = Text("no", style="yellow") if one["untrained"] else Text("yes")
            table.add_row(kind, Text(one["name"]), trained, one["fingerprint"][:12])
    return table


def print_audit(audit: Mapping[str, Any]) -> None:
    """The score, then of each forward pass the prompt and what the model said of each label."""
    hit, scorer = audit["hit"], audit["scorer"]
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_row("item", Text(hit["id"]))
    table.add_row("rank", moved(hit["coarse_rank"], hit["rank"]))
    for name in ("score", "margin", "label_mass", "entropy"):
        table.add_row(name, "–" if hit[name] is None else f"{hit[name]:.4f}")
    table.add_row("layer", "–" if hit["enhanced_at"] is None else str(hit["enhanced_at"]))
    table.add_row("scorer", Text(f"{scorer['name']} {scorer['fingerprint'][:12]}"))
    table.add_row(
        "computed",
        Text(", ".join(f"{name} {value}" for name, value in audit["provenance"].items())),
    )
    console.print(table)
    for one in audit["passes"]:
        logits = "  ".join(f"{label} {logit:+.3f}" for label, logit in one["label_logits"].items())
        console.print()
        console.print(Text(harmless(one["prompt"]), style="dim"))
        console.print(Text(logits))


def harmless(text: str) -> str:
    """A text of anybody's as a terminal may have it: control characters are shown, not obeyed."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def moved(before: int, after: int) -> Text:
    style = "green" if after < before else "red" if after > before else "dim"
    return Text(f"{before} → {after}", style=style)


def print_job(job: Job) -> None:
    console.print(job_table(job))
    for ranking in job.rankings:
        console.print()
        console.print(ranking_table(ranking))
    for query, error in job.query_errors.items():
        console.print(Text(f"query {query}: {_facts(error)}", style="red"))


def _facts(value: Any) -> str:
    rest = {name: one for name, one in value.items() if name not in {"code", "detail"}}
    words = [str(value.get("code", "")), str(value.get("detail", ""))]
    words += [f"{name}={one}" for name, one in rest.items() if not isinstance(one, list | dict)]
    return " ".join(word for word in words if word)
