"""Translate a dataset as a Ray Data job: one input shard, one output shard, its completion marker last."""

import logging
from typing import Any

import ray.data
from ray.data import ActorPoolStrategy

from cluster.session import ray_session
from dakpn.config import TranslateConfig
from dakpn.config_file import to_yaml
from dakpn.data import manifest, storage
from dakpn.data.claim import claim_folder, refuse_other_shards
from dakpn.data.formats import FormatName
from dakpn.data.manifest import DatasetIndex, ShardEntry, ShardMarker
from dakpn.errors import DakpnError, DataError, UsageError
from dakpn.inference.shard_job import finished_marker, shard_fingerprint, translate_shard
from dakpn.inference.translator import Translator
from dakpn.models.weights import load_predictor
from dakpn.segmentation.examples import limit_threads

logger = logging.getLogger(__name__)


def main(config: TranslateConfig) -> DatasetIndex:
    """Translate what is not translated yet and return the index of the output.

    Raises:
        UsageError: the input is not a finished dataset, or the output holds something else.
        WeightsError: the weights cannot be used.
        DataError: shards failed; the others are done, and a rerun tries the failed ones again.
    """
    index = manifest.read_index(config.input)
    _claim_output(config, index)
    _, _, digest = load_predictor(config.weights)
    fingerprints = {s.name: shard_fingerprint(config, digest, s.name, index.format) for s in index.shards}
    markers = {name: finished_marker(config, value, name, index.format) for name, value in fingerprints.items()}
    done = {name: marker for name, marker in markers.items() if marker}
    todo = [shard.name for shard in index.shards if shard.name not in done]
    logger.info("%d of %d shards to translate, %d done before", len(todo), len(index.shards), len(done))
    if todo:
        storage.delete(storage.join(config.output, "_SUCCESS"))
        done |= _translate_shards(config, todo, index.format)
    return _finish(config, index, [done[shard.name] for shard in index.shards], digest)


class ShardTranslator:
    """A Ray actor that holds the weights and translates one shard a call."""

    def __init__(self, config: dict[str, Any], shard_format: FormatName) -> None:
        limit_threads(1)  # one core each; float sums do not depend on the machine's core count either
        self._config = TranslateConfig.model_validate(config)
        self._format: FormatName = shard_format
        self._translator = Translator.load(
            self._config.weights,
            self._config.strength,
            self._config.draw,
            max_pixels_in_flight=self._config.max_pixels_in_flight,
        )

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Translate the shard `row["name"]`; an error that a user can act on comes back as text."""
        try:
            marker = translate_shard(self._translator, self._config, row["name"], self._format)
        except DakpnError as error:
            return {"marker": None, "error": str(error)}
        return {"marker": marker.model_dump_json(), "error": None}


def _claim_output(config: TranslateConfig, index: DatasetIndex) -> None:
    if storage.absolute(config.input).rstrip("/") == storage.absolute(config.output).rstrip("/"):
        raise UsageError(f"input and output are both {config.input}; write to another folder")
    storage.preflight(config.output, write=True)
    refuse_other_shards(config.output, index.format, [shard.name for shard in index.shards])
    claim_folder(config.output, index.format)


def _translate_shards(config: TranslateConfig, names: list[str], shard_format: FormatName) -> dict[str, ShardMarker]:
    workers = min(config.workers, len(names))
    finished: dict[str, ShardMarker] = {}
    errors: list[str] = []
    with ray_session(cpus=workers):
        results = ray.data.from_items([{"name": name} for name in names], override_num_blocks=len(names)).map(
            ShardTranslator,  # pyright: ignore[reportArgumentType] - Ray makes an actor of the class
            fn_constructor_args=(config.model_dump(mode="json"), shard_format),
            compute=ActorPoolStrategy(size=workers),
            num_cpus=1,
        )
        for row in results.iter_rows():
            if row["error"] is not None:
                errors.append(row["error"])
                logger.error("%s", row["error"])
                continue
            marker = ShardMarker.model_validate_json(row["marker"])
            finished[marker.name] = marker
            logger.info("%s: %d images (%d of %d shards)", marker.name, marker.rows, len(finished), len(names))
    if errors:
        raise DataError(
            f"{len(errors)} of {len(names)} shards failed, first: {errors[0]}; mend the input and run the same command "
            "again: finished shards are kept"
        )
    return finished


def _finish(config: TranslateConfig, index: DatasetIndex, markers: list[ShardMarker], digest: str) -> DatasetIndex:
    entries = [ShardEntry(name=m.name, rows=m.rows, sha256=m.sha256, bytes=m.bytes) for m in markers]
    translated = index.model_copy(update={"shards": entries})
    manifest.write_index(config.output, translated)
    manifest.write_run(config.output, {"command": "translate", "config": to_yaml(config), "weights": digest})
    storage.write_bytes(storage.join(config.output, "README.md"), _card(config, translated, digest).encode())
    manifest.mark_success(config.output)
    return translated


def _card(config: TranslateConfig, index: DatasetIndex, digest: str) -> str:
    """The dataset card; its `configs` keep `load_dataset` from taking the row manifests for data."""
    return f"""{manifest.card_header(index.format)}
# Translated by dakpn

{index.rows} images in {len(index.shards)} shards, translated from `{config.input}` with the weights `{digest}` at
strength {config.strength:g}. Labels are the input's, byte for byte. Read it with `dakpn.data.shards.read_shard`
or, unless it is a plain folder, with `datasets.load_dataset(FOLDER)`.
"""


if __name__ == "__main__":
    from workflows.cli import run

    run("translate")
