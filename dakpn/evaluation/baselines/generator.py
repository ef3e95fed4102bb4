"""The ResNet generator of CycleGAN and CUT: what the baselines translate with."""

from collections.abc import Collection

from torch import Tensor, nn

from dakpn.config import GeneratorConfig

PUBLISHED = GeneratorConfig(width=64, blocks=9)
"""As published for images of 256 x 256 and more."""


class ResnetGenerator(nn.Module):
    """c7s1-w, d2w, d4w, residual blocks, u2w, uw, c7s1-3, with reflected borders and instance normalization.

    Unlike the translation function it paints: nothing ties an output pixel to the input pixel at its place.

    Source: Zhu et al., "Unpaired image-to-image translation using cycle-consistent adversarial networks", 2017.
    """

    def __init__(self, config: GeneratorConfig = PUBLISHED) -> None:
        super().__init__()
        width = config.width
        stem = [nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7), nn.InstanceNorm2d(width), nn.ReLU()]
        down = [_block(nn.Conv2d(c, 2 * c, 3, stride=2, padding=1), 2 * c) for c in (width, 2 * width)]
        self.encoder = nn.ModuleList(
            [nn.Sequential(*stem), *down, *(ResnetBlock(4 * width) for _ in range(config.blocks))]
        )
        up = [
            _block(nn.ConvTranspose2d(c, c // 2, 3, stride=2, padding=1, output_padding=1), c // 2)
            for c in (4 * width, 2 * width)
        ]
        self.decoder = nn.Sequential(*up, nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh())

    def forward(self, images: Tensor) -> Tensor:
        """Translated images [B, 3, H, W] in 0..1; H and W are multiples of 4."""
        return (self.decoder(self.features(images, ())[-1]) + 1) / 2

    def features(self, images: Tensor, layers: Collection[int]) -> list[Tensor]:
        """Outputs of these encoder layers, in order, and of the last one at the end."""
        hidden, kept = 2 * images - 1, []
        for number, layer in enumerate(self.encoder):
            hidden = layer(hidden)
            if number in layers:
                kept.append(hidden)
        return [*kept, hidden]


class ResnetBlock(nn.Module):
    """Two reflected 3 x 3 convolutions with instance normalization around a skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), nn.InstanceNorm2d(channels), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, features: Tensor) -> Tensor:
        """Same shape in and out."""
        return features + self.layers(features)


def _block(convolution: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(convolution, nn.InstanceNorm2d(channels), nn.ReLU())
