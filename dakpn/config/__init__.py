"""Every setting of every workflow, as frozen pydantic models. Unknown keys are refused by all of them."""

from dakpn.config.base import Config, Fraction, Size
from dakpn.config.health import AlarmConfig, HealthConfig
from dakpn.config.jobs import DemoConfig, EvaluateConfig, TranslateConfig, VerifyConfig
from dakpn.config.networks import (
    DiscriminatorConfig,
    EncoderConfig,
    FcnResnet50Config,
    HeadConfig,
    NetworkConfig,
    PredictorConfig,
    SegformerConfig,
    SegmenterTrainingConfig,
    SmallNetworkConfig,
    StyleConfig,
)
from dakpn.config.tracking import TrackingConfig
from dakpn.config.training import AdversarialConfig, ScheduleConfig, StreamConfig, TrainConfig
from dakpn.config.translation import (
    GammaConfig,
    GaussianBlurConfig,
    HsvAffineConfig,
    LabAffineConfig,
    NoiseConfig,
    RgbAffineConfig,
    StageConfig,
    SymmetricKernelConfig,
    TranslationConfig,
)

__all__ = [
    "AdversarialConfig",
    "AlarmConfig",
    "Config",
    "DemoConfig",
    "DiscriminatorConfig",
    "EncoderConfig",
    "EvaluateConfig",
    "FcnResnet50Config",
    "Fraction",
    "GammaConfig",
    "GaussianBlurConfig",
    "HeadConfig",
    "HealthConfig",
    "HsvAffineConfig",
    "LabAffineConfig",
    "NetworkConfig",
    "NoiseConfig",
    "PredictorConfig",
    "RgbAffineConfig",
    "ScheduleConfig",
    "SegformerConfig",
    "SegmenterTrainingConfig",
    "Size",
    "SmallNetworkConfig",
    "StageConfig",
    "StreamConfig",
    "StyleConfig",
    "SymmetricKernelConfig",
    "TrackingConfig",
    "TrainConfig",
    "TranslateConfig",
    "TranslationConfig",
    "VerifyConfig",
]
