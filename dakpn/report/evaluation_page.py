"""Gather what an evaluation has produced so far into the data of its part of a report."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dakpn import storage
from dakpn.config import EvaluateConfig, KernelPredictionConfig
from dakpn.config.contenders import parts_of
from dakpn.config_file import parse_config
from dakpn.datasets import manifest
from dakpn.errors import UsageError
from dakpn.evaluation.contenders.build import at_seed
from dakpn.evaluation.measures.measure import MeasuresFolder
from dakpn.evaluation.protocol import ORACLE
from dakpn.evaluation.statistics import (
    Role,
    difference_text,
    estimate,
    find_ours,
    find_source_only,
    role_of,
    score_text,
    sequence_names,
    sequence_text,
    summarize,
)
from dakpn.images import codec
from dakpn.report import (
    AgainstRow,
    Comparison,
    ContactRow,
    ContenderResult,
    EvaluationDetail,
    LabelCurve,
    LabelPoint,
    MeasureRow,
    WorstCase,
)
from dakpn.wording import duration

_MOST_WORST = 9


@dataclass(frozen=True)
class EvaluationResults:
    """A finished evaluation as its folder has it."""

    uri: str
    config: EvaluateConfig
    cells: list[dict[str, Any]]
    measures: list[dict[str, Any]]
    protocol: dict[str, str]

    def role(self, contender: str) -> Role:
        """Role of the contender, for people."""
        return role_of(self.config, contender)


def read_results(uri: str) -> EvaluationResults | None:
    """The results of an evaluation's folder; None where there are none."""
    at = storage.join(uri, "results.json")
    if not storage.exists(at):
        return None
    values = storage.read_json(at)
    try:
        config = parse_config(EvaluateConfig, values["config"], origin=at)
        return EvaluationResults(uri, config, values["cells"], values.get("measures", []), values["protocol"])
    except KeyError as error:
        raise UsageError(f"{at} lacks {error}; run `dakpn evaluate` again, finished cells are kept") from error


def contender_results(results: EvaluationResults) -> list[ContenderResult]:
    """Scores without any real label, and the oracle's: what the page opens with."""
    fewest = min((cell["real_labelled"] for cell in results.cells), default=0)
    names = list(dict.fromkeys(cell["contender"] for cell in results.cells))
    found = []
    for name in names:
        cells = [
            c for c in results.cells if c["contender"] == name and (name == ORACLE or c["real_labelled"] == fewest)
        ]
        if not cells:
            continue
        found.append(
            ContenderResult(
                name=name,
                seeds=[cell["seed"] for cell in cells],
                miou=[cell["miou"] for cell in cells],
                per_class_iou=[cell["per_class_iou"] for cell in cells],
                pixel_accuracy=[cell["pixel_accuracy"] for cell in cells],
                role=results.role(name),
                draws=[cell["draw"] for cell in cells],
            )
        )
    return found


def evaluation_detail(results: EvaluationResults) -> EvaluationDetail:
    """Curves over labels, paired comparisons, measures and pictures."""
    rows = summarize(results.config, results.cells)
    counts = sorted({row["real_labelled"] for row in rows if row["contender"] != ORACLE})
    return EvaluationDetail(
        label_curves=_label_curves(results),
        comparisons=_comparisons(results, rows),
        sequences=sequence_names(rows),
        against_each=_against_each(results, rows, counts),
        label_counts=counts,
        measures=[_measure_row(results, measured) for measured in results.measures],
        measured_on=_measured_on(results),
        contact=_contact(results),
        worst=_worst(results),
    )


def evaluation_digests(results: EvaluationResults) -> dict[str, str]:
    """Digests of the datasets that an evaluation used."""
    config = results.config
    named = {"synthetic dataset": config.synthetic, "real dataset": config.real, "test dataset": config.real_test}
    named["real labelled dataset"] = config.real_labelled.dataset if config.real_labelled else None
    return {name: manifest.read_index(uri).digest for name, uri in named.items() if uri}


def shown_weights(config: EvaluateConfig) -> str | None:
    """URI of the weights whose params the page can show: those of the first DA-KPN contender."""
    for contender in config.contenders.values():
        for part in parts_of(contender):
            if isinstance(part, KernelPredictionConfig):
                return at_seed(part.weights, config.seeds[0])
    return None


def creation_time() -> str:
    """The present time, as a page states it."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _label_curves(results: EvaluationResults) -> list[LabelCurve]:
    if results.config.real_labelled is None:
        return []
    scores: dict[str, dict[int, dict[tuple[int, int], float]]] = {}
    for cell in results.cells:
        of_count = scores.setdefault(cell["contender"], {}).setdefault(cell["real_labelled"], {})
        of_count[cell["seed"], cell["draw"]] = cell["miou"]
    curves = []
    for name, counts in scores.items():
        points = []
        for count, by_pair in sorted(counts.items()):
            mean = estimate(by_pair)
            points.append(LabelPoint(count, mean.mean, mean.low, mean.high))
        curves.append(LabelCurve(name, results.role(name), points))
    return curves


def _comparisons(results: EvaluationResults, rows: Sequence[dict[str, Any]]) -> list[Comparison]:
    sequences = sequence_names(rows)
    return [
        Comparison(
            contender=row["contender"],
            role=results.role(row["contender"]),
            real_labelled=row["real_labelled"],
            scores=row["scores"],
            miou=score_text(row),
            against_source_only=difference_text(row["against_source_only"]),
            against_best_other=difference_text(row["against_best_other"]),
            best_other=row["against_best_other"]["name"] if row["against_best_other"] else "",
            sequences=[sequence_text(row, name) for name in sequences],
        )
        for row in sorted(rows, key=lambda row: (row["real_labelled"], row["miou"]))
    ]


def _against_each(
    results: EvaluationResults, rows: Sequence[dict[str, Any]], counts: Sequence[int]
) -> list[AgainstRow]:
    ours = next(iter(find_ours(results.config)), None)
    texts: dict[str, dict[int, str]] = {}
    for row in rows:
        if row["contender"] == ours:
            for difference in row["against_each"]:
                texts.setdefault(difference["name"], {})[row["real_labelled"]] = difference_text(difference)
    return [
        AgainstRow(name, results.role(name), [of_count.get(count, "") for count in counts])
        for name, of_count in texts.items()
    ]


def _measure_row(results: EvaluationResults, measured: dict[str, Any]) -> MeasureRow:
    distances, moved = measured["distances"], measured["displacement"]
    name = measured["contender"]
    # Stored images were made elsewhere: how long that took is not known here.
    stored = results.config.contenders[name].kind in ("stored", "source_only")
    seconds = 1000 * measured["seconds_per_image"]
    price = results.config.measures.core_hour_price if results.config.measures else None
    training = measured["training_seconds"]
    return MeasureRow(
        contender=name,
        role=results.role(name),
        frechet=f"{distances['frechet']:.1f}" if distances else "",
        kernel=f"{1000 * distances['kernel']:.1f}" if distances else "",
        preservation=f"{100 * measured['preservation']['miou']:.1f}",
        accuracy=f"{100 * measured['preservation']['pixel_accuracy']:.1f} %",
        offset=f"{moved['mean_offset']:.2f} px",
        moved=f"{100 * moved['moved']:.0f} %",
        lost=f"{100 * moved['lost']:.0f} %",
        color_distance=f"{measured['colors']['distance']:.1f}",
        variety=f"{measured['colors']['variety']:.1f}",
        translation_time="" if stored else duration(seconds),
        training_time="" if training is None else duration(training),
        cost="" if stored or price is None else f"{price * seconds / 3600:.2g}",
    )


def _measured_on(results: EvaluationResults) -> str:
    if not results.measures:
        return ""
    first, size = results.measures[0], results.config.image_size
    by = f"FD({first['distances']['extractor']})" if first["distances"] else "no distance: no extractor was chosen"
    real = first["real_colors"]
    return (
        f"{first['images']} synthetic images, translated at {size[1]} x {size[0]} pixels on one core, against "
        f"{first['real_images']} real ones, whose variety is {real['variety']:.1f} grey levels; {by}."
    )


def _contact(results: EvaluationResults) -> list[ContactRow]:
    folder = MeasuresFolder(results.uri)
    if not results.measures:
        return []
    inputs = storage.read_json(folder.inputs)
    names = [measured["contender"] for measured in results.measures]
    source_only = find_source_only(results.config)
    groups = [("Synthetic", "input"), *((name, name) for name in names if name != source_only)]
    groups.append((f"Nearest real images (by {inputs['neighbours_by'].partition('@')[0]})", "neighbour"))
    count = len(inputs["shown"])
    return [ContactRow(title, [_picture(folder.picture(group, i)) for i in range(count)]) for title, group in groups]


def _worst(results: EvaluationResults) -> list[WorstCase]:
    folder, cases = MeasuresFolder(results.uri), []
    for measured in results.measures:
        name = measured["contender"]
        if name == find_source_only(results.config):
            continue
        for number, case in enumerate(measured["worst"]):
            prediction = storage.read_bytes(folder.picture(f"{name} worst prediction", number))
            cases.append(
                WorstCase(
                    contender=name,
                    key=case["key"],
                    before=_picture(folder.picture(f"{name} worst input", number)),
                    after=_picture(folder.picture(f"{name} worst", number)),
                    prediction=codec.decode_label(prediction, case["key"]),
                    accuracy_before=case["accuracy_untranslated"],
                    accuracy_after=case["accuracy"],
                )
            )
    return _worst_of_each(cases)


def _worst_of_each(cases: Sequence[WorstCase]) -> list[WorstCase]:
    """The worst of each contender first, then the next worst, up to what fits on a page."""
    places: dict[str, int] = {}
    ranked = []
    for case in cases:
        places[case.contender] = places.get(case.contender, -1) + 1
        ranked.append((places[case.contender], case.accuracy_after - case.accuracy_before, case))
    return [case for *_, case in sorted(ranked, key=lambda item: item[:2])[:_MOST_WORST]]


def _picture(uri: str) -> NDArray[np.uint8]:
    return codec.decode_image(storage.read_bytes(uri), uri)
