"""Check a dataset before any worker starts: the tables for people, the exclusion manifest."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dakpn.config import CheckConfig
from dakpn.datasets.inventory import Inventory
from dakpn.progress import progress
from dakpn.sources.check import CheckReport, CheckRequest, check_dataset
from dakpn.wording import counted


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


_SHOWN_PROBLEMS = 20
_SHOWN_SIZES = 5


def main(config: CheckConfig) -> CheckReport:
    """Look at a dataset, and list its good and bad rows if that is asked for.

    Raises:
        UsageError: an unknown preset, or nothing there that can be checked.
        DataError: a packed dataset whose index is damaged.
        StorageError: a dataset that cannot be listed, or a list that cannot be written.
    """
    with progress("checking", "images") as on_progress:
        report = check_dataset(CheckRequest.of(config), on_progress)
    if config.output:
        report.exclusions().write(config.output)
    return report


def exit_code(report: CheckReport, config: CheckConfig) -> int:
    """Return 0 for a clean dataset, 3 if every problem is one of a row that was listed for quarantine, else 1."""
    if report.ok:
        return 0
    return 3 if config.fix and all(problem.key for problem in report.problems) else 1


def print_report(report: CheckReport) -> None:
    """Print tables for people to stdout."""
    _print_findings(report)
    print_inventory(report.inventory)


def _print_findings(report: CheckReport) -> None:
    console = Console()
    overview = Table("", "", title=printable(f"{report.dataset} ({report.source})"), show_header=False)
    checked = f"{len(report.keys)} checked" if len(report.keys) < report.images else "all checked"
    overview.add_row("images", f"{report.images}, {checked}")
    overview.add_row("labels", f"{report.labelled} labelled, {len(report.keys) - report.labelled} without label")
    for (height, width), count in report.sizes.most_common(_SHOWN_SIZES):
        overview.add_row("size", f"{width} x {height}: {counted(count, 'image')}")
    if len(report.sizes) > _SHOWN_SIZES:
        overview.add_row("size", f"and {len(report.sizes) - _SHOWN_SIZES} more")
    console.print(overview)
    if report.labelled:
        console.print(_class_table(report))
    if report.ok:
        console.print("no problems")
        return
    table = Table("problem", "key", "what", title="problems")
    for problem in report.problems[:_SHOWN_PROBLEMS]:
        table.add_row(problem.kind, printable(problem.key), printable(problem.message))
    console.print(table)
    if len(report.problems) > _SHOWN_PROBLEMS:
        console.print(f"and {len(report.problems) - _SHOWN_PROBLEMS} more; --json prints all")
    console.print(", ".join(f"{count} {kind}" for kind, count in report.problem_counts.items()))


def _class_table(report: CheckReport) -> Table:
    table = Table("id", "class", "pixels", "share", title="label ids against the class map")
    without_id = report.classes_without_id()
    for share in report.classes():
        absent = "no label id means it" if share.name in without_id else "never occurs"
        seen = f"{100 * share.share:.2f} %" if share.pixels else absent
        table.add_row(str(share.train_id), printable(share.name), str(share.pixels), seen)
    if report.label_space is not None:
        ignored = report.train_id_pixels()[report.label_space.ignore_id]
        table.add_row(str(report.label_space.ignore_id), "ignored", str(ignored), "")
    for unknown in report.unknown_ids():
        table.add_row(f"file id {unknown.id}", "UNKNOWN", str(unknown.pixels), f"in {counted(unknown.labels, 'label')}")
    return table


if __name__ == "__main__":
    from workflows import as_command

    as_command("check")
