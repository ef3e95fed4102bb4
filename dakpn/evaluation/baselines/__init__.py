"""Baselines that have to be trained: CycleGAN and CUT, compact, with one generator and the project's discriminator."""

from dakpn.evaluation.baselines.training import BaselineConfig, Generated, fit_baseline

__all__ = ["BaselineConfig", "Generated", "fit_baseline"]
