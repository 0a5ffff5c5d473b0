"""The demo: `make demo`. The whole service on demo data, what it ranks, and everything stopped.

What it does with the service, any HTTP client can do: it uses `repick.client`.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from rich.console import Console

from demo import models
from demo.answers import Answered
from demo.corpus import CORPORA, EMOJI, Round, rounds
from demo.documents import DemoItem
from demo.sheet import TOP, contact_sheet
from demo.show import WIDE, Screen
from repick.client import ApiError, Client, Item, Job, Query
from repick.settings import Settings, read_settings
from repick.stack import Addresses, run_stack

K = 20
SHEET = "demo-rankings.png"


def main() -> int:
    if len(sys.argv) > 1:
        print("usage: python -m demo   (REPICK_… settings choose folder and models)")
        return 2
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    console.rule("[bold]Repick[/bold]  ·  the demo")
    settings = read_settings()
    return run_stack(settings, on_ready=partial(show, Screen(console), settings), quiet=True)


def show(screen: Screen, settings: Settings, addresses: Addresses) -> int:
    """Load the corpora, submit a job a round, print and draw the rankings; gives the exit code."""
    corpora = {name: make() for name, make in CORPORA.items()}
    items = {one.id: one for documents in corpora.values() for one in documents}
    with Client(addresses.api_url, addresses.api_key) as client:
        for name, documents in corpora.items():
            load(screen, client, name, documents)
        asked = rounds()
        jobs = [ask(screen, client, settings, one) for one in asked]
        answered = [Answered.of(one, job) for one, job in zip(asked, jobs, strict=True)]
        for one, job in zip(answered, jobs, strict=True):
            screen.answers(one, items)
            screen.account(job)
        if jobs[0].rankings:
            screen.in_full(answered[0].answers[0], jobs[0].rankings[0], items)
        screen.account(ask(screen, client, settings, asked[0], "the first job once more"))
    screen.totals(answered)
    screen.sheet(draw(answered, items, addresses.data_dir))
    screen.goodbye(addresses, untrained=any(job.untrained for job in jobs))
    return 0


def load(screen: Screen, client: Client, name: str, documents: tuple[DemoItem, ...]) -> None:
    """Put the corpus's items and wait for their vectors."""
    make_corpus(client, name)
    items = [Item(one.id, one.text, one.image, one.metadata) for one in documents]
    with screen.sending(name, len(items)) as on_batch:
        put = client.put_items(name, items, on_batch)
    screen.embedding(name, put, lambda: client.corpus(name))


def make_corpus(client: Client, name: str) -> None:
    """Create the corpus, or keep it, or make it anew where it is for an encoder served no more."""
    if not created(client, name):
        # A new corpus has the encoder that is served now.
        current = client.create_corpus(f"{name}-{uuid4().hex[:12]}")
        client.delete_corpus(current.name)
        if client.corpus(name).encoder != current.encoder:
            client.delete_corpus(name)
            client.create_corpus(name)


def created(client: Client, name: str) -> bool:
    try:
        client.create_corpus(name)
    except ApiError as exc:
        if exc.code != "corpus_exists":
            raise
        return False
    return True


def ask(screen: Screen, client: Client, settings: Settings, one: Round, title: str = "") -> Job:
    queries = [Query(each.text, each.image) for each in one.queries]
    with screen.following(title or one.title) as follow:
        return client.rank(one.corpus, queries, on_progress=follow, **options(one, settings))


def options(one: Round, settings: Settings) -> dict[str, Any]:
    """Of a job: all candidates come back, so that both orders can be shown.

    What the demo's judge was not trained on stays in the coarse order.
    """
    if settings.scorer or not models.shipped():
        return {"k": K, "top_n": K}
    scorer = {"scorer": f"{models.JUDGE_NAME}:{models.READOUT}"}
    unknown = (one.corpus == EMOJI and not models.JUDGE_KNOWS_EMOJI) or (
        one.composed and not models.JUDGE_KNOWS_EDITS
    )
    if unknown:
        return scorer | {"k": TOP, "top_n": TOP, "blend": 1.0}
    return scorer | {"k": K, "top_n": K}


def draw(answered: list[Answered], items: dict[str, DemoItem], folder: Path) -> Path:
    target = folder / SHEET
    contact_sheet(answered, items).save(target)
    return target


if __name__ == "__main__":
    sys.exit(main())
