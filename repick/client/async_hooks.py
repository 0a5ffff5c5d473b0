# Made from hooks.py by `python -m repick.client.generate`: change that instead.
"""The calls about webhooks: `client.webhooks`. They need a key with the scope `admin`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from repick.client.async_transport import AsyncTransport

Json = Mapping[str, Any]


class AsyncWebhooks:
    """Values are the API's JSON. Raises what every call of the client does."""

    def __init__(self, api: AsyncTransport) -> None:
        self._api = api

    async def create(self, url: str, events: Sequence[str]) -> Json:
        """The new webhook with its secret, which is not shown again."""
        body = {"url": url, "events": list(events)}
        return await self._json("POST", "/v1/webhooks", body, repeatable=False)

    async def all(self) -> Sequence[Json]:
        found: Sequence[Json] = (await self._json("GET", "/v1/webhooks"))["items"]
        return found

    async def delete(self, webhook: int) -> None:
        await self._api.request("DELETE", f"/v1/webhooks/{webhook}", repeatable=False)

    async def test(self, webhook: int) -> Json:
        """Have `webhook.test` sent."""
        return await self._json("POST", f"/v1/webhooks/{webhook}/test", repeatable=False)

    async def rotate(self, webhook: int) -> Json:
        """A new secret; the old one signs too for a day."""
        return await self._json("POST", f"/v1/webhooks/{webhook}/rotate", repeatable=False)

    async def deliveries(self, webhook: int) -> AsyncIterator[Json]:
        """What became of each event, the newest first."""
        async for one in self._api.every(f"/v1/webhooks/{webhook}/deliveries"):
            yield dict(one)

    async def _json(
        self, method: str, path: str, body: object = None, *, repeatable: bool = True
    ) -> dict[str, Any]:
        found: dict[str, Any] = await self._api.request(
            method, path, body=body, repeatable=repeatable
        )
        return found
