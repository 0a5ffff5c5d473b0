"""Small files of every layout, and the data sets that they are."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from repick.errors import InvalidField
from repick.evaluation.dataset import open_dataset
from repick.evaluation.importers import Layout, import_dataset


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "val").mkdir(parents=True)
    for name in ("1.jpg", "2.jpg", "val/3.jpg"):
        (folder / name).write_bytes(name.encode())
    return folder


def write(file: Path, value: object) -> Path:
    file.write_text(json.dumps(value))
    return file


def test_karpathy_json_is_two_data_sets(images: Path, tmp_path: Path) -> None:
    def image(name: str, split: str, *captions: str, **more: str) -> dict[str, object]:
        return {
            "filename": name,
            "split": split,
            "sentences": [{"raw": c} for c in captions],
            **more,
        }

    source = write(
        tmp_path / "dataset.json",
        {
            "images": [
                image("1.jpg", "test", "a dog", "an animal"),
                image("3.jpg", "test", "a cat", filepath="val"),
                image("2.jpg", "train", "no one"),
            ]
        },
    )
    folders = import_dataset(Layout.KARPATHY, source, images, tmp_path / "out")
    to_text, to_image = map(open_dataset, folders)
    assert {name: one.text for name, one in to_text.documents.items()} == {
        "1.jpg#0": "a dog",
        "1.jpg#1": "an animal",
        "val/3.jpg#0": "a cat",
    }
    assert to_text.relevant("1.jpg") == {"1.jpg#0", "1.jpg#1"}
    assert to_image.relevant("val/3.jpg#0") == {"val/3.jpg"}
    picture = to_image.documents["val/3.jpg"].image
    assert picture is not None
    assert picture.read_bytes() == b"val/3.jpg"


def test_karpathy_csv(images: Path, tmp_path: Path) -> None:
    source = tmp_path / "flickr.csv"
    source.write_text(
        'raw,sentids,split,filename,img_id\n"[""a dog"", ""a, b""]","[0, 1]",test,1.jpg,0\n'
        '"[""x""]",[2],val,2.jpg,1\n'
    )
    to_text = open_dataset(import_dataset(Layout.KARPATHY, source, images, tmp_path / "out")[0])
    assert [one.text for one in to_text.documents.values()] == ["a dog", "a, b"]
    with pytest.raises(InvalidField, match="there are: test, val") as caught:
        import_dataset(Layout.KARPATHY, source, images, tmp_path / "other", split="dev")
    assert caught.value.code == "unknown_split"


def test_m_beir(images: Path, tmp_path: Path) -> None:
    pool, source = tmp_path / "pool.jsonl", tmp_path / "queries.jsonl"
    pool.write_text(
        '{"did": "1:1", "txt": null, "img_path": "1.jpg", "modality": "image"}\n'
        '{"did": "1:2", "txt": "a cat", "img_path": "2.jpg", "modality": "image,text"}\n'
    )
    source.write_text(
        '{"qid": "9:1", "query_txt": "find it", "query_img_path": null, '
        '"pos_cand_list": ["1:2"], "neg_cand_list": []}\n'
    )
    (folder,) = import_dataset(Layout.M_BEIR, source, images, tmp_path / "out", pool=pool)
    made = open_dataset(folder)
    assert made.queries["9:1"].text == "find it"
    assert made.relevant("9:1") == {"1:2"}
    assert made.documents["1:1"].text is None
    source.write_text('{"qid": "9:1", "query_txt": "x", "pos_cand_list": ["lost"]}\n')
    with pytest.raises(InvalidField, match="not in the pool"):
        import_dataset(Layout.M_BEIR, source, images, tmp_path / "other", pool=pool)


def test_mmeb(images: Path, tmp_path: Path) -> None:
    source = tmp_path / "test.parquet"
    rows = {
        "qry_text": ["<|image_1|>\nWhat is it?", "<|image_1|>\nAnd this?"],
        "qry_img_path": ["1.jpg", "2.jpg"],
        "tgt_text": [["dog", "cat"], ["cat", "dog"]],
        "tgt_img_path": [["", ""], ["", ""]],
    }
    parquet.write_table(pa.table(rows), source)
    made = open_dataset(import_dataset(Layout.MMEB, source, images, tmp_path / "out")[0])
    texts = {name: one.text for name, one in made.documents.items()}
    assert sorted(str(text) for text in texts.values()) == ["cat", "dog"]
    assert [texts[one] for one in made.relevant("0")] == ["dog"]
    assert [texts[one] for one in made.relevant("1")] == ["cat"]
    assert made.queries["0"].text == "What is it?"


def test_sugarcrepe(images: Path, tmp_path: Path) -> None:
    pair = {"filename": "1.jpg", "caption": "a dog", "negative_caption": "a cat"}
    source = write(tmp_path / "swap.json", {"0": pair})
    made = open_dataset(import_dataset(Layout.SUGARCREPE, source, images, tmp_path / "out")[0])
    assert made.qrels == {"0": {"0-caption": 1, "0-negative_caption": 0}}
    source = write(tmp_path / "bad.json", {"0": pair | {"filename": "../secret"}})
    with pytest.raises(InvalidField) as caught:
        import_dataset(Layout.SUGARCREPE, source, images, tmp_path / "other")
    assert caught.value.code == "outside_folder"
