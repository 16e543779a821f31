"""A headless Chromium, where there is one, steered over a pipe by its DevTools protocol; no package is needed."""

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome-headless-shell")
SECONDS = 120.0
"""That an answer is waited for: a busy machine draws in software, slowly."""


def find_browser() -> str | None:
    """The program, if one of its names is on the path."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page. What it complains of and what it asks the network for is kept."""

    def __init__(self, program: str, profile: Path, size: tuple[int, int] = (1240, 900)) -> None:
        words = [program, "--headless", "--no-sandbox", "--remote-debugging-pipe", f"--user-data-dir={profile}"]
        words += ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage", "--no-first-run"]
        words += [f"--window-size={size[0]},{size[1]}", "about:blank"]
        down, self._out = os.pipe()
        self._in, up = os.pipe()
        # The protocol's ends are descriptors 3 and 4 of the browser; a plain sh knows no descriptors above 9.
        shell = ["bash", "-c", f'exec "$@" 3<&{down} 4>&{up}', "bash", *words]
        self._process = subprocess.Popen(shell, pass_fds=(down, up), stderr=subprocess.DEVNULL)
        os.close(down)
        os.close(up)
        self._buffer, self._count, self._events = b"", 0, []
        self.complaints: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank", alone=True)["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True, alone=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._out)
        self._process.terminate()
        self._process.wait(SECONDS)
        os.close(self._in)

    def call(self, method: str, alone: bool = False, **params: Any) -> dict[str, Any]:
        """The answer to one command of the protocol; `alone`: to the browser, not to the page."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if not alone:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def open(self, path: Path) -> None:
        """Go to a file and wait until it is loaded."""
        self._events.clear()
        self.call("Page.navigate", url=path.resolve().as_uri())
        while "Page.loadEventFired" not in self._events:
            self._next()

    def value(self, expression: str) -> Any:
        """Of a JavaScript expression, in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def picture(self, whole_page: bool = False) -> np.ndarray:
        """What is seen, (h, w, RGB)."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole_page)
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(shot["data"]), np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        return picture[..., ::-1]

    def press(self, key: str) -> None:
        """A key, down and up."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """With the left button, in a few steps."""
        self._mouse("mousePressed", start)
        for share in (0.3, 0.6, 1.0):
            between = (start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1]))
            self._mouse("mouseMoved", between)
        self._mouse("mouseReleased", end)

    def _mouse(self, kind: str, place: tuple[float, float]) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", buttons=1, clickCount=1)

    def _next(self) -> dict[str, Any]:
        """The next message; a complaint or request among the events is noted."""
        end = time.monotonic() + SECONDS
        while b"\0" not in self._buffer:
            read = os.read(self._in, 1 << 16)
            assert read, "the browser has ended"
            assert time.monotonic() < end, "the browser does not answer"
            self._buffer += read
        text, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(text)
        method, params = message.get("method", ""), message.get("params", {})
        self._events.append(method)
        if method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(params["args"]))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        return message
