"""Other layouts of labelled data become BEIR's, with pictures linked beside it (or copied).

karpathy    JSON or CSV of the Karpathy splits (Flickr30K, COCO): two data sets, one a direction
m-beir      `source` holds the queries, `--pool` the candidates, both JSON lines
mmeb        a Parquet table of MMEB-eval: the first target of a row is the right one
sugarcrepe  JSON of captions and their hard negatives
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from repick.errors import InvalidField, Unavailable
from repick.evaluation.dataset import image_file, json_lines, read_text


class Layout(StrEnum):
    KARPATHY = "karpathy"
    M_BEIR = "m-beir"
    MMEB = "mmeb"
    SUGARCREPE = "sugarcrepe"


@dataclass(slots=True)
class Collected:
    """Documents and queries as (text, picture's path); `qrels` by query, then document."""

    documents: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)
    queries: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)
    qrels: dict[str, dict[str, int]] = field(default_factory=dict)

    def judge(self, query: str, document: str, grade: int = 1) -> None:
        self.qrels.setdefault(query, {})[document] = grade


def import_dataset(
    layout: Layout,
    source: Path,
    images: Path,
    folder: Path,
    *,
    split: str = "test",
    pool: Path | None = None,
) -> list[Path]:
    """Write the data sets below `folder`; returns their folders.

    Pictures are files below `images`. Raises InvalidField with the place of what is wrong, and
    Unavailable where a table needs a library that is not there.
    """
    if (layout is Layout.M_BEIR) != (pool is not None):
        raise InvalidField("pool", "m-beir has a pool of candidates, the others have none")
    read: Mapping[Layout, Callable[[], dict[str, Collected]]] = {
        Layout.KARPATHY: lambda: _karpathy(source, split),
        Layout.M_BEIR: lambda: {"": _m_beir(source, pool or source)},
        Layout.MMEB: lambda: {"": _mmeb(source)},
        Layout.SUGARCREPE: lambda: {"": _sugarcrepe(source)},
    }
    written = []
    for name, one in read[layout]().items():
        _write(one, images, folder / name, split)
        written.append(folder / name)
    return written


def _karpathy(source: Path, split: str) -> dict[str, Collected]:
    rows = list(_karpathy_csv(source) if source.suffix == ".csv" else _karpathy_json(source))
    to_text, to_image = Collected(), Collected()
    for name, sentences, of in rows:
        if of != split:
            continue
        to_text.queries[name] = to_image.documents[name] = (None, name)
        for no, sentence in enumerate(sentences):
            caption = f"{name}#{no}"
            to_text.documents[caption] = to_image.queries[caption] = (sentence, None)
            to_text.judge(name, caption)
            to_image.judge(caption, name)
    if not to_text.queries:
        splits = ", ".join(sorted({of for *_, of in rows})) or "none"
        detail = f"no picture is of the split {split!r}; there are: {splits}"
        raise InvalidField("split", detail, code="unknown_split")
    return {"image-to-text": to_text, "text-to-image": to_image}


Row = tuple[str, Sequence[str], str]


def _karpathy_json(source: Path) -> Iterator[Row]:
    for no, one in enumerate(_member(_json(source), "images", source.name)):
        where = f"{source.name}: images[{no}]"
        name = "/".join(part for part in (one.get("filepath"), one.get("filename")) if part)
        sentences = [each["raw"] for each in _member(one, "sentences", where)]
        yield name, sentences, str(_member(one, "split", where))


def _karpathy_csv(source: Path) -> Iterator[Row]:
    """Columns `filename`, `split`, and `raw`: the captions as a JSON list."""
    for no, one in enumerate(csv.DictReader(read_text(source).splitlines()), start=2):
        where = f"{source.name}:{no}"
        try:
            sentences = json.loads(_member(one, "raw", where))
        except ValueError as exc:
            raise InvalidField(where, "`raw` is a JSON list", code="invalid_line") from exc
        yield _member(one, "filename", where), sentences, _member(one, "split", where)


def _m_beir(source: Path, pool: Path) -> Collected:
    made = Collected()
    for where, one in json_lines(pool):
        made.documents[_member(one, "did", where)] = (
            one.get("txt") or None,
            one.get("img_path") or None,
        )
    for where, one in json_lines(source):
        query = _member(one, "qid", where)
        made.queries[query] = (one.get("query_txt") or None, one.get("query_img_path") or None)
        for document in _member(one, "pos_cand_list", where):
            if document not in made.documents:
                detail = f"{document!r} is not in the pool"
                raise InvalidField(where, detail, code="unknown_document")
            made.judge(query, document)
    return made


def _mmeb(source: Path) -> Collected:
    """Every row's targets together are the corpus, as the service ranks one corpus for all."""
    try:
        import pyarrow.parquet as parquet
    except ImportError as exc:
        raise Unavailable("reading Parquet needs repick[parquet]", code="no_pyarrow") from exc
    made = Collected()
    for no, row in enumerate(parquet.read_table(source).to_pylist()):
        where, query = f"{source.name}: row {no}", str(no)
        made.queries[query] = _mmeb_content(row.get("qry_text"), row.get("qry_img_path"))
        texts = _member(row, "tgt_text", where)
        pictures = row.get("tgt_img_path") or [None] * len(texts)
        for place, pair in enumerate(zip(texts, pictures, strict=True)):
            content = _mmeb_content(*pair)
            document = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
            made.documents[document] = content
            if place == 0:
                made.judge(query, document)
    return made


def _mmeb_content(text: str | None, image: str | None) -> tuple[str | None, str | None]:
    """Without the place of the picture in its own model's prompt."""
    return (text or "").replace("<|image_1|>", "").strip() or None, image or None


def _sugarcrepe(source: Path) -> Collected:
    """A picture asks for its caption among all captions and hard negatives of the file."""
    made = Collected()
    for name, one in _json(source).items():
        where = f"{source.name}: {name}"
        made.queries[name] = (None, _member(one, "filename", where))
        for kind, grade in (("caption", 1), ("negative_caption", 0)):
            made.documents[f"{name}-{kind}"] = (_member(one, kind, where), None)
            made.judge(name, f"{name}-{kind}", grade)
    return made


def _json(source: Path) -> dict[str, Any]:
    try:
        value = json.loads(read_text(source))
    except ValueError as exc:
        raise InvalidField(str(source), "the file is not JSON", code="invalid_file") from exc
    if not isinstance(value, dict):
        raise InvalidField(str(source), "an object is wanted here", code="invalid_file")
    return value


def _member(value: Any, name: str, where: str) -> Any:
    if not isinstance(value, Mapping) or value.get(name) is None:
        raise InvalidField(where, f"`{name}` is missing", code="invalid_line")
    return value[name]


def _write(one: Collected, images: Path, folder: Path, split: str) -> None:
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    for name, records in (("corpus", one.documents), ("queries", one.queries)):
        lines = (_record(record, *content, images, folder) for record, content in records.items())
        _write_lines(folder / f"{name}.jsonl", lines)
    judged = (
        f"{query}\t{document}\t{grade}"
        for query, documents in one.qrels.items()
        for document, grade in documents.items()
    )
    _write_lines(folder / "qrels" / f"{split}.tsv", ["query-id\tcorpus-id\tscore", *judged])


def _record(name: str, text: str | None, image: str | None, images: Path, folder: Path) -> str:
    record = {"_id": name} | ({"text": text} if text else {})
    if image:
        source = image_file(image, name, images)
        record["image"] = f"images/{image}"
        target = folder / record["image"]
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            _place(source, target)
    return json.dumps(record, ensure_ascii=False)


def _place(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _write_lines(file: Path, lines: Iterable[str]) -> None:
    with file.open("w", encoding="utf-8") as opened:
        opened.writelines(f"{line}\n" for line in lines)
