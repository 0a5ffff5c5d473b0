"""The HTTP API: requests become content and jobs, answers come from Postgres; no models here.

app.py         the application and what it holds open
services.py    what every request may use
context.py     request ids, headers, the log line and the figures of each request
body.py        the cap on a body's bytes
strict_json.py bytes become JSON values, strictly
ndjson.py      the same of a value a line, in and out
payload.py     JSON values become a request model
multipart.py   a multipart body becomes its parts
corpus_name.py the name of a corpus in a path
auth.py        bearer keys and scopes
problems.py    errors become application/problem+json
schemas.py     request bodies
views.py       answers; those about jobs are in job_views.py, about a score in audit_views.py
drafts.py      texts and images of a request, checked and verified
ingest.py      putting items
job_checks.py  a job's request, checked without a server
documents.py   documents that a job brings along
submission.py  submitting a job
job_reads.py   a job and its rankings, read
waiting.py     `Prefer: wait=N`
events.py      a job's progress as server-sent events
pages.py       signed cursors
publisher.py   messages after the commit, without waiting for a broker that is down
metrics.py     /metrics
openapi.py     what FastAPI cannot infer for /openapi.json
routes/        one file a resource
"""
