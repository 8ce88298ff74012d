"""A headless Chromium over its DevTools protocol: opens a page, runs JavaScript in it, and hears what its console complains of."""

import base64
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
START_S, ANSWER_S = 180.0, 180.0  # for machines that do much else
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions", "--disable-background-networking",
         "--hide-scrollbars", "--remote-debugging-port=0", "--disable-dev-shm-usage")  # fmt: skip


def find_browser() -> str | None:
    """The first Chromium on the path."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Tab:
    """One page of the browser."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket, self.sent = socket, 0
        self.complaints: list[str] = []  # errors and warnings of the console, exceptions, and what the network or the policy refused
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")
        self.ask("Performance.enable", timeDomain="threadTicks")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to a command; RuntimeError where the browser refuses it."""
        self.sent += 1
        self.socket.send(json.dumps({"id": self.sent, "method": method, "params": params}))
        while True:
            said = json.loads(self.socket.recv(timeout=ANSWER_S))
            if said.get("id") == self.sent:
                if "error" in said:
                    raise RuntimeError(f"{method}: {said['error']}")
                return dict(said["result"])
            self._hear(said)

    def _hear(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.complaints.append(json.dumps(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.complaints.append(json.dumps(params["entry"]))

    def open(self, address: str, *, width: int = 1280, height: int = 900) -> None:
        """Load a page in a window of some size, a phone below 600 pixels."""
        phone = width < 600
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.ask("Emulation.setTouchEmulationEnabled", enabled=phone)
        self.ask("Page.navigate", url="about:blank")
        self.ask("Page.navigate", url=address)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def worked(self) -> float:
        """Seconds of CPU that the page's main thread has spent since the page was opened: the same on a busy machine."""
        found = self.ask("Performance.getMetrics")["metrics"]
        return next(float(one["value"]) for one in found if one["name"] == "TaskDuration")

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression, a promise's when it is kept; AssertionError where it throws."""
        found = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise AssertionError(f"{script}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def until(self, script: str, seconds: float = 60.0) -> None:
        """Wait until an expression is truthy; AssertionError after some seconds."""
        deadline = time.monotonic() + seconds
        while not self.run(f"!!({script})"):
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds:g} s: {script}; the console says {self.complaints}")
            time.sleep(0.02)

    def click(self, selector: str) -> None:
        """Click on the first element that is there."""
        self.run(f"(() => {{ const one = document.querySelector({json.dumps(selector)}); one.scrollIntoView(); one.click(); }})()")

    def type(self, selector: str, text: str) -> None:
        """Give a field of a form a value as typing does."""
        self.run(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)}); one.value = {json.dumps(text)};"
            " one.dispatchEvent(new Event('input', {bubbles: true})); })()"
        )

    def text(self, selector: str) -> str:
        """The words of the first element that is there, as a person sees them."""
        return str(self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    def texts(self, selector: str) -> list[str]:
        """The words of every such element."""
        return list(self.run(f"[...document.querySelectorAll({json.dumps(selector)})].map(one => one.innerText)"))

    def picture(self, path: Path) -> None:
        """A PNG of the whole page."""
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", captureBeyondViewport=False)["data"]))


@contextmanager
def browser(program: str) -> Iterator[Tab]:
    """A tab of a browser of its own, which ends with the block."""
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as home:
        log = Path(home) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen([program, *FLAGS, f"--user-data-dir={home}", "about:blank"], stdout=output, stderr=output)
        try:
            address = _address(process, log)
            with connect(address, max_size=None, open_timeout=START_S) as first:
                page = Tab.__new__(Tab)
                page.socket, page.sent, page.complaints = first, 0, []
                target = page.ask("Target.createTarget", url="about:blank")["targetId"]
            root = address.split("/devtools/")[0]
            with connect(f"{root}/devtools/page/{target}", max_size=None, open_timeout=START_S) as socket:
                yield Tab(socket)
        finally:
            process.kill()
            process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Where the browser listens, as it says itself."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(r"DevTools listening on (ws://\S+)", log.read_text(errors="replace")):
            return found[1]
        time.sleep(0.05)
    raise RuntimeError(f"the browser did not start: {log.read_text(errors='replace')[-2000:]}")
