"""`install-detectron2`: install detectron2 into the environment of the Python that runs this.

The official source is taken where GitHub can be reached; pip compiles it against the installed torch, which takes a
compiler and a few minutes. Elsewhere, or if that fails, the Python files of v0.6 are taken from the package registry:
the sdist pb1-detectron2 has them byte for byte but lacks the C++ sources, so it cannot be installed as it is, and new
versions of pip refuse to download it. The files are fetched from the registry that pip is configured for, checked,
made into a wheel, and installed as ``detectron2 0.6``; ``pip uninstall detectron2`` removes them.
"""

import ast
import base64
import contextlib
import hashlib
import html.parser
import importlib
import io
import json
import os
import shutil
import ssl
import subprocess
import sys
import tarfile
import tempfile
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mixtransfer.errors import UserError

GITHUB = "https://github.com/facebookresearch/detectron2"
COMMIT = "02b5c4e295e990042a714712c21dc79b731e8833"  # main of 2026-06-06; the tag v0.6 no longer compiles
GITHUB_TIMEOUT = 5  # seconds
TIMEOUT = 60

SDIST = "pb1-detectron2-0.6.tar.gz"
SHA256 = "5d2e9e51e523ec72f6a31cca04b0a515492e9514b773a3d134cedc0677170b29"

# What the parts that mixtransfer uses import, and hydra-core, by which detectron2's own script reads overrides; also
# the extra `detection` of pyproject.toml. setup.py names more: black (prints configurations), future, pydot (caffe2).
REQUIREMENTS = [
    "cloudpickle>=2.2,<4",
    "fvcore>=0.1.5.post20221221,<0.1.6",
    "hydra-core>=1.3,<2",
    "iopath>=0.1.9,<0.1.10",
    "omegaconf>=2.3,<2.4",
    "pycocotools>=2.0.8,<3",
    "tabulate>=0.9,<1",
    "tensorboard>=2.16,<3",
    "termcolor>=2.3,<4",
    "yacs>=0.1.8,<0.2",
]


@dataclass
class InstallOptions:
    """Install detectron2, which no package registry has, beside mixtransfer.

    The official source is compiled where GitHub can be reached, which takes a compiler and a few minutes. Elsewhere the
    Python files of v0.6 are taken from the package registry: detection needs none of the compiled operators.
    """


def install(options: InstallOptions) -> None:
    """Install it, unless it works already.

    Raises:
        UserError: It cannot be had.
    """
    os.environ.setdefault("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    if found := installed():
        print(f"detectron2 {found} is installed already.")
        return
    if not (github_answers() and install_official()):
        install_python_files()
    print(f"Installed detectron2 {installed(explain=True)}.")


def installed(explain: bool = False) -> str | None:
    """What ``mixtransfer.detection.compat`` says of detectron2; None if it does not work.

    Raises:
        UserError: It does not work, with ``explain``.
    """
    code = "from mixtransfer.detection.compat import describe_detectron2; print(describe_detectron2())"
    # Another process, because this one may have looked for the package before it was there.
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if answer.returncode == 0:
        return answer.stdout.strip().splitlines()[-1]
    if explain:
        last = (answer.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"detectron2 was installed but does not work: {last}")
    return None


def github_answers() -> bool:
    try:
        with urllib.request.urlopen(urllib.request.Request(GITHUB, method="HEAD"), timeout=GITHUB_TIMEOUT):
            return True
    except OSError:
        print("GitHub cannot be reached: taking the Python files of v0.6 from the package registry.")
        return False


def install_official() -> bool:
    """Compile and install the official source; False if that fails."""
    # Without build isolation, because setup.py imports torch; its model zoo imports pkg_resources, gone in 82.
    steps = (["setuptools>=70,<82"], ["--no-build-isolation", f"detectron2 @ git+{GITHUB}.git@{COMMIT}"])
    for arguments in steps:
        if subprocess.run([*installer(), *arguments]).returncode:
            print("The official source cannot be built here: taking the Python files of v0.6 instead.")
            return False
    return True


def install_python_files() -> None:
    """Make a wheel of the sdist's Python files and install it with what it needs."""
    archive = fetch_sdist()
    with tempfile.TemporaryDirectory() as folder:
        # Forced, because pip would keep a broken detectron2 of the same version.
        wheel = ["--force-reinstall", "--no-deps", str(write_wheel(archive, Path(folder)))]
        for arguments in (REQUIREMENTS, wheel):
            if subprocess.run([*installer(), *arguments]).returncode:
                raise UserError("detectron2's Python files, or what they need, could not be installed; see above.")


def installer() -> list[str]:
    """The command that installs packages into this environment: pip, or in environments of uv, which have none, uv.

    Raises:
        UserError: There is neither.
    """
    if find_spec("pip"):
        return [sys.executable, "-m", "pip", "install"]
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--python", sys.executable]
    raise UserError("This environment has no pip, and uv is not on the path: python -m ensurepip, or install uv.")


def fetch_sdist() -> bytes:
    """The sdist, from the first of pip's registries that has it.

    Raises:
        UserError: None has it, or it is another file than the one that was tested.
    """
    settings = pip_settings()
    indexes = [settings.get("index-url") or "https://pypi.org/simple", *settings.get("extra-index-url", "").split()]
    problems = []
    for index in indexes:
        page = f"{public(index).rstrip('/')}/pb1-detectron2/"
        try:
            read = reader(index, settings.get("cert"))
            address = find_sdist(*read(page))
            if address is None:
                problems.append(f"{page} does not list it")
                continue
            archive = read(address)[0]
        except (OSError, ValueError) as error:
            problems.append(f"{page}: {error}")
            continue
        if hashlib.sha256(archive).hexdigest() != SHA256:
            raise UserError(f"{address} is not the file that was tested (its SHA-256 differs): not installed.")
        return archive
    raise UserError(f"{SDIST} could not be fetched: {'; '.join(problems)}.")


def pip_settings() -> dict[str, str]:
    """The options of `pip install` in pip's files and the environment; the environment wins, as with pip.

    Without pip those of uv's environment variables that mean the same.
    """
    if not find_spec("pip"):
        names = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_EXTRA_INDEX_URL", "cert": "SSL_CERT_FILE"}
        return {option: os.environ[name] for option, name in names.items() if name in os.environ}
    listing = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    settings: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listing.splitlines():
        name, _, value = line.partition("=")
        section, _, option = name.rpartition(".")
        settings.setdefault(section, {})[option] = str(ast.literal_eval(value))
    return {**settings["global"], **settings["install"], **settings[":env:"]}


def reader(index: str, authorities: str | None) -> Callable[[str], tuple[bytes, str, str]]:
    """A function from an address to its content, the content's type, and where it was found in the end.

    Args:
        index: Where a user's name and password may stand.
        authorities: The file of certificates that pip is told to trust; None for the system's and pip's own.
    """
    parts = urllib.parse.urlsplit(index)
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    if parts.username is not None:
        login = (urllib.parse.unquote(parts.username), urllib.parse.unquote(parts.password or ""))
        passwords.add_password(None, urllib.parse.urljoin(public(index), "/"), *login)
    context = ssl.create_default_context()
    if trusted := authorities or certifi():
        context.load_verify_locations(trusted)
    opener = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=context), urllib.request.HTTPBasicAuthHandler(passwords)
    )
    accepted = {"Accept": "application/vnd.pypi.simple.v1+json, text/html;q=0.5, */*;q=0.1"}

    def read(address: str) -> tuple[bytes, str, str]:
        if address.startswith("file:") and address.endswith("/"):
            address += "index.html"
        with opener.open(urllib.request.Request(address, headers=accepted), timeout=TIMEOUT) as answer:
            return answer.read(), answer.headers.get_content_type(), answer.geturl()

    return read


def certifi() -> str | None:
    """pip's own list of authorities, for Pythons that find none on their system; without pip the package's."""
    for name in ("pip._vendor.certifi", "certifi"):
        with contextlib.suppress(ImportError):
            return importlib.import_module(name).where()
    return None


def public(address: str) -> str:
    """An address without the user's name and password."""
    parts = urllib.parse.urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def find_sdist(page: bytes, kind: str, base: str) -> str | None:
    """The sdist's address on a project page of the simple index (PEP 503, HTML; PEP 691, JSON)."""
    if kind.endswith("+json"):
        links = [file["url"] for file in json.loads(page)["files"]]
    else:
        collector = Links()
        collector.feed(page.decode("utf-8", "replace"))
        links = collector.addresses
    for link in links:
        address = urllib.parse.urljoin(base, link).partition("#")[0]
        name = urllib.parse.unquote(address.rpartition("/")[2])
        if name.replace("_", "-") == SDIST:
            return address
    return None


class Links(html.parser.HTMLParser):
    """Collects the addresses that a page links to."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.addresses += [value for name, value in attrs if name == "href" and value]


def write_wheel(archive: bytes, folder: Path) -> Path:
    """A pure-Python wheel of the package in the sdist, without the projects beside it."""
    files: dict[str, bytes] = {}
    info = "detectron2-0.6.dist-info"
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            name = member.name.partition("/")[2]
            if (file := tar.extractfile(member)) is None:  # a folder
                continue
            if name.startswith("detectron2/") and name.endswith(".py"):
                files[name] = file.read()
            elif name == "LICENSE":
                files[f"{info}/licenses/LICENSE"] = file.read()
    metadata = [
        "Metadata-Version: 2.4",
        "Name: detectron2",
        "Version: 0.6",
        "Summary: The Python files of detectron2 v0.6, without its compiled operators.",
        f"Home-page: {GITHUB}",
        "License-Expression: Apache-2.0",
        "License-File: LICENSE",
        *[f"Requires-Dist: {requirement}" for requirement in REQUIREMENTS],
    ]
    files[f"{info}/METADATA"] = ("\n".join(metadata) + "\n").encode()
    generator = "Generator: mixtransfer install_detectron2"
    files[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\n{generator}\nRoot-Is-Purelib: true\nTag: py3-none-any\n".encode()
    record = [f"{name},sha256={digest(content)},{len(content)}" for name, content in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    path = folder / "detectron2-0.6-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
    return path


def digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
