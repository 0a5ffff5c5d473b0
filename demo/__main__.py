"""The demo: `make demo`. The whole service on demo data, what it ranks, and everything stopped.

What it does with the service, any HTTP client can do: it uses `repick.client`.
"""

from __future__ import annotations

import sys

from rich.console import Console

from demo.corpus import DemoItem, demo_items, demo_queries
from demo.show import WIDE, Screen
from repick.client import ApiError, Client, Item, Query
from repick.settings import Settings
from repick.stack import Addresses, run_stack

PICTURES, TEXTS = "demo-pictures", "demo-texts"
K, TOP_N = 20, 5


def main() -> int:
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    console.rule("[bold]Repick[/bold]  ·  the demo")
    return run_stack(Settings(), on_ready=lambda at: show(Screen(console), at), quiet=True)


def show(screen: Screen, addresses: Addresses) -> int:
    """Load two corpora, submit jobs of every kind, print their rankings; gives the exit code."""
    with Client(addresses.api_url, addresses.api_key) as client:
        for corpus in (PICTURES, TEXTS):
            load(screen, client, corpus)
        for query in demo_queries():
            corpus = TEXTS if query.title.startswith("image → text") else PICTURES
            asked = Query(query.text, query.image)
            with screen.following(query.title) as follow:
                job = client.rank(
                    corpus,
                    asked,
                    k=K,
                    top_n=TOP_N,
                    instruction=query.instruction,
                    on_progress=follow,
                )
            screen.ranking(job, 0, query, shown(corpus))
            screen.account(job)
        several(screen, client)
    screen.goodbye(addresses)
    return 0


def load(screen: Screen, client: Client, corpus: str) -> None:
    """Create the corpus unless it is there, put its items, and wait for their vectors."""
    try:
        client.create_corpus(corpus)
    except ApiError as exc:
        if exc.code != "corpus_exists":
            raise
    items = [Item(one.id, one.text, one.image, one.metadata) for one in items_of(corpus)]
    put = client.put_items(corpus, items)
    screen.embedding(corpus, put, lambda: client.corpus(corpus))


def several(screen: Screen, client: Client) -> None:
    """One job with several queries, some of whose pairs the ledger has by now."""
    queries = [one for one in demo_queries() if one.title.startswith("text → image")]
    queries += [one for one in demo_queries() if one.title.startswith("image + text")]
    asked = [Query(one.text, one.image) for one in queries]
    with screen.following("one job with several queries") as follow:
        job = client.rank(PICTURES, asked, k=K, top_n=3, on_progress=follow)
    for no, query in enumerate(queries):
        screen.ranking(job, no, query, shown(PICTURES))
    screen.account(job)


def items_of(corpus: str) -> list[DemoItem]:
    return [one for one in demo_items() if (one.image is None) == (corpus == TEXTS)]


def shown(corpus: str) -> dict[str, str]:
    """What each item shows, in words, for the person who reads the table."""
    return {one.id: one.metadata["shows"] for one in items_of(corpus)}


if __name__ == "__main__":
    sys.exit(main())
