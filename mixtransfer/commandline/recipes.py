"""The recipes that come with the package: `mixtransfer recipes`, and their names for `--config`."""

from dataclasses import dataclass
from pathlib import Path

from mixtransfer.errors import UserError

COMMANDS = {"classification": "classify train", "detection": "detect train", "comparison": "compare DATA"}


@dataclass
class RecipesOptions:
    """List the recipes that `--config NAME` takes; each says at its head what it is for and what was measured."""


def recipes(options: RecipesOptions) -> None:
    """Print the list."""
    from rich.table import Table

    from mixtransfer.commandline.console import print_table

    table = Table("recipe", "what it is", "command", box=None, pad_edge=False)
    for name, path in all_recipes().items():
        table.add_row(name, first_line(path), f"mixtransfer {COMMANDS[name.split('/')[0]]} --config {name}")
    print_table(table)


def folder() -> Path:
    """Where they are: in the installed package, or in the checkout that it is imported from."""
    installed = Path(__file__).parents[1] / "configs"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "configs"


def all_recipes() -> dict[str, Path]:
    """Files by name, such as "classification/pets"; what only others import is left out."""
    root = folder()
    found = sorted([*root.glob("*/*.yaml"), *root.glob("*/*.py")])
    return {f"{path.parent.name}/{path.stem}": path for path in found}


def find_recipe(name: str) -> Path:
    """The file of a recipe.

    Args:
        name: As `mixtransfer recipes` lists it; the last part alone, such as "pets"; or "coco/ssdlite_mixnet_s" for
            the recipe of that name that ends in "_coco".

    Raises:
        UserError: There is none.
    """
    known = all_recipes()
    data, _, rest = name.partition("/")
    for key, path in known.items():
        if name in (key, path.stem) or rest and path.stem == f"{rest}_{data}":
            return path
    raise UserError(f"There is no configuration file or recipe {name!r}: see mixtransfer recipes.")


def first_line(path: Path) -> str:
    """What a recipe says of itself first."""
    line = path.read_text(encoding="utf-8").split("\n", 1)[0]
    return line.strip('#" ').rstrip(".")
