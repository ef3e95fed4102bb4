"""Where an evaluation computes, and where unfinished trainings are kept until they are done."""

from dataclasses import dataclass

import torch

from dakpn import storage
from dakpn.config import EvaluateConfig
from dakpn.errors import UsageError
from dakpn.evaluation.image_sets import exceeds
from dakpn.models.precision import compute_dtype
from dakpn.segmentation.fit import Workplace
from dakpn.training.checkpoint import CheckpointFolder


@dataclass(frozen=True)
class Unfinished:
    """The checkpoints of one training of an evaluation, deleted when it is done.

    Attributes:
        config: Config of the evaluation.
        name: Name of the training; holds the digest of all that it depends on, so that no other goes on from it.
    """

    config: EvaluateConfig
    name: str

    @property
    def uri(self) -> str:
        """URI of the folder of the checkpoints."""
        return storage.join(self.config.output, "unfinished", self.name)

    def checkpoints(self) -> CheckpointFolder:
        """The checkpoints that the training writes and resumes from."""
        return CheckpointFolder(self.uri, keep=1)

    def delete(self) -> None:
        """Delete the checkpoints once the training is done."""
        self.checkpoints().clear()


def device_of(config: EvaluateConfig) -> torch.device:
    """Where this process computes. Raises `UsageError` if a GPU is asked for and there is none."""
    if not config.num_gpus:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UsageError(
            f"num_gpus is {config.num_gpus:g}, but torch finds no GPU here; set num_gpus=0, or evaluate where there is "
            "one, with a torch that has CUDA"
        )
    return torch.device("cuda")


def workplace_of(config: EvaluateConfig, device: torch.device, unfinished: Unfinished | None = None) -> Workplace:
    """How the segmenters of an evaluation are trained on a device."""
    dtype = compute_dtype(config.precision, device)
    if unfinished is None:
        return Workplace(device, dtype)
    return Workplace(device, dtype, unfinished.checkpoints(), config.checkpoint_every)


def bounded_memory(config: EvaluateConfig) -> dict[str, float]:
    """The bound, for a protocol, if a dataset exceeds it: its class weights and references are then those of a part."""
    datasets = (config.synthetic, config.real, config.oracle, config.real_test)
    if any(uri and exceeds(uri, config.image_size, config.memory_gigabytes) for uri in datasets):
        return {"memory_gigabytes": config.memory_gigabytes}
    return {}


def described_precision(config: EvaluateConfig) -> str:
    """What the segmenters compute in, as a protocol states it."""
    return config.precision if config.precision != "auto" else "bfloat16" if config.num_gpus else "float32"
