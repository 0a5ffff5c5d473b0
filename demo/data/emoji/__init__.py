"""Emoji as real pictures, in three styles, with Unicode's names.

sequence.py   what an emoji's code points say: whom it shows, and with which traits
catalogue.py  the pictures and names of assets/emoji, and what is held out from training
queries.py    text to image, image to image across styles, and composed queries
"""

from demo.data.emoji.catalogue import (
    HELD_OUT_STYLE,
    STYLES,
    Emoji,
    Style,
    load_catalogue,
    picture,
    trained_emoji,
)
from demo.data.emoji.queries import EmojiQuery, across_styles, composed_queries, text_queries
from demo.data.emoji.sequence import Traits, family_of, traits_of

__all__ = [
    "HELD_OUT_STYLE",
    "STYLES",
    "Emoji",
    "EmojiQuery",
    "Style",
    "Traits",
    "across_styles",
    "composed_queries",
    "family_of",
    "load_catalogue",
    "picture",
    "text_queries",
    "trained_emoji",
    "traits_of",
]
