"""The Python client of the API.

    from repick.client import Client, Item, Query

    with Client("http://127.0.0.1:8077", key) as client:
        client.create_corpus("photos")
        client.put_items("photos", [Item("cup", image=Path("cup.jpg"))])
        job = client.rank("photos", Query(text="a red cup"), k=20)
        for hit in job.rankings[0].hits:
            print(hit.rank, hit.id, hit.score)

values.py     what goes in and what comes out
transport.py  requests, retries, errors
api.py        the calls
"""

from repick.client.api import Client
from repick.client.transport import ApiError
from repick.client.values import (
    Corpus,
    Document,
    Failure,
    Hit,
    Item,
    Job,
    JobSummary,
    Model,
    Progress,
    PutResult,
    Query,
    Ranking,
)

__all__ = [
    "ApiError",
    "Client",
    "Corpus",
    "Document",
    "Failure",
    "Hit",
    "Item",
    "Job",
    "JobSummary",
    "Model",
    "Progress",
    "PutResult",
    "Query",
    "Ranking",
]
