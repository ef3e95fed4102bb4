"""The end of a translation job: the accounts, the certificate, the card, and the sign of success last."""

from collections.abc import Mapping

from dakpn import storage
from dakpn.config_file import to_yaml
from dakpn.datasets import manifest
from dakpn.datasets.certificate import Certificate, ShardCertificate, write_certificate
from dakpn.datasets.formats import FORMATS
from dakpn.datasets.manifest import DatasetIndex, ShardEntry, ShardMarker
from dakpn.errors import DataError
from dakpn.models.weights_files import copy_weights
from dakpn.translation.job_plan import TranslationPlan, delete_orphans, output_format
from dakpn.translation.params_dataset import ParamsRecord, weights_uri, write_params_record
from dakpn.wording import counted


def finish_translation(plan: TranslationPlan, markers: Mapping[str, ShardMarker]) -> DatasetIndex:
    """Declare the output finished: call it when every shard has its marker.

    Raises:
        WeightsError: The weights changed since the job started, or are gone; params need a copy of them.
        DataError: Shards are missing, or rows of the input are neither in the output nor in the quarantine.
        UsageError: A job with other settings took the output.
        StorageError: Something cannot be written.
    """
    config, index = plan.config, plan.index
    _require_all(plan, markers)
    ordered = [markers[shard.name] for shard in index.shards]
    entries = [ShardEntry(name=m.name, rows=m.rows, sha256=m.sha256, bytes=m.bytes) for m in ordered]
    kind = output_format(config, index)
    translated = index.model_copy(update={"shards": entries, "format": kind, "content": config.content})
    certificate = Certificate.of(
        [ShardCertificate.model_validate(marker.certificate) for marker in ordered],
        radius=plan.weights.radius,
        params=plan.weights.params,
        weights=plan.weights.digest,
        settings=config.settings,
        input_digest=index.digest,
    )
    delete_orphans(config.output, set(markers))
    manifest.write_index(config.output, translated)
    run = {"command": "translate", "config": to_yaml(config), "weights": plan.weights.digest}
    manifest.write_run(config.output, run)
    write_certificate(config.output, certificate)
    if config.content == "params":
        _write_what_applies_them(plan)
    storage.write_bytes(storage.join(config.output, "README.md"), _card(plan, translated, certificate).encode())
    plan.claim.require(config.output)
    manifest.mark_success(config.output)
    return translated


def _write_what_applies_them(plan: TranslationPlan) -> None:
    config = plan.config
    copy_weights(config.weights, weights_uri(config.output), plan.weights.digest)
    record = ParamsRecord(
        input=storage.absolute(config.input),
        input_digest=plan.index.digest,
        weights=plan.weights.digest,
        precision=config.precision,
        draw=config.draw,
        draws=config.draws,
    )
    write_params_record(config.output, record)


def _require_all(plan: TranslationPlan, markers: Mapping[str, ShardMarker]) -> None:
    there = set(FORMATS[output_format(plan.config, plan.index)].names(plan.config.output))
    for shard in plan.index.shards:
        marker = markers.get(shard.name)
        if marker is None or shard.name not in there:
            raise DataError(
                f"the shard {shard.name} of {plan.config.output} is gone although it was finished; run the same "
                "command again, and let nothing else write there"
            )
        if marker.rows + marker.quarantined != shard.rows:
            rows = counted(shard.rows, "row")
            raise DataError(
                f"the shard {shard.name} has {rows} in {plan.config.input}, but {marker.rows} done and "
                f"{marker.quarantined} quarantined in {plan.config.output}; delete its completion marker and run again"
            )


def _card(plan: TranslationPlan, index: DatasetIndex, certificate: Certificate) -> str:
    """The dataset card; its `configs` keep `load_dataset` from taking the row manifests for data."""
    config = plan.config
    quarantined = ""
    if certificate.quarantined:
        rows = counted(certificate.quarantined, "row")
        lie = "it lies with the reason" if certificate.quarantined == 1 else "they lie with the reasons"
        quarantined = f"{rows} of the input could not be translated; {lie} in `_dakpn/quarantine`.\n"
    labels = "Every label is the input's, byte for byte; " if index.labelled else ""
    made = f"translated from `{config.input}` with the weights\n`{certificate.weights}` at strength {config.strength:g}"
    reader = "`dakpn.datasets.shards.read_shard` or, unless it is a plain folder, with\n`datasets.load_dataset(FOLDER)`"
    images = counted(index.rows, "image")
    if config.content == "params":
        labels, images = "", counted(index.rows, "image's params", "images' params")
        made = f"of `{config.input}` with the weights\n`{certificate.weights}`, which lie in `weights`"
        reader = "`dakpn.translation.on_the_fly.TranslatingDataset`, which needs the input, too"
    return f"""{manifest.card_header(index.format)}
# Translated by dakpn

{images} in {counted(len(index.shards), "shard")}, {made}.
{quarantined}Read it with {reader}.

## Certificate

{labels}every image has its input's size;
no pixel depends on input pixels more than {certificate.radius} away.
`_dakpn/certificate.json` states this in digests of labels and sizes, with the bounds of the params and the digests of
weights, settings and code. `dakpn verify` computes it again from the two datasets alone.
"""
