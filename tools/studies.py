"""What the reproduce tools share: their arguments, and running `mixtransfer compare`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mixtransfer.commandline.cli import main as mixtransfer

ROOT = Path(__file__).resolve().parents[1]


def arguments(
    description: str, output: str, datasets: Sequence[str], words: Sequence[str] | None = None
) -> tuple[argparse.Namespace, list[str]]:
    """The tool's own options, and the words that are for `mixtransfer compare`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", default="data", help="where named datasets live")
    parser.add_argument("--output", default=output, help="folder of the studies")
    parser.add_argument("--datasets", nargs="+", default=list(datasets), help="names or paths; default: %(default)s")
    parser.add_argument("--tiny", action="store_true", help="a form that shows in minutes that all of it works")
    return parser.parse_known_args(words)


def compare(words: Sequence[str]) -> None:
    """Run `mixtransfer compare` with these words; configs are found from any folder. Stops the tool if it fails."""
    words = [str(ROOT / word) if word.startswith("configs/") else word for word in words]
    print(f"mixtransfer compare {' '.join(words)}")
    if code := mixtransfer(["compare", *words]):
        sys.exit(code)
