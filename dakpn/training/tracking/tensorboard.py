"""TensorBoard event files, on any storage."""

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tensorboardX import SummaryWriter

from dakpn import storage


class TensorBoardTracker:
    """Scalars and pictures as event files, copied to the run's folder whole after each report.

    Event files only grow, which object storage has no way to do, so they are written to a local folder first.
    """

    def __init__(self, uri: str, stage: str, start_step: int) -> None:
        self._uri = storage.join(uri, stage)
        self._folder = tempfile.TemporaryDirectory(prefix="dakpn-tensorboard-")
        # Steps that a run takes again replace those of the events before.
        self._writer = SummaryWriter(self._folder.name, purge_step=start_step + 1, flush_secs=3600)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Add a point to each curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._copy()

    def picture(self, step: int, image: NDArray[np.uint8]) -> None:
        """Add a picture uint8 [H, W, 3]."""
        self._writer.add_image("samples", image, step, dataformats="HWC")
        self._copy()

    def close(self) -> None:
        """Finish the files."""
        self._writer.close()
        self._copy()
        self._folder.cleanup()

    def _copy(self) -> None:
        if self._writer.file_writer is not None:
            self._writer.flush()
        for path in Path(self._folder.name).iterdir():
            storage.write_bytes(storage.join(self._uri, path.name), path.read_bytes())
