"""Labelled data of our own, as `repick eval` reads it back."""

from __future__ import annotations

from pathlib import Path

from demo.labelled import emoji_tasks, scene_tasks, write_dataset
from repick.evaluation.dataset import open_dataset


def test_every_query_has_one_right_document_among_hard_negatives() -> None:
    tasks = scene_tasks(6)
    for task in tasks.values():
        ids = [one.id for one in task.documents]
        assert len(set(ids)) == len(ids)
        assert task.queries
        assert {query.target for query in task.queries} <= set(ids)
    assert len(tasks["easy"].documents) == 6
    assert len(tasks["t2i"].documents) > 18
    assert all(query.image is None for query in tasks["t2i"].queries)
    assert all(query.text is None for query in tasks["i2t"].queries)
    assert scene_tasks(6) == tasks


def test_held_out_emoji_are_not_among_the_seen() -> None:
    tasks = emoji_tasks(20)
    seen, held_out = ({one.target for one in tasks[part].queries} for part in ("seen", "held_out"))
    assert len(seen) == len(held_out) == 20
    assert not seen & held_out


def test_a_written_data_set_is_read_back(tmp_path: Path) -> None:
    task = scene_tasks(3)["i2t"]
    write_dataset(task, tmp_path)
    made = open_dataset(tmp_path)
    assert list(made.documents) == [one.id for one in task.documents]
    right = [next(iter(made.relevant(f"q{no}"))) for no in range(len(task.queries))]
    assert right == [query.target for query in task.queries]
    picture = made.queries["q0"].image
    assert picture is not None
    assert picture.read_bytes() == task.queries[0].image
