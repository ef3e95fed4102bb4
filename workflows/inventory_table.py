"""The table that `check` and `pack` end with: what of a source is taken, changed on the way, and left out."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dakpn.datasets.inventory import Inventory


def print_inventory(inventory: Inventory) -> None:
    """Print the table to stdout; names of what looks like data and is left out are in its last column."""
    table = Table("", "what", "number", title="what the source holds")
    table.add_column("such as", overflow="fold")  # a path that is cut short names nothing
    for happened, what, count, names in inventory.lines():
        table.add_row(happened, printable(what), str(count), printable(names))
    Console().print(table)


def printable(text: str) -> str:
    """Return what a terminal can show of a file's name."""
    return escape(text.encode("utf-8", "backslashreplace").decode())
