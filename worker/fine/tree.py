"""The prompts of a batch as a tree: what they share stands, and is computed, once.

A node is a run of tokens that attends to itself and to its ancestors. Near the root stands the
frame's head, then the content that neighbours share, then what is a pair's own; with two passes a
pair's own part branches once more into its two questions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from worker.fine.families.base import Family
from worker.fine.prefix import Key, Prefix, PrefixStore
from worker.fine.prompts import ImageSegment, Prompt, Segment


@dataclass(slots=True, eq=False)
class Node:
    """A run of tokens; `prefix` receives what it leaves behind where it is to be kept.

    `start` and `end` are positions, `row` its first row in the packed batch.
    """

    segments: tuple[Segment, ...]
    before: Node | Prefix | None
    start: int
    end: int
    prefix: Prefix | None = None
    row: int = -1

    @property
    def length(self) -> int:
        return sum(segment.length for segment in self.segments)

    @property
    def context(self) -> tuple[Node | Prefix, ...]:
        """What its tokens attend to besides themselves, front to back."""
        if isinstance(self.before, Node):
            return (*self.before.context, self.before)
        return self.before.chain if self.before else ()


def root_of(prompt: Prompt) -> Key:
    """What nearly all prompts of a job begin with: the text before a first image, or the frame."""
    for no, segment in enumerate(prompt.first):
        if isinstance(segment, ImageSegment):
            return prompt.first[:no]
    return prompt.first[:1]


@dataclass(slots=True)
class Tree:
    """Grown pair by pair. `answers` are the nodes whose last token answers, a pass each."""

    family: Family
    store: PrefixStore
    shared: frozenset[Key]
    nodes: list[Node] = field(default_factory=list)
    answers: list[Node] = field(default_factory=list)
    _fresh: dict[Key, Node] = field(default_factory=dict)

    def add(self, prompts: Sequence[Prompt]) -> None:
        """Add a pair's prompts, one a pass; they differ in their questions only."""
        prompt = prompts[0]
        front, rest = self._front(prompt)
        if len(prompts) == 1:
            self.answers.append(self._node((*rest, *prompt.second, *prompt.question), front))
            return
        stem = self._node((*rest, *prompt.second), front)
        self.answers += [self._node(one.question, stem) for one in prompts]

    def kept(self) -> Iterator[tuple[Key, Prefix]]:
        """The prefixes that the batch's forward pass has filled, with their keys."""
        for key, node in self._fresh.items():
            if node.prefix is not None:
                yield key, node.prefix

    def _front(self, prompt: Prompt) -> tuple[Node | Prefix, tuple[Segment, ...]]:
        """The deepest part of a prompt that is at hand or shared, and what of `first` it lacks."""
        root = root_of(prompt)
        whole = self._at_hand(prompt.first)
        if whole is not None:
            return whole, ()
        base = self._at_hand(root) or self._grow(root, None, root)
        rest = prompt.first[len(root) :]
        if prompt.first not in self.shared or not rest:
            return base, rest
        return self._grow(prompt.first, base, rest), ()

    def _at_hand(self, key: Key) -> Node | Prefix | None:
        return self._fresh.get(key) or self.store.get(key)

    def _grow(self, key: Key, before: Node | Prefix | None, segments: tuple[Segment, ...]) -> Node:
        node = self._node(segments, before)
        stored = before.prefix if isinstance(before, Node) else before
        node.prefix = Prefix(node.length, node.end, stored)
        self._fresh[key] = node
        return node

    def _node(self, segments: tuple[Segment, ...], before: Node | Prefix | None) -> Node:
        start = before.end if before else 0
        node = Node(segments, before, start, self.family.positions(segments, start)[1])
        self.nodes.append(node)
        return node
