"""Rivals that have to be trained: CycleGAN and CUT, compact, with one generator and the project's discriminator."""

from dakpn.evaluation.baselines.training import Generated, RivalConfig, fit_rival

__all__ = ["Generated", "RivalConfig", "fit_rival"]
