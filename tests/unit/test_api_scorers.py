"""What a scorer's name stands for is looked up now and then, and what it lacks every time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from api.schemas import JobRequest
from api.scorers import REFRESH_S, Scorers
from repick.errors import InvalidField
from repick.specs import Readout
from repick.store import registry
from repick.store.database import Database
from repick.store.registry import Registered


@dataclass
class World:
    """What workers have registered, how often it was asked for, and the time."""

    served: dict[str, int] = field(default_factory=dict)
    asked: int = 0
    now: float = 0.0

    @contextmanager
    def read(self) -> Iterator[None]:
        yield

    def named(self, _connection: object, name: str) -> Registered | None:
        self.asked += 1
        if name not in self.served:
            return None
        readout = Readout.PAPER if name.endswith(":paper") else Readout.CHOICE
        return Registered(self.served[name], name, "f", "q", False, {"readout": readout})


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(registry, "scorer_named", world.named)
    return world


def scorers(world: World) -> Scorers:
    return Scorers(cast(Database, world), clock=lambda: world.now)


def job(scorer: str, **more: Any) -> JobRequest:
    return JobRequest(corpus="c", scorer=scorer, **more)


def test_a_name_is_looked_up_again_after_a_moment(world: World) -> None:
    world.served["judge"] = 1
    found = scorers(world)
    assert [found.of(job("judge")).id for _ in range(3)] == [1, 1, 1]
    assert world.asked == 1
    world.served["judge"], world.now = 2, REFRESH_S
    assert found.of(job("judge")).id == 2
    assert world.asked == 2


def test_a_name_that_is_not_served_is_looked_up_every_time(world: World) -> None:
    found = scorers(world)
    for _ in range(2):
        with pytest.raises(InvalidField) as caught:
            found.of(job("judge"))
        assert caught.value.code == "unknown_scorer"
    world.served["judge"] = 1
    assert found.of(job("judge")).id == 1
    assert world.asked == 3


def test_a_blend_is_refused_of_a_known_scorer_too(world: World) -> None:
    world.served["judge:paper"] = 1
    found = scorers(world)
    assert found.of(job("judge:paper")).id == 1
    with pytest.raises(InvalidField) as caught:
        found.of(job("judge:paper", blend=0.5))
    assert caught.value.code == "no_margin"
