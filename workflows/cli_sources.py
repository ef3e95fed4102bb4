"""The part of the `dakpn` command that takes datasets as they were published: `pack` and `check`.

Both read their settings from options or from a config; the help of an option is the description of its setting.
"""

import json
from typing import Annotated, Any, Literal

import typer

from dakpn.config import CheckConfig, CheckDepth, FormatName, Orientation, PackConfig
from workflows.command_configs import check_config, pack_config

_RULE = (
    "A first word that ends in .yaml or .yml, and is no folder and no URI, is a config: settings follow it as "
    "KEY=VALUE, and no option but --json goes with it."
)


def _setting(name: str, schema: type[PackConfig | CheckConfig] = PackConfig, **more: Any) -> Any:
    """Return the option for a field of the config."""
    text = schema.model_fields[name].description or ""
    return typer.Option(help=f"{text[:1].upper()}{text[1:]}.", **more)


Dataset = Annotated[str | None, _setting("dataset")]
Split = Annotated[str | None, _setting("split")]
Labels = Annotated[bool | None, _setting("labels")]
LabelOrientation = Annotated[Orientation | None, _setting("orientation")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def pack(
    words: Annotated[list[str], typer.Argument(metavar="SRC OUT, or CONFIG.yaml KEY=VALUE", help=_RULE)],
    dataset: Dataset = None,
    split: Split = None,
    rows_per_shard: Annotated[int | None, _setting("rows_per_shard")] = None,
    labels: Labels = None,
    format: Annotated[FormatName | None, _setting("format")] = None,  # noqa: A002 - the option's name
    workers: Annotated[int | None, _setting("workers")] = None,
    exclude: Annotated[str | None, _setting("exclude")] = None,
    check: Annotated[CheckDepth | None, _setting("check")] = None,
    keep: Annotated[str | None, _setting("keep", metavar="PATTERN:LOW-HIGH")] = None,
    orientation: LabelOrientation = None,
    as_json: AsJson = False,
) -> None:
    """Pack a folder of images (and labels) into checked shards, or convert a packed dataset to another format.

    SRC is a folder of images and labels, a packed dataset, or .parquet or .tar files; SRC and OUT are paths or s3://.
    Without --dataset, SRC/images/[SPLIT/]NAME.png and SRC/labels/[SPLIT/]NAME.png are taken for the preset camvid.
    A table of what was taken, changed and left out ends the output; OUT/_dakpn/run.json keeps it.
    Interrupted, the same command goes on where it stopped and ends with the same bytes.
    """
    settings = pack_config(
        words,
        dataset=dataset,
        split=split,
        rows_per_shard=rows_per_shard,
        labels=labels,
        format=format,
        workers=workers,
        exclude=exclude,
        check=check,
        keep=keep,
        orientation=orientation,
    )
    from workflows import pack as workflow

    workflow.print_result(settings.output, workflow.main(settings), as_json)


def check(
    words: Annotated[list[str], typer.Argument(metavar="SRC, or CONFIG.yaml KEY=VALUE", help=_RULE)],
    dataset: Dataset = None,
    split: Split = None,
    labels: Labels = None,
    sample: Annotated[int | None, _setting("sample", CheckConfig)] = None,
    seed: Annotated[int | None, _setting("seed", CheckConfig)] = None,
    as_json: AsJson = False,
    fix: Annotated[Literal["quarantine"] | None, _setting("fix", CheckConfig)] = None,
    output: Annotated[str | None, _setting("output", CheckConfig)] = None,
    orientation: LabelOrientation = None,
) -> None:
    """Find bad images, labels and label ids before any work starts. Nothing is changed, moved or deleted.

    SRC is what can be packed, or a packed dataset: a path or s3://.
    Exits with 0 if the dataset is clean, 1 if there are problems, 3 if all of them are in the list of --fix quarantine.
    """
    settings = check_config(
        words,
        dataset=dataset,
        split=split,
        labels=labels,
        sample=sample,
        seed=seed,
        fix=fix,
        output=output,
        orientation=orientation,
    )
    from workflows import check as workflow

    report = workflow.main(settings)
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=2))
    else:
        workflow.print_report(report)
    raise typer.Exit(workflow.exit_code(report, settings))
