"""A true description of a scene, told with more or fewer particulars."""

from __future__ import annotations

import random

from demo.data.scenes.wording import Description, Mention
from demo.data.scenes.world import Figure, Scene, corner_of, relation_between

SIZE_TOLD, CORNER_TOLD, GROUND_TOLD, RELATION_TOLD = 0.4, 0.7, 0.2, 0.95


def describe(scene: Scene, rng: random.Random) -> Description:
    """One to three of the scene's figures, two of them in a relation where they strictly have one.

    Every word of it is strictly true; figures may be left unsaid.
    """
    figures = rng.sample(scene.figures, len(scene.figures))
    relation = None
    if len(figures) > 1:
        pairs = [(a, b) for a in figures for b in figures if a != b and relation_between(a, b)]
        first, second = rng.choice(pairs)
        rest = [figure for figure in figures if figure not in (first, second)]
        figures = [first, second, *rest]
        relation = relation_between(first, second) if rng.random() < RELATION_TOLD else None
    told = figures if len(figures) < 3 or rng.random() < 0.5 else figures[:2]
    mentions = tuple(_mention(figure, slot, len(told), rng) for slot, figure in enumerate(told))
    return Description(mentions, relation, scene.background if rng.random() < GROUND_TOLD else None)


def _mention(figure: Figure, slot: int, count: int, rng: random.Random) -> Mention:
    """Of the two in the relation no corner is told: two places at once read badly."""
    size = figure.size if rng.random() < SIZE_TOLD else None
    alone = slot == 2 or count == 1
    corner = corner_of(figure) if alone and rng.random() < CORNER_TOLD else None
    return Mention(figure.colour, figure.shape, size, corner)
