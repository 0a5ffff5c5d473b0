"""The sizes, the curricula and the budgets of the trained models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from demo.data.scenes import Error
from repick.specs import Readout

SIDE = 96
PATCH = 8
MERGE = 2
CELLS = SIDE // (PATCH * MERGE)
"""Visual tokens along a side of a picture of SIDE pixels."""

FIRST_READOUTS = (Readout.YES_NO, Readout.CHOICE)
ALL_READOUTS = (
    Readout.CHOICE_BALANCED,
    Readout.YES_NO,
    Readout.TRUE_FALSE,
    Readout.RIGHT_WRONG,
    Readout.RATING,
)
"""Every form of question: balanced has both orders, and `paper` asks as `true_false` does."""

HARD = (Error.DIRECTION, Error.SWAP_OBJECT, Error.SHAPE, Error.SWAP_COLOUR)
"""The errors that are learned last."""


@dataclass(frozen=True, slots=True)
class JudgeSize:
    """Of a Qwen3VLForConditionalGeneration."""

    width: int
    ffn: int
    layers: int
    heads: int
    key_value_heads: int
    vision_width: int
    vision_ffn: int
    vision_layers: int
    vision_heads: int
    deepstack: tuple[int, ...]
    merges: int
    head_size: int = 32


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the curriculum.

    `share` of the budget at most; left early when the look-ups of its last steps are right as
    often as `gate`. `figures` weighs scenes of one, two and three figures; `rows` weighs look-ups,
    captions and match questions about a scene; `items` weighs scenes, composed queries and emoji.
    Half of the hard negatives are `hard` ones where the description allows.
    """

    name: str
    share: float
    gate: float
    figures: tuple[float, float, float]
    rows: tuple[float, float, float]
    items: tuple[float, float, float] = (1, 0, 0)
    readouts: tuple[Readout, ...] = FIRST_READOUTS
    hard: tuple[Error, ...] = HARD


@dataclass(frozen=True, slots=True)
class Budget:
    """Steps, and minutes after which the learning rate has come to its end all the same.

    `pause_at` is a step at which to stop for now, with a checkpoint; 0 for none. `validation`
    counts the batches of a validation, at every save.
    """

    steps: int
    minutes: float
    images: int
    rate: float
    workers: int = 0
    log_every: int = 50
    save_every: int = 500
    pause_at: int = 0
    validation: int = 4


@dataclass(frozen=True, slots=True)
class JudgeRecipe:
    size: JudgeSize
    budget: Budget
    stages: tuple[Stage, ...]
    rows_per_image: int = 4

    def continued(self) -> JudgeRecipe:
        """For a judge that has been through the curriculum: what it still gets wrong, more gently.

        That is telling shapes apart; half as many pictures' questions more fit in the same time.
        """
        budget = replace(self.budget, rate=self.budget.rate * 0.4)
        return replace(self, budget=budget, stages=(CONTINUATION,), rows_per_image=6)


CURRICULUM = (
    Stage("one", 0.15, 0.95, (1, 0, 0), (0.6, 0.1, 0.3)),
    Stage("two", 0.35, 0.95, (0.2, 0.8, 0), (0.45, 0, 0.55)),
    Stage("three", 0.2, 0.95, (0.1, 0.5, 0.4), (0.3, 0, 0.7)),
    Stage("judge", 1.0, 2.0, (0.1, 0.4, 0.5), (0.2, 0, 0.8), (0.7, 0.1, 0.2), ALL_READOUTS),
)
CONTINUATION = Stage(
    "shapes", 1.0, 2.0, (0.05, 0.35, 0.6), (0.1, 0, 0.9), (0.97, 0.03, 0), ALL_READOUTS,
    (Error.SHAPE,),
)  # fmt: skip
SCENES_ONLY = (*CURRICULUM[:-1], replace(CURRICULUM[-1], items=(0.95, 0.05, 0)))

SMALL_JUDGE = JudgeSize(
    width=128, ffn=320, layers=8, heads=4, key_value_heads=2, vision_width=96, vision_ffn=192,
    vision_layers=3, vision_heads=4, deepstack=(0, 1), merges=700,
)  # fmt: skip
FULL_JUDGE = JudgeSize(
    width=192, ffn=480, layers=7, heads=6, key_value_heads=3, vision_width=96, vision_ffn=288,
    vision_layers=4, vision_heads=4, deepstack=(0, 2), merges=1600,
)  # fmt: skip
SMOKE_JUDGE = JudgeSize(
    width=64, ffn=96, layers=7, heads=2, key_value_heads=1, vision_width=32, vision_ffn=64,
    vision_layers=2, vision_heads=2, deepstack=(0,), merges=420,
)  # fmt: skip
JUDGES: Mapping[str, JudgeRecipe] = {
    "full": JudgeRecipe(FULL_JUDGE, Budget(60_000, 55, 256, 1.5e-3, workers=14), CURRICULUM),
    "small": JudgeRecipe(SMALL_JUDGE, Budget(12_000, 62, 16, 1.5e-3), SCENES_ONLY),
    "smoke": JudgeRecipe(
        SMOKE_JUDGE,
        Budget(30, 5, 4, 3e-3, log_every=5, save_every=20, validation=1),
        (CURRICULUM[0], SCENES_ONLY[-1]),
    ),
}


@dataclass(frozen=True, slots=True)
class EncoderSize:
    """Of a CLIPModel; the text tower is as wide as the vision tower."""

    width: int
    heads: int
    layers: int
    text_layers: int
    projection: int
    merges: int
    patch: int = PATCH


@dataclass(frozen=True, slots=True)
class EncoderRecipe:
    """`emoji` is the part of a batch that is emoji; `hard` adds a hard negative text an image."""

    size: EncoderSize
    budget: Budget
    emoji: float
    hard: bool = True


ENCODERS: Mapping[str, EncoderRecipe] = {
    "full": EncoderRecipe(
        EncoderSize(160, 5, 5, 3, 128, 1600), Budget(40_000, 30, 1024, 1e-3, workers=14), 0.4
    ),
    "small": EncoderRecipe(
        EncoderSize(128, 4, 4, 2, 128, 1200, patch=12), Budget(12_000, 88, 160, 1e-3), 0.4
    ),
    "smoke": EncoderRecipe(
        EncoderSize(32, 2, 2, 1, 32, 120), Budget(30, 5, 16, 3e-3, log_every=5, save_every=10), 0.25
    ),
}  # fmt: skip
