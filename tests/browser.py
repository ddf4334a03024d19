"""A headless Chromium, driven through its DevTools protocol."""

import contextlib
import itertools
import json
import shutil
import subprocess
import time
import urllib.request

import websocket

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NO_CHROMIUM = "there is no Chromium to drive"


class Page:
    """One page of a browser."""

    def __init__(self, address):
        self.socket = websocket.create_connection(address, suppress_origin=True, timeout=300)
        self.numbers, self.events = itertools.count(1), []

    def call(self, method, **parameters):
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (answer := json.loads(self.socket.recv())).get("id") != number:
            self.events.append(answer)
        return answer["result"]

    def evaluate(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")


def until(true, seconds=120):
    deadline = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.3)
    return value


@contextlib.contextmanager
def running(command, **options):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def browser(folder):
    """A page of a headless Chromium."""
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--remote-debugging-port=0",
        f"--user-data-dir={folder}",
    ]
    with running([CHROMIUM, *options, "about:blank"]):
        port = until(lambda: (folder / "DevToolsActivePort").exists() and (folder / "DevToolsActivePort").read_text())
        targets = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port.split()[0]}/json/list"))
        page = Page(next(target["webSocketDebuggerUrl"] for target in targets if target["type"] == "page"))
        page.call("Emulation.setFocusEmulationEnabled", enabled=True)
        yield page


@contextlib.contextmanager
def opened_from_disk(page, folder, ready):
    """A page as after a double click, once the JavaScript `ready` is true. In the end nothing may have failed in it,
    and nothing been asked of any server."""
    with browser(folder) as tab:
        for domain in ("Page", "Network", "Runtime"):
            tab.call(f"{domain}.enable")
        tab.call("Emulation.setDeviceMetricsOverride", width=1000, height=900, deviceScaleFactor=1, mobile=False)
        tab.call("Page.navigate", url=page.as_uri())
        until(lambda: tab.evaluate(f"document.readyState == 'complete' && !!{ready}"))
        yield tab
        events = [event["method"] for event in tab.events]
        requests = [event["params"]["request"]["url"] for event in tab.events if event["method"].endswith("WillBeSent")]
        assert "Network.loadingFailed" not in events and "Runtime.exceptionThrown" not in events
        assert {url.partition(":")[0] for url in requests} <= {"file", "data", "about"}
