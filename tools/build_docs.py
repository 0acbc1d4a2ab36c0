"""The API's documentation from its docstrings, by pdoc, into build/docs (make docs).

    python tools/build_docs.py [--output build/docs]

It fails on what a reader would stumble over: a module that cannot be imported, whatever pdoc warns of, and a
``mixtransfer.…`` in a docstring that names nothing.
"""

import argparse
import importlib
import importlib.util
import pkgutil
import re
import sys
import warnings
from pathlib import Path
from types import ModuleType

import pdoc
import pdoc.render

import mixtransfer
from mixtransfer.detection.compat import prepare_detectron2
from mixtransfer.errors import UserError

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
            pdoc.pdoc("mixtransfer", *left_out, output_directory=options.output)
        complaints = [str(one.message) for one in caught]
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    if not complaints:
        print(f"{len(names)} modules: {options.output / 'index.html'}")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
