"""What is printed: tables whose cells are what users called things."""

from rich.console import Console
from rich.table import Table


def print_table(table: Table) -> None:
    """Print a table; a class named "[red]" or ":cat:" is shown as it is."""
    _Console(markup=False, emoji=False).print(table)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # as print does where nobody reads on; by default it is an exit
