"""Weights that are published as files with their hash in their names, as PyTorch's hub has them."""

import hashlib
import re
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlparse

import torch

from mixtransfer.common.messages import tell
from mixtransfer.errors import UserError

# The beginning of the SHA-256; digits alone may be a date.
_DIGEST = re.compile(r".*-(?!\d+\.)([0-9a-f]{8,64})\.pth")


def fetch(name: str, url: str) -> Path:
    """The file of a published start, from the cache of PyTorch's hub or else from its address.

    Raises:
        UserError: It cannot be fetched, or is another file than its name says.
    """
    file = Path(urlparse(url).path).name
    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    if not path.exists():
        tell(f"Fetching the weights {name} from {url}.")
        digest = _DIGEST.fullmatch(file)
        try:
            if digest is None:
                raise RuntimeError("its address has no hash")
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), digest[1], progress=False)
        except (OSError, RuntimeError, HTTPException) as error:
            reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:150]}"
            raise UserError(
                f"The weights {name} could not be fetched from {url} ({reason}): fetch {file} elsewhere, and give it "
                "with --weights FILE."
            ) from error
    check_digest(path)
    return path


def check_digest(path: Path) -> None:
    """See to it that a file has the SHA-256 with whose beginning its name ends, if it does.

    Raises:
        UserError: It has another.
    """
    promised = _DIGEST.fullmatch(path.name)
    if promised is None or not path.is_file():
        return
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if not found.startswith(promised[1]):
        raise UserError(
            f"{path} is damaged or another file: by its name its SHA-256 begins with {promised[1]}, but it is "
            f"{found[:16]}…: remove it and fetch it again, or rename it if the name means something else."
        )
