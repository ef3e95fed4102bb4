"""Export a predictor to ONNX."""

import logging

from dakpn import storage
from dakpn.models.export import export_predictor
from dakpn.models.weights import load_predictor

logger = logging.getLogger(__name__)


def main(weights: str, output: str) -> str:
    """Write the predictor of `weights` to the URI `output` and return that URI.

    Raises:
        UsageError: `dakpn[onnx]` is not installed.
        WeightsError: the weights cannot be used, or the export computes something else.
    """
    predictor, _, digest = load_predictor(weights)
    exported, difference = export_predictor(predictor, {"weights": digest})
    storage.write_bytes(output, exported)
    logger.info("params differ from torch's by at most %.1g of their range", difference)
    return output


if __name__ == "__main__":
    from workflows import as_command

    as_command("export")
