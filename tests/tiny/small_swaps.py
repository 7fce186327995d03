"""Small networks of the kinds that the generating and swapping models run. Needs the torch environment."""

import json
from collections.abc import Mapping
from pathlib import Path

from deployments.networks import Module, network

KITS = Path(__file__).parents[1] / "kits"
LATENT = 64
LATENTS: Mapping[str, tuple[int | str, ...]] = {
    "z": ("N", LATENT),
    "offset": ("N", LATENT),
    "image": ("N", 3, 64, 64),
}
COPART_RULES = (
    (r"affine\.weight$", "normal:0.02"),
    (r"reconstruction_module\.final\.weight$", "normal:0.1"),
    (r"segmentation_module\.affine\.bias$|down\.weight$", "skip"),
    (r"segmentation\.weight$|shift\.weight$", "normal:0.1"),
)
COPART_TENSORS: Mapping[str, tuple[int | str, ...]] = {
    "picture": ("N", 3, 128, 128),
    "exchanged": ("N", 3, 128, 128),
    "features": ("N", 32, 32, 32),
    "mask": ("N", 1, 32, 32),
    "segments": ("N", 11, 32, 32),
    "their_segments": ("N", 11, 32, 32),
}
PSGAN_TENSORS: Mapping[str, tuple[int | str, ...]] = {
    **dict.fromkeys(("face", "reference", "face_parts", "reference_parts", "made_up"), ("N", 3, 64, 64)),
    **dict.fromkeys(("face_places", "reference_places"), ("N", 3, 136, 16, 16)),
}
CHANNELS = (32, 32, 24, 16, 16)
"""Of a generator of 64 x 64 pixels."""


def stylegan2_ada() -> Module:
    from deployments.stylegan2_ada.network import Generator

    return Generator(CHANNELS, inside=LATENT, latent=LATENT)


def stylegan2_rosinality() -> Module:
    from deployments.stylegan2_rosinality.network import Generator

    return Generator(CHANNELS, latent=LATENT)


def e4e() -> Module:
    """For faces of 64 x 64 pixels and the generators above."""
    from deployments.e4e.network import Encoder

    groups = ((3, 16, 16), (4, 16, 24), (14, 24, 32), (3, 32, LATENT))
    blocks = [(before if i == 0 else here, here, 1 + (i == 0), 4) for n, before, here in groups for i in range(n)]
    return Encoder(blocks, (2, 2, 2, 3, 3, 3, 3, 4, 4, 4), offsets=True)


def ir_se() -> Module:
    from deployments.arcface.network import IRSE

    blocks = [(16, 16, 2, 4), (16, 24, 2, 4), (24, 32, 2, 4), (32, 40, 2, 4)]
    return IRSE(blocks, side=112, size=64)


def copart() -> Module:
    """An eighth of the channels; as many parts, and the picture's three channels beside the features."""
    listed = json.loads((KITS / "copart_vox_10segments.keys.json").read_text())
    heads = tuple(f"segmentation_module.{name}." for name in ("shift", "affine", "segmentation"))
    shapes = {
        key: (shape[0], 32 // 8 + 3, *shape[2:]) if key.startswith(heads) and len(shape) > 1
        else tuple(shape) if key.startswith(heads)
        else (*(side // 8 if side >= 16 else side for side in shape[:2]), *shape[2:])
        for key, (shape, _) in listed.items()
    }  # fmt: skip
    return network("copart").build(shapes, {})
