"""From a margin to a probability of relevance: fitted on labels, measured on other queries.

maps.py     monotone maps as plain JSON values; applying one needs no library
labels.py   labelled pairs, from JSON lines or from jobs and their qrels
figures.py  expected calibration error, Brier score, R@1 of the orders, a blend worth trying
fit.py      fits a map on some queries and measures it on the others (needs the extra `eval`)
"""

from repick.calibration.maps import Isotonic, Map, Method, Platt, as_json, parse

__all__ = ["Isotonic", "Map", "Method", "Platt", "as_json", "parse"]
