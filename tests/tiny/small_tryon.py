"""Small networks of the kinds that the published try-on and suit models run. Needs the torch environment."""

from compile.kit import Shapes
from deployments.networks import Module

SPECTRAL = ((r"weight_[uv]$", "spectral"),)


def conditions() -> Module:
    from deployments.hrviton.network import ConditionGenerator

    return ConditionGenerator(4, 16, 13, 8, bends="T1", convolved=False, batch=True)


def generator() -> Module:
    """Seven sizes where the official one has eight, 2 channels wide at the last."""
    from deployments.hrviton.network import ImageGenerator

    widths = ((32, 32), (48, 32), (48, 32), (48, 16), (32, 8), (24, 4), (20, 2))
    shapes: dict[str, tuple[int, ...]] = {"conv_img.weight": (3, 2, 3, 3)}
    for level, (name, (inside, outside)) in enumerate(zip(ImageGenerator.BLOCKS, widths, strict=False)):
        middle = min(inside, outside)
        shapes[f"conv_{level}.weight"] = (16 if level else 32, 9, 3, 3)
        shapes[f"{name}.conv_0.bias"] = (middle,)
        shapes[f"{name}.conv_0.weight_orig"] = (middle, inside, 3, 3)
        shapes[f"{name}.conv_1.weight_orig"] = (outside, middle, 3, 3)
        shapes[f"{name}.norm_0.conv_shared.0.weight"] = (8, 7, 3, 3)
    given: Shapes = shapes
    return ImageGenerator(given)


def noise(height: int, width: int) -> int:
    """How much of it `generator` takes for a picture of this size."""
    planes = [(height >> level) * (width >> level) for level in range(7)]
    return 3 * sum(planes) - planes[-1]
