"""The command line of `dakpn`: what each command takes, and what it prints of its workflow's result.

The workflows are imported inside the commands: they load Ray and torch, and `--help` should not.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from dakpn import __version__
from dakpn.config import DemoConfig, VerifyConfig
from dakpn.config_file import build_config
from dakpn.wording import counted
from workflows import cli_jobs, cli_sources
from workflows.command_configs import evaluate_config, train_config, translate_config, tune_config

app = typer.Typer(
    name="dakpn",
    help="Translate synthetic images towards real ones while every label stays exact.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

_QUARANTINED = 3
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="dotted.key=value overrides")]


@app.callback(invoke_without_command=True)
def _options(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        typer.echo(f"dakpn {__version__}")
        raise typer.Exit


app.command()(cli_sources.pack)
app.command()(cli_sources.check)


@app.command()
def train(config: Annotated[Path, typer.Argument(help="YAML file.")], overrides: Overrides = None) -> None:
    """Train the source segmenter and the kernel predictor, or resume them.

    The same command on the same run folder goes on from the newest complete checkpoint.
    """
    settings = train_config(config, overrides)  # a typo is answered before torch is loaded
    from workflows import train as workflow

    weights = workflow.main(settings)
    typer.echo(f"weights: {weights}")


@app.command()
def tune(
    config: Annotated[Path, typer.Argument(help="YAML file: a training config with a section `tune`.")],
    overrides: Overrides = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Let trials go on that failed in an earlier run.")
    ] = False,
) -> None:
    """Train many times with other settings, and find the best: random, Optuna, ASHA or population-based training.

    Interrupted, the same command goes on where it stopped; finished trials are not run again. The winning config is
    OUTPUT/best.yaml, for `dakpn train`.
    """
    settings = tune_config(config, overrides)
    from workflows import tune as workflow

    outcome = workflow.main(settings, retry_failed)
    workflow.print_results(settings, outcome)


@app.command()
def translate(
    weights: Annotated[str, typer.Option(help="URI of trained weights (RUN/weights).")],
    input: Annotated[str, typer.Option(help="URI of a packed dataset.")],  # noqa: A002 - the option's name
    output: Annotated[str, typer.Option(help="URI of the translated dataset.")],
    overrides: Overrides = None,
    only: Annotated[str | None, typer.Option(metavar="SHARDS", help="Make these shards alone: NAME,NAME,...")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Make the last run's failed shards again, and those with bad rows.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is left, and estimate time and cost from a few images.")
    ] = False,
) -> None:
    """Translate a packed dataset; labels are copied byte for byte.

    Interrupted, the same command goes on where it stopped and ends with the same bytes. Settings such as
    strength=0.5 or workers=8 follow as overrides. Rows that cannot be translated go to OUTPUT/_dakpn/quarantine with
    the reason, and the exit code is 3; more of them than max_bad_fraction end the job.
    content=params stores what a translation depends on instead of pixels, for TranslatingDataset to apply.
    """
    from dakpn.datasets.quarantine import quarantined_shards

    config = translate_config(weights, input, output, overrides)
    from workflows import translate as workflow

    names = None if only is None else [name.strip() for name in only.split(",") if name.strip()]
    if dry_run:
        workflow.dry_run(config, names, retry_failed)
        return
    index = workflow.main(config, names, retry_failed)
    if index is None:
        typer.echo(f"{output}: not complete yet; run the command without --only and --retry-failed for the rest")
    else:
        images = counted(index.rows, "image")
        made = f"params of {images}" if index.content == "params" else images
        typer.echo(f"{output}: {made} in {counted(len(index.shards), 'shard')}")
    if quarantined_shards(output):
        raise typer.Exit(_QUARANTINED)


@app.command()
def verify(
    input: Annotated[str, typer.Option(help="URI of the packed dataset that was translated.")],  # noqa: A002
    output: Annotated[str, typer.Option(help="URI of the translated dataset.")],
    weights: Annotated[
        str | None, typer.Option(help="URI of the weights: translates images again and compares pixels.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Translate so many images of each shard again; all by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    overrides: Overrides = None,
) -> None:
    """Prove that the output is complete and every label byte-identical, from the two datasets alone.

    Settings such as workers=8 or decode=true follow as overrides. Exits with 0 if all holds, else 1.
    """
    values = {"input": input, "output": output, "weights": weights, "sample": sample}
    settings = build_config(VerifyConfig, values, overrides or ())
    from workflows import verify as workflow

    report = workflow.compare(settings)
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=2))
        raise typer.Exit(0 if report.ok else 1)
    workflow.require_no_difference(report)
    workflow.print_report(report)
    typer.echo(f"{output}: complete, {report.summary}")


@app.command()
def evaluate(
    config: Annotated[Path, typer.Argument(help="YAML file.")],
    overrides: Overrides = None,
    contender: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=URI", help="One more contender: a folder or dataset of translated images."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="In minutes: one seed, the fewest labels, short trainings; in OUTPUT/quick.")
    ] = False,
) -> None:
    """Train the same segmenter on each contender's images, with few real labels or none, and score it on real ones.

    Scores are compared in pairs over seeds and draws. Interrupted, the same command goes on where it stopped.
    """
    settings = evaluate_config(config, overrides, contender, quick)
    from workflows import evaluate as workflow

    workflow.main(settings)
    workflow.print_summary(settings.output)
    typer.echo(f"results: {settings.output}/results.json")


@app.command()
def report(
    run: Annotated[
        str, typer.Argument(help="URI of a training run, finished or not; or of an evaluation, for a page of that.")
    ],
    evaluation: Annotated[str | None, typer.Option(help="URI of an evaluation's output folder.")] = None,
    output: Annotated[str | None, typer.Option(help="URI of the page; RUN/report.html by default.")] = None,
) -> None:
    """Write one self-contained HTML page about a run, at any time."""
    from dakpn.report.run_page import ReportInputs
    from workflows import report as workflow

    page = workflow.main(ReportInputs(run=run, evaluation=evaluation), output or f"{run.rstrip('/')}/report.html")
    typer.echo(f"report: {page}")


@app.command()
def export(
    weights: Annotated[str, typer.Option(help="URI of trained weights (RUN/weights).")],
    output: Annotated[str, typer.Option(help="URI of the file to be written.")] = "predictor.onnx",
) -> None:
    """Export a predictor to ONNX: low-res image to transform params, checked against torch."""
    from workflows import export as workflow

    typer.echo(f"onnx: {workflow.main(weights, output)}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = Path("runs/demo"),
    real: Annotated[Path | None, typer.Option(help="Folder of real images; simulated ones by default.")] = None,
    real_dataset: Annotated[str, typer.Option(help="Preset of --real.")] = "camvid",
    synthetic: Annotated[Path | None, typer.Option(help="Folder of synthetic images and labels.")] = None,
    synthetic_dataset: Annotated[str, typer.Option(help="Preset of --synthetic.")] = "camvid",
    overrides: Overrides = None,
) -> None:
    """Run the whole workflow on this machine: pack, train, translate, verify, evaluate, report."""
    from workflows import demo as workflow

    values = {
        "out": out,
        "real": real,
        "real_dataset": real_dataset,
        "synthetic": synthetic,
        "synthetic_dataset": synthetic_dataset,
    }
    scores, page = workflow.main(build_config(DemoConfig, values, overrides or ()))
    if scores:
        from workflows import evaluate as evaluation

        evaluation.print_summary(str(out / "evaluation"))
    typer.echo(f"report: {page}")


@app.command("config")
def config_(
    command: Annotated[
        str, typer.Argument(help="train, tune, translate, verify, evaluate, demo, or storage (DAKPN_STORAGE_OPTIONS).")
    ],
    section: Annotated[str | None, typer.Argument(help="One section of them, such as `adversarial`.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print one table in Markdown.")] = False,
) -> None:
    """Print every setting of a command: key, default, type, unit and meaning."""
    from workflows import config as workflow

    settings = workflow.main(command, section)
    if as_json or as_markdown:
        typer.echo(workflow.as_json(settings) if as_json else workflow.as_markdown(settings))
    else:
        workflow.print_settings(settings)


app.command(context_settings=cli_jobs.SUBMIT_SETTINGS)(cli_jobs.submit)
app.add_typer(cli_jobs.jobs, name="jobs")
