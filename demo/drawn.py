"""Drawn scenes of the test split, their captions, and hard negatives of both.

A family is a scene, the scene after an edit, and what other edits leave of it; its captions are a
true one and false ones that differ in one thing.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from demo.data.scenes import (
    TEMPLATES,
    Caption,
    Composed,
    Description,
    Edit,
    Error,
    Mention,
    Scene,
    Split,
    compose,
    describe,
    hard_negative,
    holds,
    png,
    sample_scene,
    write,
)
from demo.data.scenes.world import relation_between
from demo.documents import DemoItem, DemoQuery

FAMILIES, SEED = 64, 3
WRONG_PICTURES = 2
WRONG_CAPTIONS = 3
QUERIES = 4


@dataclass(frozen=True, slots=True)
class Family:
    """`wrong` are false captions by their error; the pictures are the scene and its `edits`."""

    no: int
    scene: Scene
    caption: Caption
    wrong: dict[Error, Caption]
    composed: Composed

    @property
    def id(self) -> str:
        return f"{self.no:02d}"

    @property
    def pictures(self) -> dict[str, Scene]:
        """By item id: the scene, the scene after its edit, and hard negatives of both."""
        others = self.composed.wrong[1 : 1 + WRONG_PICTURES]
        named = {"edited": self.composed.target}
        named |= {f"other-{no}": scene for no, scene in enumerate(others, 1)}
        by_id = {f"scene-{self.id}-{name}": scene for name, scene in named.items()}
        return {f"scene-{self.id}": self.scene, **by_id}

    @property
    def captions(self) -> dict[str, Caption]:
        """By item id: the true caption, and false ones named by what is wrong."""
        false = {f"caption-{self.id}-{error}": each for error, each in self.wrong.items()}
        return {f"caption-{self.id}": self.caption, **false}


@lru_cache(maxsize=1)
def families() -> tuple[Family, ...]:
    """The demo's families, the same in every process."""
    return make_families(FAMILIES, SEED)


def make_families(count: int, seed: int) -> tuple[Family, ...]:
    """So many families of the test split, a pure function of the seed."""
    rng = random.Random(f"demo/{seed}")
    return tuple(_family(no, rng) for no in range(count))


@lru_cache(maxsize=1)
def scene_items() -> tuple[DemoItem, ...]:
    """Every picture of every family of the demo."""
    return pictures_of(families())


def caption_items() -> tuple[DemoItem, ...]:
    """Every caption of every family of the demo, true and false."""
    return captions_of(families())


def pictures_of(made: Sequence[Family]) -> tuple[DemoItem, ...]:
    """The scenes with their hard negatives."""
    return tuple(
        DemoItem(
            item_id,
            None,
            png(scene),
            {"shows": _told(scene), "background": scene.background},
        )
        for family in made
        for item_id, scene in family.pictures.items()
    )


def captions_of(made: Sequence[Family]) -> tuple[DemoItem, ...]:
    """The true captions with their hard negatives."""
    return tuple(
        DemoItem(item_id, caption.text, None, {"shows": caption.text})
        for family in made
        for item_id, caption in family.captions.items()
    )


def text_queries() -> tuple[DemoQuery, ...]:
    """Captions that, of all pictures, hold of one alone."""
    return tuple(islice(asking_for_pictures(families()), QUERIES))


def image_queries() -> tuple[DemoQuery, ...]:
    """Pictures of which, of all captions, one alone holds."""
    later = families()[QUERIES:]
    return tuple(islice(asking_for_captions(later, families()), QUERIES))


def composed_queries() -> tuple[DemoQuery, ...]:
    """A picture and an edit, one of each kind of edit but removal."""
    wanted = [edit for edit in Edit if edit is not Edit.REMOVE]
    found = {family.composed.edit: family for family in reversed(families()[2 * QUERIES :])}
    return tuple(
        DemoQuery(
            found[edit].composed.text,
            png(found[edit].scene),
            f"scene-{found[edit].id}-edited",
            found[edit].caption.text,
        )
        for edit in wanted
    )


def _family(no: int, rng: random.Random) -> Family:
    scene = sample_scene(rng, 2 + no % 2, Split.TEST)
    description, template = describe(scene, rng), no % len(TEMPLATES)
    made = {error: hard_negative(scene, description, error, rng, Split.TEST) for error in Error}
    false = [(error, each) for error, each in made.items() if each]
    chosen = rng.sample(false, min(WRONG_CAPTIONS, len(false)))
    wrong = {error: write(each, template) for error, each in chosen}
    return Family(no, scene, write(description, template), wrong, next(_edits(scene, rng)))


def _edits(scene: Scene, rng: random.Random) -> Iterator[Composed]:
    """Composed queries from the scene, the kinds of edit in any order."""
    for edit in rng.sample(list(Edit), len(Edit)):
        composed = compose(scene, edit, rng, Split.TEST)
        if composed:
            yield composed


def _told(scene: Scene) -> str:
    """All figures; after an edit two of them may stand in no clear relation."""
    mentions = tuple(Mention(each.colour, each.shape, each.size) for each in scene.figures)
    relation = relation_between(*scene.figures[:2]) if len(scene.figures) > 1 else None
    return write(Description(mentions, relation), 0).text


def asking_for_pictures(made: Sequence[Family]) -> Iterator[DemoQuery]:
    """Captions that, of all these families' pictures, hold of one alone."""
    pictures = [scene for family in made for scene in family.pictures.values()]
    for family in made:
        if sum(holds(scene, family.caption.facts, loosely=True) for scene in pictures) == 1:
            yield DemoQuery(family.caption.text, None, f"scene-{family.id}")


def asking_for_captions(made: Sequence[Family], others: Sequence[Family]) -> Iterator[DemoQuery]:
    """Pictures of which, of all the others' captions, one alone holds: their own."""
    captions = [caption for family in others for caption in family.captions.values()]
    for family in made:
        if sum(holds(family.scene, each.facts, loosely=True) for each in captions) == 1:
            yield DemoQuery(None, png(family.scene), f"caption-{family.id}", family.caption.text)
