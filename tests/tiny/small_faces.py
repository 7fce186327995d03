"""Small networks of the kinds that the published face models run. Needs the torch environment."""

import re
from pathlib import Path

from compile.kit import Shapes, read_kits
from deployments.networks import Module

KITS = Path(__file__).parents[1] / "kits"


def narrowed(kit: str, by: int, *, left_out: str, ends: str) -> Shapes:
    """A kit's shapes with every number of channels divided, but for the picture's three.

    left_out: pattern of keys that go; ends: of those whose numbers of channels outside are what outputs have
    """
    (found,) = (found for found in read_kits(KITS) if found.name == kit)
    shapes = {}
    for key, shape in found.shapes.items():
        if re.search(left_out, key):
            continue
        outside, inside = shape[:1], tuple(side if side == 3 else side // by for side in shape[1:2])
        shapes[key] = (*(outside if re.search(ends, key) else (side // by for side in outside)), *inside, *shape[2:])
    return shapes


def retinaface_r50() -> Module:
    """One bottleneck a stage, half as wide: wider than the pyramid from which on ReLU cuts."""
    from deployments.retinaface.network import RetinaFace

    return RetinaFace(narrowed("retinaface_r50", 2, left_out=r"^body\.layer\d\.[1-9]", ends=r"Head\."))


def bisenet_r18() -> Module:
    from deployments.bisenet_r18.network import BiSeNet

    return BiSeNet(narrowed("bisenet_faceparse", 8, left_out=r"^$", ends=r"\.conv_out\.weight$"))


def arcface() -> Module:
    """One block a stage."""
    from deployments.arcface.network import IResNet

    return IResNet((1, 1, 1, 1), size=64)


def unet_lapa() -> Module:
    from deployments.unet_lapa.network import UNet

    return UNet(width=8, depth=4, classes=11, channels=3)


def gpen() -> Module:
    """Faces of 64 x 64."""
    from deployments.gpen.network import Restorer

    return Restorer([16, 16, 8, 8, 8], latent=32, depth=2)


def parsenet() -> Module:
    from deployments.gpen.network import ParseNet

    return ParseNet([8, 16, 16], 1, [16, 8])
