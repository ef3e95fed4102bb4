"""The kernel predictor: a map of classes, and a 1 x 1 convolution from it to the transform params."""

import copy
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from dakpn.config import LabAffineConfig, PredictorConfig, TranslationConfig
from dakpn.models.folding import optimize_for_inference
from dakpn.models.function.translation import TranslationFunction
from dakpn.models.label_params import as_fractions, has_kernels_for, label_moments, weighted_sums
from dakpn.models.segmenters.networks import build_network
from dakpn.models.segmenters.segmenter import resize_to
from dakpn.models.style import ColorMoments, StyleBank, affine_towards, class_affines, color_moments


class ImageFeatures(NamedTuple):
    """All that the params need to know of images themselves; weights, labels and styles do the rest.

    Attributes:
        coarse_logits: the encoder's, float [B, C, h', w'] on its own grid; None where the params do not use them.
        moments: the images' colors; None without a style bank.
    """

    coarse_logits: Tensor | None
    moments: ColorMoments | None


class _ClassMaps(NamedTuple):
    """What the head sees, [B, M, h, w], and the shares of classes by which the style is matched, [B, C, h, w]."""

    seen: Tensor
    shares: Tensor


class KernelPredictor(nn.Module):
    """Predicts params at low resolution. The head sees classes alone: what a pixel becomes depends on what it is.

    With a style bank, f begins with an affine in l-alpha-beta whose params are computed, not learned: they take the
    image to the colors of one real image. The head's stages refine what comes out.

    Attributes:
        function: the whole translation function f, style affine and refinement.
        refinement: the stages whose params the head predicts.
        style_bank: None without styles.
        folded: whether the encoder is in its form for inference alone.

    Source: DA-KPN. The head starts at the function's initial params for every pixel: weights and biases 0. Departures:
    the style bank, and the label as class map.
    """

    def __init__(self, config: PredictorConfig) -> None:
        super().__init__()
        self.config = config
        self.folded = False
        self.refinement = TranslationFunction(config.translation)
        self.function = TranslationFunction(config.translation)
        self.style_bank: StyleBank | None = None
        if config.style.kind != "none":
            affine = LabAffineConfig(max_gain=config.style.max_gain)
            self.function = TranslationFunction(TranslationConfig(stages=(affine, *config.translation.stages)))
            self.style_bank = StyleBank(len(config.style_keys), config.num_classes)
        self.encoder = build_network(config.network, config.num_classes).requires_grad_(False).eval()
        maps = 2 if config.head.condition == "both" else 1
        self.head = nn.Conv2d(maps * config.num_classes, self.refinement.num_params, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # pyright: ignore[reportArgumentType]

    def forward(
        self,
        low: Tensor,
        *,
        label_classes: Tensor | None = None,
        styles: Tensor | None = None,
        coarse_logits: Tensor | None = None,
    ) -> Tensor:
        """Params [B, P, h, w] of `function`, inside their bounds.

        Args:
            low: low-res images, float [B, 3, h, w] in 0..1.
            label_classes: [B, C, h, w], the share of each class in each low-res pixel, in 0..1 or as
                `class_shares` has it; needed by the conditions `label` and `both`.
            styles: int64 [B], entries of the style bank; needed where there is one.
            coarse_logits: the encoder's for these images, if they are known already.
        """
        coarse = self.coarse_logits(low) if coarse_logits is None else coarse_logits
        maps = self._class_maps(coarse, label_classes, (low.shape[-2], low.shape[-1]))
        return self._params(maps, self._moments(low, maps), styles)

    @torch.no_grad()
    def image_features(
        self, low: Tensor, label_classes: Tensor | None = None, coarse_logits: Tensor | None = None
    ) -> ImageFeatures:
        """What `params_of` needs of these images; arguments as for `forward`."""
        if label_classes is not None and self._sums_of_bytes(label_classes):
            return ImageFeatures(None, None if self.style_bank is None else label_moments(low, label_classes))
        coarse = self.coarse_logits(low) if coarse_logits is None else coarse_logits
        maps = self._class_maps(coarse, label_classes, (low.shape[-2], low.shape[-1]))
        return ImageFeatures(coarse, self._moments(low, maps))

    def params_of(
        self, features: ImageFeatures, *, label_classes: Tensor | None = None, styles: Tensor | None = None
    ) -> Tensor:
        """Params as from `forward`, at the prediction size and without the images; needs no encoder."""
        if label_classes is not None and self._sums_of_bytes(label_classes):
            return self._params_of_bytes(features.moments, label_classes, styles)
        maps = self._class_maps(features.coarse_logits, label_classes, self.config.prediction_size)
        return self._params(maps, features.moments, styles)

    @property
    def uses_encoder(self) -> bool:
        """Whether the params depend on the encoder's guess; otherwise it served the style bank alone."""
        return self.config.head.condition != "label"

    def apply_style(self, images: Tensor, params: Tensor) -> Tensor:
        """Images [B, 3, H, W] after the style affine alone, with params [B, 6, H, W]; unchanged without a bank."""
        if self.style_bank is None:
            return images
        return self.function.stages[0].apply(images, params, images)

    def split_params(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """The style affine's params [B, 6 or 0, ...] and the refinement's [B, P', ...]."""
        styled = self.function.num_params - self.refinement.num_params
        return params[:, :styled], params[:, styled:]

    @torch.no_grad()
    def coarse_logits(self, low: Tensor) -> Tensor | None:
        """The encoder's logits of low-res images on its own grid; None where the params do not use them."""
        return self.encoder.coarse_logits(low) if self.uses_encoder else None

    def _class_maps(
        self, coarse_logits: Tensor | None, label_classes: Tensor | None, size: tuple[int, int]
    ) -> _ClassMaps:
        seen: list[Tensor] = []
        shares: list[Tensor] = []
        if self.uses_encoder:
            if coarse_logits is None:
                raise ValueError(f"condition {self.config.head.condition!r} needs coarse_logits, got None")
            with torch.no_grad():
                # Of one memory layout, so that logits from a network and from storage are summed alike.
                guess = resize_to(coarse_logits.contiguous(), size)
                shares.append(guess.softmax(1))
            seen.append(shares[0] if self.config.head.features == "probabilities" else guess)
        if self.config.head.needs_label:
            if label_classes is None:
                raise ValueError(f"condition {self.config.head.condition!r} needs label_classes, got None")
            shares.append(as_fractions(label_classes))
            seen.append(shares[-1])
        return _ClassMaps(seen[0] if len(seen) == 1 else torch.cat(seen, 1), shares[-1])

    @torch.no_grad()
    def _moments(self, low: Tensor, maps: _ClassMaps) -> ColorMoments | None:
        return None if self.style_bank is None else color_moments(low, maps.shares)

    def _params(self, maps: _ClassMaps, moments: ColorMoments | None, styles: Tensor | None) -> Tensor:
        params = self.refinement.bound(self.head(maps.seen))
        if self.style_bank is None:
            return params
        with torch.no_grad():
            style, own = self._style_and_own(moments, styles)
            affine = affine_towards(style, own, maps.shares, self.config.style)
        return torch.cat((affine, params), 1)

    def _style_and_own(self, moments: ColorMoments | None, styles: Tensor | None) -> tuple[ColorMoments, ColorMoments]:
        if self.style_bank is None or styles is None or moments is None:
            raise ValueError("a predictor with a style bank needs styles and color moments, got None")
        return self.style_bank(styles), moments

    def _sums_of_bytes(self, label_classes: Tensor) -> bool:
        """Whether params and moments are sums over the label alone that the compiled kernels take."""
        return not self.uses_encoder and not torch.is_grad_enabled() and has_kernels_for(label_classes)

    def _params_of_bytes(self, moments: ColorMoments | None, shares: Tensor, styles: Tensor | None) -> Tensor:
        """As `_params`: head and style affine are both sums over the classes, so that one pass makes them."""
        batch = len(shares)
        weights = self.head.weight[:, :, 0, 0].expand(batch, -1, -1)
        start = self.head.get_parameter("bias").expand(batch, -1)
        styled = self.function.num_params - self.refinement.num_params
        if self.style_bank is not None:
            whole, apart = class_affines(*self._style_and_own(moments, styles), self.config.style)
            apart = whole.new_zeros(batch, shares.shape[1], styled) if apart is None else apart
            weights, start = torch.cat((apart.transpose(1, 2), weights), 1), torch.cat((whole, start), 1)
        sums = weighted_sums(shares, weights, start)
        sums[:, styled:] = self.refinement.bound(sums[:, styled:])
        return sums

    def without_encoder(self) -> Self:
        """A copy for `params_of` alone: small, and quick to send to other processes."""
        nothing = {id(self.encoder): nn.Identity()}  # taken for the encoder's copy
        copied = copy.deepcopy(self, nothing).requires_grad_(False).eval()
        copied.folded = True
        return copied

    def for_inference(self) -> Self:
        """A copy that predicts the same, but for rounding, faster; its weights cannot be saved."""
        copied = copy.deepcopy(self).requires_grad_(False).eval()
        copied.encoder = optimize_for_inference(copied.encoder)
        copied.folded = True
        return copied

    def train(self, mode: bool = True) -> Self:
        """Training mode for the head alone: the encoder's batch statistics stay frozen too."""
        super().train(mode)
        self.encoder.eval()
        return self
