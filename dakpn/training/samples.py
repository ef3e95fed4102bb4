"""The same few samples, drawn again and again while a predictor trains."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.func import functional_call

from dakpn.training.adversarial import AdversarialTask, Batch, predictor_inputs, seeded_noise
from dakpn.training.state import ExponentialMovingAverage

_GAP = 4


@torch.no_grad()
def sample_grid(task: AdversarialTask, average: ExponentialMovingAverage | None, batch: Batch) -> NDArray[np.uint8]:
    """Low-res images of a batch as a picture uint8 [H, W, 3]: a row synthetic, a row translated, a row real.

    Args:
        task: its predictor translates.
        average: smoothed params of the predictor, which are what becomes the weights; None takes the params.
        batch: as for the task, on its device; the same one gives pictures that can be compared.
    """
    low, seeds = batch["synthetic_low"], 2 * batch["synthetic_noise"] + 1
    shadow = average.shadow if average else {}
    inputs = {**predictor_inputs(batch), "coarse_logits": batch.get("synthetic_logits")}
    params = functional_call(task.predictor, shadow, (), inputs)
    translated = task.predictor.function.apply(low, params, seeded_noise(seeds, low))
    rows = [torch.cat([_framed(image) for image in images], 2) for images in (low, translated, batch["real_low"])]
    pixels = torch.cat(rows, 1)[:, _GAP:, _GAP:]
    return pixels.mul(255).round().byte().permute(1, 2, 0).cpu().numpy()


def _framed(image: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(image, (_GAP, 0, _GAP, 0), value=1.0)
