"""Evaluation: labelled queries through the service, and what each stage is worth.

dataset.py      documents, queries and judgements, from a folder in BEIR's layout
importers.py    the same from the files of published benchmarks
metrics.py      measures of ir-measures over runs
bootstrap.py    paired differences with intervals and p
runner.py       the data set through the API: corpus, jobs, rankings
rankings.py     what was read back: candidates with coarse and fine ranks
outcome.py      what the rankings say, as values for JSON and the report
report.py       one HTML page; plots.py draws, pictures.py makes thumbnails
trec.py         run files and qrels for other tools
published.py    figures of papers, for the data sets that they name
"""
