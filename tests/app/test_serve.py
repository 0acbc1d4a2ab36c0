"""The server: whom it lets in, what it gives out, and how it ends."""

import signal
import socket
import sys
import threading
from pathlib import Path

import psutil
import pytest

from mixtransfer.app.hosts import Hosts
from mixtransfer.app.options import AppOptions
from mixtransfer.app.serve import app, launch
from mixtransfer.commandline.cli import main
from mixtransfer.errors import UserError

httpx = pytest.importorskip("httpx", reason="gradio is not installed: pip install 'mixtransfer[app]'")


def test_only_this_machine_can_reach_it(server):
    listening = [one for one in psutil.Process(server.process.pid).net_connections() if one.status == "LISTEN"]
    assert [one.laddr.ip for one in listening] == ["127.0.0.1"], "one port, with the guard before it"


@pytest.mark.parametrize(
    ("host", "allowed", "answers"),
    [
        ("0.0.0.0", None, {"127.0.0.1:PORT": 200, f"{socket.gethostname()}:PORT": 200, "evil.example:PORT": 403}),
        ("::1", "ml.example.org", {"[::1]:PORT": 200, "ml.example.org": 200, "evil.example": 403}),
    ],
)
def test_with_a_host_it_answers_to_that_and_to_what_is_allowed(
    host, allowed, answers, classifiers, tmp_path, monkeypatch
):
    from mixtransfer.app.page import build_page

    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            pytest.skip(f"this machine has no {host}")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    options = AppOptions(["run"], host=host, allow_host=allowed)
    page = build_page(classifiers, options)
    try:
        url = httpx.URL(launch(page, options, Hosts(host, allowed)))
        for name, status in answers.items():
            headers = {"Host": name.replace("PORT", str(url.port))}
            assert httpx.get(url, headers=headers, trust_env=False).status_code == status, name
    finally:
        page.close(verbose=False)


def test_files_of_this_machine_are_not_given_out(server, runs):
    for path in ("/etc/passwd", runs[0] / "model.json", "../../../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd"):
        assert httpx.get(f"{server.api}file={path}").status_code in (403, 404), path
    (path,) = server.upload("mine.txt", b"mine").json()
    assert httpx.get(f"{server.api}file={path}").text == "mine"
    folder = Path(path).parents[1]
    for other in ("/etc/passwd", str(folder), f"{folder}/../../etc/passwd", f"{path}\0", None, "mine.txt"):
        with pytest.raises(httpx.HTTPStatusError, match="403"):
            server.drop("thief", [other])


def test_it_fetches_nothing_for_anyone(server):
    """The server's log would have a line of it, see `test_ctrl_c_ends_it_and_leaves_nothing`."""
    (path,) = server.upload("mine.txt", b"mine").json()
    for address in ("http://example.com/a.jpg", "https://example.com/a.jpg", f"http://x/../../../../../../..{path}"):
        assert httpx.get(f"{server.api}file={address}").status_code in (403, 404)
        assert httpx.get(f"{server.api}proxy={address}").status_code == 404
        with pytest.raises(httpx.HTTPStatusError, match="403"):
            server.drop("thief", [address])


def test_a_name_with_a_path_stays_in_the_upload_folder(server, images):
    (path,) = server.upload("../../../escaped.jpg", images[0].read_bytes()).json()
    assert ".." not in path
    assert "escaped.jpg" in server.drop("climber", [path])["output"]["data"][1]


def test_two_users_at_once_see_only_their_own(server, images):
    answers = {}

    def use(user: str, name: str) -> None:
        (path,) = server.upload(name, images[0].read_bytes()).json()
        answers[user] = server.drop(user, [path] * 8), server.switch(user, "first")

    users = [threading.Thread(target=use, args=names) for names in (("anna", "hers.jpg"), ("bert", "his.jpg"))]
    for user in users:
        user.start()
    for user in users:
        user.join()
    for user, own, other in (("anna", "hers.jpg", "his.jpg"), ("bert", "his.jpg", "hers.jpg")):
        for answer in answers[user]:
            page = next(part for part in answer["output"]["data"] if isinstance(part, str))
            assert own in page and other not in page
    assert "Drop images above" in server.switch("carl", "first")["output"]["data"][0]


def test_no_history_or_monitoring(server):
    assert httpx.get(server.api + "runs").status_code == 404
    assert httpx.get(server.url + "monitoring").status_code in (403, 404)


def test_taken_port(runs, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["app", str(runs[0]), "--no-browser", "--device", "cpu", "--port", str(port)]) == 2
    assert f"Port {port} of 127.0.0.1 cannot be had: choose another --port" in capsys.readouterr().err


def test_options_out_of_range(capsys):
    assert main(["app", "run", "--max-images", "0"]) == 2
    assert main(["app", "run", "--threshold", "2"]) == 2
    assert "--max-images is 0" in (said := capsys.readouterr().err) and "--threshold is 2.0" in said


def test_without_gradio(runs, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(UserError, match=r"pip install 'mixtransfer\[app\]'"):
        app(AppOptions([str(runs[0])]))


def test_ctrl_c_ends_it_and_leaves_nothing(server):
    """The last one that uses the server."""
    (path,) = server.upload("left.jpg", b"behind").json()
    before = server.log.read_text()
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait() == 0
    said = server.log.read_text()
    assert said.removeprefix(before).strip() == "Stopped."
    assert "OUTSIDE" not in said, "it looked for another machine"
    assert not Path(path).exists()
