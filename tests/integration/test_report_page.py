"""A run's report as a browser shows it."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from repick.content import Content, Media
from repick.media import MediaFolder
from repick.reports.gather import Report, gather
from repick.reports.page import html
from repick.store import contents, corpora
from repick.store.corpora import NewItem
from repick.store.reports import Failures
from tests import bad_images, browser
from tests.integration import schedule_maker as maker
from tests.integration.pipeline import Pipeline

RUNS = 6
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox"
SCRIPT = "<script>document.title = 'owned'</script>"
RIGHT_TO_LEFT = "قطة حمراء تجلس على أريكة زرقاء (cat)"
LONG = "W" * 300 + " and words that wrap " * 9
WINDOWS = (1280, 420)
QUERIES = {f"q{no}": f"query {no}" for no in range(8)} | {SCRIPT: SCRIPT, "long " + "x" * 150: LONG}


pytestmark = pytest.mark.skipif(browser.installed() is None, reason="needs a Chromium")


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[browser.Browser]:
    path = browser.installed()
    assert path
    profile = tmp_path / "profile"
    profile.mkdir()
    with browser.browsing(path, profile) as one:
        yield one


def test_the_page_loads_nothing_and_fits_its_window(
    pipeline: Pipeline, opened: browser.Browser, tmp_path: Path
) -> None:
    with _served(html(_report(pipeline, tmp_path))) as url:
        for width in WINDOWS:
            page = opened.open(url, width)
            assert page.console == []
            assert page.requests[0] == url
            assert {one.partition(":")[0] for one in page.requests[1:]} == {"data"}
            assert page.width <= width
            assert page.broken_images == 0
            assert SCRIPT in page.text  # as text
            assert RIGHT_TO_LEFT in page.text
            assert _brightness(page) > 200
        assert _brightness(opened.open(url, dark=True)) < 60


def test_a_page_that_does_otherwise_is_caught(opened: browser.Browser) -> None:
    """Else the test above could not fail."""
    wrong = f"{SCRIPT}<img src='/other.png'><p>{'W' * 2000}</p>"
    with _served(wrong) as url:
        page = opened.open(url)
    assert len(page.console) >= 2  # the script and the picture, both refused
    assert page.width > 1280
    assert page.broken_images == 1


@contextmanager
def _served(page: str) -> Iterator[str]:
    """With the headers of the API; without a server a page has none."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/report" else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Security-Policy", POLICY)
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/report"
        finally:
            server.shutdown()


def _brightness(page: browser.Page) -> int:
    """Of the page's corner, where nothing is written."""
    corner = Image.open(io.BytesIO(page.picture)).convert("L").getpixel((2, 2))
    assert isinstance(corner, int)
    return corner


def _report(pipeline: Pipeline, folder: Path) -> Report:
    """Of the last of some nights, each with some documents changed; pictures, failures, alarms."""
    pipeline.put({f"d{no:02}": f"document {no}" for no in range(40)})
    maker.stand(pipeline, QUERIES)
    one = maker.schedule(pipeline, name="night & day", alarms={"max_churn": 0.01, "hold": False})
    for night in range(RUNS):
        pipeline.put({f"d{no:02}": f"night {night} {no}" for no in range(night, 40, 3 + night)})
        run = maker.run(pipeline, one)
    media = MediaFolder(folder / "media")
    first = gather(pipeline.database, media, pipeline.tenant_id, run.run_id)
    _repaint(pipeline, media, [shown.mover.id for shown in first.movers])
    made = gather(pipeline.database, media, pipeline.tenant_id, run.run_id)
    partial = {"code": "partial", "queries_without_ranking": 3}
    return replace(
        made,
        run=replace(made.run, reasons=[partial, *made.run.reasons]),
        query_failures=[Failures("time_limit", 3, "long " + "x" * 150)],
        item_failures=[Failures("decode_error", 12, SCRIPT)],
    )


def _repaint(pipeline: Pipeline, media: MediaFolder, names: list[str]) -> None:
    """Give the documents that moved most pictures and awkward texts."""
    texts = [SCRIPT, RIGHT_TO_LEFT, LONG, "a picture", None, "wide", "tall"]
    sizes = [None, (300, 200), (64, 64), (640, 480), (480, 640), (2000, 40), (40, 2000)]
    with pipeline.database.begin() as connection:
        for name, said, size in zip(names, texts, sizes, strict=False):
            picture = None
            if size:
                data = bad_images.photo("JPEG", *size)
                digest = hashlib.sha256(data).digest()
                media.put(pipeline.tenant_id, digest, data)
                picture = Media(digest, "image/jpeg", *size, len(data))
            one = Content(said, picture)
            stored = contents.put(connection, pipeline.tenant_id, [one])
            new = NewItem(name, stored[one.sha256], {})
            corpora.put_items(connection, pipeline.tenant_id, pipeline.corpus_id, [new])
