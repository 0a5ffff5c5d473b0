"""A headless Chromium, where one is installed: what a page logs, asks for, and looks like.

It is spoken to through a pipe by Chrome's DevTools protocol; pages need no script for that.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",  # tests may run as root, and the page is our own
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--remote-debugging-pipe",
)
PATIENCE_S = 60
READ, WRITE = 3, 4
"""The descriptors at which Chromium listens and answers."""


def installed() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@dataclass(frozen=True)
class Page:
    """A page that was loaded. `requests` are all addresses that were asked for, its own first."""

    console: list[str]
    requests: list[str]
    width: float
    """Of all that is on it, in pixels: more than the window's where one must scroll sideways."""
    text: str
    broken_images: int
    picture: bytes
    """PNG of all of it."""


@dataclass
class Browser:
    pipes: tuple[int, int]
    events: list[dict[str, Any]] = field(default_factory=list)
    _last: int = 0
    _session: str | None = None
    _buffer: bytes = b""

    def open(self, url: str, width: int = 1280, *, dark: bool = False) -> Page:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self.events.clear()
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        size = {"width": width, "height": 900, "deviceScaleFactor": 1}
        self.call("Emulation.setDeviceMetricsOverride", mobile=False, **size)
        self.call("Page.navigate", url=url)
        while not any(one["method"] == "Page.loadEventFired" for one in self.events):
            self._receive()
        whole = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "scale": 1, "width": whole["width"], "height": whole["height"]}
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        page = Page(
            console=[_said(one["params"]) for one in self.events if _is_message(one)],
            requests=[
                one["params"]["request"]["url"]
                for one in self.events
                if one["method"] == "Network.requestWillBeSent"
            ],
            width=whole["width"],
            text=str(self._value("document.body.innerText")),
            broken_images=int(
                self._value("[...document.images].filter(one => !one.naturalWidth).length")
            ),
            picture=base64.b64decode(shot["data"]),
        )
        self._session = None
        self.call("Target.closeTarget", targetId=target)
        return page

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self.pipes[1], json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._last:
                assert "error" not in answer, (method, answer["error"])
                return dict(answer["result"])

    def _value(self, expression: str) -> Any:
        return self.call("Runtime.evaluate", expression=expression)["result"]["value"]

    def _receive(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_S
        while b"\0" not in self._buffer:
            left = deadline - time.monotonic()
            assert select.select([self.pipes[0]], [], [], max(0, left))[0], "no answer"
            read = os.read(self.pipes[0], 1 << 20)
            assert read, "the browser has ended"
            self._buffer += read
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        if "method" in message:
            self.events.append(message)
        return message


@contextmanager
def browsing(path: str, profile: Path) -> Iterator[Browser]:
    """A browser of this path with a profile of its own; it is gone afterwards."""
    asks, hers = os.pipe()
    answers, ours = os.pipe()

    def at_their_places() -> None:
        os.dup2(kept_read, READ)
        os.dup2(kept_write, WRITE)

    kept_read, kept_write = asks, ours
    with (profile / "browser.log").open("wb") as log:
        process = subprocess.Popen(
            [path, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=at_their_places,
            pass_fds=(READ, WRITE),
        )
    try:
        yield Browser((answers, hers))
    finally:
        process.kill()
        process.wait()
        for one in (asks, hers, answers, ours):
            with contextlib.suppress(OSError):
                os.close(one)


def _is_message(event: dict[str, Any]) -> bool:
    return event["method"] in {
        "Log.entryAdded",
        "Runtime.consoleAPICalled",
        "Runtime.exceptionThrown",
    }


def _said(params: dict[str, Any]) -> str:
    return str(params.get("entry", params).get("text", params))
