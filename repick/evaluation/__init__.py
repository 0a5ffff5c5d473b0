"""How well a service ranks a labelled data set, measured through its API.

dataset.py    documents, queries and judgements of a folder in BEIR's layout
importers.py  other layouts become that one
asking.py     the corpus is loaded, the queries are submitted, the rankings read back
measures.py   R@k, nDCG@10, MRR and MAP of each query, by ir-measures
bootstrap.py  a difference of two orders with its interval
ablation.py   what other k and other blends would have given, from stored margins
results.py    figures as JSON, orders as TREC run files
report.py     a page with plots and examples
published.py  the figures of the method's paper
"""
