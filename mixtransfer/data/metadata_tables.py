"""The tables beside a folder's images that say what each shows, as Hugging Face's imagefolder has them."""

from pathlib import Path, PurePosixPath

from mixtransfer.data.label_columns import ONE, label_columns
from mixtransfer.data.parts import is_of_part_or_images, part_of_path
from mixtransfer.data.table import Table, read_table
from mixtransfer.data.tree import Tree
from mixtransfer.errors import UserError

METADATA = ("metadata.jsonl", "metadata.csv")
# What a column may be called; the first of them needs no word.
COLUMNS = {
    "path": ("path", "file_name", "filename", "image_path", "image"),
    "split": ("split",),
    "group": ("group",),
}
KNOWN = tuple(name for names in COLUMNS.values() for name in names)


def metadata_files(tree: Tree) -> list[str]:
    """The files beside a folder's images that say what each shows: ``metadata.csv`` or ``.jsonl``."""
    return [name for name in tree.having(*METADATA) if PurePosixPath(name).name in METADATA and name.count("/") < 3]


def labelled_metadata(tree: Tree) -> list[Table]:
    """The tables of those of ``metadata_files`` that have a class for each image; if there are such, also those of a
    test part whose classes are not known."""
    tables = [table for name in metadata_files(tree) if "file_name" in (table := read_table(tree.root / name)).columns]
    labelled = [table for table in tables if any(name in table.columns for name in ONE)]
    if not labelled and has_no_class(tree):  # otherwise the folders say the classes
        found = [(table, label_columns(table, KNOWN)) for table in tables]
        labelled = [table for table, labels in found if labels.column or labels.binary]
    if not labelled:
        return []
    tables = [table for table in tables if table in labelled or is_of_test(table, tree)]
    of_folder: dict[Path, Table] = {}
    for table in tables:
        other = of_folder.setdefault(table.path.parent, table)
        if other is not table:
            raise UserError(f"{other.path} and {table.path.name} both describe the images there: take one out.")
    return tables


def has_no_class(tree: Tree) -> bool:
    """Whether each folder that holds images directly has the name of a part, or is called images, or is the root."""
    return all(is_of_part_or_images(PurePosixPath(name).parent.name) for name in tree.images)


def is_of_test(table: Table, tree: Tree) -> bool:
    return part_of_path(table.path.relative_to(tree.root).parts[:-1]) == "test"
