"""Original bytes by hash: a folder and an object store keep the same promises."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from obstore.store import LocalStore, MemoryStore, S3Store

from repick.errors import ContentError, Unavailable
from repick.media import MediaFolder, MediaObjects, MediaStore, media_store
from repick.media.folder import OPEN_FILES
from repick.settings import Settings

DATA = b"the original bytes"
SHA256 = hashlib.sha256(DATA).digest()
PATH = f"7/{SHA256.hex()[:2]}/{SHA256.hex()}"

STORES: dict[str, Callable[[Path], MediaStore]] = {
    "folder": lambda root: MediaFolder(root / "media"),
    "objects in memory": lambda root: MediaObjects(MemoryStore()),
    "objects in a folder": lambda root: MediaObjects(LocalStore(root)),
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> MediaStore:
    return STORES[request.param](tmp_path)


def test_bytes_that_a_remover_has_aside_for_a_moment_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, aside = MediaFolder(tmp_path), tmp_path / "aside"
    store.put(7, SHA256, DATA)
    (tmp_path / PATH).rename(aside)
    read = Path.read_bytes

    def read_and_then_it_is_back(path: Path) -> bytes:
        try:
            return read(path)
        finally:
            if aside.exists():
                aside.rename(path)

    monkeypatch.setattr(Path, "read_bytes", read_and_then_it_is_back)
    assert store.get(7, SHA256) == DATA


def test_what_was_put_is_got_and_putting_it_again_does_no_harm(store: MediaStore) -> None:
    assert not store.exists(7, SHA256)
    store.put(7, SHA256, DATA)
    store.put(7, SHA256, DATA)
    assert store.exists(7, SHA256)
    assert store.get(7, SHA256) == DATA


def test_many_are_got_in_order_with_an_error_for_each_that_cannot_be_read(
    store: MediaStore,
) -> None:
    many = {hashlib.sha256(data).digest(): data for data in map(str.encode, "abcdefghijkl")}
    store.put_many(7, many)
    lost = hashlib.sha256(b"never put").digest()
    asked = [*list(many)[:5], lost, *list(many)[5:]]
    found = list(store.get_many(7, asked))
    assert [sha256 for sha256, _ in found] == asked
    error = found.pop(5)[1]
    assert isinstance(error, ContentError)
    assert (error.code, error.retryable) == ("media_missing", True)
    assert dict(found) == many
    assert list(store.get_many(7, [])) == []


def test_objects_are_fetched_and_put_several_at_once() -> None:
    """Each waits for another one to be on its way, too: one after the other none would arrive."""
    together = threading.Barrier(2, timeout=20)

    class Far(MediaObjects):
        def put(self, tenant_id: int, sha256: bytes, data: bytes) -> None:
            together.wait()
            super().put(tenant_id, sha256, data)

        def get(self, tenant_id: int, sha256: bytes) -> bytes:
            together.wait()
            return super().get(tenant_id, sha256)

    store = Far(MemoryStore())
    many = {hashlib.sha256(data).digest(): data for data in (b"a", b"b", b"c", b"d")}
    store.put_many(7, many)
    assert dict(store.get_many(7, list(many))) == many


def test_many_of_a_store_that_does_not_answer_are_unavailable() -> None:
    class Gone(MediaObjects):
        def get(self, tenant_id: int, sha256: bytes) -> bytes:
            raise Unavailable("gone")

    with pytest.raises(Unavailable):
        list(Gone(MemoryStore()).get_many(7, [SHA256]))


def test_many_are_put_as_each_alone(store: MediaStore) -> None:
    many = {hashlib.sha256(data).digest(): data for data in (b"a", b"b", b"c")}
    store.put(7, *next(iter(many.items())))
    store.put_many(7, many)
    assert [store.get(7, sha256) for sha256 in many] == [b"a", b"b", b"c"]
    with pytest.raises(ValueError, match="hash"):
        store.put_many(7, {SHA256: DATA + b"!"})
    assert not store.exists(7, SHA256)


def test_every_folder_with_a_new_entry_is_synced_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr("repick.media.folder._sync_folder", synced.append)
    many = {hashlib.sha256(data).digest(): data for data in map(bytes, ([no] for no in range(200)))}
    store = MediaFolder(tmp_path)
    store.put_many(7, many)
    leaves = {f"{tmp_path}/7/{sha256.hex()[:2]}" for sha256 in many}
    assert len(leaves) < len(many)
    assert sorted(synced) == sorted({str(tmp_path), f"{tmp_path}/7", *leaves})
    synced.clear()
    store.put_many(7, many)
    assert synced == []


def test_every_file_is_synced_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[int] = set()
    named: list[str] = []
    sync, rename = os.fsync, os.replace

    def sync_and_tell(descriptor: int) -> None:
        sync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    def rename_and_tell(source: str, target: str) -> None:
        assert os.stat(source).st_ino in synced
        named.append(target)
        rename(source, target)

    monkeypatch.setattr(os, "fsync", sync_and_tell)
    monkeypatch.setattr(os, "replace", rename_and_tell)
    many = {hashlib.sha256(data).digest(): data for data in map(bytes, ([no] for no in range(100)))}
    store = MediaFolder(tmp_path)
    store.put_many(7, many)
    assert len(many) > 3 * OPEN_FILES
    assert [store.get(7, sha256) for sha256 in many] == list(many.values())
    assert sorted(named) == sorted(f"{tmp_path}/7/{h.hex()[:2]}/{h.hex()}" for h in many)


def test_another_tenant_does_not_have_it(store: MediaStore) -> None:
    store.put(7, SHA256, DATA)
    assert not store.exists(8, SHA256)
    with pytest.raises(ContentError) as caught:
        store.get(8, SHA256)
    assert (caught.value.code, caught.value.retryable) == ("media_missing", True)
    assert caught.value.ids == {"sha256": SHA256.hex()}


def test_bytes_under_a_wrong_hash_are_refused(store: MediaStore) -> None:
    with pytest.raises(ValueError, match="hash"):
        store.put(7, SHA256, DATA + b"!")
    assert not store.exists(7, SHA256)


@pytest.mark.parametrize(("tenant_id", "sha256"), [(-1, SHA256), (7, b"../../../etc/passwd")])
def test_a_key_is_a_tenants_id_and_a_hash(store: MediaStore, tenant_id: int, sha256: bytes) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        store.get(tenant_id, sha256)


@pytest.mark.parametrize("damaged", [b"", DATA[:-1], b"T" + DATA[1:]])
def test_a_damaged_file_is_said_to_be_and_mended_by_the_next_put(
    tmp_path: Path, damaged: bytes
) -> None:
    store = MediaFolder(tmp_path)
    store.put(7, SHA256, DATA)
    (tmp_path / PATH).write_bytes(damaged)
    with pytest.raises(ContentError) as caught:
        store.get(7, SHA256)
    assert (caught.value.code, caught.value.retryable) == ("media_corrupt", False)
    store.put(7, SHA256, DATA)
    assert store.get(7, SHA256) == DATA


def test_an_object_that_was_damaged_is_said_to_be(tmp_path: Path) -> None:
    store = MediaObjects(LocalStore(tmp_path))
    store.put(7, SHA256, DATA)
    (tmp_path / PATH).write_bytes(b"something else")
    with pytest.raises(ContentError) as caught:
        store.get(7, SHA256)
    assert caught.value.code == "media_corrupt"


def test_both_stores_lay_out_their_files_alike(tmp_path: Path) -> None:
    MediaFolder(tmp_path).put(7, SHA256, DATA)
    assert MediaObjects(LocalStore(tmp_path)).get(7, SHA256) == DATA


def test_nothing_is_left_beside_the_file(tmp_path: Path) -> None:
    store = MediaFolder(tmp_path)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: store.put(7, SHA256, DATA), range(32)))
    files = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    assert files == [PATH]


def test_a_folder_that_cannot_be_used_is_unavailable(tmp_path: Path) -> None:
    root = tmp_path / "media"
    root.write_text("a file where the folder should be")
    with pytest.raises(Unavailable):
        MediaFolder(root).put(7, SHA256, DATA)
    with pytest.raises(Unavailable):
        MediaFolder(root).get(7, SHA256)


def test_an_object_store_that_does_not_answer_is_unavailable() -> None:
    nowhere = S3Store(
        "bucket",
        endpoint="http://127.0.0.1:9",
        region="none",
        access_key_id="a",
        secret_access_key="b",
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
    for use in (
        lambda store: store.put(7, SHA256, DATA),
        lambda store: store.get(7, SHA256),
        lambda store: store.exists(7, SHA256),
    ):
        with pytest.raises(Unavailable):
            use(MediaObjects(nowhere))


def test_the_settings_choose_between_folder_and_objects(tmp_path: Path) -> None:
    assert isinstance(media_store(Settings(data_dir=tmp_path)), MediaFolder)
    objects = media_store(Settings(data_dir=tmp_path, media_url=f"file://{tmp_path}"))
    assert isinstance(objects, MediaObjects)
    data = b"an image"
    sha256 = hashlib.sha256(data).digest()
    objects.put(1, sha256, data)
    assert media_store(Settings(media_dir=tmp_path)).get(1, sha256) == data


@pytest.mark.parametrize("url", ["nonsense", "gopher://a/b"])
def test_an_address_that_names_no_object_store_is_refused(url: str) -> None:
    with pytest.raises(Unavailable) as caught:
        media_store(Settings(media_url=url))
    assert caught.value.code == "bad_media_url"
