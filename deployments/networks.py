"""The published networks that models of the `paper` edition run, each as its official checkpoint has it.

A checkpoint says which network it belongs to by its keys and shapes, so nothing depends on the names of files.
Networks need torch and are imported only where they are built: for export and for parity.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from compile.kit import TOLERANCE, Arrays, Shapes

Module = Any
"""torch.nn.Module"""


def whole(net: Module, beside: Mapping[str, Any]) -> Module:
    """A network that one engine runs as it is."""
    return net


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How a published network is recognised, built and run. Its checkpoints are in the manifest, under its id.

    paper:   titles, where they appeared, arXiv numbers where there are any
    licence: of the reference's code
    knows:   whether a checkpoint with these keys and shapes is this network's
    build:   (shapes, arch) -> the network in evaluation mode, its state-dict with exactly these keys, shapes and order.
             Sizes come from the shapes; arch holds the reference's constructor arguments and may be empty: only what
             no shape tells is looked up there, with the official value as default
    outputs: (network, feeds as float32 tensors by name, arch) -> every output that kits ask for, by their names
    tolerance: of its kits, where they ask for less: only where the reference itself is no steadier
    parts:   what engines are made of, by the part's name, "" where one engine runs the whole: (network, tensors beside
             its weights in the official file) -> module that takes and returns the engine's tensors in their order
    once:    one pass for one picture at the size it is made for, on the default device; returns what went in. Where
             `outputs` runs more than that, or kits come without inputs
    """

    paper: str
    licence: str
    knows: Callable[[Shapes], bool]
    build: Callable[[Shapes, Mapping[str, Any]], Module]
    outputs: Callable[[Module, Mapping[str, Any], Mapping[str, Any]], Mapping[str, Any]]
    parts: Mapping[str, Callable[[Module, Mapping[str, Any]], Module]] = field(default_factory=lambda: {"": whole})
    tolerance: float = TOLERANCE
    once: Callable[[Module], Sequence[Any]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Procedure:
    """Pre- or post-processing of a published model, with what the reference gave for stored inputs.

    knows:    whether a kit with arrays of these names is about it
    reproduce: arrays -> worst difference of each result, over the largest value of the reference's
    beside:   whether a kit with arrays of these names holds inputs that the procedure's own kits leave out; the one
              in the same folder whose name is most alike is taken
    """

    knows: Callable[[frozenset[str]], bool]
    reproduce: Callable[[Arrays], Mapping[str, float]]
    beside: Callable[[frozenset[str]], bool] | None = None


NETWORKS: Mapping[str, str] = {
    "arcface_iresnet": "deployments.arcface.network:IRESNET",
    "ir_se_arcface": "deployments.arcface.network:IR_SE",
    "beautygan": "deployments.beautygan.network:BEAUTYGAN",
    "bisenet_r18": "deployments.bisenet_r18.network:BISENET",
    "cloth_unet": "deployments.cloth_unet.network:CLOTH_UNET",
    "copart": "deployments.copart.network:COPART",
    "densepose": "deployments.densepose.network:R_50_FPN",
    "dexined": "deployments.dexined.network:DEXINED",
    "e4e": "deployments.e4e.network:E4E",
    "aei_ghost": "deployments.faceshifter.network:GHOST",
    "hear_mindslab": "deployments.faceshifter.network:HEAR_MINDSLAB",
    "hear_taotaonice": "deployments.faceshifter.network:HEAR_TAOTAONICE",
    "aei_mindslab": "deployments.faceshifter.network:MINDSLAB",
    "aei_taotaonice": "deployments.faceshifter.network:TAOTAONICE",
    "fashion_clip": "deployments.fashion_clip.network:FASHION_CLIP",
    "fashion_siglip": "deployments.fashion_siglip.network:FASHION_SIGLIP",
    "gpen": "deployments.gpen.network:GPEN",
    "gpen_parsenet": "deployments.gpen.network:PARSENET",
    "graphonomy": "deployments.graphonomy.network:GRAPHONOMY",
    "hrviton_tocg": "deployments.hrviton.network:CONDITIONS",
    "hrviton_gen": "deployments.hrviton.network:GENERATOR",
    "isnet": "deployments.isnet.network:ISNET",
    "ldc_b4": "deployments.ldc.network:LDC_B4",
    "lightweight_openpose": "deployments.lightweight_openpose.network:OPENPOSE",
    "modnet": "deployments.modnet.network:MODNET",
    "paint_by_example_encoder": "deployments.paint_by_example.network:EXAMPLE_ENCODER",
    "paint_by_example_unet": "deployments.paint_by_example.network:UNET",
    "paint_by_example_vae": "deployments.paint_by_example.network:VAE",
    "pix2pix_unet256": "deployments.pix2pix_unet.network:UNET",
    "posenet": "deployments.posenet.network:MOBILENET",
    "psgan": "deployments.psgan.network:PSGAN",
    "retinaface": "deployments.retinaface.network:RETINAFACE",
    "schp": "deployments.schp.network:PARSER",
    "stylegan2_ada": "deployments.stylegan2_ada.network:ADA",
    "stylegan2_rosinality": "deployments.stylegan2_rosinality.network:ROSINALITY",
    "teed": "deployments.teed.network:TEED_NETWORK",
    "cloth_u2net": "deployments.u2net.network:GARMENTS",
    "u2net": "deployments.u2net.network:SALIENCY",
    "unet_lapa": "deployments.unet_lapa.network:UNET",
}
"""id -> "module:NAME" of its `Network`; the first that knows a checkpoint takes it."""

PROCEDURES: Mapping[str, str] = {
    "densepose_convert": "deployments.densepose.surface:CONVERSION",
    "hrviton_agnostic": "deployments.hrviton.reproduce:AGNOSTIC",
    "hrviton_preparation": "deployments.hrviton.reproduce:PREPARATION",
    "hrviton_conditions": "deployments.hrviton.reproduce:CONDITIONS",
    "lightweight_openpose_group": "deployments.lightweight_openpose.group:GROUPING",
    "paint_by_example": "deployments.paint_by_example.prepare:PREPARATION",
    "edges_with_color": "deployments.pix2pix_unet.colour_hints:COLOUR_HINTS",
    "posenet_decode": "deployments.posenet.decode:DECODING",
    "posenet_prepare": "deployments.posenet.prepare:PREPARATION",
}
"""id -> "module:NAME" of its `Procedure`."""


def network(identifier: str) -> Network:
    found = _named(NETWORKS[identifier])
    assert isinstance(found, Network)
    return found


def procedure(identifier: str) -> Procedure:
    found = _named(PROCEDURES[identifier])
    assert isinstance(found, Procedure)
    return found


def recognise(shapes: Shapes) -> str | None:
    """The network that a checkpoint belongs to; None where nobody knows it.

    shapes: key -> shape, without wrappers such as "module." or "state_dict"
    """
    return next((identifier for identifier in NETWORKS if network(identifier).knows(shapes)), None)


def _named(path: str) -> object:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
