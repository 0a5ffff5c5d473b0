# %% [markdown]
# # A first day with Repick
#
# Run `make up` in a terminal, then this file cell by cell (editors open the `# %%` format as a
# notebook), or whole: `.venv/bin/python docs/tour.py`. It uses `REPICK_API_URL` and
# `REPICK_API_KEY`, or else what `make up` has left in `.repick`.

# %%
import asyncio
import os
from pathlib import Path

from repick.client import AsyncClient, Client, Item, Query

local = Path(".repick")
url = os.environ.get("REPICK_API_URL") or (local / "api-url").read_text()
key = os.environ.get("REPICK_API_KEY") or (local / "api-key").read_text().strip()
client = Client(url, key)

# %% [markdown]
# ## A corpus
# Items are texts, images, or both, under ids of your own. Putting them again changes nothing.

# %%
if "tour" in client.corpora():
    client.delete_corpus("tour")
client.create_corpus("tour")
done = client.put_items(
    "tour",
    [
        Item("cat", "a cat on a sofa", metadata={"indoors": True}),
        Item("dog", "a dog in the snow", metadata={"indoors": False}),
        Item("fish", "a goldfish in a bowl", metadata={"indoors": True}),
        Item("rocket", "a rocket on its pad", metadata={"indoors": False}),
    ],
)
print(done.stored, "stored,", len(done.failed), "failed")
client.wait_for_corpus("tour")  # vectors are made in the background

# %% [markdown]
# ## A job
# `rank` submits and waits. A ranking says how each hit came to its place: the model's score, and
# the place that the coarse stage had given it.

# %%
job = client.rank("tour", Query("a pet indoors"), k=4)
for hit in job.rankings[0].hits:
    print(f"{hit.rank}  {hit.id:<8} {hit.score:.3f}  (coarse rank {hit.coarse_rank})")
if job.untrained:
    print("these models are untrained: the path is real, the order means nothing")

# %% [markdown]
# ## Again, for nothing
# Every pair of the first job is in the ledger: nothing is scored, and the answer is the same.

# %%
again = client.rank("tour", Query("a pet indoors"), k=4)
print(again.progress.reused, "of", again.progress.total, "pairs reused")
assert [hit.id for hit in again.rankings[0].hits] == [hit.id for hit in job.rankings[0].hits]

# %% [markdown]
# ## Under a filter, several queries, with progress

# %%
job = client.rank(
    "tour",
    [Query("an animal"), Query("a machine")],
    k=4,
    filter={"field": "indoors", "eq": False},
    on_progress=lambda one: print(one.state, one.progress.done, "of", one.progress.total),
)
for ranking in job.rankings:
    print(ranking.query, [hit.id for hit in ranking.hits])

# %% [markdown]
# ## Many at once, without threads


# %%
async def several(queries: list[str]) -> list[str]:
    """The best hit of each query, all jobs at once."""
    async with AsyncClient(url, key) as service:
        jobs = await asyncio.gather(*(service.rank("tour", Query(one), k=2) for one in queries))
    return [job.rankings[0].hits[0].id for job in jobs]


print(asyncio.run(several(["a bowl", "snow", "a sofa"])))

# %% [markdown]
# ## Away with it
# The rankings stay: they are immutable, and name what they ranked.

# %%
client.delete_corpus("tour")
print(len(client.job(job.id).rankings), "rankings are still there")
client.close()
