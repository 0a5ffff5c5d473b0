"""A public generator makes a client of our OpenAPI document, and the client works."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from repick.content.header import MEDIA_TYPES
from tests.integration.api.harness import Tenant, finish

PACKAGE = "generated_repick"
NOT_ITS_OWN = ("application/x-ndjson", *sorted(MEDIA_TYPES))
"""Media types that this generator sends and receives as bytes once it is told so."""


@pytest.fixture
def generated(tenant: Tenant, tmp_path: Path) -> Iterator[str]:
    """The importable package that openapi-python-client writes; it warns of nothing."""
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(tenant.http.get("/openapi.json").json()))
    config = tmp_path / "config.json"
    overrides = dict.fromkeys(NOT_ITS_OWN, "application/octet-stream")
    config.write_text(
        json.dumps(
            {
                "package_name_override": PACKAGE,
                "post_hooks": [],  # it would format what it has written
                "content_type_overrides": overrides,
            }
        )
    )
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"]
    options = ["--path", str(document), "--config", str(config), "--fail-on-warning"]
    done = subprocess.run(
        [*command, *options, "--output-path", str(tmp_path / PACKAGE)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(tmp_path))
    yield PACKAGE
    sys.path.remove(str(tmp_path))
    for name in [one for one in sys.modules if one.split(".")[0] == PACKAGE]:
        del sys.modules[name]


def test_a_generated_client_loads_a_corpus_submits_and_polls(
    generated: str, tenant: Tenant
) -> None:
    def part(name: str) -> Any:
        return importlib.import_module(f"{generated}.{name}")

    models: Any = part("models")
    address = str(tenant.http.base_url)
    with part("client").AuthenticatedClient(base_url=address, token=tenant.key) as client:
        corpus = models.CorpusRequest(name="generated")
        made = part("api.corpora.create_corpus").sync(client=client, body=corpus)
        assert made.name == "generated"
        items = models.ItemsRequest(items=[models.ItemRequest(id="cup", text="a red cup")])
        stored = part("api.items.put_items").sync("generated", client=client, body=items)
        assert (stored.stored, stored.failed) == (1, [])
        wanted = models.JobRequest(corpus="generated", query=models.QueryRequest(text="a cup"), k=1)
        job = part("api.jobs.submit_job").sync(client=client, body=wanted)
        assert (job.state, job.final) == ("queued", False)
        finish(tenant, str(job.id), hits=["cup"])
        seen = part("api.jobs.show_job").sync(job.id, client=client)
        assert (seen.id, seen.state, seen.final) == (job.id, "succeeded", True)
        assert [hit.id for hit in seen.rankings[0].hits] == ["cup"]
        lost = part("api.jobs.show_job").sync(uuid4(), client=client)
        assert (lost.code, lost.status) == ("job_not_found", 404)


def test_every_part_of_a_generated_client_can_be_imported(generated: str) -> None:
    package = importlib.import_module(generated)
    names = [one.name for one in pkgutil.walk_packages(package.__path__, f"{generated}.")]
    for name in names:
        importlib.import_module(name)
    operations = [name for name in names if ".api." in name and name.count(".") == 3]
    assert len(operations) > 50


def test_functions_are_named_as_ours_and_no_two_alike(tenant: Tenant) -> None:
    document = tenant.http.get("/openapi.json").json()
    ids = [one["operationId"] for path in document["paths"].values() for one in path.values()]
    assert {"create_corpus", "put_items", "submit_job", "show_job"} <= set(ids)
    assert len(ids) == len(set(ids))
