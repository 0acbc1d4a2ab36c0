"""onnxruntime-web, which runs ONNX files in browsers: from the npm registry, in the version that was tested."""

import base64
import hashlib
import io
import os
import tarfile
from http.client import HTTPException
from pathlib import Path

from mixtransfer.common.files import write_atomic
from mixtransfer.common.messages import tell
from mixtransfer.data.checked import cache_folder
from mixtransfer.detection.install import public, reader
from mixtransfer.errors import UserError

VERSION = "1.30.0"
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="  # as npm has it
ARCHIVE = f"onnxruntime-web-{VERSION}.tgz"
# What the page needs of it: the processor's backend alone. That for WebGPU is twice as large to load.
FILES = {
    # Not .mjs, which some servers do not know for JavaScript.
    "ort.wasm.bundle.min.js": "package/dist/ort.wasm.bundle.min.mjs",
    "ort-wasm-simd-threaded.wasm": "package/dist/ort-wasm-simd-threaded.wasm",
}


def fetch() -> bytes:
    """The package, an archive, from the user's cache folder or else from the registry.

    Raises:
        UserError: It cannot be fetched or kept, or is another file than the one that was tested.
    """
    path = cache_folder() / ARCHIVE
    if path.is_file():
        archive = path.read_bytes()
        check(archive, str(path))
        return archive
    index = registry()
    address = f"{public(index).rstrip('/')}/onnxruntime-web/-/{ARCHIVE}"
    tell(f"Fetching {ARCHIVE} (33 MB, once) from {address}.")
    try:
        archive = reader(index, None)(address)[0]
    except (OSError, ValueError, HTTPException) as error:
        raise UserError(
            f"onnxruntime-web could not be fetched from {address} ({error}): fetch {ARCHIVE} elsewhere, and put it "
            f"into the folder {path.parent}."
        ) from error
    check(archive, address)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, archive)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}): name another folder in MIXTRANSFER_CACHE."
        ) from error
    return archive


def check(archive: bytes, place: str) -> None:
    """
    Args:
        place: Where it is from, in words.

    Raises:
        UserError: It is not the one that was tested.
    """
    if hashlib.sha512(archive).digest() != base64.b64decode(SHA512):
        raise UserError(
            f"{place} is damaged or another file: it has not the SHA-512 of {ARCHIVE} as npm publishes it; remove it, "
            "and fetch it again."
        )


def files() -> dict[str, bytes]:
    """The files that the page loads, by name, with their licence.

    Raises:
        UserError: See ``fetch``.
    """
    found = {}
    with tarfile.open(fileobj=io.BytesIO(fetch())) as package:
        for name, member in FILES.items():
            opened = package.extractfile(member)
            assert opened  # the archive is the one that was tested
            found[name] = opened.read()
    return {**found, **_terms()}


def _terms() -> dict[str, bytes]:
    """ONNX Runtime's licence and those of what is compiled into it, which npm's package leaves out."""
    import onnxruntime

    folder = Path(onnxruntime.__file__).parent
    names = ("LICENSE", "ThirdPartyNotices.txt")
    return {f"{Path(name).stem}.txt": (folder / name).read_bytes() for name in names if (folder / name).is_file()}


def registry() -> str:
    """The npm registry that npm itself would ask: of NPM_CONFIG_REGISTRY, of ~/.npmrc, or the public one."""
    settings = {name.lower(): value for name, value in os.environ.items()}
    if own := settings.get("npm_config_registry"):
        return own
    found = "https://registry.npmjs.org/"
    file = Path(settings.get("npm_config_userconfig") or Path.home() / ".npmrc")
    if file.is_file():
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition("=")
            if name.strip() == "registry":
                found = os.path.expandvars(value.strip().strip("\"'"))
    return found
