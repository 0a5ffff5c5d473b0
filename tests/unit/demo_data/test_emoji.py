"""Emoji pictures are readable, free to ship, and held out where they should be."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image, ImageStat

from demo.data.build_emoji import read_entries, read_names
from demo.data.emoji import (
    HELD_OUT_STYLE,
    Style,
    Traits,
    across_styles,
    composed_queries,
    family_of,
    load_catalogue,
    picture,
    text_queries,
    trained_emoji,
    traits_of,
)
from demo.data.emoji.catalogue import ASSETS, SIDE, on_white
from demo.data.emoji.sequence import code_of


def test_there_are_enough_pictures_in_a_few_megabytes() -> None:
    emojis = load_catalogue()
    assert len({emoji.code for emoji in emojis}) == len({emoji.name for emoji in emojis})
    for style in Style:
        assert sum(style in emoji.styles for emoji in emojis) >= 1500
    assert sum(path.stat().st_size for path in ASSETS.iterdir()) < 8_000_000


@pytest.mark.parametrize("style", list(Style))
def test_every_picture_of_the_catalogue_can_be_read(style: Style) -> None:
    for emoji in load_catalogue():
        if style in emoji.styles:
            with Image.open(io.BytesIO(picture(emoji.code, style))) as image:
                assert image.format == "PNG"
                assert image.size == (SIDE, SIDE)


def test_pictures_show_something_on_white() -> None:
    for emoji in load_catalogue()[::50]:
        for style in emoji.styles:
            image = on_white(emoji.code, style)
            assert image.mode == "RGB"
            assert max(ImageStat.Stat(image).stddev) > 5


def test_a_style_that_does_not_draw_an_emoji_says_so() -> None:
    lacking = next(emoji for emoji in load_catalogue() if Style.FLUENT not in emoji.styles)
    with pytest.raises(KeyError):
        picture(lacking.code, Style.FLUENT)


@pytest.mark.parametrize("style", list(Style))
def test_each_style_is_attributed_with_its_licence(style: Style) -> None:
    attribution = (ASSETS.parents[1] / "ATTRIBUTION.md").read_text(encoding="utf-8")
    [row] = [line for line in attribution.splitlines() if line.startswith(f"| {style}.zip")]
    licence = {"noto": "Apache-2.0", "twemoji": "CC-BY-4.0", "fluent": "MIT"}[style]
    first = {"noto": "Apache License", "twemoji": "Attribution 4.0", "fluent": "MIT License"}
    assert licence in row
    text = (ASSETS / f"LICENSE-{style}.txt").read_text(encoding="utf-8")
    assert first[style] in text.strip()[:40]
    assert f"assets/emoji/LICENSE-{style}.txt" in row


def test_a_tenth_of_the_concepts_and_one_style_are_never_trained_on() -> None:
    emojis, trained = load_catalogue(), trained_emoji()
    held_out = {emoji.family for emoji in emojis if emoji.held_out}
    assert held_out.isdisjoint(emoji.family for emoji in trained)
    assert len(held_out) / len({emoji.family for emoji in emojis}) == pytest.approx(0.1, abs=0.02)
    assert len(trained) > 1500
    assert not any(HELD_OUT_STYLE in emoji.training_styles for emoji in emojis)
    assert not any(emoji.training_styles for emoji in emojis if emoji.held_out)


@pytest.mark.parametrize(
    ("code", "family", "traits"),
    [
        ("1f436", "1f436", Traits()),
        ("1f44b-1f3ff", "1f44b", Traits(tone="dark")),
        ("1f469-200d-1f9b0", "1f9d1", Traits(gender="woman", hair="red")),
        ("1f9d1-1f3fb-200d-1f9b2", "1f9d1", Traits(tone="light", hair="bald")),
        ("1f3c3-200d-2642", "1f3c3", Traits(gender="man")),
        ("1f3c3-200d-2640-200d-27a1", "1f3c3", Traits(gender="woman", direction="right")),
        ("1f468-1f3fd-200d-1f680", "1f9d1-200d-1f680", Traits(tone="medium", gender="man")),
        ("1f468-200d-1f469-200d-1f466", "1f468-200d-1f469-200d-1f466", Traits()),
        ("2764-200d-1f525", "2764-200d-1f525", Traits()),
        ("1f43b-200d-2744", "1f43b-200d-2744", Traits()),
        ("27a1", "27a1", Traits()),
        ("2640", "2640", Traits(gender="woman")),
    ],
)
def test_a_sequence_says_whom_it_shows_and_how(code: str, family: str, traits: Traits) -> None:
    assert family_of(code) == family
    assert traits_of(code) == traits


def test_composed_queries_change_exactly_what_they_say() -> None:
    queries = composed_queries(load_catalogue(), Style.NOTO, Style.TWEMOJI)
    kinds = Counter(query.kind for query in queries)
    assert min(kinds[kind] for kind in ("tone", "gender", "hair", "direction")) >= 50
    for query in queries:
        assert query.reference is not None
        code, style = query.reference
        assert (style, query.style) == (Style.NOTO, Style.TWEMOJI)
        before, after = traits_of(code), query.target.traits
        assert before.differences(after) == (query.kind,)
        assert family_of(code) == query.target.family
        value = getattr(after, query.kind) or "left"
        assert query.text is not None
        assert value in query.text


def test_text_and_style_queries_ask_for_what_the_style_draws() -> None:
    emojis = load_catalogue()
    texts = text_queries(emojis, Style.FLUENT, template=1)
    assert len(texts) == sum(Style.FLUENT in emoji.styles for emoji in emojis)
    assert texts[0].text == f"a picture of {texts[0].target.name}"
    pairs = across_styles(emojis, Style.NOTO, Style.FLUENT)
    assert all(query.reference == (query.target.code, Style.NOTO) for query in pairs)
    assert len(pairs) == len(texts)


def test_packages_are_read_with_tones_of_plain_people_and_without_flags(tmp_path: Path) -> None:
    tones = ("1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF")

    def row(unified: str, category: str, order: int, skins: bool = False) -> dict[str, object]:
        variations = {
            tone: {"unified": f"{unified}-{tone}", "image": f"{unified}-{tone}.png".lower()}
            for tone in tones
        }
        made = {"unified": unified, "category": category, "sort_order": order}
        image = {"image": f"{unified.lower()}.png"}
        return {**made, **image, **({"skin_variations": variations} if skins else {})}

    rows = [
        row("1F1E6-1F1E8", "Flags", 1),
        row("1F469", "People & Body", 4, skins=True),
        row("1F44B", "People & Body", 2, skins=True),
        row("2615-FE0F", "Food & Drink", 3),
    ]
    (tmp_path / "emoji.json").write_text(json.dumps(rows))
    (tmp_path / "en").mkdir()
    skins = [{"label": "waving hand: dark skin tone", "hexcode": "1F44B-1F3FF"}]
    names = [{"label": "waving hand", "hexcode": "1F44B", "tags": ["bye"], "skins": skins}]
    (tmp_path / "en" / "data.json").write_text(json.dumps(names))
    codes = [entry.code for entry in read_entries(tmp_path)]
    assert codes == ["1f44b", "1f44b-1f3fb", "1f44b-1f3fd", "1f44b-1f3ff", "2615", "1f469"]
    assert read_names(tmp_path)["1f44b-1f3ff"] == ("waving hand: dark skin tone", ["bye"])
    assert code_of("263A-FE0F") == "263a"
