"""The layout of a training run's folder, and whether a config may go on in it."""

from dataclasses import dataclass

from dakpn import storage
from dakpn.config import TrainConfig
from dakpn.config_file import parse_config, to_yaml
from dakpn.errors import ConfigError

_FREE_TO_CHANGE = {"run", "workers", "cpus_per_worker", "use_gpu", "stream", "report_every", "checkpoint_every"}
_FREE_TO_CHANGE |= {"keep_checkpoints", "max_failures", "health", "tracking"}


@dataclass(frozen=True)
class RunFolder:
    """URIs of what a run writes."""

    uri: str

    @property
    def config(self) -> str:
        """The resolved config."""
        return storage.join(self.uri, "config.yaml")

    @property
    def metrics(self) -> str:
        """Metrics as JSON lines."""
        return storage.join(self.uri, "metrics.jsonl")

    @property
    def alarms(self) -> str:
        """Alarms that rang, as JSON lines."""
        return storage.join(self.uri, "alarms.jsonl")

    @property
    def encoder(self) -> str:
        """Weights of the source segmenter."""
        return storage.join(self.uri, "encoder")

    @property
    def styles(self) -> str:
        """The style bank, as it was before training."""
        return storage.join(self.uri, "styles")

    def encoder_round(self, number: int) -> "RunFolder":
        """Where a round of the encoder's training that is not the last leaves its encoder and styles."""
        return RunFolder(storage.join(self.uri, "encoder_rounds", str(number)))

    @property
    def weights(self) -> str:
        """Weights of the trained predictor: what `dakpn translate` takes."""
        return storage.join(self.uri, "weights")

    @property
    def tensorboard(self) -> str:
        """TensorBoard's event files, a folder a stage."""
        return storage.join(self.uri, "tensorboard")

    def samples(self, step: int) -> str:
        """A picture of fixed samples after a step of the adversarial stage."""
        return storage.join(self.uri, "samples", f"step-{step:08d}.png")

    def checkpoints(self, stage: str) -> str:
        """Checkpoints of a stage."""
        return storage.join(self.uri, "checkpoints", stage)

    def begin(self, config: TrainConfig) -> None:
        """Write the resolved config, or make sure that the one there allows this config to resume the run.

        Raises:
            ConfigError: the folder holds a run with other settings.
        """
        if storage.exists(self.config):
            before = parse_config(TrainConfig, storage.read_bytes(self.config).decode(), origin=self.config)
            changed = [
                name
                for name in TrainConfig.model_fields
                if name not in _FREE_TO_CHANGE and getattr(before, name) != getattr(config, name)
            ]
            if changed:
                raise ConfigError(
                    f"{self.uri} holds a run with other settings ({', '.join(changed)}); expected the same ones to "
                    "resume it: set `run` to a new folder, or restore the settings"
                )
        storage.write_bytes(self.config, to_yaml(config).encode())
