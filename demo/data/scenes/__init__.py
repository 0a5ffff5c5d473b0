"""Drawn scenes whose truth is known: what stands where, and which sentences are true of it.

world.py      figures, scenes, facts, and whether a scene bears facts out
split.py      training, validation and test share no combination of two figures
sampling.py   scenes from a random state
drawing.py    a scene's pixels
wording.py    a description becomes an English caption that knows which word tells what
describing.py a true description of a scene
negatives.py  hard negatives by SugarCrepe's classes
composed.py   an image with "but the star is green"
"""

from demo.data.scenes.composed import Composed, Edit, compose
from demo.data.scenes.describing import describe
from demo.data.scenes.drawing import SIDE, draw, png
from demo.data.scenes.negatives import CLASS_OF, Error, NegativeClass, hard_negative
from demo.data.scenes.sampling import sample_scene
from demo.data.scenes.split import Split, split_of_kinds, split_of_scene
from demo.data.scenes.wording import TEMPLATES, Caption, Description, Mention, write
from demo.data.scenes.world import Figure, Scene, holds

__all__ = [
    "CLASS_OF",
    "SIDE",
    "TEMPLATES",
    "Caption",
    "Composed",
    "Description",
    "Edit",
    "Error",
    "Figure",
    "Mention",
    "NegativeClass",
    "Scene",
    "Split",
    "compose",
    "describe",
    "draw",
    "hard_negative",
    "holds",
    "png",
    "sample_scene",
    "split_of_kinds",
    "split_of_scene",
    "write",
]
