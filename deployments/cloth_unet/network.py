"""Garment U-Net: an EfficientNet encoder with a U-Net decoder, one map of all clothing.

Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015, arXiv:1505.04597;
Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019, arXiv:1905.11946.
State-dict keys are those of the official checkpoint, without its prefix "model.". Differences: none, the library it
was trained with, segmentation_models_pytorch, still builds it; logits come out, as there.
"""

import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from compile.kit import Shapes
from compile.torch_vision import make_importable
from deployments.networks import Module, Network

ENCODERS: Mapping[tuple[int, int], str] = {
    (1280, 1): "timm-efficientnet-b0",
    (1280, 2): "timm-efficientnet-b1",
    (1408, 2): "timm-efficientnet-b2",
    (1536, 2): "timm-efficientnet-b3",
    (1792, 2): "timm-efficientnet-b4",
    (2048, 3): "timm-efficientnet-b5",
    (2304, 3): "timm-efficientnet-b6",
    (2560, 4): "timm-efficientnet-b7",
    (2816, 4): "timm-efficientnet-b8",
}
"""(channels of the encoder's last layer, blocks in its first stage) -> its name in the library."""


def _encoder(shapes: Shapes) -> str | None:
    head = shapes.get("encoder.conv_head.weight", (0,))
    blocks = {key.split(".")[3] for key in shapes if key.startswith("encoder.blocks.0.")}
    return ENCODERS.get((head[0], len(blocks)))


def _knows(shapes: Shapes) -> bool:
    squeezes = "encoder.blocks.0.0.se.conv_reduce.weight" in shapes  # the lite encoders do not
    return squeezes and "segmentation_head.0.weight" in shapes and _encoder(shapes) is not None


def _build(shapes: Shapes, arch: Mapping[str, Any]) -> Module:
    make_importable()
    import segmentation_models_pytorch as smp

    decoder: list[int] = []
    while f"decoder.blocks.{len(decoder)}.conv1.0.weight" in shapes:
        decoder.append(shapes[f"decoder.blocks.{len(decoder)}.conv1.0.weight"][0])
    attends = any(".attention1." in key for key in shapes)
    with warnings.catch_warnings():
        # The library would rather have its newer encoders, whose keys are not the checkpoint's.
        warnings.simplefilter("ignore", DeprecationWarning)
        net = smp.Unet(
            _encoder(shapes),
            encoder_weights=None,
            encoder_depth=len(decoder),
            decoder_channels=decoder,
            decoder_attention_type="scse" if attends else None,
            in_channels=shapes["encoder.conv_stem.weight"][1],
            classes=shapes["segmentation_head.0.weight"][0],
        )
    net.eval()
    return net


def _outputs(net: Module, feeds: Mapping[str, Tensor], arch: Mapping[str, Any]) -> Mapping[str, Tensor]:
    return {"logits": net(feeds["image"])}


class Probability(nn.Module):
    def __init__(self, net: Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        """image: [N, 3, H, W] RGB, ImageNet's mean and deviation, H and W multiples of 32; returns [N, 1, H, W]."""
        probability: Tensor = self.net(image).sigmoid()
        return probability


CLOTH_UNET = Network(
    paper=(
        "U-Net: Convolutional Networks for Biomedical Image Segmentation, MICCAI 2015, arXiv:1505.04597; "
        "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019, "
        "arXiv:1905.11946"
    ),
    licence="MIT",
    knows=_knows,
    build=_build,
    outputs=_outputs,
    parts={"": lambda net, beside: Probability(net)},
)
