"""The calls about webhooks: `client.webhooks`. They need a key with the scope `admin`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from repick.client.transport import Transport

Json = Mapping[str, Any]


class Webhooks:
    """Values are the API's JSON. Raises what every call of the client does."""

    def __init__(self, api: Transport) -> None:
        self._api = api

    def create(self, url: str, events: Sequence[str]) -> Json:
        """The new webhook with its secret, which is not shown again."""
        body = {"url": url, "events": list(events)}
        return self._json("POST", "/v1/webhooks", body, repeatable=False)

    def all(self) -> Sequence[Json]:
        found: Sequence[Json] = self._json("GET", "/v1/webhooks")["items"]
        return found

    def delete(self, webhook: int) -> None:
        self._api.request("DELETE", f"/v1/webhooks/{webhook}", repeatable=False)

    def test(self, webhook: int) -> Json:
        """Have `webhook.test` sent."""
        return self._json("POST", f"/v1/webhooks/{webhook}/test", repeatable=False)

    def rotate(self, webhook: int) -> Json:
        """A new secret; the old one signs too for a day."""
        return self._json("POST", f"/v1/webhooks/{webhook}/rotate", repeatable=False)

    def deliveries(self, webhook: int) -> Iterator[Json]:
        """What became of each event, the newest first."""
        for one in self._api.every(f"/v1/webhooks/{webhook}/deliveries"):
            yield dict(one)

    def _json(
        self, method: str, path: str, body: object = None, *, repeatable: bool = True
    ) -> dict[str, Any]:
        found: dict[str, Any] = self._api.request(method, path, body=body, repeatable=repeatable)
        return found
