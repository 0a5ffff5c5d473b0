"""Data sets in BEIR's layout: read whole, or refused with the file and line that are wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from repick.errors import InvalidField
from repick.evaluation.dataset import Record, open_dataset

HEADER = "query-id\tcorpus-id\tscore\n"
DOCUMENTS = [
    {"_id": "d1", "title": "Cups", "text": "a red cup"},
    {"_id": "d2", "image": "images/dog.png", "text": ""},
]
QUERIES = [{"_id": "q1", "text": "cup"}, {"_id": "q2", "text": "dog"}, {"_id": "q3", "text": "x"}]


def lines(*values: Any) -> str:
    return "".join(json.dumps(one) + "\n" for one in values)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "pets"
    (root / "images").mkdir(parents=True)
    (root / "qrels").mkdir()
    (root / "images" / "dog.png").write_bytes(b"a dog")
    (tmp_path / "secret.png").write_bytes(b"elsewhere")
    (root / "corpus.jsonl").write_text(lines(*DOCUMENTS))
    (root / "queries.jsonl").write_text(lines(*QUERIES))
    (root / "qrels" / "test.tsv").write_text(
        HEADER + "q1\td1\t2\nq1\td2\t0\nq2\td2\t1\nq3\td1\t0\n"
    )
    return root


def test_documents_queries_and_judgements_are_read(folder: Path) -> None:
    found = open_dataset(folder)
    assert found.name == "pets"
    assert list(found.documents.values()) == [
        Record("d1", "Cups\na red cup"),
        Record("d2", None, folder / "images" / "dog.png"),
    ]
    assert found.qrels == {"q1": {"d1": 2, "d2": 0}, "q2": {"d2": 1}}
    assert found.relevant("q1") == {"d1"}


def test_queries_that_nothing_answers_are_left_out(folder: Path) -> None:
    assert list(open_dataset(folder).queries) == ["q1", "q2"]


def test_the_hash_is_of_what_is_shown_and_not_of_where_it_lies(folder: Path) -> None:
    before = open_dataset(folder).corpus_hash()
    moved = folder.rename(folder.with_name("elsewhere"))
    assert open_dataset(moved).corpus_hash() == before
    (moved / "images" / "dog.png").write_bytes(b"a cat")
    assert open_dataset(moved).corpus_hash() != before


def test_a_split_that_is_not_there_is_named_with_those_that_are(folder: Path) -> None:
    with pytest.raises(InvalidField, match="there are: test") as caught:
        open_dataset(folder, "dev")
    assert caught.value.code == "unknown_split"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("{", "invalid_line"),
        ("[]", "invalid_line"),
        ('{"text": "a"}', "invalid_line"),
        ('{"_id": 5, "text": "a"}', "invalid_line"),
        ('{"_id": "d9", "text": 5}', "invalid_line"),
        ('{"_id": "d9", "text": " "}', "invalid_line"),
        ('{"_id": "d9", "image": 5}', "invalid_line"),
        ('{"_id": "d9", "image": "a\\u0000b"}', "invalid_line"),
        ('{"_id": "d1", "text": "again"}', "duplicate_id"),
        ('{"_id": "d9", "image": "none.png"}', "no_such_file"),
        ('{"_id": "d9", "image": "../secret.png"}', "outside_folder"),
        ('{"_id": "d9", "image": "images/../../secret.png"}', "outside_folder"),
        ('{"_id": "d9", "image": "/etc/hostname"}', "outside_folder"),
        ('{"_id": "d9", "image": "link.png"}', "outside_folder"),
    ],
)
def test_a_wrong_document_is_refused_with_its_line(folder: Path, line: str, code: str) -> None:
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    (folder / "corpus.jsonl").write_text(lines(*DOCUMENTS) + "\n" + line + "\n")
    with pytest.raises(InvalidField) as caught:
        open_dataset(folder)
    assert (caught.value.field, caught.value.code) == ("corpus.jsonl:4", code)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("q1\td1", "invalid_line"),
        ("q1\td1\thigh", "invalid_line"),
        ("q9\td1\t1", "unknown_query"),
        ("q1\td9\t1", "unknown_document"),
        ("q2\td2\t1", "duplicate_id"),
    ],
)
def test_a_wrong_judgement_is_refused_with_its_line(folder: Path, line: str, code: str) -> None:
    (folder / "qrels" / "test.tsv").write_text(f"{HEADER}q2\td2\t1\n{line}\n")
    with pytest.raises(InvalidField) as caught:
        open_dataset(folder)
    assert (caught.value.field, caught.value.code) == ("test.tsv:3", code)


def test_judgements_without_their_header_lose_none_silently(folder: Path) -> None:
    (folder / "qrels" / "test.tsv").write_text("q1\td1\t1\nq2\td2\t1\n")
    with pytest.raises(InvalidField) as caught:
        open_dataset(folder)
    assert (caught.value.field, caught.value.code) == ("test.tsv:1", "no_header")


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_a_missing_file_and_one_that_is_not_utf8_are_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b'{"_id": "\xff"}')
    with pytest.raises(InvalidField) as caught:
        open_dataset(folder)
    assert caught.value.code == "invalid_utf8"
    (folder / name).unlink()
    with pytest.raises(InvalidField) as caught:
        open_dataset(folder)
    assert caught.value.code == "no_such_file"
