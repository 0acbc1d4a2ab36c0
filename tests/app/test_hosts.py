"""The names under which the page answers, by what it listens on and what is allowed."""

import socket

import pytest

from mixtransfer.app.hosts import Hosts
from mixtransfer.commandline.cli import main
from mixtransfer.errors import UserError

NAME = socket.gethostname()
HERE = ("127.0.0.1", 7860)  # where the request comes in
LAN = ("192.0.2.7", 7860)
V6 = ("2001:db8::7", 7860)
MAPPED = ("::ffff:192.0.2.7", 7860)
PROXY = "ml.example.org"

TABLE = [
    # --host, --allow-host, where it comes in, Host, Origin, whether it is answered
    ("127.0.0.1", None, HERE, "localhost:7860", None, True),
    ("127.0.0.1", None, HERE, f"{NAME}:7860", None, False),
    ("127.0.0.1", None, ("127.0.0.1", 80), "localhost", None, True),
    ("127.0.0.1", None, ("127.0.0.1", 80), "localhost:80", None, True),
    ("127.0.0.1", None, ("127.0.0.1", 80), "evil.example", None, False),
    ("[::1]", None, ("::1", 7860), "[::1]:7860", None, True),
    ("192.0.2.7", None, LAN, "192.0.2.7:7860", None, True),
    ("192.0.2.7", None, LAN, "192.0.2.8:7860", None, False),
    ("192.0.2.7", None, LAN, "192.0.2.7:7861", None, False),
    ("192.0.2.7", None, LAN, "evil.example:7860", None, False),
    ("Workstation.lab", None, LAN, "workstation.lab:7860", None, True),
    ("Workstation.lab", None, LAN, "workstation.evil:7860", None, False),
    ("0.0.0.0", None, HERE, "localhost:7860", None, True),
    ("0.0.0.0", None, LAN, "192.0.2.7:7860", None, True),
    ("0.0.0.0", None, LAN, "192.0.2.8:7860", None, False),
    ("0.0.0.0", None, LAN, "192.0.2.7:1", None, False),
    ("0.0.0.0", None, LAN, f"{NAME}:7860", None, True),
    ("0.0.0.0", None, LAN, f"{NAME.upper()}.local:7860", None, True),
    ("0.0.0.0", None, LAN, f"{NAME}.evil.example:7860", None, False),
    ("0.0.0.0", None, LAN, "evil.example:7860", None, False),
    ("::", None, V6, "[2001:DB8::7]:7860", None, True),
    ("::", None, V6, "[2001:db8::8]:7860", None, False),
    ("::", None, MAPPED, "192.0.2.7:7860", None, True),
    ("::", None, ("fe80::7%eth0", 7860), "[fe80::7]:7860", None, True),
    # A reverse proxy, whether it passes on its name or not; the near end of a tunnel.
    ("127.0.0.1", PROXY, HERE, PROXY, f"https://{PROXY}", True),
    ("127.0.0.1", PROXY, HERE, "127.0.0.1:7860", f"https://{PROXY}", True),
    ("127.0.0.1", PROXY, HERE, f"{PROXY}:7860", None, True),
    ("127.0.0.1", PROXY, HERE, f"{PROXY}:9000", None, False),
    ("127.0.0.1", PROXY, HERE, "127.0.0.1:7860", f"https://{PROXY}:9000", False),
    ("127.0.0.1", PROXY, HERE, PROXY, "https://evil.example", False),
    ("127.0.0.1", PROXY, HERE, f"evil.{PROXY}", None, False),
    ("127.0.0.1", f"{PROXY}, LOCALHOST:9000", HERE, "localhost:9000", "http://localhost:9000", True),
    ("127.0.0.1", "localhost:9000", HERE, "localhost:9001", None, False),
    ("127.0.0.1", "localhost:9000", HERE, "localhost:7860", None, True),
]


@pytest.mark.parametrize(("host", "allowed", "server", "asked", "origin", "answered"), TABLE)
def test_names(host, allowed, server, asked, origin, answered):
    headers = {"host": [asked], **({"origin": [origin]} if origin else {})}
    assert (Hosts(host, allowed).objection("POST", "/", headers, server) is None) == answered


def test_one_name_and_no_more():
    """Also with a server that lets more than one through."""
    for given in ([], ["localhost:7860", "evil.example"], ["localhost:7860", "localhost:7860"]):
        assert Hosts("127.0.0.1").objection("GET", "/", {"host": given}, HERE)


def test_the_refusal_says_what_helps():
    said = Hosts("127.0.0.1").objection("GET", "/", {"host": ["localhost:9000"]}, HERE)
    assert "does not answer to localhost:9000" in said and "--allow-host NAME" in said


@pytest.mark.parametrize("name", ["http://example.org", "example.org/page", "a b", "*", "[::1", "example.org:port"])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(UserError, match="--allow-host takes names as workstation or example.org:8080, not"):
        Hosts("127.0.0.1", name)


def test_it_is_refused_before_a_model_is_read(capsys):
    assert main(["app", "no-run", "--allow-host", "http://example.org"]) == 2
    assert "not 'http://example.org'" in capsys.readouterr().err
