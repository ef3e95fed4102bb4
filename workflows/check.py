"""Check a dataset before any worker starts: the table for people, the exclusion manifest."""

from rich.console import Console
from rich.table import Table

from dakpn.errors import UsageError
from dakpn.images.upright import Orientation
from dakpn.progress import progress
from dakpn.sources.check import CheckReport, CheckRequest, check_dataset
from dakpn.sources.preset import load_preset
from dakpn.wording import counted
from workflows.inventory_table import print_inventory, printable

_SHOWN_PROBLEMS = 20
_SHOWN_SIZES = 5


def main(
    uri: str,
    dataset: str | None,
    split: str | None = None,
    labelled: bool | None = None,
    sample: int | None = None,
    seed: int = 0,
    exclusions: str | None = None,
    orientation: Orientation | None = None,
) -> CheckReport:
    """Check the dataset at `uri`; see `dakpn.sources.check.CheckRequest`.

    Args:
        uri: of what can be packed, or of a packed dataset; local or `s3://`.
        dataset: name of the preset; None takes camvid for a folder of `images`.
        split: name of a split; None takes the only one, "all" takes every one.
        labelled: of a folder: True requires labels, False ignores them, None takes them if there are any.
        sample: decode so many images; None decodes all.
        seed: of the sample.
        exclusions: URI of the exclusion manifest to be written; None writes none.
        orientation: how the label of an image with an orientation tag lies, where sizes do not tell.

    Raises:
        UsageError: bad arguments, or nothing there that can be checked.
        DataError: a packed dataset whose index is damaged.
        StorageError: a dataset that cannot be listed, or an exclusion manifest that cannot be written.
    """
    if exclusions and sample is not None:
        raise UsageError(
            "got --sample and --fix quarantine; to tell good rows from bad all must be looked at: leave one out"
        )
    preset = load_preset(dataset) if dataset else None
    request = CheckRequest(uri, preset, split, labelled, sample, seed, orientation=orientation)
    with progress("checking", "images") as on_progress:
        report = check_dataset(request, on_progress)
    if exclusions:
        report.exclusions().write(exclusions)
    return report


def exit_code(report: CheckReport, quarantined: bool) -> int:
    """Return 0 for a clean dataset, 3 if every problem is one of a row that was quarantined, else 1."""
    if report.ok:
        return 0
    return 3 if quarantined and all(problem.key for problem in report.problems) else 1


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
        table.add_row(f"file id {unknown.id}", "UNKNOWN", str(unknown.pixels), f"in {unknown.labels} labels")
    return table


if __name__ == "__main__":
    from workflows.cli import run

    run("check")
