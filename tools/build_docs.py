"""The documentation as a site, into build/docs (make docs).

    python tools/build_docs.py [--output build/docs]

The pages of docs/ and those beside the README, every command's help, by Sphinx; the API from its docstrings, by pdoc.
It fails on what a reader would stumble over: whatever one of the two warns of, such as a link to nowhere, a module that
cannot be imported, and a ``mixtransfer.…`` in a docstring that names nothing.
"""

import argparse
import contextlib
import importlib
import importlib.util
import io
import os
import pkgutil
import re
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from types import ModuleType

import pdoc
import pdoc.render
from sphinx.cmd.build import build_main

import mixtransfer
from mixtransfer.commandline.cli import VERBS
from mixtransfer.commandline.cli import main as command
from mixtransfer.detection.compat import prepare_detectron2
from mixtransfer.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
# The pages in the order of the site, by its parts; the first of them is the README.
SITE = {
    "Notebooks": ("notebooks/classify", "notebooks/detect", "notebooks/compare"),
    "Tasks": ("classify", "detect", "compare", "deploy", "search"),
    "How to": tuple(
        f"how-to/{page}"
        for page in (
            "imbalanced",
            "few-images",
            "groups",
            "small-objects",
            "pre-label",
            "in-ci",
            "trackers",
            "hub",
        )
    ),
    "Explanation": ("explain/mixconv", "explain/intervals"),
    "Reference": ("commands", "options", "python", "files"),
    "What was measured": ("results", "paper", "reproduce"),
    "The project": ("../CONTRIBUTING", "../CHANGELOG", "../SECURITY"),
}
REFERENCE = re.compile(r"`(mixtransfer(?:\.\w+)+)`")


def modules() -> list[str]:
    found = pkgutil.walk_packages(mixtransfer.__path__, "mixtransfer.", onerror=lambda name: None)
    return ["mixtransfer", *(module.name for module in found if not module.name.endswith("__main__"))]


def import_errors(names: list[str]) -> list[str]:
    errors = []
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:
            errors.append(f"{name} cannot be imported ({type(error).__name__}: {error}).")
    return errors


def broken_references(names: list[str]) -> list[str]:
    """What the sources' docstrings and comments name by its full name and is not there."""
    broken = []
    for name in names:
        source = importlib.util.find_spec(name)
        text = Path(source.origin).read_text(encoding="utf-8") if source and source.origin else ""
        broken += [f"{name} speaks of {place}." for place in REFERENCE.findall(text) if not _exists(place)]
    return broken


def _exists(place: str) -> bool:
    try:
        importlib.import_module(place)
    except ImportError:
        module, _, name = place.rpartition(".")
        return hasattr(sys.modules.get(module), name) or (module.count(".") > 1 and _exists(module))
    return True


def _prepare_for_pdoc(names: list[str]) -> None:
    """Give pdoc what it does not find by itself: names that are loaded lazily, and a module for type checkers only."""
    for module in map(sys.modules.get, names):
        for name in getattr(module, "__all__", ()):
            setattr(module, name, getattr(module, name))
    typeshed = ModuleType("_typeshed")
    vars(typeshed)["DataclassInstance"] = object
    sys.modules["_typeshed"] = typeshed


def lay_out(folder: Path) -> None:
    """The sources of the site: the repository's pages where they are, with what they link to, and generated ones."""
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "LICENSE", "CITATION.cff"):
        shutil.copy(ROOT / name, folder)
    for name in ("docs", "configs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "docs" / "options.md").write_text(help_of_commands(), encoding="utf-8")
    contents = [
        f"```{{toctree}}\n:caption: {part}\n:hidden:\n\n" + "\n".join(_place(page) for page in pages) + "\n```\n"
        for part, pages in SITE.items()
    ]
    index = (folder / "README.md").read_text(encoding="utf-8")
    (folder / "index.md").write_text("\n".join([index, *contents]), encoding="utf-8")
    (folder / "README.md").unlink()


def _place(page: str) -> str:
    return page.removeprefix("../") if page.startswith("../") else f"docs/{page}"


def help_of_commands() -> str:
    """A page with what each command says of its options."""
    os.environ["COLUMNS"] = "100"
    parts = ["# Every option", "What each command says with `--help`."]
    for name in VERBS:
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            command([*name.split(), "--help"])
        parts.append(f"## mixtransfer {name}\n\n```text\n{said.getvalue().strip()}\n```")
    return "\n\n".join(parts) + "\n"


def build_site(output: Path) -> bool:
    """Whether Sphinx had nothing to warn of."""
    with tempfile.TemporaryDirectory() as sources:
        lay_out(Path(sources))
        settings = ["-c", str(ROOT / "docs"), "-D", f"release={mixtransfer.__version__}"]
        return build_main(["-q", "-W", "--keep-going", "-b", "html", *settings, sources, str(output)]) == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("build/docs"))
    options = parser.parse_args()
    names, left_out = modules(), []
    try:
        prepare_detectron2()
    except UserError as error:
        names = [name for name in names if not name.startswith("mixtransfer.detection")]
        left_out = ["!mixtransfer.detection"]
        print(f"The detectors are left out: {error}", file=sys.stderr)
    complaints = import_errors(names)
    complaints += [] if complaints else broken_references(names)
    if not complaints:
        _prepare_for_pdoc(names)
        pdoc.render.configure(docformat="google", footer_text=f"mixtransfer {mixtransfer.__version__}")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")
            warnings.filterwarnings("always", module=r"pdoc(\..*)?$")
            pdoc.pdoc("mixtransfer", *left_out, output_directory=options.output / "api")
        complaints = [str(one.message) for one in caught]
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    if not complaints and not build_site(options.output):
        complaints = ["Sphinx"]  # which has said it
    if not complaints:
        print(f"{len(names)} modules: {options.output / 'index.html'}")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
