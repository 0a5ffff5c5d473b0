"""Calibrations of scorers: the last one of a tenant and a scorer holds, the others are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, insert, literal_column, select

from repick.calibration import Map, as_json, parse
from repick.store import driver
from repick.tables import calibration, scorer


@dataclass(frozen=True, slots=True)
class Calibration:
    """A map of one tenant for one scorer, with the figures that came with it."""

    map: Map
    figures: Mapping[str, Any]
    created_at: datetime


# Built once: every poll of a job with rankings asks this.
_LATEST = driver.text_of(
    select(calibration.c.map, calibration.c.figures, calibration.c.created_at)
    .join(scorer, scorer.c.id == calibration.c.scorer_id)
    .where(
        calibration.c.tenant_id == bindparam("tenant"),
        scorer.c.fingerprint == bindparam("fingerprint"),
    )
    .order_by(calibration.c.id.desc())
    .limit(literal_column("1"))
)


def put(
    connection: Connection, tenant_id: int, scorer_id: int, one: Map, figures: Mapping[str, Any]
) -> None:
    """Store a calibration, which holds from the commit on."""
    value = as_json(one)
    connection.execute(
        insert(calibration).values(
            tenant_id=tenant_id,
            scorer_id=scorer_id,
            method=value["method"],
            map=value,
            figures=dict(figures),
        )
    )


def latest(connection: Connection, tenant_id: int, fingerprint: str) -> Calibration | None:
    """The calibration that holds for the scorer of exactly this fingerprint, if there is one."""
    row = driver.first(connection, _LATEST, {"tenant": tenant_id, "fingerprint": fingerprint})
    return Calibration(parse(row.map), row.figures, row.created_at) if row else None
