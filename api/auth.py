"""Bearer keys: who asks, and what they may do."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from api.problems import HttpError
from api.services import Services, services_of
from repick.store import keys, tenancy
from repick.store.keys import Principal

_BEARER = re.compile(r"bearer +(rpk_[0-9a-f]{12}_[0-9a-f]{64}) *", re.IGNORECASE)
_IN_URL = frozenset({"api_key", "apikey", "key", "access_token", "token"})
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="repick"'}


def requires(scope: str) -> Callable[..., Awaitable[Principal]]:
    """A dependency: the principal of a live key that has the scope.

    Raises HttpError 401 (`missing_key`, `invalid_key`, `key_in_url`) or 403 (`missing_scope`),
    429 (`rate_limited`).
    """

    async def principal(
        request: Request, services: Annotated[Services, Depends(services_of)]
    ) -> Principal:
        who = await run_in_threadpool(_authenticate, request, services)
        if scope not in who.scopes:
            raise HttpError(403, "missing_scope", f"this key does not have the scope `{scope}`")
        # Here and not in the thread: what a thread sets in its context ends with it.
        tenancy.act_for(who.tenant_id)
        return who

    return principal


def _authenticate(request: Request, services: Services) -> Principal:
    if any(name.lower() in _IN_URL for name in request.query_params):
        detail = "a key in a URL ends up in logs: revoke it, and send keys as a bearer token"
        raise HttpError(401, "key_in_url", detail, _CHALLENGE)
    header = request.headers.get("authorization")
    if header is None:
        detail = "send `Authorization: Bearer rpk_…`"
        raise HttpError(401, "missing_key", detail, _CHALLENGE)
    found = _BEARER.fullmatch(header)
    if found:
        with tenancy.for_no_rows(), services.database.read() as connection:
            who = keys.authenticate(connection, found[1])
        if who is not None:
            services.rates.take(who.key_id)
            return who
    detail = (
        "the key is unknown, expired or revoked" if found else "send `Authorization: Bearer rpk_…`"
    )
    raise HttpError(401, "invalid_key", detail, _CHALLENGE)


Reader = Annotated[Principal, Depends(requires("read"))]
Submitter = Annotated[Principal, Depends(requires("submit"))]
Administrator = Annotated[Principal, Depends(requires("admin"))]
Ingester = Annotated[Principal, Depends(requires("ingest"))]
