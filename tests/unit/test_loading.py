"""Loading: every source gives its items, and a load that was stopped goes on where it was."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pyarrow
import pytest
from pyarrow import parquet

from repick.client import ApiError, Client
from repick.client import batches as batching
from repick.errors import InvalidField
from repick.loading import Journal, PassedOver, Source, load, open_source

Handler = Callable[[httpx.Request], httpx.Response]


def lines(folder: Path, count: int) -> Path:
    file = folder / "items.jsonl"
    file.write_text("".join(f'{{"id": "i{no}", "text": "t{no}"}}\n' for no in range(count)))
    return file


class Api:
    """An API that remembers the ids that it was sent, and may refuse some."""

    def __init__(self, refuse: str = "") -> None:
        self.ids: list[str] = []
        self.refuse = refuse
        self.lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        ids = [item["id"] for item in json.loads(request.content)["items"]]
        if self.refuse in ids:
            return httpx.Response(422, json={"code": "invalid_id", "detail": "no"})
        with self.lock:
            self.ids += ids
        return httpx.Response(200, json={"stored": len(ids), "unchanged": 0, "failed": []})

    def client(self) -> Client:
        return Client("http://api", "rpk_x", transport=httpx.MockTransport(self))


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "BATCH_ITEMS", 10)


def journal(folder: Path, source: Source) -> Journal:
    return Journal(folder / "loads", "http://api", "things", source)


def test_a_folder_gives_images_with_their_captions_and_other_texts(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name in ("a.png", "sub/b.JPG", ".hidden/c.png"):
        (tmp_path / name).write_bytes(b"image")
    (tmp_path / "a.txt").write_text("a caption")
    (tmp_path / "sub" / "note.txt").write_text("a text")
    (tmp_path / "sub" / "other.pdf").write_bytes(b"not ours")
    source = open_source(tmp_path)
    items = {one.id: one for one in source.items()}
    assert set(items) == {"a.png", "sub/b.JPG", "sub/note.txt"}
    assert source.count == 3
    assert (items["a.png"].text, items["a.png"].image) == ("a caption", tmp_path / "a.png")
    assert (items["sub/b.JPG"].text, items["sub/note.txt"].image) == (None, None)


def test_parquet_gives_bytes_paths_and_metadata(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(b"of a file")
    rows = {
        "id": ["a", "b"],
        "text": ["words", None],
        "image": [{"bytes": b"png", "path": None}, {"bytes": None, "path": "b.png"}],
        "metadata": ['{"n": 1}', None],
    }
    parquet.write_table(pyarrow.table(rows), tmp_path / "items.parquet")
    source = open_source(tmp_path / "items.parquet")
    first, second = source.items()
    assert source.count == 2
    assert (first.text, first.image, first.metadata) == ("words", b"png", {"n": 1})
    assert (second.image, second.metadata) == (tmp_path / "b.png", {})


@pytest.mark.parametrize("name", ["items.csv", "items.parquet"])
def test_what_cannot_be_read_is_refused_by_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("id,text\n")
    with pytest.raises(InvalidField) as caught:
        open_source(tmp_path / name)
    assert caught.value.code == "unknown_source"


def test_a_folder_says_which_files_are_of_no_type_that_it_loads(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name in ("a.png", "a.txt", "sub/photo.heic", ".hidden/x.pdf", ".DS_Store", "no_suffix"):
        (tmp_path / name).write_bytes(b"x")
    assert open_source(tmp_path).passed_over == PassedOver(2, ("no_suffix", "sub/photo.heic"))
    for no in range(10):
        (tmp_path / f"{no}.pdf").write_bytes(b"x")
    many = open_source(tmp_path)
    assert many.passed_over == PassedOver(12, tuple(f"{no}.pdf" for no in range(5)))
    assert open_source(lines(tmp_path, 1)).passed_over == PassedOver()
    with Api().client() as client:
        done = load(client, "things", many, journal(tmp_path, many))
    assert (done.items, done.passed_over) == (1, many.passed_over)


@pytest.mark.usefixtures("small_batches")
def test_every_item_arrives_once_over_several_requests(tmp_path: Path) -> None:
    source, api = open_source(lines(tmp_path, 95)), Api()
    with api.client() as client:
        done = load(client, "things", source, journal(tmp_path, source))
    assert sorted(api.ids) == sorted(f"i{no}" for no in range(95))
    assert (done.stored, done.skipped, done.failed) == (95, 0, [])
    assert not journal(tmp_path, source).file.exists()


@pytest.mark.usefixtures("small_batches")
def test_a_load_that_was_stopped_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    source, broken = open_source(lines(tmp_path, 95)), Api(refuse="i55")
    with broken.client() as client, pytest.raises(ApiError):
        load(client, "things", source, journal(tmp_path, source), parallel=1)
    assert len(broken.ids) == 50
    with journal(tmp_path, source).file.open("a") as file:
        file.write("7")  # a line that a crash cut short
    mended = Api()
    with mended.client() as client:
        done = load(client, "things", source, journal(tmp_path, source), parallel=1)
    assert mended.ids == [f"i{no}" for no in range(50, 95)]
    assert (done.stored, done.skipped, done.items) == (45, 50, 95)


@pytest.mark.usefixtures("small_batches")
def test_a_source_that_has_changed_is_loaded_from_the_beginning(tmp_path: Path) -> None:
    source = open_source(lines(tmp_path, 20))
    journal(tmp_path, source).add(0)
    changed = open_source(lines(tmp_path, 21))
    assert journal(tmp_path, changed).arrived() == frozenset()
    assert journal(tmp_path, source).arrived() == {0}


@pytest.mark.usefixtures("small_batches")
def test_items_that_may_be_stored_later_are_sent_again_the_next_time(tmp_path: Path) -> None:
    failed = {"id": "i3", "code": "media_missing", "detail": "later", "retryable": True}
    source = open_source(lines(tmp_path, 20))
    answer = {"stored": 9, "unchanged": 0, "failed": [failed]}
    api = httpx.MockTransport(lambda request: httpx.Response(200, json=answer))
    with Client("http://api", "rpk_x", transport=api) as client:
        done = load(client, "things", source, journal(tmp_path, source))
    assert len(done.failed) == 2
    assert journal(tmp_path, source).arrived() == frozenset()
