"""A headless Chromium for tests, through chromedriver's WebDriver protocol.

It needs Debian's packages chromium and chromium-driver (tools/install_browser.sh) and no Python package.
"""

import base64
import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the name that the protocol gives a reference
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--mute-audio")
WAIT_S = 60


class Browser:
    """One window. Errors of the protocol are RuntimeErrors that have its message."""

    def __init__(self, *flags: str):
        self._driver = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True)
        started = next(filter(None, (re.search(r"on port (\d+)\.", line) for line in self._driver.stdout)))
        self._base = f"http://127.0.0.1:{started[1]}/session"
        options = {"binary": CHROMIUM, "args": [*FLAGS, *flags]}
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        answer = self._send("POST", "", {"capabilities": {"alwaysMatch": wanted}})
        self._base += f"/{answer['sessionId']}"

    def close(self) -> None:
        """End the browser and its driver."""
        self._send("DELETE", "")
        self._driver.terminate()
        self._driver.communicate()

    def _send(self, method: str, path: str, values: dict | None = None):
        data = None if values is None else json.dumps(values).encode()
        request = Request(self._base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except HTTPError as error:
            raise RuntimeError(json.load(error)["value"]["message"]) from error

    def open(self, address: str) -> None:
        """Load a page."""
        self._send("POST", "/url", {"url": address})

    def run(self, script: str, *arguments):
        """The value that JavaScript returns; a promise is awaited."""
        return self._send("POST", "/execute/sync", {"script": script, "args": arguments})

    def cdp(self, command: str, **parameters):
        """A command of Chromium's DevTools protocol."""
        return self._send("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def _element(self, selector: str) -> str:
        found = self._send("POST", "/element", {"using": "css selector", "value": selector})
        return f"/element/{found[ELEMENT]}"

    def click(self, selector: str) -> None:
        """Click the middle of an element, as a mouse would; something on top of it is an error."""
        self._send("POST", f"{self._element(selector)}/click", {})

    def choose_file(self, selector: str, path: Path) -> None:
        """Give a file input a file."""
        self._send("POST", f"{self._element(selector)}/value", {"text": str(path)})

    def press(self, key: str) -> None:
        """Press and release a key on what has the focus."""
        keys = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        self._send("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": keys}]})

    def text(self, selector: str) -> str:
        """The text of an element as it is shown."""
        return self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def wait_for(self, selector: str, text: str) -> str:
        """Wait until the text of an element contains another, and return the whole."""
        end = time.monotonic() + WAIT_S
        while text not in (shown := self.text(selector)):
            assert time.monotonic() < end, f"{selector} never said {text!r}; it says {shown!r}"
            time.sleep(0.05)
        return shown

    def console(self) -> list[str]:
        """Errors and warnings of the console since the last call."""
        return [line["message"] for line in self._send("POST", "/se/log", {"type": "browser"})
                if line["level"] in ("SEVERE", "WARNING")]  # fmt: skip

    def requested(self) -> list[str]:
        """Addresses requested since the last call, blob: and data: too."""
        events = (json.loads(line["message"])["message"]
                  for line in self._send("POST", "/se/log", {"type": "performance"}))  # fmt: skip
        return [event["params"]["request"]["url"] for event in events
                if event["method"] == "Network.requestWillBeSent"]  # fmt: skip

    def canvas(self, selector: str) -> bytes:
        """What a canvas shows, as the bytes of a PNG file."""
        address = self.run("return document.querySelector(arguments[0]).toDataURL()", selector)
        return base64.b64decode(address.partition(",")[2])
