"""Images are verified in processes of their own: each gets its result, whatever another does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from repick.content import ImageInspector, ImagePolicy, Media, inspect_image
from repick.errors import ContentError, Unavailable
from repick.processes import alive
from tests import bad_images
from tests.bad_images import REFUSED

POLICY = ImagePolicy()
MISBEHAVING = "tests.misbehaving_decoder"
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and RLIMIT_AS")


def outcome(result: Media | ContentError) -> str:
    return result.code if isinstance(result, ContentError) else result.media_type


def misbehaving(seconds: float = 10) -> ImageInspector:
    limit = timedelta(seconds=seconds)
    return ImageInspector(POLICY, processes=1, time_limit=limit, module=MISBEHAVING)


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def test_good_and_bad_images_in_one_batch_get_the_results_they_get_in_process() -> None:
    good = bad_images.photo("WEBP", 50, 40)
    batch = [(bad.build(), bad.declared_type) for bad in REFUSED]
    with ImageInspector(POLICY) as inspector:
        results = inspector.inspect_many([*batch, (good, None)])
        assert len(inspector.pids) == 1
    assert [outcome(result) for result in results[:-1]] == [bad.code for bad in REFUSED]
    assert results[-1] == inspect_image(good, None, POLICY)


def test_no_process_starts_before_there_is_an_image_and_none_is_left_after() -> None:
    with ImageInspector(POLICY) as inspector:
        assert inspector.inspect_many([]) == []
        assert inspector.pids == []
        inspector.inspect(bad_images.photo())
        (pid,) = inspector.pids
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_one_image_is_returned_or_raised() -> None:
    with ImageInspector(POLICY) as inspector:
        assert inspector.inspect(bad_images.photo("GIF")).media_type == "image/gif"
        with pytest.raises(ContentError) as caught:
            inspector.inspect(bad_images.photo("PNG", 1, 1), "image/png")
    assert caught.value.code == "too_small"


def test_an_image_over_the_limit_is_never_sent() -> None:
    with ImageInspector(ImagePolicy(max_image_bytes=10)) as inspector:
        assert outcome(inspector.inspect_many([(bytes(11), None)])[0]) == "too_large"
        assert inspector.pids == []


def test_a_child_that_an_image_ends_is_replaced_and_the_others_get_their_results() -> None:
    good = bad_images.photo("PNG")
    with misbehaving() as inspector:
        batch = [(good, None), (b"die", None), (good, None)]
        results = inspector.inspect_many(batch)
    assert [outcome(result) for result in results] == ["image/png", "decode_error", "image/png"]


def test_a_child_that_hangs_is_killed_and_its_image_may_be_tried_again() -> None:
    good = bad_images.photo("PNG")
    with misbehaving(seconds=0.5) as inspector:
        started = time.monotonic()
        results = inspector.inspect_many([(b"hang", None), (good, None)])
        assert time.monotonic() - started < 8
    assert [outcome(result) for result in results] == ["decode_timeout", "image/png"]
    assert isinstance(results[0], ContentError)
    assert results[0].retryable


@pytest.mark.parametrize("answer", [b"lie", b"wrong"])
def test_a_child_that_answers_nonsense_is_not_believed(answer: bytes) -> None:
    with misbehaving() as inspector:
        assert outcome(inspector.inspect_many([(answer, None)])[0]) == "decode_error"


def test_a_child_that_was_killed_while_idle_costs_no_image() -> None:
    with ImageInspector(POLICY) as inspector:
        inspector.inspect(bad_images.photo())
        (before,) = inspector.pids
        os.kill(before, signal.SIGKILL)
        assert inspector.inspect(bad_images.photo()).media_type == "image/jpeg"
        assert inspector.pids != [before]


def test_a_child_that_cannot_start_is_no_fault_of_the_image() -> None:
    with (
        ImageInspector(POLICY, module="this") as inspector,
        pytest.raises(Unavailable, match="does not start"),
    ):
        inspector.inspect(bad_images.photo())


def test_many_threads_share_it_and_each_gets_its_own_result() -> None:
    images = [bad_images.photo("PNG", 20 + n, 20) for n in range(40)]
    with ImageInspector(POLICY, processes=2) as inspector:
        with ThreadPoolExecutor(8) as threads:
            widths = [media.width for media in threads.map(inspector.inspect, images)]
        assert 1 <= len(inspector.pids) <= 2
    assert widths == [20 + n for n in range(40)]


def test_closing_waits_for_the_image_in_hand() -> None:
    inspector = misbehaving(seconds=0.5)
    results: list[str] = []
    batch = [(b"hang", None)]
    thread = threading.Thread(
        target=lambda: results.extend(map(outcome, inspector.inspect_many(batch)))
    )
    thread.start()
    until(lambda: bool(inspector.pids))
    inspector.close()
    thread.join(timeout=10)
    assert results == ["decode_timeout"]
    assert inspector.pids == []


PATIENT = timedelta(minutes=2)


@linux
def test_a_decoder_that_would_take_gigabytes_is_stopped_and_lives() -> None:
    generous = ImagePolicy(max_image_pixels=10**10)
    # Memory is what must end it, however busy the machine is.
    with ImageInspector(generous, processes=1, time_limit=PATIENT) as inspector:
        batch = [(bad_images.bomb(), None), (bad_images.photo(), None)]
        results = inspector.inspect_many(batch)
        (pid,) = inspector.pids
        peak = Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]
    assert [outcome(result) for result in results] == ["decode_error", "image/jpeg"]
    assert int(peak) * 1024 < 1_700_000_000


@linux
def test_the_largest_allowed_image_fits_the_memory_limit() -> None:
    side = 7_000
    data = bad_images.png(side, side, 8, 6, bad_images.zeros(side * (4 * side + 1)))
    turned = bad_images.chunk(b"eXIf", bad_images.exif(6)[6:])
    with ImageInspector(POLICY, time_limit=PATIENT) as inspector:
        media = inspector.inspect(data[:33] + turned + data[33:], "image/png")
    assert (media.width, media.height) == (side, side)


@linux
def test_the_child_is_given_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPICK_SECRET", "s3cr3t")
    with ImageInspector(POLICY) as inspector:
        inspector.inspect(bad_images.photo())
        environment = Path(f"/proc/{inspector.pids[0]}/environ").read_bytes()
    assert b"PYTHONPATH" in environment
    assert b"s3cr3t" not in environment


PARENT = """
from repick.content import ImageInspector, ImagePolicy
from tests import bad_images
inspector = ImageInspector(ImagePolicy())
inspector.inspect(bad_images.photo())
print(inspector.pids[0], flush=True)
input()
"""


def test_the_child_ends_when_its_parent_is_killed() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.kill()
    until(lambda: alive(pid) is None)
