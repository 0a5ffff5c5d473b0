"""Training, validation and test share no combination; composed queries stay in their split."""

from __future__ import annotations

import random
from collections import Counter
from itertools import combinations, permutations, product

import pytest

from demo.data.scenes import (
    Composed,
    Edit,
    Error,
    Scene,
    Split,
    compose,
    describe,
    hard_negative,
    sample_scene,
    split_of_kinds,
    split_of_scene,
)
from demo.data.scenes.sampling import well_placed
from demo.data.scenes.split import KINDS, split_of_pair
from demo.data.scenes.world import INVERSE, RELATIONS, Kind, related

Combination = tuple[Kind, str, Kind]


def combination_split(combination: Combination) -> Split:
    """The split of a combination as it is told."""
    one, _, other = combination
    return split_of_pair(one, other)


def test_all_combinations_are_in_one_split_however_they_are_told() -> None:
    splits: dict[Combination, Split] = {}
    for (one, other), kind in product(permutations(KINDS, 2), RELATIONS):
        splits[one, kind, other] = combination_split((one, kind, other))
    assert len(splits) == 56 * 55 * 4
    for (one, kind, other), split in splits.items():
        assert splits[other, INVERSE[kind], one] == split
        assert splits[one, INVERSE[kind], other] == split
        swapped = (other[0], one[1]), (one[0], other[1])
        assert splits.get((swapped[0], kind, swapped[1]), split) == split
    shares = Counter(splits.values())
    assert shares[Split.TRAIN] / len(splits) == pytest.approx(0.7, abs=0.08)
    assert shares[Split.VALIDATION] / len(splits) == pytest.approx(0.1, abs=0.05)
    assert shares[Split.TEST] / len(splits) == pytest.approx(0.2, abs=0.06)


def test_scenes_captions_and_negatives_of_the_splits_share_no_combination() -> None:
    seen = {split: _combinations(split, 700) for split in Split}
    assert all(len(found) > 500 for found in seen.values())
    for one, other in combinations(Split, 2):
        assert seen[one].isdisjoint(seen[other])


def _combinations(split: Split, count: int) -> set[Combination]:
    """Every combination that is to be seen or read in so many scenes, loosely related too."""
    rng, found = random.Random(8), set[Combination]()
    for _ in range(count):
        scene = sample_scene(rng, rng.choice((2, 3)), split)
        for one, other in permutations(scene.figures, 2):
            for kind in RELATIONS:
                if related(kind, one, other, loosely=True):
                    found.add((one.kind, kind, other.kind))
        told = describe(scene, rng)
        for error in (None, *Error):
            said = told if error is None else hard_negative(scene, told, error, rng, split)
            if said:
                pairs = permutations((mention.kind for mention in said.mentions), 2)
                found |= {(one, kind, other) for one, other in pairs for kind in RELATIONS}
    return found


def test_a_figure_alone_is_in_any_split() -> None:
    assert split_of_kinds([KINDS[0]]) == frozenset()
    assert sample_scene(random.Random(1), 1, Split.TEST).figures


@pytest.fixture(scope="module")
def queries() -> list[tuple[Composed, Split]]:
    rng, found = random.Random(9), list[tuple[Composed, Split]]()
    while len(found) < 1500:
        split = rng.choice(list(Split))
        scene = sample_scene(rng, rng.choice((1, 2, 3)), split)
        made = compose(scene, rng.choice(list(Edit)), rng, split)
        if made:
            found.append((made, split))
    return found


def test_a_composed_query_leads_to_its_target_alone(queries: list[tuple[Composed, Split]]) -> None:
    kinds = Counter(query.edit for query, _ in queries)
    assert min(kinds[edit] for edit in Edit) > 50
    for query, _ in queries:
        assert query.target != query.reference
        assert query.wrong[0] == query.reference
        assert len(set(query.wrong)) == len(query.wrong)
        assert _done(query, query.target)
        assert not any(_done(query, scene) for scene in query.wrong)


def _done(query: Composed, scene: Scene) -> bool:
    """Whether a scene bears the words of a query out, read from the text."""
    words = query.text.removeprefix("but ")
    kinds = {figure.kind for figure in scene.figures}
    before = {figure.kind for figure in query.reference.figures}
    gone = before - {figure.kind for figure in query.target.figures}
    new = {figure.kind for figure in query.target.figures} - before
    match query.edit:
        case Edit.COLOUR:
            [kind] = new
            return words.endswith(f"is {kind[0]}") and kind in kinds
        case Edit.SHAPE:
            [kind] = new
            return words.startswith(f"with a {kind[1]} in place") and kind in kinds
        case Edit.REMOVE:
            [kind] = gone
            return words.endswith(kind[1]) and kind not in kinds
        case Edit.SIZE:
            changed = set(query.target.figures) - set(query.reference.figures)
            [figure] = changed
            sizes = {other.kind: other.size for other in scene.figures}
            return words.endswith(figure.size) and sizes.get(figure.kind) == figure.size
        case Edit.PLACE:
            places = {figure.kind: (figure.x, figure.y) for figure in scene.figures}
            moved = set(query.target.figures) - set(query.reference.figures)
            return all(places.get(figure.kind) == (figure.x, figure.y) for figure in moved)


def test_every_picture_of_a_composed_query_is_of_its_split_and_can_be_drawn(
    queries: list[tuple[Composed, Split]],
) -> None:
    for query, split in queries:
        for scene in (query.target, *query.wrong):
            assert split_of_scene(scene) <= {split}
            assert well_placed(scene.figures)
