"""Images from outside are verified in processes of their own, which they may end but not ours."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from datetime import timedelta
from types import TracebackType

from repick.content.header import MEDIA_TYPES, normal_type
from repick.content.image import PROBLEMS, ImagePolicy, image_error, media_of
from repick.content.process import DecoderProcess
from repick.content.values import Media
from repick.errors import ContentError

TIME_LIMIT = timedelta(seconds=10)


class _Slot:
    """Room for one process, started when first needed, and again after each death."""

    def __init__(self, policy: ImagePolicy, time_limit: float, module: str) -> None:
        self._made_of = (policy, time_limit, module)
        self.process: DecoderProcess | None = None

    def ask(self, data: bytes, declared_type: str) -> tuple[str, int, int]:
        """One answer; a process that died is replaced once, as it may have been killed idle."""
        used = self.process is not None
        try:
            return self._ask(data, declared_type)
        except ConnectionError:
            if not used:
                raise
        return self._ask(data, declared_type)

    def _ask(self, data: bytes, declared_type: str) -> tuple[str, int, int]:
        if self.process is None:
            self.process = DecoderProcess(*self._made_of)
        answer = None
        try:
            answer = self.process.ask(data, declared_type)
        finally:
            # Also after an interrupt: the next image must never get this one's late answer.
            if answer is None:
                self.discard()
        return answer

    def discard(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.kill()


class ImageInspector:
    """Verifies images in up to `processes` children, kept between calls; any thread may use it.

    Each child decodes one image at a time under a memory limit (child.MEMORY_LIMIT) and a time
    limit. An image whose child dies gets `decode_error`, one whose child hangs `decode_timeout`;
    the child is killed and replaced, and the other images get their own results.
    """

    def __init__(
        self,
        policy: ImagePolicy,
        *,
        processes: int = 2,
        time_limit: timedelta = TIME_LIMIT,
        module: str = "repick.content.child",
    ) -> None:
        self._policy = policy
        self._all = [_Slot(policy, time_limit.total_seconds(), module) for _ in range(processes)]
        # The last one used comes first: a second process starts only when two threads need one.
        self._idle: queue.LifoQueue[_Slot] = queue.LifoQueue()
        for slot in self._all:
            self._idle.put(slot)

    def __enter__(self) -> ImageInspector:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the children, each when its image is done; a later call would start new ones."""
        for slot in [self._idle.get() for _ in self._all]:
            slot.discard()
            self._idle.put(slot)

    @property
    def pids(self) -> list[int]:
        """Of the children that run now."""
        return [process.pid for slot in self._all if (process := slot.process) is not None]

    def inspect_many(
        self, images: Sequence[tuple[bytes, str | None]]
    ) -> list[Media | ContentError]:
        """What each (bytes, declared type) is, or why not, in the order given.

        Raises Unavailable where no child can be started: that says nothing about an image.
        """
        return [self._outcome(data, declared_type) for data, declared_type in images]

    def inspect(self, data: bytes, declared_type: str | None = None) -> Media:
        """One image; raises the ContentError that inspect_many gives."""
        outcome = self._outcome(data, declared_type)
        if isinstance(outcome, ContentError):
            raise outcome
        return outcome

    def _outcome(self, data: bytes, declared_type: str | None) -> Media | ContentError:
        if len(data) > self._policy.max_image_bytes:
            return image_error("too_large")
        try:
            name, width, height = self._ask(data, normal_type(declared_type) or "")
        except TimeoutError:
            return image_error("decode_timeout")
        except ConnectionError:
            return image_error("decode_error")
        # The hash is ours: a child that an image has taken over may only misstate a size.
        if name in MEDIA_TYPES:
            return media_of(data, name, width, height)
        return image_error(name if name in PROBLEMS else "decode_error")

    def _ask(self, data: bytes, declared_type: str) -> tuple[str, int, int]:
        # One image a turn, so that a large batch does not keep others waiting.
        slot = self._idle.get()
        try:
            return slot.ask(data, declared_type)
        finally:
            self._idle.put(slot)
