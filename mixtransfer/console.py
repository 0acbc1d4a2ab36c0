"""Printing tables whose cells are what users called things."""

from rich.console import Console
from rich.table import Table


def print_table(table: Table) -> None:
    """Print a table; a class named "[red]" or ":cat:" is shown as it is."""
    Console(markup=False, emoji=False).print(table)
