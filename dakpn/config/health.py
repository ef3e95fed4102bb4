"""What counts as an unhealthy training, and what is done about it."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from dakpn.config.base import Config, Fraction, Unit


class AlarmConfig(Config):
    """One alarm."""

    threshold: Fraction = Field(description="value of its metric from which on a report counts as bad")
    action: Literal["off", "warn", "lower_learning_rate", "stop"] = Field(
        default="warn", description="what is done when it rings; every action but off is logged, too"
    )


class HealthConfig(Config):
    """Alarms of a training. Each is a metric of every report; all that rang are named in the model card and report.

    A loss or gradient that is not finite always ends the training.
    """

    patience: Annotated[PositiveInt, Unit("reports")] = Field(
        default=3, description="reports in a row beyond a threshold until its alarm rings"
    )
    lowered_by: Fraction = Field(
        default=0.5, description="what `lower_learning_rate` multiplies the player's rate with"
    )
    discriminator_wins: AlarmConfig = Field(
        default=AlarmConfig(threshold=0.98), description="accuracy of a discriminator, at least"
    )
    discriminator_guesses: AlarmConfig = Field(
        default=AlarmConfig(threshold=0.01), description="distance of every discriminator's accuracy from 0.5, at most"
    )
    saturated_pixels: AlarmConfig = Field(
        default=AlarmConfig(threshold=0.4, action="stop"),
        description="share of pixels with a channel at 0 or 1 that had none before, at least",
    )
    inverted_hue: AlarmConfig = Field(
        default=AlarmConfig(threshold=0.2, action="stop"),
        description="share of pixels that are colorful and whose hue turned by over a quarter of the circle, at least",
    )
    params_at_bounds: AlarmConfig = Field(
        default=AlarmConfig(threshold=0.5),
        description="share of the transform params within 1 % of a bound other than the identity, at least",
    )
    data_wait_share: AlarmConfig = Field(
        default=AlarmConfig(threshold=0.5), description="share of the time spent waiting for data, at least"
    )
