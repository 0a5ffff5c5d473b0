"""The demo's corpus and queries: drawn scenes, and real photographs under free licences.

The photographs lie in assets/photos; assets/photos.json and ATTRIBUTION.md say whose they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from demo.scenes import draw_scenes

ASSETS = Path(__file__).parent / "assets"
COUNT, SEED = 120, 7


@dataclass(frozen=True, slots=True)
class DemoItem:
    """A document: a text, an encoded PNG or JPEG, or both; metadata says what it shows."""

    id: str
    text: str | None
    image: bytes | None
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class DemoQuery:
    """A query with a title for people; `target` is the id of the item that it looks for."""

    title: str
    text: str | None
    image: bytes | None
    instruction: str | None
    target: str


@dataclass(frozen=True, slots=True)
class Photo:
    """A photograph of assets/photos.json."""

    id: str
    file: str
    caption: str
    author: str
    licence: str
    source: str

    def jpeg(self) -> bytes:
        return (ASSETS / "photos" / self.file).read_bytes()


def photos() -> tuple[Photo, ...]:
    """The photographs that come with the demo, in the order of their list."""
    rows = json.loads((ASSETS / "photos.json").read_text(encoding="utf-8"))
    return tuple(Photo(**row) for row in rows)


def demo_items(scenes: int = COUNT, seed: int = SEED) -> tuple[DemoItem, ...]:
    """The corpus: of every scene its picture, of every fourth with its caption as one item.

    Every second scene's caption, and every photograph's, is an item of its own as well.
    """
    return (*_scene_items(scenes, seed), *_photo_items())


def demo_queries(scenes: int = COUNT, seed: int = SEED) -> tuple[DemoQuery, ...]:
    """Text to image, image to text, and image with text to image, over a scene and a photograph.

    Needs at least ten scenes, since the last kind asks for the recoloured tenth.
    """
    drawn = draw_scenes(scenes, seed)
    by_photo = {photo.id: photo for photo in photos()}
    wanted, coffee, before, after = drawn[5], by_photo["coffee"], drawn[8], drawn[9]
    figure = after.figures[0]
    describe = "Find the text that describes the picture."
    return (
        DemoQuery("text → image, a drawn scene", wanted.caption, None, None, "scene-005"),
        DemoQuery("text → image, a photograph", "a cat with green eyes", None, None, "photo-cat"),
        DemoQuery("image → text, a drawn scene", None, drawn[4].png(), describe, "caption-004"),
        DemoQuery(
            "image → text, a photograph", None, coffee.jpeg(), describe, "photo-caption-coffee"
        ),
        DemoQuery(
            "image + text → image, a drawn scene",
            f"the same picture, but the {figure.shape} is {figure.colour}",
            before.png(),
            "Find the picture after the change that the text describes.",
            "scene-009",
        ),
        DemoQuery(
            "image + text → image, a photograph",
            "the vehicle that takes her to space, on its launch pad",
            by_photo["astronaut"].jpeg(),
            None,
            "photo-rocket",
        ),
    )


def _scene_items(count: int, seed: int) -> Iterator[DemoItem]:
    for no, scene in enumerate(draw_scenes(count, seed)):
        facts = {"source": "drawn", "background": scene.background, "shows": scene.caption}
        both = no % 4 == 3
        yield DemoItem(
            f"scene-{no:03d}",
            scene.caption if both else None,
            scene.png(),
            {**facts, "kind": "image and text" if both else "image"},
        )
        if no % 2 == 0:
            yield DemoItem(f"caption-{no:03d}", scene.caption, None, {**facts, "kind": "text"})


def _photo_items() -> Iterator[DemoItem]:
    for photo in photos():
        facts = {"source": "photograph", "shows": photo.caption}
        yield DemoItem(
            f"photo-{photo.id}",
            None,
            photo.jpeg(),
            {**facts, "kind": "image", "author": photo.author, "licence": photo.licence},
        )
        text = {**facts, "kind": "text"}
        yield DemoItem(f"photo-caption-{photo.id}", photo.caption, None, text)
