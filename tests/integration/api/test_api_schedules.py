"""Standing queries, schedules and runs over HTTP, through the client and the command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from repick import nightly
from repick.cli.app import app
from repick.client import ApiError, Client
from repick.settings import Settings
from repick.store import schedules
from tests import bad_images
from tests.integration.api.harness import NewTenant, Tenant, base64_of, finish, problem

QUERIES = [
    {"id": "cups", "text": "a cup", "tags": ["kitchen"]},
    {"id": "pets/dogs", "text": "a dog", "instruction": "Find the animal.", "tags": ["animals"]},
]
NIGHTLY = {
    "name": "nightly",
    "corpus": "things",
    "cron": "30 2 * * *",
    "time_zone": "Europe/Berlin",
    "k": 2,
}
PHOTO = base64_of(bad_images.photo("PNG"))


def put(tenant: Tenant, *queries: Any) -> Any:
    answer = tenant.http.put("/v1/corpora/things/queries", json={"queries": list(queries)})
    assert answer.status_code == 200, answer.text
    return answer.json()


def made(tenant: Tenant, **changes: Any) -> Any:
    put(tenant, *QUERIES)
    answer = tenant.http.post("/v1/schedules", json=NIGHTLY | changes)
    assert answer.status_code == 201, answer.text
    return answer.json()


def run(tenant: Tenant, **body: Any) -> Any:
    answer = tenant.http.post("/v1/schedules/nightly/runs", json=body)
    assert answer.status_code == 202, answer.text
    return answer.json()


def settled(tenant: Tenant, **body: Any) -> Any:
    begun = run(tenant, **body)
    finish(tenant, begun["id"])
    while nightly.settle_ended(tenant.database):
        pass
    return tenant.http.get(f"/v1/runs/{begun['id']}").json()


def test_standing_queries_are_put_listed_shown_and_deleted(tenant: Tenant, corpus: str) -> None:
    assert put(tenant, *QUERIES) == {"stored": 2, "unchanged": 0}
    changed = QUERIES[0] | {"image": PHOTO}
    assert put(tenant, changed, QUERIES[1]) == {"stored": 1, "unchanged": 1}
    listed = tenant.http.get("/v1/corpora/things/queries", params={"limit": 1}).json()
    assert [one["id"] for one in listed["items"]] == ["cups"]
    assert tenant.http.get(listed["next"]).json()["items"][0]["id"] == "pets/dogs"
    tagged = tenant.http.get("/v1/corpora/things/queries?tag=animals").json()["items"]
    assert [one["id"] for one in tagged] == ["pets/dogs"]
    shown = tenant.http.get("/v1/corpora/things/queries/pets/dogs").json()
    assert (shown["text"], shown["instruction"]) == ("a dog", "Find the animal.")
    assert tenant.http.get("/v1/corpora/things/queries/cups").json()["image"] is not None
    assert tenant.http.delete("/v1/corpora/things/queries/cups").status_code == 204
    gone = tenant.http.get("/v1/corpora/things/queries/cups")
    assert problem(gone) == (404, "query_not_found")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"id": "a"}, "blank"),
        ({"id": "a", "text": " "}, "blank"),
        ({"id": "a//b", "text": "x"}, "invalid_id"),
        ({"id": "a", "text": "x", "tags": [""]}, "invalid_field"),
        ({"id": "a", "image": "AAAA"}, "not_image"),
        ({"id": "a", "text": "x", "other": 1}, "unknown_field"),
    ],
)
def test_a_wrong_standing_query_refuses_them_all(
    tenant: Tenant, corpus: str, query: dict[str, Any], code: str
) -> None:
    good = {"id": "good", "text": "fine"}
    answer = tenant.http.put("/v1/corpora/things/queries", json={"queries": [good, query]})
    assert problem(answer)[1] == code
    lines = "\n".join(json.dumps(one) for one in (good, query))
    headers = {"Content-Type": "application/x-ndjson"}
    answer = tenant.http.put("/v1/corpora/things/queries", content=lines, headers=headers)
    assert problem(answer)[1] == code
    assert tenant.http.get("/v1/corpora/things/queries").json()["items"] == []


def test_the_error_of_a_line_says_its_number_and_no_other(tenant: Tenant, corpus: str) -> None:
    body = b'{"id": "good", "text": "fine"}\n\n{"id": "bad"\n{"id": "c", "text": "d"}'
    headers = {"Content-Type": "application/x-ndjson"}
    answer = tenant.http.put("/v1/corpora/things/queries", content=body, headers=headers)
    assert answer.json()["detail"] == "line 3: not JSON: Expecting ',' delimiter at column 13"


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"cron": "every night"}, 422, "invalid_cron"),
        ({"time_zone": "Mars"}, 422, "unknown_time_zone"),
        ({"until": "25:00"}, 422, "invalid_field"),
        ({"alarms": {"max_duration_s": 10**400}}, 422, "invalid_field"),
        ({"top_n": 3}, 422, "invalid_field"),
        ({"k": 100_000}, 422, "invalid_field"),
        ({"filter": {"x": 1}}, 422, None),
        ({"corpus": "none"}, 404, "corpus_not_found"),
        ({"name": "no name"}, 422, "invalid_field"),
        ({"scorer": "nobodys:choice"}, 422, "unknown_scorer"),
        ({"scorer": "qwen-tiny:paper", "blend": 0.5}, 422, "no_margin"),
    ],
)
def test_bad_schedules_are_refused(
    tenant: Tenant, corpus: str, changes: dict[str, Any], status: int, code: str | None
) -> None:
    answer = tenant.http.post("/v1/schedules", json=NIGHTLY | changes)
    found = problem(answer)
    assert found[0] == status
    assert code in (None, found[1])
    assert tenant.http.get("/v1/schedules").json()["items"] == []


def test_schedules_are_changed_paused_and_deleted(tenant: Tenant, corpus: str) -> None:
    first = made(tenant, until="06:00", top_n=1)
    assert (first["until"], first["next_at"] is not None, first["latest"]) == ("06:00", True, None)
    again = tenant.http.post("/v1/schedules", json=NIGHTLY)
    assert problem(again) == (409, "schedule_exists")
    path = first["href"]
    changed = tenant.http.patch(path, json={"cron": "0 4 * * *", "until": None, "k": 5}).json()
    assert (changed["until"], changed["k"], changed["top_n"]) == (None, 5, 1)
    assert changed["next_at"] != first["next_at"]
    assert problem(tenant.http.patch(path, json={"cron": None}))[0] == 422
    assert problem(tenant.http.patch(path, json={"top_n": 6}))[0] == 422
    assert problem(tenant.http.patch(path, json={"scorer": "gone"})) == (422, "unknown_scorer")
    assert tenant.http.post(f"{path}/pause").json()["next_at"] is None
    assert tenant.http.post(f"{path}/resume").json()["next_at"] == changed["next_at"]
    assert tenant.http.delete(path).status_code == 204
    assert problem(tenant.http.get(path)) == (404, "schedule_not_found")


def test_ticks_go_by_the_databases_clock_whatever_the_apis_host_says(
    monkeypatch: pytest.MonkeyPatch, tenant: Tenant, corpus: str
) -> None:
    told = datetime(2031, 1, 1, 1, 30, tzinfo=UTC)
    monkeypatch.setattr(schedules, "clock", lambda _: told)
    path = "/v1/schedules/nightly"
    assert made(tenant, time_zone="UTC")["next_at"] == "2031-01-01T02:30:00Z"
    later = tenant.http.patch(path, json={"cron": "45 2 * * *"}).json()
    assert later["next_at"] == "2031-01-01T02:45:00Z"
    assert tenant.http.post(f"{path}/pause").json()["paused"]
    told += timedelta(days=1)
    assert tenant.http.post(f"{path}/resume").json()["next_at"] == "2031-01-02T02:45:00Z"


def test_run_that_could_not_begin_says_why_and_has_no_job(
    tenant: Tenant, corpus: str, base_url: str
) -> None:
    assert tenant.http.post("/v1/schedules", json=NIGHTLY).status_code == 201
    begun = run(tenant)
    assert (begun["state"], begun["job"]) == ("ended", None)
    at = ["--url", base_url, "--key", tenant.key]
    listed = CliRunner().invoke(app, ["schedule", "runs", "nightly", *at], env={"COLUMNS": "160"})
    assert "no_standing_queries" in listed.output
    put(tenant, *QUERIES)
    after = settled(tenant)
    assert tenant.http.get(after["job"]).status_code == 200


def test_latest_is_a_whole_run_under_one_address(tenant: Tenant, corpus: str) -> None:
    made(tenant)
    latest = "/v1/schedules/nightly/latest"
    assert problem(tenant.http.get(latest)) == (404, "no_latest_run")
    first = settled(tenant)
    assert first["state"] == "published"
    running = run(tenant)
    shown = tenant.http.get(latest).json()
    assert shown["run"]["id"] == first["id"] != running["id"]
    named = [one["standing_query"] for one in shown["rankings"]]
    assert named == ["cups", "pets/dogs"]
    one = tenant.http.get(latest, params={"query": "cups"}).json()["rankings"]
    assert [ranking["standing_query"] for ranking in one] == ["cups"]
    assert problem(tenant.http.get(latest, params={"query": "none"})) == (404, "query_not_found")
    finish(tenant, running["id"])
    nightly.settle_ended(tenant.database)
    assert tenant.http.get(latest).json()["run"]["id"] == running["id"]


def test_runs_and_a_querys_history_go_back_in_time(tenant: Tenant, corpus: str) -> None:
    made(tenant)
    ids = [settled(tenant)["id"] for _ in range(3)][::-1]
    page = tenant.http.get("/v1/schedules/nightly/runs", params={"limit": 2}).json()
    rest = tenant.http.get(page["next"]).json()
    assert [one["id"] for one in page["items"] + rest["items"]] == ids
    path = "/v1/schedules/nightly/queries/pets/dogs/history"
    page = tenant.http.get(path, params={"limit": 2}).json()
    rest = tenant.http.get(page["next"]).json()
    assert [one["run"] for one in page["items"] + rest["items"]] == ids
    assert rest["next"] is None
    assert page["items"][0]["ranking"]["hits"][0]["id"] == "dog"


def test_a_page_of_rankings_is_as_large_as_its_run_makes_it(tenant: Tenant, corpus: str) -> None:
    made(tenant, k=600, top_n=600)
    begun = run(tenant)
    finish(tenant, begun["id"], [str(no) for no in range(600)])
    nightly.settle_ended(tenant.database)
    tenant.http.patch("/v1/schedules/nightly", json={"top_n": 1}).raise_for_status()
    latest = tenant.http.get("/v1/schedules/nightly/latest").json()
    assert [one["standing_query"] for one in latest["rankings"]] == ["cups"]
    rest = tenant.http.get(latest["next"]).json()
    assert ([one["standing_query"] for one in rest["items"]], rest["next"]) == (["pets/dogs"], None)
    first = tenant.http.get(f"/v1/runs/{begun['id']}/rankings").json()
    assert [one["standing_query"] for one in first["items"]] == ["cups"]


def test_a_page_of_a_history_holds_a_thousand_hits_and_leads_to_the_others(
    tenant: Tenant, corpus: str, base_url: str
) -> None:
    made(tenant, k=600, top_n=600)
    ids = []
    for _ in range(3):
        ids.append(run(tenant)["id"])
        finish(tenant, ids[-1], [str(no) for no in range(600)])
        nightly.settle_ended(tenant.database)
    with Client(base_url, tenant.key) as client:
        found = client.schedules.history("nightly", "cups", limit=2)
    assert [one["run"] for one in found] == ids[:0:-1]
    path, seen = "/v1/schedules/nightly/queries/cups/history", []
    while path:
        page = tenant.http.get(path).json()
        assert sum(len(one["ranking"]["hits"]) for one in page["items"]) <= 1000
        seen += [one["run"] for one in page["items"]]
        path = page["next"]
    assert seen == ids[::-1]


def test_rankings_past_their_age_are_not_an_empty_page(tenant: Tenant, corpus: str) -> None:
    made(tenant)
    old = settled(tenant)
    settled(tenant)
    with tenant.database.begin() as connection:
        connection.execute(text("DELETE FROM job WHERE id = :id"), {"id": old["id"]})
    assert tenant.http.get(f"/v1/runs/{old['id']}").status_code == 200
    gone = tenant.http.get(f"/v1/runs/{old['id']}/rankings")
    assert problem(gone) == (404, "rankings_deleted")


def test_a_calibration_holds_for_a_run_wherever_it_is_read(tenant: Tenant, corpus: str) -> None:
    made(tenant)
    begun = run(tenant)
    finish(tenant, begun["id"])
    fingerprint = tenant.http.get(f"/v1/jobs/{begun['id']}").json()["scorer"]["fingerprint"]
    map = {"method": "platt", "slope": 1.0, "intercept": 0.0}
    path = f"/v1/scorers/{fingerprint}/calibration"
    tenant.http.put(path, json={"map": map}).raise_for_status()
    of_job = tenant.http.get(f"/v1/jobs/{begun['id']}").json()["rankings"][0]["hits"]
    assert all(hit["probability"] is not None for hit in of_job)
    unsettled = tenant.http.get(f"/v1/runs/{begun['id']}/rankings").json()["items"][0]["hits"]
    nightly.settle_ended(tenant.database)
    latest = tenant.http.get("/v1/schedules/nightly/latest").json()["rankings"][0]["hits"]
    past = tenant.http.get("/v1/schedules/nightly/queries/cups/history").json()["items"]
    assert unsettled == latest == past[0]["ranking"]["hits"] == of_job


def test_held_run_becomes_the_latest_when_confirmed(tenant: Tenant, corpus: str) -> None:
    made(tenant)
    begun = run(tenant)
    finish(tenant, begun["id"])
    with tenant.database.begin() as connection:
        bind = {"id": begun["id"]}
        connection.execute(text("DELETE FROM ranking WHERE job_id = :id AND query_no = 1"), bind)
        connection.execute(text("UPDATE job SET state = 'partial' WHERE id = :id"), bind)
    nightly.settle_ended(tenant.database)
    held = tenant.http.get(f"/v1/runs/{begun['id']}").json()
    assert (held["state"], held["reasons"][0]["code"]) == ("held", "partial")
    assert "partial" in tenant.http.get(f"/v1/runs/{begun['id']}/report").raise_for_status().text
    path = f"/v1/schedules/nightly/runs/{begun['id']}/confirm"
    assert tenant.http.post(path).json()["state"] == "published"
    assert tenant.http.get("/v1/schedules/nightly").json()["latest"] == begun["id"]
    assert problem(tenant.http.post(path)) == (409, "run_not_held")


def test_run_for_a_date(tenant: Tenant, corpus: str) -> None:
    made(tenant)
    begun = run(tenant, date="2026-03-29")
    assert (begun["tick"], begun["trigger"]) == ("2026-03-29T01:00:00Z", "date")
    path = "/v1/schedules/nightly/runs"
    assert problem(tenant.http.post(path, json={"date": "2026-03-29"})) == (409, "run_exists")
    assert problem(tenant.http.post(path, json={"date": "2026-02-30"})) == (422, "invalid_date")
    assert problem(tenant.http.post(path, json={"date": "2999-01-01"})) == (422, "tick_to_come")
    assert problem(tenant.http.post(path, json={"date": "0001-01-01"})) == (422, "no_tick")


def test_another_tenant_sees_nothing_of_it(
    tenant: Tenant, corpus: str, new_tenant: NewTenant
) -> None:
    made(tenant)
    begun = settled(tenant)
    other = new_tenant()
    for path in ("", "/runs", "/latest", "/queries/cups/history"):
        assert problem(other.http.get(f"/v1/schedules/nightly{path}"))[0] == 404
    assert problem(other.http.get(f"/v1/runs/{begun['id']}")) == (404, "run_not_found")
    confirm = f"/v1/schedules/nightly/runs/{begun['id']}/confirm"
    assert problem(other.http.post(confirm))[0] == 404
    reader = new_tenant("read")
    assert problem(reader.http.post("/v1/schedules", json=NIGHTLY)) == (403, "missing_scope")


def test_metrics_tell_of_lag_age_and_reuse(tenant: Tenant, corpus: str) -> None:
    made(tenant)
    settled(tenant)
    shown = dict(
        line.rsplit(" ", 1)
        for line in tenant.http.get("/metrics").text.splitlines()
        if line.startswith(("repick_run", "repick_latest"))
    )
    assert float(shown["repick_run_lag_seconds"]) == 0
    assert float(shown["repick_latest_age_seconds"]) > 0
    assert float(shown['repick_runs{state="published"}']) >= 1
    with tenant.database.begin() as connection:
        connection.execute(
            text(
                "UPDATE schedule SET next_at = now() - interval '1 hour' WHERE tenant_id = :tenant"
            ),
            {"tenant": tenant.id},
        )
        connection.execute(
            text(
                'UPDATE schedule_run SET figures = figures || \'{"pairs_total": 4,'
                ' "pairs_reused": 3}\' WHERE tenant_id = :tenant'
            ),
            {"tenant": tenant.id},
        )
    later = tenant.http.get("/metrics").text.splitlines()
    told = dict(line.rsplit(" ", 1) for line in later if line.startswith("repick_run"))
    assert float(told["repick_run_lag_seconds"]) >= 3600
    assert 0 < float(told["repick_run_reuse_share"]) <= 1
    assert tenant.http.delete("/v1/schedules/nightly").status_code == 204


def test_client_and_command_line(
    tenant: Tenant, corpus: str, base_url: str, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(bad_images.photo("PNG"))
    file = tmp_path / "queries.jsonl"
    lines = [*QUERIES, {"id": "photo", "image": "a.png"}]
    file.write_text("\n".join(json.dumps(one) for one in lines))
    at = ["--url", base_url, "--key", tenant.key]

    def typed(*words: str) -> str:
        done = CliRunner().invoke(app, [*words, *at])
        assert done.exit_code == 0, (words, done.output, done.exception)
        return done.output

    assert typed("queries", "put", "things", str(file)) == "3 stored, 0 unchanged\n"
    assert typed("queries", "list", "things").splitlines()[0] == "cups  [kitchen]"
    typed("queries", "delete", "things", "photo")
    assert "nightly" in typed("schedule", "create", "nightly", "things", "30 2 * * *", "--k", "2")
    assert "paused" in typed("schedule", "pause", "nightly")
    assert "paused" not in typed("schedule", "resume", "nightly")
    begun = json.loads(typed("schedule", "run", "nightly", "--json"))[0]["id"]
    finish(tenant, begun)
    nightly.settle_ended(tenant.database)
    assert json.loads(typed("schedule", "runs", "nightly", "--json"))[0]["state"] == "published"
    assert begun in typed("schedule", "runs", "nightly")
    assert json.loads(typed("schedule", "latest", "nightly"))["run"]["id"] == begun
    with Client(base_url, tenant.key) as client:
        assert [one["name"] for one in client.schedules.all()] == ["nightly"]
        assert client.schedules.history("nightly", "cups")[0]["run"] == begun
        every = list(client.schedules.rankings(begun))
        assert every == client.schedules.latest("nightly")["rankings"]
        with pytest.raises(ApiError, match="not held"):
            client.schedules.confirm("nightly", begun)
    typed("schedule", "change", "nightly", '{"k": 3}')
    typed("schedule", "delete", "nightly")
    assert json.loads(typed("schedule", "list", "--json")) == []
