"""Rankings as files: JSONL, CSV, Parquet, TREC run. Each is made piece by piece, as it is sent."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from importlib.util import find_spec
from urllib.parse import quote

from repick.errors import NotInstalled


class Format(StrEnum):
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"
    TREC = "trec"


MEDIA_TYPES = {
    Format.JSONL: "application/x-ndjson",
    Format.CSV: "text/csv; charset=utf-8",
    Format.PARQUET: "application/vnd.apache.parquet",
    Format.TREC: "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One place of a ranking. `query` is the standing query's id, otherwise the query's number."""

    query_no: int
    query: str
    rank: int
    id: str
    score: float
    margin: float | None
    label_mass: float
    entropy: float
    coarse_rank: int
    coarse_score: float | None
    enhanced_at: int | None
    cut_tokens: int


COLUMNS = tuple(field.name for field in fields(Row))


def written(form: Format, batches: Iterable[Sequence[Row]], tag: str) -> Iterator[bytes]:
    """The file's bytes; `tag` names the run in a TREC file.

    Raises NotInstalled (`no_pyarrow`) at once, before the first piece is asked for.
    """
    if form is Format.PARQUET:
        _require_pyarrow()
        return _parquet(batches)
    if form is Format.CSV:
        return _csv(batches)
    return _lines(batches, tag if form is Format.TREC else None)


def _lines(batches: Iterable[Sequence[Row]], tag: str | None) -> Iterator[bytes]:
    for batch in batches:
        lines = (_json(row) if tag is None else _trec(row, tag) for row in batch)
        yield "".join(line + "\n" for line in lines).encode()


def _json(row: Row) -> str:
    return json.dumps(asdict(row), ensure_ascii=False, separators=(",", ":"))


def _trec(row: Row, tag: str) -> str:
    """`query Q0 document rank score tag`; blanks in ids as %20.

    The score is −rank: trec_eval sorts by it and breaks ties by id, which is not our order.
    """
    return f"{_word(row.query)} Q0 {_word(row.id)} {row.rank} {-row.rank} {_word(tag)}"


def _word(text: str) -> str:
    return quote(
        text, safe="".join(chr(c) for c in range(33, 127) if chr(c) != "%"), errors="strict"
    )


def _csv(batches: Iterable[Sequence[Row]]) -> Iterator[bytes]:
    target = io.StringIO(newline="")
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(COLUMNS)
    yield _taken(target)
    for batch in batches:
        writer.writerows([getattr(row, name) for name in COLUMNS] for row in batch)
        yield _taken(target)


def _taken(target: io.StringIO) -> bytes:
    text = target.getvalue()
    target.seek(0)
    target.truncate()
    return text.encode()


def _require_pyarrow() -> None:
    if find_spec("pyarrow") is None:
        raise NotInstalled("Parquet needs repick[parquet] on the server", code="no_pyarrow")


def _parquet(batches: Iterable[Sequence[Row]]) -> Iterator[bytes]:
    """A row group a batch; what is complete is handed on at once."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text, real, whole = pa.string(), pa.float64(), pa.int32()
    kinds = {"query": text, "id": text, "score": real, "margin": real, "label_mass": real}
    kinds |= {"entropy": real, "coarse_score": real}
    schema = pa.schema([(name, kinds.get(name, whole)) for name in COLUMNS])
    target = _Pieces()
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for batch in batches:
            columns = {name: [getattr(row, name) for row in batch] for name in COLUMNS}
            writer.write_table(pa.table(columns, schema=schema))
            yield target.take()
    yield target.take()


class _Pieces(io.RawIOBase):
    """A file that is only written to, and read once, in pieces."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._length = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._length

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]
        self._pieces.append(piece)
        self._length += len(piece)
        return len(piece)

    def take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)
