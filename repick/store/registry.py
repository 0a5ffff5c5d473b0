"""Encoders and scorers: registered by the workers that serve them, resolved by name at submit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Row, Table, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert

from repick.specs import EncoderSpec, LengthPolicy, ScorerSpec, fingerprint, specification
from repick.tables import encoder, provenance, scorer

UNSERVED = timedelta(minutes=2)
"""Workers say every half minute what they serve: silent for so long, nobody does."""

_ENCODER = select(encoder).where(encoder.c.id == bindparam("id"))
_DEFAULT_SCORER = (
    select(scorer).where(scorer.c.name.like("%:choice")).order_by(scorer.c.seen_at.desc()).limit(1)
)


@dataclass(frozen=True, slots=True)
class Registered:
    """A model specification as the database knows it."""

    id: int
    name: str
    fingerprint: str
    queue: str
    untrained: bool
    specification: Mapping[str, Any]


def register_encoder(connection: Connection, spec: EncoderSpec) -> int:
    """Give the encoder's id, registering it on first sight; marks it as served now."""
    return _register(connection, encoder, spec, spec.name, dimension=spec.dimension)


def register_scorer(connection: Connection, spec: ScorerSpec) -> int:
    """Give the scorer's id, registering it on first sight; marks it as served now."""
    return _register(connection, scorer, spec, spec.name, readout=spec.readout.value)


def encoders_served(connection: Connection, ids: Sequence[int]) -> None:
    """A worker says that it still serves these encoders."""
    _still_served(connection, encoder, ids)


def scorers_served(connection: Connection, ids: Sequence[int]) -> None:
    """A worker says that it still serves these scorers."""
    _still_served(connection, scorer, ids)


def _still_served(connection: Connection, table: Table, ids: Sequence[int]) -> None:
    connection.execute(
        update(table).where(table.c.id.in_(list(ids))).values(seen_at=func.clock_timestamp())
    )


def encoder_named(connection: Connection, name: str | None) -> Registered | None:
    """The encoder of that name that a worker registered last; without a name, the last of all."""
    return _resolve(connection, encoder, name)


def scorer_named(connection: Connection, name: str | None) -> Registered | None:
    """The scorer of that name that a worker registered last.

    A model's name alone stands for its `choice` readout with enhancement.
    """
    return _resolve(connection, scorer, name) or (
        _resolve(connection, scorer, f"{name}:choice") if name else None
    )


def scorer_identified(connection: Connection, fingerprint: str) -> Registered | None:
    """The scorer of exactly this fingerprint."""
    row = connection.execute(select(scorer).where(scorer.c.fingerprint == fingerprint)).first()
    return _registered(row) if row else None


def with_policy(connection: Connection, one: Registered, policy: LengthPolicy) -> Registered | None:
    """The scorer that differs from this one in its length policy alone; itself if in nothing."""
    spec = dict(one.specification)
    if spec["length_policy"] == policy:
        return one
    wanted = spec | {"length_policy": policy.value}
    row = connection.execute(select(scorer).where(scorer.c.specification == wanted)).first()
    return _registered(row) if row else None


def default_scorer(connection: Connection) -> Registered | None:
    """The `choice` scorer with enhancement that a worker registered last."""
    row = connection.execute(_DEFAULT_SCORER).first()
    return _registered(row) if row else None


def listed(connection: Connection, table: Table) -> list[Registered]:
    """All registered encoders or scorers, by name, the last served first."""
    rows = connection.execute(select(table).order_by(table.c.name, table.c.seen_at.desc()))
    return [_registered(row) for row in rows]


def encoders(connection: Connection) -> list[Registered]:
    return listed(connection, encoder)


def scorers(connection: Connection) -> list[Registered]:
    return listed(connection, scorer)


def encoder_of(connection: Connection, encoder_id: int) -> Registered:
    row = connection.execute(_ENCODER, {"id": encoder_id}).one()
    return _registered(row)


def scorer_of(connection: Connection, scorer_id: int) -> Registered:
    row = connection.execute(select(scorer).where(scorer.c.id == scorer_id)).one()
    return _registered(row)


def encoder_fingerprint(connection: Connection, encoder_id: int) -> str:
    statement = select(encoder.c.fingerprint).where(encoder.c.id == encoder_id)
    return str(connection.execute(statement).scalar_one())


def put_provenance(connection: Connection, value: Mapping[str, str]) -> int:
    """The id of a device and library versions, stored once."""
    statement = insert(provenance).values(value=dict(value)).on_conflict_do_nothing()
    connection.execute(statement)
    found = select(provenance.c.id).where(provenance.c.value == dict(value))
    return int(connection.execute(found).scalar_one())


def _register(
    connection: Connection,
    table: Table,
    spec: EncoderSpec | ScorerSpec,
    name: str,
    **columns: object,
) -> int:
    statement = insert(table).values(
        name=name,
        fingerprint=fingerprint(spec),
        queue=spec.queue,
        untrained=spec.untrained,
        specification=specification(spec),
        **columns,
    )
    seen = statement.on_conflict_do_update(
        index_elements=["fingerprint"], set_={"seen_at": func.clock_timestamp()}
    )
    return int(connection.execute(seen.returning(table.c.id)).scalar_one())


def _resolve(connection: Connection, table: Table, name: str | None) -> Registered | None:
    statement = select(table).order_by(table.c.seen_at.desc(), table.c.id.desc()).limit(1)
    if name is not None:
        statement = statement.where(table.c.name == name)
    row = connection.execute(statement).first()
    return _registered(row) if row else None


def _registered(row: Row[Any]) -> Registered:
    return Registered(
        row.id, row.name, row.fingerprint, row.queue, row.untrained, row.specification
    )
