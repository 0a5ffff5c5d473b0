"""What the demo asks: three corpora over two kinds of pictures, and six rounds of queries.

The queries are drawn by a fixed seed; none was picked for how it is answered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from demo import drawn, emoji
from demo.documents import DemoItem, DemoQuery

SCENES, CAPTIONS, EMOJI = "demo-scenes", "demo-captions", "demo-emoji"
CORPORA: Mapping[str, Callable[[], tuple[DemoItem, ...]]] = {
    SCENES: drawn.scene_items,
    CAPTIONS: drawn.caption_items,
    EMOJI: emoji.emoji_items,
}


@dataclass(frozen=True, slots=True)
class Round:
    """Queries of one kind over one corpus, sent as one job."""

    title: str
    corpus: str
    queries: tuple[DemoQuery, ...]

    @property
    def composed(self) -> bool:
        """Whether its queries are pictures with an edit."""
        return all(one.text and one.image is not None for one in self.queries)


def rounds() -> tuple[Round, ...]:
    """Every way to ask, for scenes and for emoji."""
    return (
        Round("scenes: text → image", SCENES, drawn.text_queries()),
        Round("scenes: image → text", CAPTIONS, drawn.image_queries()),
        Round("scenes: image + text → image", SCENES, drawn.composed_queries()),
        Round("emoji: text → image", EMOJI, emoji.text_queries()),
        Round("emoji: image → image, across styles", EMOJI, emoji.style_queries()),
        Round("emoji: image + text → image", EMOJI, emoji.composed_queries()),
    )
