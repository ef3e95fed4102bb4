"""The model card says what weights were trained from, how it went, and what rang."""

from dakpn.config import TrainConfig
from dakpn.datasets.label_space import LabelSpace
from dakpn.training.card import predictor_card
from dakpn.training.monitor import Alarm

CONFIG = TrainConfig(run="r", synthetic="s3://bucket/game", real="s3://bucket/street", seed=7)
SPACE = LabelSpace("letters", ("alpha", "beta"))


def test_the_card_names_data_digests_metrics_and_limits() -> None:
    card = predictor_card(CONFIG, SPACE, {"encoder": "sha256:12ab"}, {"identity": 0.01234567}, [])
    for words in (
        "s3://bucket/game",
        "s3://bucket/street",
        "alpha, beta",
        "sha256:12ab",
        "0.01235",
        "seed 7",
        "Limits",
    ):
        assert words in card
    assert "None rang." in card


def test_the_card_says_what_rang() -> None:
    alarm = Alarm("saturated_pixels", 120, 0.5, 0.4, "warn", "pixels go white")
    card = predictor_card(CONFIG, SPACE, {}, {}, [alarm])
    assert "- alarm saturated_pixels at step 120: 0.5, threshold 0.4; pixels go white (action: warn)" in card
    assert "Look at the translated images" in card
    assert "None rang" not in card
