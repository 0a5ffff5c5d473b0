"""Vectors on their way to Postgres: as bytes, a few hundredths of what text of numbers costs."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pgvector import HalfVector
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format
from sqlalchemy import Connection, text

_ARRAY = struct.Struct(">iiIii")
"""One dimension, no nulls, the elements' type, their number, the first one's index."""
_LENGTH = struct.Struct(">i")
_TYPE = text("SELECT CAST(CAST('halfvec' AS regtype) AS oid)")


@dataclass(frozen=True, slots=True)
class HalfVectors:
    """An array of vectors; `oid` is the number of their type in this database."""

    oid: int
    vectors: Sequence[bytes]


class _Binary(Dumper):
    """Names no type, so no connection has to ask for its number: a statement casts the parameter,
    as in `CAST(:vector AS halfvec)`, and Postgres reads the bytes as that."""

    format = Format.BINARY


class HalfVectorDumper(_Binary):
    def dump(self, obj: Any) -> Buffer:
        data: bytes = obj.to_binary()
        return data


class HalfVectorsDumper(_Binary):
    def dump(self, obj: HalfVectors) -> Buffer:
        parts = [_ARRAY.pack(1, 0, obj.oid, len(obj.vectors), 1)]
        for one in obj.vectors:
            parts += _LENGTH.pack(len(one)), one
        return b"".join(parts)


def half(vector: Sequence[float]) -> HalfVector:
    """A bind for a parameter that is cast to halfvec; rounded as the cast would."""
    return HalfVector(list(vector))


def halves(connection: Connection, vectors: Sequence[Sequence[float]]) -> HalfVectors:
    """A bind for a parameter that is cast to halfvec[]; at least one vector.

    Inside of an array the type has a number, which a connection is asked for once.
    """
    oid = connection.info.get("halfvec")
    if oid is None:
        connection.info["halfvec"] = oid = int(connection.execute(_TYPE).scalar_one())
    return HalfVectors(oid, [half(one).to_binary() for one in vectors])


def install(connection: Any, _record: object = None) -> None:
    """Let a new connection send what `half` and `halves` give."""
    connection.adapters.register_dumper(HalfVector, HalfVectorDumper)
    connection.adapters.register_dumper(HalfVectors, HalfVectorsDumper)
