"""Documents and queries of the demo, as any caller of the service has them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DemoItem:
    """A document: a text or an encoded PNG; `metadata["shows"]` says in words what it shows."""

    id: str
    text: str | None
    image: bytes | None
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class DemoQuery:
    """A text, an encoded PNG, or both; `target` is the id of the one item that is right.

    `shows` says in words what the picture shows, for people.
    """

    text: str | None
    image: bytes | None
    target: str
    shows: str = ""

    @property
    def words(self) -> str:
        """The query in words, its picture in brackets."""
        picture = [f"[{self.shows or 'a picture'}]"] if self.image is not None else []
        return " + ".join([*picture, *([f"“{self.text}”"] if self.text else [])])
