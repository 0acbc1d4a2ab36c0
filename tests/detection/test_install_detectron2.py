"""`mixtransfer install-detectron2` against a package registry on this machine."""

import base64
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mixtransfer.commandline.cli import main
from mixtransfer.detection import install as tool
from mixtransfer.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def sdist() -> bytes:
    """An sdist like the real one, with two modules."""
    files = {
        "detectron2/__init__.py": b"__version__ = '0.6'\n",
        "detectron2/layers/__init__.py": b"",
        "detectron2/model_zoo/configs/retinanet.yaml": b"A: 1\n",
        "projects/DeepLab/deeplab/__init__.py": b"",
        "setup.py": b"raise SystemExit('is never run')\n",
        "LICENSE": b"Apache\n",
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"pb1-detectron2-0.6/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def registry(sdist, monkeypatch, request):
    """A registry whose project page is HTML or JSON, and which wants a password; pip is configured for it."""
    kind = getattr(request, "param", "html")

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            pages = {
                "/simple/pb1-detectron2/": page(kind),
                "/files/pb1-detectron2-0.6.tar.gz": (sdist, "application/octet-stream"),
            }
            login = base64.b64encode(b"me:se cret").decode()
            if self.headers.get("Authorization") != f"Basic {login}":
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="packages"')
                self.end_headers()
            elif self.path not in pages:
                self.send_error(404)
            else:
                content, content_type = pages[self.path]
                self.send_response(200)
                self.send_header("Content-Type", content_type)
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("PIP_INDEX_URL", f"http://me:se%20cret@127.0.0.1:{server.server_port}/simple")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    yield server
    server.shutdown()
    server.server_close()


def page(kind: str) -> tuple[bytes, str]:
    links = ["../../files/pb1-detectron2-0.5.tar.gz", "../../files/pb1-detectron2-0.6.tar.gz#sha256=0"]
    if kind == "json":
        files = [{"filename": link.rpartition("/")[2], "url": link.partition("#")[0]} for link in links]
        return json.dumps({"files": files}).encode(), "application/vnd.pypi.simple.v1+json"
    return "".join(f"<a href='{link}'>x</a>" for link in links).encode(), "text/html; charset=UTF-8"


@pytest.mark.parametrize("registry", ["html", "json"], indirect=True)
def test_fetching_from_the_registry_that_pip_uses(registry, sdist, monkeypatch):
    monkeypatch.setattr(tool, "SHA256", hashlib.sha256(sdist).hexdigest())
    assert tool.fetch_sdist() == sdist


def test_another_file_than_the_tested_one(registry):
    with pytest.raises(UserError, match=r"0.6.tar.gz is not the file that was tested"):
        tool.fetch_sdist()


def test_a_registry_that_cannot_be_reached(monkeypatch, capsys):
    monkeypatch.setenv("PIP_INDEX_URL", "http://me:secret@127.0.0.1:9/simple")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(tool, "installed", lambda explain=False: None)
    monkeypatch.setattr(tool, "github_answers", lambda: False)
    monkeypatch.setattr(tool, "pip_settings", lambda: {"index-url": "http://me:secret@127.0.0.1:9/simple"})
    assert main(["install-detectron2"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: pb1-detectron2-0.6.tar.gz could not be fetched: http://127.0.0.1:9/simple/")
    assert "secret" not in message


def test_nothing_is_done_twice(monkeypatch, capsys):
    monkeypatch.setattr(tool, "installed", lambda explain=False: "0.6, Python files only")
    assert main(["install-detectron2"]) == 0
    assert "installed already" in capsys.readouterr().out


def test_environments_without_pip_use_uv(monkeypatch, tmp_path):
    """uv makes environments without pip."""
    monkeypatch.setattr(tool, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no pip, and uv is not on the path"):
        tool.installer()
    (tmp_path / "uv").write_text("#!/bin/sh")
    (tmp_path / "uv").chmod(0o755)
    assert tool.installer() == [str(tmp_path / "uv"), "pip", "install", "--python", sys.executable]
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://packages.example/simple")
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("UV_EXTRA_INDEX_URL", raising=False)
    assert tool.pip_settings() == {"index-url": "https://packages.example/simple"}


def test_pip_lists_and_removes_the_wheel(sdist, tmp_path):
    wheel = tool.write_wheel(sdist, tmp_path)
    target = tmp_path / "environment"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "-q", "--no-deps", "--no-index", "--target", target, wheel], check=True)
    files = sorted(str(path.relative_to(target)) for path in target.rglob("*.py"))
    assert files == ["detectron2/__init__.py", "detectron2/layers/__init__.py"]
    listing = subprocess.run([*pip, "list", "--path", target, "--format", "json"], capture_output=True, check=True)
    assert json.loads(listing.stdout) == [{"name": "detectron2", "version": "0.6"}]
    record = (target / "detectron2-0.6.dist-info" / "RECORD").read_text()
    assert all(name in record for name in [*files, "detectron2-0.6.dist-info/licenses/LICENSE"])


def test_the_extra_names_the_same_packages():
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"]["detection"] == tool.REQUIREMENTS
