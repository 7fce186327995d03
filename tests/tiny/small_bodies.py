"""Published networks with the same layers and fewer channels, for engines that are made in a second."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from compile import kit as kits
from compile.kit import Shapes
from deployments.networks import Module, network, recognise

KITS = Path(__file__).parents[1] / "kits"
SHARE = 8
"""Channels become so many times fewer; numbers that this does not divide, such as those of classes, stay."""


def narrowed(
    kit: str, *, keep: str = "^$", without: str = "^$", exact: Mapping[str, tuple[int, ...]] = MappingProxyType({})
) -> Callable[[], Module]:
    """What makes a narrow network of the kind that a kit in tests/kits has.

    keep:    pattern of keys whose outputs stay as many all the same
    without: pattern of keys that are left out, such as those of further blocks
    exact:   shapes by the end of their keys, where they are sums
    """

    def build() -> Module:
        (listed,) = (found for found in kits.read_kits(KITS) if found.name == kit)
        shapes: dict[str, tuple[int, ...]] = {}
        for key, shape in listed.shapes.items():
            if not re.search(without, key):
                given = next((shape for end, shape in exact.items() if key.endswith(end)), None)
                shapes[key] = given or _narrow(shape, bool(re.search(keep, key)))
        identifier = recognise(shapes)
        assert identifier is not None, kit
        return network(identifier).build(shapes, listed.arch)

    return build


def small_garment_unet() -> Module:
    """Of the kind of cloth_unet, with the library's smallest encoder."""
    decoder = (16, 8, 8, 8, 8)
    shapes: Shapes = {
        "encoder.conv_stem.weight": (32, 3, 3, 3),
        "encoder.blocks.0.0.se.conv_reduce.weight": (8, 32, 1, 1),
        "encoder.conv_head.weight": (1280, 320, 1, 1),
        **{f"decoder.blocks.{i}.conv1.0.weight": (width, 1, 3, 3) for i, width in enumerate(decoder)},
        "segmentation_head.0.weight": (1, 8, 3, 3),
    }
    return network("cloth_unet").build(shapes, {})


def _narrow(shape: tuple[int, ...], keep: bool) -> tuple[int, ...]:
    """Outputs come first and inputs second; what follows are sides of filters."""
    fewer = [count // SHARE if count % SHARE == 0 and count >= 2 * SHARE else count for count in shape[:2]]
    if keep and shape:
        fewer[0] = shape[0]
    return (*fewer, *shape[2:])


Rules = tuple[tuple[str, str], ...]
"""Kinds of weights by key, so that something is left at the end of the layers; those of the kits."""

OPENPOSE_RULES: Rules = (
    (
        r"(model\.\d+\.[03]|align\.0|cpm\.conv\.0|trunk\.\d+\.[02]|initial\.0|heatmaps\.\d\.0|pafs\.\d\.0)\.weight$",
        "matrix:1.5",
    ),
)
POSENET_RULES: Rules = ((r"^features.*weight$", "matrix:1.6"), (r"^(heatmap|offset|disp).*weight$", "matrix:3"))
GRAPHONOMY_RULES: Rules = (
    (r"(pointwise|atrous_convolution|projection_conv1|semantic|depthwise)\.weight$", "matrix:1.2"),
)
SCHP_RULES: Rules = (
    (r"^decoder\.conv1\.1\.weight$", "normal:1"),
    (r"conv\d\.weight$|downsample\.0\.weight$", "matrix:1.2"),
    (r"bn3\.weight$", "normal:0.5"),
    (r"^(fushion\.3|decoder\.conv4)\.weight$", "matrix:3"),
)
DENSEPOSE_RULES: Rules = (
    (r"^backbone\.bottom_up\..*conv\d\.weight$", "matrix:1.2"),
    (r"conv3\.norm\.weight$", "normal:0.4"),
    (r"body_conv_fcn\d\.weight$|fc\d\.weight$|rpn_head\.conv\.weight$", "matrix:1.4"),
)
U_BLOCK_RULES: Rules = ((r"conv_s1\.weight$", "matrix:1.3"), (r"^(side|outconv).*weight$", "matrix:2"))
