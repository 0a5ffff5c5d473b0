"""Labelled data of our own: held-out scenes with hard negatives, and emoji by name.

    python -m demo.labelled FOLDER     a data set a folder, for `repick eval`

Every query has exactly one right document, known from how it was made.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from demo import drawn, emoji
from demo.data.emoji import Emoji, load_catalogue
from demo.data.emoji.queries import TEXTS
from demo.documents import DemoItem, DemoQuery

FAMILIES, SEED = 240, 7
"""The seed is not the demo's: what is measured is not what was looked at."""


@dataclass(frozen=True, slots=True)
class Task:
    """Queries over a corpus; `k` candidates of each are judged."""

    corpus: str
    documents: Sequence[DemoItem]
    queries: Sequence[DemoQuery]
    k: int


def scene_tasks(families: int, k: int = 20) -> dict[str, Task]:
    """`t2i` and `i2t` among hard negatives, `easy` among the scenes themselves only."""
    made = drawn.make_families(families, SEED)
    pictures = drawn.pictures_of(made)
    own = {f"scene-{family.id}" for family in made}
    to_pictures = list(drawn.asking_for_pictures(made))
    return {
        "t2i": Task("quality-pictures", pictures, to_pictures, k),
        "i2t": Task(
            "quality-captions",
            drawn.captions_of(made),
            list(drawn.asking_for_captions(made, made)),
            k,
        ),
        "easy": Task("quality-easy", [one for one in pictures if one.id in own], to_pictures, 1),
    }


def emoji_tasks(queries: int | None, k: int = 10) -> dict[str, Task]:
    """Names of concepts `seen` in training and `held_out` from it; all of them for None."""
    documents = emoji.emoji_items()
    drawn_here = {one.id for one in documents}
    shown = [one for one in load_catalogue() if f"emoji-{one.code}" in drawn_here]
    parts = {
        "seen": [one for one in shown if not one.held_out],
        "held_out": [one for one in shown if one.held_out],
    }
    return {
        name: Task("quality-emoji", documents, _by_name(_some(part, queries)), k)
        for name, part in parts.items()
    }


def _some(part: Sequence[Emoji], count: int | None) -> Sequence[Emoji]:
    return part if count is None else random.Random(SEED).sample(part, min(count, len(part)))


def _by_name(part: Sequence[Emoji]) -> list[DemoQuery]:
    return [DemoQuery(TEXTS[0].format(one.name), None, f"emoji-{one.code}") for one in part]


def write_dataset(task: Task, folder: Path) -> None:
    """The task in BEIR's layout, its pictures as PNG files."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "qrels").mkdir(exist_ok=True)
    documents = [_record(one.id, one.text, one.image, folder) for one in task.documents]
    queries = [
        _record(f"q{no}", one.text, one.image, folder) for no, one in enumerate(task.queries)
    ]
    judged = [f"q{no}\t{one.target}\t1" for no, one in enumerate(task.queries)]
    _write(folder / "corpus.jsonl", documents)
    _write(folder / "queries.jsonl", queries)
    _write(folder / "qrels" / "test.tsv", ["query-id\tcorpus-id\tscore", *judged])


def _record(name: str, text: str | None, image: bytes | None, folder: Path) -> str:
    record = {"_id": name} | ({"text": text} if text else {})
    if image is not None:
        record["image"] = f"images/{name}.png"
        (folder / record["image"]).write_bytes(image)
    return json.dumps(record)


def _write(file: Path, lines: Sequence[str]) -> None:
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    tasks = {f"scenes-{name}": task for name, task in scene_tasks(FAMILIES).items()}
    tasks |= {f"emoji-{name}": task for name, task in emoji_tasks(None).items()}
    for name, task in tasks.items():
        write_dataset(task, Path(arguments[0]) / name)
        print(f"{name}: {len(task.queries)} queries, {len(task.documents)} documents")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
