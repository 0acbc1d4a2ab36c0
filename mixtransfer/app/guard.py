"""What stands before gradio: it passes on what the page itself asks for, and nothing else."""

import asyncio
import contextlib
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from starlette.formparsers import MultiPartException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mixtransfer.app.hosts import Hosts
from mixtransfer.app.kept import MEGABYTE, Kept

API = "/gradio_api"
# All that the page uses, and gradio's own client; gradio has five times as many. HEAD goes where GET goes.
ROUTES = {
    "GET": rf"/|/(assets|static)/.+|/theme\.css|/favicon\.ico|/config"
    rf"|{API}/(info|app_id|startup-events|heartbeat/[^/]+|queue/data|upload_progress|file=.+)",
    "POST": rf"{API}/(upload|queue/join|cancel|reset)",
}
MOST_WORDS = 2 * MEGABYTE  # of a request that is no upload: it names up to 1000 files
UPLOADS_AT_ONCE = 8  # others wait
SILENCE = 60  # seconds without a byte, after which an upload is given up
# gradio writes scripts into the page and makes some of text; but nothing may come from or go to another site.
HEADERS = {
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Refused(MultiPartException):
    """An answer instead of gradio's; its parser of uploads takes back what it has written when it meets this."""

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status = status


class Guard:
    """An ASGI application in front of another.

    Args:
        app: gradio's, with all its middleware.
        hosts: The names that it answers to.
        kept: Where gradio puts uploads; the only files that it gives out.
    """

    def __init__(self, app: ASGIApp, hosts: Hosts, kept: Kept):
        self.app, self.hosts, self.kept = app, hosts, kept
        self._turns = asyncio.Semaphore(UPLOADS_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})  # the page has none
            return
        send = _with_headers(send)
        try:
            self._check(scope)
            if scope["path"] == f"{API}/upload":
                await self._receive_upload(scope, receive, send)
            elif scope["method"] == "POST":
                await self.app(scope, await self._read_words(scope, receive), send)
            else:
                await self.app(scope, receive, send)
        except Refused as refused:
            await _answer(refused, send)

    def _check(self, scope: Scope) -> None:
        method, path = scope["method"], scope["path"]
        headers = defaultdict(list)
        for name, value in scope["headers"]:
            headers[name.decode("latin-1").lower()].append(value.decode("latin-1"))
        if objection := self.hosts.objection(method, path, headers, scope["server"]):
            raise Refused(403, objection)
        route = ROUTES.get("GET" if method == "HEAD" else method)
        if not route or not re.fullmatch(route, path, re.DOTALL) or ".." in path.split("/"):
            raise Refused(404, "This page has nothing of the kind.")
        _, found, file = path.partition(f"{API}/file=")
        if found and not self._is_kept(file):
            raise Refused(403, "This page gives out no other files than its own.")

    def _is_kept(self, path: Any) -> bool:
        """Whether it is a path of an uploaded file, and not one of this machine or an address for gradio to fetch."""
        try:
            return Path(path).is_absolute() and self.kept.folder.resolve() in Path(path).resolve().parents
        except (OSError, TypeError, ValueError):  # for example a null byte
            return False

    async def _read_words(self, scope: Scope, receive: Receive) -> Receive:
        """Read the whole body, which is JSON and short.

        Returns:
            A ``receive`` that gives it again.
        """
        body = bytearray()
        while (message := await _next(receive))["type"] == "http.request":
            body += message.get("body", b"")
            if len(body) > MOST_WORDS:
                raise Refused(413, "This is too long for the page.")
            if not message.get("more_body"):
                break
        try:
            values = [json.loads(body)]
        except (RecursionError, ValueError) as error:
            raise Refused(400, "This is not JSON.") from error
        while values:
            value = values.pop()
            if isinstance(value, dict):
                if "path" in value and not self._is_kept(value["path"]):
                    raise Refused(403, "This page looks at no other files than those that are dropped on it.")
                values.extend(value.values())
            elif isinstance(value, list):
                values.extend(value)
        messages = [{**message, "body": bytes(body)}]

        async def again() -> Message:
            return messages.pop() if messages else await receive()

        return again

    async def _receive_upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let gradio have an upload as far as there is room."""
        too_large = Refused(
            413, f"Up to {self.kept.largest // MEGABYTE} MB can be uploaded at once: drop fewer or smaller images."
        )
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if int(declared) > self.kept.largest:
            raise too_large
        refused: Refused | None = None
        taken, complete = 0, False

        async def take() -> Message:
            nonlocal refused, taken, complete
            if complete:
                return await receive()
            try:
                message = await _next(receive)
                if message["type"] != "http.request":
                    raise Refused(400, "The upload was broken off.")
                size, complete = len(message.get("body", b"")), not message.get("more_body")
                taken += size
                if taken > self.kept.largest:
                    raise too_large
                if not self.kept.take(size):
                    raise Refused(507, "There is no room for more uploads at the moment: try again a little later.")
            except Refused as error:
                refused = error  # gradio has an answer of its own to it, which is not told
                raise
            return message

        async def tell(message: Message) -> None:
            if not refused:
                await send(message)

        async with self._turns:
            with self.kept.receiving(), contextlib.suppress(Refused):
                await self.app(scope, take, tell)
        if refused:
            raise refused


async def _next(receive: Receive) -> Message:
    try:
        return await asyncio.wait_for(receive(), SILENCE)
    except asyncio.TimeoutError as error:
        raise Refused(408, f"Nothing came for {SILENCE} seconds.") from error


def _with_headers(send: Send) -> Send:
    ours = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    async def tell(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = [(name.lower(), value) for name, value in message.get("headers", [])]
            others = [
                (name, value)
                for name, value in given
                if not name.startswith(b"access-control-") and name.decode("latin-1") not in HEADERS
            ]
            message = {**message, "headers": others + ours}
        await send(message)

    return tell


async def _answer(refused: Refused, send: Send) -> None:
    sentence = (refused.message + "\n").encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(sentence)).encode())]
    if refused.status in (403, 404):
        headers.append((b"connection", b"close"))  # what else it sends is not wanted; an upload is let come to its end
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": sentence})
