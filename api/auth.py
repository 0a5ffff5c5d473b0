"""Bearer keys: who asks, and what they may do."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from api.problems import HttpError
from api.services import Services, services_of
from repick.errors import InvalidField
from repick.store import keys, tenancy
from repick.store.keys import Principal

_BEARER = re.compile(r"bearer +(rpk_[0-9a-f]{12}_[0-9a-f]{64}) *", re.IGNORECASE)
_IN_URL = frozenset({"api_key", "apikey", "key", "access_token", "token"})
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="repick"'}


@dataclass(slots=True)
class Asking:
    """A request whose key has the right form and is not looked up yet."""

    services: Services
    scope: str
    key: str
    _who: Principal | None = None

    def principal(self) -> Principal:
        """The principal of a live key that has the scope, looked up once: a round trip.

        To be called where the work is done: what a thread sets in its context ends with it, and it
        is this context that sees the tenant's rows from now on. Raises HttpError 401
        (`invalid_key`), 403 (`missing_scope`) or 429 (`rate_limited`).
        """
        if self._who is None:
            self._who = self._looked_up()
        tenancy.act_for(self._who.tenant_id)
        return self._who

    def _looked_up(self) -> Principal:
        who = _live(self.services, self.key)
        self.services.rates.take(who.key_id)
        if self.scope not in who.scopes:
            detail = f"this key does not have the scope `{self.scope}`"
            raise HttpError(403, "missing_scope", detail)
        return who


def asks(scope: str) -> Callable[..., Awaitable[Asking]]:
    """A dependency for what looks the key up itself, in the thread that does its work: a thread
    less for each request. Raises HttpError 401 (`missing_key`, `invalid_key`, `key_in_url`)."""

    async def asking(
        request: Request, services: Annotated[Services, Depends(services_of)]
    ) -> Asking:
        asked = Asking(services, scope, bearer(request))
        _known_parameters(request)
        return asked

    return asking


def requires(scope: str) -> Callable[..., Awaitable[Principal]]:
    """A dependency: the principal of a live key that has the scope; raises as `asks` and
    `Asking.principal` do."""

    async def principal(
        request: Request, services: Annotated[Services, Depends(services_of)]
    ) -> Principal:
        asking = Asking(services, scope, bearer(request))
        await run_in_threadpool(asking.principal)
        _known_parameters(request)
        return asking.principal()

    return principal


def look_again(request: Request, services: Services) -> None:
    """For an answer that takes long: raises HttpError 401 `invalid_key` where its key has ended
    meanwhile. A round trip, and no request of the key's rate."""
    _live(services, bearer(request))


def _live(services: Services, key: str) -> Principal:
    with tenancy.for_no_rows(), services.database.read() as connection:
        who = keys.authenticate(connection, key)
    if who is None:
        raise _unauthorised("invalid_key", "the key is unknown, expired or revoked")
    return who


def bearer(request: Request) -> str:
    """The request's key, not looked up. Raises HttpError 401."""
    if any(name.lower() in _IN_URL for name in request.query_params):
        detail = "a key in a URL ends up in logs: revoke it, and send keys as a bearer token"
        raise _unauthorised("key_in_url", detail)
    header = request.headers.get("authorization")
    wanted = "send `Authorization: Bearer rpk_…`"
    if header is None:
        raise _unauthorised("missing_key", wanted)
    found = _BEARER.fullmatch(header)
    if found is None:
        raise _unauthorised("invalid_key", f"this has not the form of a key: {wanted}")
    return found[1]


def _known_parameters(request: Request) -> None:
    """Raises InvalidField for a parameter that the route does not have: a mistyped `state` would
    otherwise be a list of everything."""
    if not request.query_params:
        return
    described = request.app.openapi()["paths"][request.scope["route"].path_format]
    parameters = described[request.method.lower()].get("parameters", ())
    known = {one["name"] for one in parameters if one.get("in") == "query"}
    unknown = set(request.query_params) - known
    if unknown:
        detail = "there is no such parameter here"
        raise InvalidField(min(unknown), detail, code="unknown_field")


def _unauthorised(code: str, detail: str) -> HttpError:
    return HttpError(401, code, detail, _CHALLENGE)


Reader = Annotated[Principal, Depends(requires("read"))]
Submitter = Annotated[Principal, Depends(requires("submit"))]
Administrator = Annotated[Principal, Depends(requires("admin"))]
Ingester = Annotated[Principal, Depends(requires("ingest"))]
AskingReader = Annotated[Asking, Depends(asks("read"))]
AskingSubmitter = Annotated[Asking, Depends(asks("submit"))]
