"""A labelled data set: documents, queries, and which documents answer which query.

A folder in BEIR's layout, extended by pictures:

    corpus.jsonl        {"_id", "text"?, "title"?, "image"?}     a document a line
    queries.jsonl       {"_id", "text"?, "image"?}               a query a line
    qrels/<split>.tsv   query-id, corpus-id, score               a header, then a judgement a line

`image` is a path inside of the folder. A document has a text, an image, or both; so has a query.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repick.errors import InvalidField

SPLIT = "test"


@dataclass(frozen=True, slots=True)
class Record:
    """A document or a query under the data set's own id: a text, an image, or both."""

    id: str
    text: str | None = None
    image: Path | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """`qrels` has every query: the documents judged for it with their grades, 0 for wrong ones."""

    name: str
    documents: Mapping[str, Record]
    queries: Mapping[str, Record]
    qrels: Mapping[str, Mapping[str, int]]

    def relevant(self, query: str) -> frozenset[str]:
        """The documents that answer a query."""
        return frozenset(one for one, grade in self.qrels[query].items() if grade > 0)

    def corpus_hash(self) -> str:
        """SHA-256 over the documents with their images' bytes, in hexadecimal; of no path."""
        return records_hash(self.documents.values())


def build(
    name: str,
    documents: Iterable[Record],
    queries: Iterable[Record],
    qrels: Mapping[str, Mapping[str, int]],
) -> Dataset:
    """The data set of the queries that have a relevant document; others measure nothing.

    Raises InvalidField where ids are not distinct or a judgement names what is not there.
    """
    docs, asked = _by_id(documents, f"{name}: documents"), _by_id(queries, f"{name}: queries")
    for query, judged in qrels.items():
        if query not in asked:
            raise _wrong(f"{name}: qrels", f"there is no query {query!r}", "unknown_query")
        for document in judged:
            if document not in docs:
                detail = f"query {query!r} names {document!r}, which is no document"
                raise _wrong(f"{name}: qrels", detail, "unknown_document")
    answered = {one: dict(j) for one, j in qrels.items() if any(grade > 0 for grade in j.values())}
    if not answered:
        raise _wrong(f"{name}: qrels", "no query has a relevant document", "no_judgements")
    return Dataset(name, docs, {one: asked[one] for one in asked if one in answered}, answered)


def open_dataset(folder: Path, split: str = SPLIT, name: str | None = None) -> Dataset:
    """The data set of a folder; raises InvalidField with the file and line that are wrong."""
    root = folder.resolve()
    documents = list(read_records(root / "corpus.jsonl", root))
    queries = list(read_records(root / "queries.jsonl", root))
    qrels = _read_qrels(
        _qrels_file(root, split), {r.id for r in queries}, {r.id for r in documents}
    )
    return build(name or root.name, documents, queries, qrels)


def read_records(file: Path, root: Path) -> Iterator[Record]:
    """The records of a JSON-lines file whose images lie under `root`."""
    seen: set[str] = set()
    for where, value in json_lines(file):
        record = _record(value, where, root)
        if record.id in seen:
            raise _wrong(where, f"the id {record.id!r} is there twice", "duplicate_id")
        seen.add(record.id)
        yield record


def json_lines(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object with where it stands; empty lines are passed over."""
    for no, line in enumerate(read_text(file).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{file.name}:{no}"
        try:
            value = json.loads(line)
        except ValueError as exc:
            raise _wrong(where, "the line is not JSON", "invalid_line") from exc
        if not isinstance(value, dict):
            raise _wrong(where, "the line is not an object", "invalid_line")
        yield where, value


def read_text(file: Path) -> str:
    """Raises InvalidField where the file is missing or not UTF-8."""
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as exc:
        raise _wrong(str(file), "there is no such file", "no_such_file") from exc
    except UnicodeDecodeError as exc:
        raise _wrong(str(file), "the file is not UTF-8", "invalid_utf8") from exc


def image_file(value: object, where: str, root: Path) -> Path:
    """The file that a record names; raises InvalidField where it is none or lies outside."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise _wrong(where, "an image is a file's path", "invalid_line")
    root = root.resolve()
    path = (root / value).resolve()
    if not path.is_relative_to(root):
        raise _wrong(where, f"the image {value!r} lies outside of the folder", "outside_folder")
    if not path.is_file():
        raise _wrong(where, f"there is no image {value!r}", "no_such_file")
    return path


def records_hash(records: Iterable[Record]) -> str:
    """SHA-256 over ids, texts and the images' bytes, in hexadecimal; the order counts."""
    digest = hashlib.sha256()
    for one in records:
        image = _file_hash(one.image) if one.image else None
        digest.update(json.dumps([one.id, one.text, image]).encode() + b"\n")
    return digest.hexdigest()


def _record(value: Mapping[str, Any], where: str, root: Path) -> Record:
    name, text, title = value.get("_id"), value.get("text"), value.get("title")
    if not isinstance(name, str) or not name:
        raise _wrong(where, "`_id` is a string that is not empty", "invalid_line")
    if not all(isinstance(one, str | None) for one in (text, title)):
        raise _wrong(where, "`text` and `title` are strings", "invalid_line")
    whole = "\n".join(one for one in (title, text) if one and one.strip()) or None
    image = value.get("image")
    path = image_file(image, where, root) if image is not None else None
    if whole is None and path is None:
        raise _wrong(where, "neither a text nor an image", "invalid_line")
    return Record(name, whole, path)


def _qrels_file(root: Path, split: str) -> Path:
    """Raises InvalidField, with the splits that there are."""
    folder = root / "qrels"
    splits = sorted(path.stem for path in folder.glob("*.tsv"))
    if split not in splits:
        detail = f"there is no split {split!r}; there are: {', '.join(splits) or 'none'}"
        raise _wrong(str(folder), detail, "unknown_split")
    return folder / f"{split}.tsv"


def _read_qrels(file: Path, queries: set[str], documents: set[str]) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    rows = csv.reader(read_text(file).splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    for no, row in enumerate(rows, start=1):
        if no == 1:
            _check_header(row, f"{file.name}:1")
        elif row:
            query, document, grade = _judgement(row, f"{file.name}:{no}", queries, documents)
            judged = qrels.setdefault(query, {})
            if document in judged:
                raise _wrong(f"{file.name}:{no}", "the pair is judged twice", "duplicate_id")
            judged[document] = grade
    return qrels


def _check_header(row: list[str], where: str) -> None:
    """A file without its header would lose its first judgement silently."""
    if len(row) != 3 or row[2].strip().lower() not in {"score", "relevance", "rel"}:
        detail = "the first line is the header: query-id, corpus-id, score"
        raise _wrong(where, detail, "no_header")


def _judgement(
    row: list[str], where: str, queries: set[str], documents: set[str]
) -> tuple[str, str, int]:
    if len(row) != 3:
        raise _wrong(where, "a judgement has three columns, separated by tabs", "invalid_line")
    query, document, grade = row
    if query not in queries:
        raise _wrong(where, f"there is no query {query!r}", "unknown_query")
    if document not in documents:
        raise _wrong(where, f"there is no document {document!r}", "unknown_document")
    try:
        return query, document, int(grade)
    except ValueError as exc:
        raise _wrong(where, "the score is a whole number", "invalid_line") from exc


def _by_id(records: Iterable[Record], where: str) -> dict[str, Record]:
    found: dict[str, Record] = {}
    for one in records:
        if one.id in found:
            raise _wrong(where, f"the id {one.id!r} is there twice", "duplicate_id")
        found[one.id] = one
    return found


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _wrong(where: str, detail: str, code: str) -> InvalidField:
    return InvalidField(where, detail, code=code)
