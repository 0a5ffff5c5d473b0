"""The demo's models, made once a session, and a cache folder that is not the user's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def user_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Hashes of model files go here while tests run."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def demo_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `clip-tiny-untrained` and `qwen2.5-vl-tiny-untrained`; read only, please."""
    from demo.stand_ins import make_stand_ins

    folder = tmp_path_factory.mktemp("models")
    make_stand_ins(folder)
    return folder
