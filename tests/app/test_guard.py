"""Whose requests the server answers, and how much it takes: tables of what is tried and what is answered."""

import asyncio
import contextlib
import re
import socket
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

httpx = pytest.importorskip("httpx", reason="gradio is not installed: pip install 'mixtransfer[app]'")

OWN = "127.0.0.1:PORT"
FORM = "multipart/form-data; boundary=b"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Private-Network": "true"}
LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "eA=="}
DATA, JOIN, UPLOAD = "/gradio_api/queue/data?session_hash=a", "/gradio_api/queue/join", "/gradio_api/upload"

# PORT is the page's. POST sends an empty JSON object, or to UPLOAD a file of one byte.
REQUESTS = [
    # method, target, Host, Origin, other headers, answer
    # The page under its own names.
    ("GET", "/", OWN, None, {}, 200),
    ("HEAD", "/", OWN, None, {}, 200),
    ("GET", "/", "localhost:PORT", None, {}, 200),
    ("GET", "/", "LOCALHOST:PORT", None, {}, 200),
    ("GET", "/", "localhost.:PORT", None, {}, 200),
    ("GET", "/", "[::1]:PORT", None, {}, 200),
    ("GET", "/", "[0:0:0:0:0:0:0:1]:PORT", None, {}, 200),
    ("GET", "/config", OWN, None, {}, 200),
    ("POST", UPLOAD, OWN, None, {}, 200),
    # Other names.
    ("GET", "/", "evil.example", None, {}, 403),
    ("GET", "/", "evil.example:PORT", None, {}, 403),
    ("HEAD", "/", "evil.example:PORT", None, {}, 403),
    ("PUT", "/", "evil.example:PORT", None, {}, 403),
    ("OPTIONS", "/", "evil.example:PORT", None, {}, 403),
    ("GET", DATA, "evil.example:PORT", None, {}, 403),
    ("GET", "/nothing", "evil.example:PORT", None, {}, 403),
    ("GET", "/", "evil.example:PORT", None, UPGRADE, 403),
    ("POST", UPLOAD, "evil.example:PORT", None, {}, 403),
    ("POST", UPLOAD, "evil.example:PORT", "http://evil.example:PORT", {"Sec-Fetch-Site": "same-origin"}, 403),
    ("GET", "/", "localhost.evil.example:PORT", None, {}, 403),
    ("GET", "/", "127.0.0.1.evil.example:PORT", None, {}, 403),
    ("GET", "/", "127.0.0.1:PORT@evil.example", None, {}, 403),
    ("GET", "/", "127.0.0.1:PORT, evil.example", None, {}, 403),
    ("GET", "/", "192.0.2.1:PORT", None, {}, 403),
    ("GET", "/", "0.0.0.0:PORT", None, {}, 403),
    ("GET", "/", "127.1:PORT", None, {}, 403),
    ("GET", "/", "[::]:PORT", None, {}, 403),
    ("GET", "/", "[::1", None, {}, 403),
    ("GET", "/", "", None, {}, 403),
    ("GET", "/", "\xe9vil.example:PORT", None, {}, 403),
    # Other ports, and none, which is 80.
    ("GET", "/", "127.0.0.1:1", None, {}, 403),
    ("GET", "/", "127.0.0.1:PORT0", None, {}, 403),
    ("GET", "/", "127.0.0.1", None, {}, 403),
    ("GET", "/", "localhost", None, {}, 403),
    # The whole address instead of the path.
    ("GET", "http://evil.example/", OWN, None, {}, 404),
    ("GET", "http://127.0.0.1:PORT/", "evil.example", None, {}, 403),
    # The page itself asks.
    ("POST", UPLOAD, OWN, "http://127.0.0.1:PORT", {"Sec-Fetch-Site": "same-origin"}, 200),
    ("POST", UPLOAD, "localhost:PORT", "http://localhost:PORT", {}, 200),
    ("POST", UPLOAD, "[::1]:PORT", "http://[::1]:PORT", {}, 200),
    ("GET", "/", OWN, None, {"Sec-Fetch-Site": "none"}, 200),
    # Another site asks.
    ("POST", UPLOAD, OWN, "http://evil.example", {}, 403),
    ("POST", UPLOAD, OWN, "http://evil.example", {"Sec-Fetch-Site": "cross-site"}, 403),
    ("POST", UPLOAD, OWN, "null", {}, 403),
    ("POST", UPLOAD, OWN, "", {}, 403),
    ("POST", UPLOAD, OWN, "file://127.0.0.1:PORT", {}, 403),
    ("POST", UPLOAD, OWN, "http://127.0.0.1:1", {}, 403),
    ("POST", UPLOAD, OWN, "http://127.0.0.1", {}, 403),
    ("POST", UPLOAD, OWN, "http://localhost:PORT", {}, 403),
    ("POST", UPLOAD, OWN, "http://127.0.0.1:PORT.evil.example", {}, 403),
    ("POST", UPLOAD, OWN, None, {"Sec-Fetch-Site": "cross-site"}, 403),
    ("POST", UPLOAD, OWN, None, {"Sec-Fetch-Site": "same-site"}, 403),
    ("POST", JOIN, OWN, "http://evil.example", {}, 403),
    ("GET", DATA, OWN, "http://evil.example", {}, 403),
    ("GET", "/config", OWN, "http://evil.example", {}, 403),
    ("GET", "/", OWN, "http://evil.example", {}, 403),
    ("GET", "/theme.css", OWN, None, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
    ("OPTIONS", UPLOAD, OWN, "http://evil.example", PREFLIGHT, 403),
    ("OPTIONS", UPLOAD, OWN, "http://127.0.0.1:PORT", PREFLIGHT, 404),
    # Another site has a link to the page; that is harmless, a form or a frame is not.
    ("GET", "/", OWN, None, LINK, 200),
    ("GET", "/config", OWN, None, LINK, 403),
    ("POST", "/", OWN, None, LINK, 403),
    ("GET", "/", OWN, None, {**LINK, "Sec-Fetch-Dest": "iframe"}, 403),
    # What the page does not use.
    ("POST", "/", OWN, None, {}, 404),
    ("PUT", UPLOAD, OWN, None, {}, 404),
    ("TRACE", "/", OWN, None, {}, 404),
    ("GET", "/gradio_api/proxy=http://example.com/", OWN, None, {}, 404),
    ("GET", "/gradio_api/stream/a/b/1/playlist.m3u8", OWN, None, {}, 404),
    ("GET", "/gradio_api/custom_component/a/client/b/c", OWN, None, {}, 404),
    ("GET", "/gradio_api/deep_link?session_hash=a", OWN, None, {}, 404),
    ("GET", "/gradio_api/queue/status", OWN, None, {}, 404),
    ("GET", "/gradio_api/dev/reload", OWN, None, {}, 404),
    ("GET", "/monitoring/summary", OWN, None, {}, 404),
    ("GET", "/static/../config", OWN, None, {}, 404),
    ("GET", "/static/%2e%2e/%2e%2e/routes.py", OWN, None, {}, 404),
    ("POST", "/gradio_api/run/answer", OWN, None, {}, 404),
    ("POST", "/gradio_api/call/answer", OWN, None, {}, 404),
    ("POST", "/gradio_api/component_server", OWN, None, {}, 404),
    ("POST", "/gradio_api/process_recording", OWN, None, {}, 404),
    ("POST", "/login", OWN, None, {}, 404),
    # Files of this machine.
    ("GET", "/gradio_api/file=/etc/passwd", OWN, None, {}, 403),
    ("GET", "/gradio_api/file=%2Fetc%2Fpasswd", OWN, None, {}, 403),
    ("GET", "/gradio_api/file=/etc/passwd%00.jpg", OWN, None, {}, 403),
    ("GET", "/gradio_api/file=/" + "a" * 5000, OWN, None, {}, 403),
    ("GET", "/gradio_api/file=http://127.0.0.1:PORT/config", OWN, None, {}, 403),
    ("GET", "/gradio_api/file/etc/passwd", OWN, None, {}, 404),
]  # fmt: skip


@pytest.mark.parametrize(("method", "target", "host", "origin", "others", "answer"), REQUESTS)
def test_who_may_ask_for_what(server, method, target, host, origin, others, answer):
    kind, body = "application/json", b"{}"
    if target == UPLOAD:
        kind, body = FORM, several(1, 1e-6)
    headers = {"Host": host, "Origin": origin, **others, "Content-Type": kind, "Content-Length": len(body)}
    if method not in ("POST", "PUT"):
        headers, body = {"Host": host, "Origin": origin, **others}, b""
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    status, told, text = ask(server, f"{method} {target} HTTP/1.1", lines, body)
    assert status == answer
    assert not re.search("^access-control-", told, re.MULTILINE | re.IGNORECASE)
    assert "frame-ancestors 'none'" in told and "nosniff" in told and "x-frame-options: DENY" in told
    if answer == 403 and method != "HEAD":
        assert re.fullmatch(r"(Another site may not|This page (does not answer to|gives out no other)) .+\.\n", text)


@pytest.mark.parametrize(
    ("first", "hosts", "answers"),
    [
        ("GET / HTTP/1.0", [], {403}),
        ("GET / HTTP/1.0", [OWN], {200}),
        # More than one name, or none, is refused by the server itself, or else by the guard.
        ("GET / HTTP/1.1", [], {400, 403}),
        ("GET / HTTP/1.1", [OWN, "evil.example"], {400, 403}),
        ("GET / HTTP/1.1", ["evil.example", OWN], {400, 403}),
        ("GET / HTTP/1.1", [OWN, OWN], {400, 403}),
    ],
)
def test_how_often_the_host_is_named(server, first, hosts, answers):
    assert ask(server, first, [f"Host: {host}" for host in hosts])[0] in answers


def test_of_two_origins_both_count(server):
    own = f"Origin: {server.url.rstrip('/')}"
    body = several(1, 1e-6)
    kind = [f"Content-Type: {FORM}", f"Content-Length: {len(body)}"]
    for origins in ([own, "Origin: http://evil.example"], ["Origin: http://evil.example", own]):
        assert ask(server, f"POST {UPLOAD} HTTP/1.1", [f"Host: {OWN}", *origins, *kind], body)[0] == 403


# The server takes files of 1 MB, 24 at once: 25 MB of one upload, 50 of all; files of 4 MB, to answer with a sentence.
UPLOADS = [
    # size in MB, count, answer, what it says
    (0, 1, 200, "0.jpg"),
    (3.9, 6, 200, "0.jpg"),
    (5, 1, 413, "exceed"),
    (3.9, 7, 413, "Up to 25 MB can be uploaded at once: drop fewer or smaller images."),
    (0.0001, 1000, 200, "0.jpg"),
    (0.0001, 1001, 400, "Too many files"),
]


@pytest.mark.parametrize("declared", [True, False], ids=["length declared", "in chunks"])
@pytest.mark.parametrize(("megabytes", "count", "answer", "says"), UPLOADS)
def test_how_much_may_come_at_once(server, folder, megabytes, count, answer, says, declared):
    before = kept(folder)
    response = post(server, several(count, megabytes), declared)
    assert (response.status_code, says in response.text) == (answer, True)
    if answer != 200:
        assert kept(folder) <= before, "nothing of it is left"


def test_what_is_not_an_upload_is_short(server):
    long = b'{"data": [], "session_hash": "' + b"a" * 2_000_000 + b'"}'
    for parts in (long, iter([long, long])):
        response = httpx.post(server.api + "queue/join", content=parts, headers={"Content-Type": "application/json"})
        assert (response.status_code, response.text) == (413, "This is too long for the page.\n")
    for odd in (b"", b"nonsense", b"[" * 100_000):
        assert httpx.post(server.api + "queue/join", content=odd).status_code == 400


def test_the_oldest_goes_when_there_are_too_many_bytes(server, folder):
    paths = [Path(server.upload(f"{i}.jpg", bytes([i]) * 3_900_000).json()[0]) for i in range(20)]
    assert paths[-1].exists() and not paths[0].exists()
    assert size(kept(folder)) <= 50_000_000
    page = server.drop("late", [str(paths[0]), str(paths[-1])])["output"]["data"][1]
    assert "0.jpg is no longer kept here: drop it again." in page and "19.jpg" in page


def test_the_oldest_goes_when_there_are_too_many_files(server, folder):
    (first,) = server.upload("first.jpg", b"first").json()
    for _ in range(3):
        (last, *_) = post(server, several(900, 0.0001)).json()
    server.upload("last.jpg", b"last")  # the one before is tidied up by now
    assert len(kept(folder)) <= 2000
    assert Path(last).exists() and not Path(first).exists()


def test_an_upload_that_falls_silent_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("mixtransfer.app.guard.SILENCE", 0.01)
    told = asyncio.run(alone(tmp_path, {"type": "http", "method": "POST", "path": UPLOAD}))
    assert told[0]["status"] == 408 and told[1]["body"] == b"Nothing came for 0.01 seconds.\n"


def test_there_is_no_websocket(tmp_path):
    """Also where the server could speak it."""
    assert asyncio.run(alone(tmp_path, {"type": "websocket", "path": "/"})) == [
        {"type": "websocket.close", "code": 1008}
    ]


def test_uploads_on_their_way_count_and_are_taken_back(server, folder):
    """Of three at once two have room; when they break off nothing is left of them."""
    place, body = ("127.0.0.1", port(server)), several(6, 3.9)
    head = f"POST {UPLOAD} HTTP/1.1\r\nHost: {place[0]}:{place[1]}\r\nContent-Type: {FORM}\r\n"
    with contextlib.ExitStack() as stack:
        for most in (len(body), 2 * len(body)):
            one = stack.enter_context(socket.create_connection(place))
            one.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:-10])
            wait_until(lambda most=most: size(kept(folder, coming=True)) > 0.99 * most)
        refused = post(server, body)
        assert refused.status_code == 507
        assert refused.text == "There is no room for more uploads at the moment: try again a little later.\n"
        assert size(kept(folder)) <= 50_000_000
    wait_until(lambda: not size(kept(folder, coming=True)))
    assert post(server, body).status_code == 200


async def alone(folder: Path, scope: dict) -> list[dict]:
    """What a guard tells of a request of which nothing more comes, before an application that reads it."""
    from mixtransfer.app.guard import Guard
    from mixtransfer.app.hosts import Hosts
    from mixtransfer.app.kept import Kept

    async def application(scope, receive, send):
        await receive()
        raise AssertionError("it went on")

    async def tell(message):
        told.append(message)

    told: list[dict] = []
    guard = Guard(application, Hosts("127.0.0.1"), Kept.for_limits(folder, 1, 1))
    scope = {"headers": [(b"host", b"localhost:7860")], "server": ("127.0.0.1", 7860), **scope}
    await guard(scope, asyncio.Event().wait, tell)
    return told


@pytest.fixture(scope="module")
def folder(server) -> Path:
    """Where the server keeps uploads."""
    (path,) = server.upload("where.txt", b"where").json()
    return Path(path).parents[1]


def ask(server, first: str, lines: list[str], body: bytes = b"") -> tuple[int, str, str]:
    """Send what no client would; PORT is the server's. Returns status, headers and text."""
    if not any(line.startswith("Connection:") for line in lines):
        lines = [*lines, "Connection: close"]
    request = "\r\n".join([first, *lines, "", ""]).replace("PORT", str(port(server)))
    with socket.create_connection(("127.0.0.1", port(server))) as connection:
        connection.sendall(request.encode("latin-1") + body)
        with contextlib.suppress(ConnectionResetError):  # it does not wait for a body that it does not want
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, text = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode("latin-1"), text.decode("latin-1")


def post(server, body: bytes, declared: bool = True):
    content = body if declared else iter([body[start : start + 65536] for start in range(0, len(body), 65536)])
    return httpx.post(server.api + "upload", content=content, headers={"Content-Type": FORM}, timeout=60)


def several(count: int, megabytes: float) -> bytes:
    """An upload of different files of one size; no two uploads are alike."""
    files = []
    for number in range(count):
        data = uuid.uuid4().bytes.ljust(int(1e6 * megabytes), b"x")[: int(1e6 * megabytes)]
        name = f'Content-Disposition: form-data; name="files"; filename="{number}.jpg"'
        files.append(f"--b\r\n{name}\r\n\r\n".encode() + data + b"\r\n")
    return b"".join(files) + b"--b--\r\n"


def kept(folder: Path, coming: bool = False) -> set[Path]:
    """The files of finished uploads, or those that are on their way."""
    while True:
        try:
            return {path for path in folder.glob("*" if coming else "*/*") if path.is_file()}
        except FileNotFoundError:  # the server has removed a folder meanwhile
            continue


def size(paths: set[Path]) -> int:
    return sum(path.stat().st_size for path in paths if path.exists())


def port(server) -> int:
    return httpx.URL(server.url).port


def wait_until(true: Callable[..., bool]) -> None:
    for _ in range(600):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come")
