"""repick job …: submit, watch, explain, list and cancel jobs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from repick.cli.connect import AsJson, Key, Url, client
from repick.cli.output import (
    console,
    errors,
    job_table,
    jobs_table,
    print_audit,
    print_job,
    print_json,
)
from repick.client import Client, Job, JobSummary, Query
from repick.jobs import JobKind, JobState
from repick.specs import LengthPolicy

app = typer.Typer(no_args_is_help=True, help="Submit, watch, explain, list and cancel jobs.")

JobId = Annotated[str, typer.Argument(help="The job's id.")]
NOT_SUCCEEDED = 3


@app.command()
def submit(
    corpus: Annotated[str, typer.Argument(help="The corpus to rank.")],
    text: Annotated[list[str] | None, typer.Option(help="A query; may be repeated.")] = None,
    image: Annotated[
        Path | None,
        typer.Option(help="An image query; with one --text, both together.", exists=True),
    ] = None,
    k: Annotated[int, typer.Option(help="Candidates of the coarse stage.")] = 20,
    top_n: Annotated[int | None, typer.Option(help="Hits to keep; k unless given.")] = None,
    scorer: Annotated[str | None, typer.Option(help="As `model:readout`.")] = None,
    instruction: Annotated[str | None, typer.Option(help="Stands before every query.")] = None,
    filter_: Annotated[
        str | None,
        typer.Option("--filter", help='As JSON: {"field": "lang", "eq": "en"} (docs/api.md).'),
    ] = None,
    blend: Annotated[
        float | None, typer.Option(help="Share of the coarse score in the order, 0 to 1.")
    ] = None,
    min_score: Annotated[float | None, typer.Option(help="Leave out hits below.")] = None,
    length_policy: Annotated[
        LengthPolicy | None, typer.Option(help="Of pairs that are too long for the model.")
    ] = None,
    time_limit: Annotated[
        int | None, typer.Option(help="Seconds; then it ends with what it has.")
    ] = None,
    kind: Annotated[
        JobKind | None, typer.Option(help="`batch` gives way to interactive jobs.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait and show the rankings.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Submit a job: texts, an image, or an image with a text."""
    queries = _queries(text or [], image)
    with client(url, key) as api:
        job = api.submit(
            corpus,
            queries,
            k=k,
            top_n=top_n,
            scorer=scorer,
            instruction=instruction,
            filter=_filter(filter_),
            blend=blend,
            min_score=min_score,
            length_policy=length_policy,
            time_limit_s=time_limit,
            kind=kind,
        )
        if wait:
            with _told_when_stopped(job.id):
                errors.print(f"waiting for job {job.id}", style="dim", highlight=False)
                job = _watched(api, job.id, None)
    if wait:
        _finish(job, as_json)
    elif as_json:
        print_json(job)
    else:
        console.print(job.id, highlight=False)


@app.command()
def show(job_id: JobId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Show a job with the rankings that it has so far."""
    with client(url, key) as api:
        job = api.job(job_id)
    print_json(job) if as_json else print_job(job)


@app.command()
def wait(
    job_id: JobId,
    timeout: Annotated[float | None, typer.Option(help="Seconds; for ever unless given.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Wait for a job's end, with a progress bar, and show its rankings."""
    with client(url, key) as api, _told_when_stopped(job_id):
        job = _watched(api, job_id, timeout)
    _finish(job, as_json)


@app.command()
def explain(
    job_id: JobId,
    item: Annotated[str, typer.Argument(help="The id of a hit.")],
    query: Annotated[int, typer.Option(min=0, help="The query's number in the job.")] = 0,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Say how a hit came by its score: prompts, logits of the labels, scorer, provenance."""
    with client(url, key) as api:
        audit = api.audit(job_id, query, item)
    print_json(audit) if as_json else print_audit(audit)


@app.command(name="list")
def list_(
    state: Annotated[JobState | None, typer.Option(help="Only jobs in this state.")] = None,
    corpus: Annotated[str | None, typer.Option(help="Only jobs over this corpus.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, the newest first."""
    with client(url, key) as api:
        found = list(islice(api.jobs(state, corpus), limit))
    print_json(found) if as_json else console.print(jobs_table(found))


@app.command()
def cancel(job_id: JobId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Cancel a job that has not ended."""
    with client(url, key) as api:
        job = api.cancel(job_id)
    print_json(job) if as_json else console.print(job_table(job))


def _queries(texts: list[str], image: Path | None) -> Query | list[Query]:
    if image is not None and len(texts) <= 1:
        return Query(texts[0] if texts else None, image)
    if image is not None:
        raise typer.BadParameter("an image goes with at most one text")
    if not texts:
        raise typer.BadParameter("give --text, --image, or both")
    return Query(texts[0]) if len(texts) == 1 else [Query(text) for text in texts]


def _filter(value: str | None) -> Mapping[str, Any] | None:
    if value is None:
        return None
    try:
        parsed = json.loads(value)
    except ValueError as exc:
        raise typer.BadParameter(f"not JSON: {exc}", param_hint="--filter") from exc
    if not isinstance(parsed, dict):
        raise typer.BadParameter("a filter is a JSON object", param_hint="--filter")
    return parsed


@contextmanager
def _told_when_stopped(job_id: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        said = f"the job goes on: repick job wait {job_id}"
        errors.print(said, highlight=False, soft_wrap=True)
        raise


def _watched(api: Client, job_id: str, timeout: float | None) -> Job:
    """Wait with a bar on standard error."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("pairs"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task("queued", total=None)

        def show(job: JobSummary) -> None:
            total = job.progress.total or None
            bar.update(task, description=job.state, total=total, completed=job.progress.done)

        try:
            return api.wait(job_id, show, timeout)
        except TimeoutError as exc:
            bar.stop()
            errors.print(str(exc), style="yellow", highlight=False)
            raise typer.Exit(NOT_SUCCEEDED) from exc


def _finish(job: Job, as_json: bool) -> None:
    print_json(job) if as_json else print_job(job)
    if job.state is not JobState.SUCCEEDED:
        raise typer.Exit(NOT_SUCCEEDED)
