"""Whose request it is: the names that the page has in a browser, and whether its own page or another site asks.

A site can have its own name lead to this machine (DNS rebinding); a browser then takes the page for a part of that
site, but still says the name in ``Host``. Which page asks it says in ``Origin`` and ``Sec-Fetch-Site``
(https://www.w3.org/TR/fetch-metadata/).
"""

import contextlib
import ipaddress
import re
import socket
from collections.abc import Mapping

from mixtransfer.errors import UserError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
EVERYWHERE = ("0.0.0.0", "::")

_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?")


class Hosts:
    """The names of one server.

    Args:
        host: What it listens on.
        allowed: More names, with commas between; see ``AppOptions``.

    Raises:
        UserError: One of these is no name.
    """

    def __init__(self, host: str, allowed: str | None = None):
        self.own = {*LOOPBACK, plain(host)}
        if plain(host) in EVERYWHERE:
            self.own |= _names_of_this_machine()
        self.allowed = set()
        for text in filter(None, map(str.strip, (allowed or "").split(","))):
            if not (place := parse_authority(text)):
                raise UserError(f"--allow-host takes names as workstation or example.org:8080, not {text!r}.")
            self.allowed.add(place)

    def objection(
        self, method: str, path: str, headers: Mapping[str, list[str]], server: tuple[str, int]
    ) -> str | None:
        """Why a request is refused, as a sentence; None if it is not.

        Args:
            headers: All values by lower-case name.
            server: Address and port at which it came in.
        """
        given = headers.get("host", [])
        host = parse_authority(given[0]) if len(given) == 1 else None
        if not host or not (self._is_own(host, server) or self._is_allowed(host, server[1])):
            shown = given[0][:100] if len(given) == 1 and given[0].isascii() else "such a name"
            return (
                f"This page does not answer to {shown}. Open it at the address that it printed when it was started, "
                "or start it with --allow-host NAME if this is another name of its machine."
            )
        for origin in headers.get("origin", []):
            scheme, _, rest = origin.lower().partition("://")
            place = parse_authority(rest) if scheme in ("http", "https") else None
            if not place or not (place == host or self._is_allowed(place, server[1])):
                return "Another site may not use this page."
        for site in headers.get("sec-fetch-site", []):
            if site not in ("same-origin", "none") and not _is_link(method, path, headers):
                return "Another site may not use this page."
        return None

    def _is_own(self, host: tuple[str, int | None], server: tuple[str, int]) -> bool:
        """The port is the page's, and the name one of its own or the very address at which the request came in."""
        name, port = host
        return (port or 80) == server[1] and (name in self.own or name == plain(server[0]))

    def _is_allowed(self, place: tuple[str, int | None], own_port: int) -> bool:
        """Without a port, --allow-host means the page's own and those of http and https."""
        name, port = place
        return place in self.allowed or ((name, None) in self.allowed and port in (None, 80, 443, own_port))


def parse_authority(text: str) -> tuple[str, int | None] | None:
    """Name and port of ``name:port``, ``name`` or ``[address]:port``; None if it is nothing of the kind."""
    match = _AUTHORITY.fullmatch(text.lower())
    if not match:
        return None
    return plain(match[1]), int(match[2]) if match[2] else None


def plain(name: str) -> str:
    """One spelling of a name or address: lower case, without brackets, final dot or scope."""
    name = name.lower().strip("[]").partition("%")[0].removesuffix(".")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name
    return str(getattr(address, "ipv4_mapped", None) or address)


def _is_link(method: str, path: str, headers: Mapping[str, list[str]]) -> bool:
    """Whether a person follows a link to the page, which loads it anew in a window of its own."""
    kind = headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")
    return method == "GET" and path == "/" and kind == (["navigate"], ["document"])


def _names_of_this_machine() -> set[str]:
    """As it calls itself, in full, and in the local network (mDNS). No reverse look-up: others have a say in those."""
    name = socket.gethostname()
    names = {name, f"{name.partition('.')[0]}.local"}
    with contextlib.suppress(OSError):
        names.add(socket.getaddrinfo(name, None, flags=socket.AI_CANONNAME)[0][3] or name)
    return set(map(plain, names))
