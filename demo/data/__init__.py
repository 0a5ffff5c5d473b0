"""What the demo's own models are trained and measured on.

scenes/         drawn scenes: ground truth, captions, hard negatives, composed queries
emoji/          real pictures in several styles, with Unicode's names
build_emoji.py  makes assets/emoji from unpacked packages
"""
