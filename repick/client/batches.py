"""Items on their way to the API: cut into requests of bounded size."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from repick.client.values import Item, item_body

BATCH_ITEMS = 100
"""So few that the first ones are stored, and embedded, while the last are still on their way."""
BATCH_BYTES = 16 * 1024 * 1024


def batches(items: Iterable[Item]) -> Iterator[list[dict[str, Any]]]:
    """Bodies of items, at most BATCH_ITEMS and about BATCH_BYTES together.

    The same items in the same order are cut in the same places. Raises OSError for an image file
    that cannot be read.
    """
    batch: list[dict[str, Any]] = []
    size = 0
    for item in items:
        body = item_body(item)
        length = len(json.dumps(body))
        if batch and (len(batch) == BATCH_ITEMS or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(body)
        size += length
    if batch:
        yield batch
