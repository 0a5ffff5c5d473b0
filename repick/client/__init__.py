"""The Python client of the API.

    from repick.client import Client, Item, Query

    with Client("http://127.0.0.1:8077", key) as client:
        client.create_corpus("photos")
        client.put_items("photos", [Item("cup", image=Path("cup.jpg"))])
        job = client.rank("photos", Query(text="a red cup"), k=20)
        for hit in job.rankings[0].hits:
            print(hit.rank, hit.id, hit.score)

`AsyncClient` has the same calls, to be awaited.

values.py     what goes in and what comes out
batches.py    items become requests of bounded size
answers.py    what the API's answers mean
transport.py  requests and retries
api.py        the calls
generate.py   makes async_transport.py and async_api.py of these two
"""

from repick.client.answers import ApiError
from repick.client.api import Client
from repick.client.async_api import AsyncClient
from repick.client.values import (
    Calibration,
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
    "AsyncClient",
    "Calibration",
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
