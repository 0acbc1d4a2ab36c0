"""Talking to the page's server without a browser, as gradio's own client does."""

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Server:
    """A running server and what it has printed."""

    process: subprocess.Popen
    log: Path

    def wait_until_ready(self) -> None:
        for _ in range(1200):  # a server that hangs shall not hang the tests
            if re.search(r"http://\S+/ ", self.log.read_text()):
                return
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    @property
    def url(self) -> str:
        return re.search(r"(http://\S+/) ", self.log.read_text())[1]

    @property
    def api(self) -> str:
        return self.url + "gradio_api/"

    def upload(self, name: str, data: bytes):
        import httpx

        return httpx.post(self.api + "upload", files=[("files", (name, data))], timeout=60)

    def drop(self, session: str, paths: list[str]) -> dict:
        """What comes of files, by their paths on the server, that the browser tab ``session`` drops on the page."""
        given = [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths]
        return self._call("upload", session, [given, "Side by side", True, 0.4, False])

    def switch(self, session: str, model: str) -> dict:
        """What comes of another choice of model."""
        return self._call("change", session, [None, model, True, 0.4, False])

    def _call(self, event: str, session: str, data: list) -> dict:
        import httpx

        functions = httpx.get(self.url + "config").json()["dependencies"]
        number = next(one["id"] for one in functions if one["targets"][0][1] == event)
        job = {"data": data, "fn_index": number, "session_hash": session}
        httpx.post(self.api + "queue/join", json=job).raise_for_status()
        stream = httpx.stream("GET", self.api + "queue/data", params={"session_hash": session}, timeout=60)
        with stream as lines:
            for line in lines.iter_lines():
                if line.startswith("data:") and (message := json.loads(line[5:]))["msg"] == "process_completed":
                    return message
        raise AssertionError("the stream ended without an answer")


@contextlib.contextmanager
def serving(program: list[str], log: Path) -> Iterator[Server]:
    """The server that a program starts, once it answers; killed at the end if it still runs."""
    with log.open("w") as output:
        process = subprocess.Popen(program, stdout=output, stderr=output)
    try:
        server = Server(process, log)
        server.wait_until_ready()
        yield server
    finally:
        process.kill()
        process.wait()
