"""Requests made up from our own description: no 5xx, and no answer that it does not know.

Half of them follow the description and half break it; half go to what is there and half to names
and ids made up as well.
"""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.app import create_app
from repick.settings import Settings
from tests.integration.api.harness import Tenant
from tests.integration.api.owned import fill

EXAMPLES = 40
CHECKS = [
    *(not_a_server_error, status_code_conformance, content_type_conformance),
    *(response_headers_conformance, response_schema_conformance),
]
DESCRIPTION = schemathesis.openapi.from_dict(create_app(Settings()).openapi())
OPERATIONS = [found.ok() for found in DESCRIPTION.get_all_operations() if isinstance(found, Ok)]
Operation = APIOperation[Any, Any, Any, Any]


def requests(operation: Operation) -> st.SearchStrategy[Case[Any]]:
    """Requests of an operation, as described and not."""
    good = operation.as_strategy(GenerationMode.POSITIVE)
    takes = (operation.path_parameters, operation.query, operation.headers, operation.body)
    if not any(takes):
        return good
    return good | operation.as_strategy(GenerationMode.NEGATIVE)


def test_no_operation_of_the_description_is_left_out() -> None:
    paths = DESCRIPTION.raw_schema["paths"]
    assert len(OPERATIONS) == sum(len(operations) for operations in paths.values()) > 50


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_every_answer_is_a_documented_one(
    operation: Operation, tenant: Tenant, corpus: str
) -> None:
    names, statuses = fill(tenant), set[int]()

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=requests(operation), existing=st.booleans())
    def send(case: Case[Any], existing: bool) -> None:
        if existing:
            case.path_parameters |= {one: names[one] for one in case.path_parameters}
            if isinstance(case.body, dict) and "corpus" in case.body:
                case.body["corpus"] = "things"
        answer = case.call(
            base_url=str(tenant.http.base_url),
            headers={"Authorization": f"Bearer {tenant.key}"},
            timeout=20,
        )
        case.validate_response(answer, checks=CHECKS)
        statuses.add(answer.status_code)

    send()
    assert statuses - {401}, "no request came past its key"
