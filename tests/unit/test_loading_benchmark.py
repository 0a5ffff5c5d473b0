"""What the loading benchmark puts and makes of its times; the load itself needs the whole stack."""

from __future__ import annotations

import pytest

from benchmarks.loading import Loaded, numbered, pictures, report
from repick.content import ImagePolicy, decode_image


def test_numbered_pictures_are_distinct_bytes_with_the_same_pixels() -> None:
    one = next(pictures(1)).image
    assert isinstance(one, bytes)
    first, second = numbered(one, 1), numbered(one, 2)
    assert len({one, first, second}) == 3
    decoded = [decode_image(each, ImagePolicy()).tobytes() for each in (one, first, second)]
    assert decoded[0] == decoded[1] == decoded[2]


def test_share_is_the_whole_load_over_the_mean_of_the_bare_rates() -> None:
    rows = {row.metric: row for row in report(Loaded(1000, 1.0, 4.0), [400.0, 600.0])}
    assert rows["loading_items_per_s"].value == 250
    assert rows["bare_items_per_s"].value == 500
    assert rows["stored_items_per_s"].value == 1000
    assert rows["loading_share"].value == pytest.approx(0.5)
    assert rows["loading_share"].met is False
