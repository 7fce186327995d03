"""Models of the paper edition with small networks and deterministic weights: real code and real engines, no quality.

Needs the torch environment.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import small_bodies
import small_faces
import small_sketch
import small_swaps
import small_tryon
from numpy.typing import NDArray

from compile import kit as kits
from compile.engine import Engine
from compile.kit import Kit, Shapes
from compile.openvino import compiled
from compile.source import graph_file
from deployments import model_class, open_model
from deployments.base import Model
from deployments.networks import Module, network, recognise
from modiste.spec import EngineSpec
from weights.manifest import entry

KITS = Path(__file__).parents[1] / "kits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduced:
    """One engine's network, small.

    of:      name of a kit in tests/kits whose keys and rules it takes, or what makes a small network of the same kind
    arch:    for the network's `build`, where `of` is a kit that needs another than its own
    rules:   of the weights where `of` makes the network, as in kits
    tensors: shapes of the engine's inputs and outputs where they are not those of the model's spec
    beside:  tensors beside the weights
    sizes:   of the engine's free sides where they are not those of the model's spec
    """

    of: str | Callable[[], Module]
    arch: Mapping[str, Any] = field(default_factory=dict)
    rules: tuple[tuple[str, str], ...] = ()
    tensors: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)
    beside: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)


def square(side: int, **channels: int) -> Mapping[str, tuple[int | str, ...]]:
    """Planes of one size, by name with their number."""
    return {name: ("N", count, side, side) for name, count in channels.items()}


def narrow(kit: str, by: int) -> Module:
    """The network of a kit in tests/kits with every number of channels from 16 on divided."""
    (found,) = (found for found in kits.read_kits(KITS) if found.name == kit)
    shapes = {
        key: (*(side // by if side >= 16 else side for side in shape[:2]), *shape[2:])
        for key, shape in found.shapes.items()
    }
    identifier = recognise(shapes)
    assert identifier is not None, kit
    return network(identifier).build(shapes, found.arch)


GPEN_RULES = (
    (r"kernel$", "skip"),
    (r"generator\.style\.\d+\.weight$", "normal:100"),
    (r"generator\.style\.\d+\.bias$", "normal:5"),
    (r"modulation\.bias$", "gain"),
    (r"noise\.weight$", "one:0.1"),
    (r"\.weight$|generator\.input\.input$", "normal:1"),
)

STYLEGAN2_RULES = (
    (r"resample_filter$|kernel$", "skip"),
    (r"^(mapping\.fc|style\.)\d+\.weight$", "normal:100"),
    (r"^(mapping\.fc|style\.)\d+\.bias$", "normal:5"),
    (r"(affine|modulation)\.bias$", "gain"),
    (r"noise_strength$|noise\.weight$", "normal:0.1"),
    (r"noise_const$|^noises\.", "normal:1"),
    (r"(affine|modulation|conv|conv0|conv1|torgb)\.weight$|\.const$|^input\.input$", "normal:1"),
)
AEI_RULES = (
    (r"fc[12_]+\.weight$|up1\.weight$", "normal:1"),
    (r"AADBlk8\.(conv[12]|add_blocks\.[25])\.weight$", "matrix:0.15"),
    (r"AADBlk8\.(conv3|last_add_block\.2)\.weight$", "matrix:0.7"),
    (r"AADBlk\d\.(conv[12]|add_blocks\.[25])\.weight$", "matrix:0.3"),
    (r"AADBlk\d\.(conv3|last_add_block\.2)\.weight$", "matrix:1.4"),
)

REDUCED: Mapping[str, Mapping[str, Reduced]] = {
    "retinaface_mobilenet": {"main": Reduced(of="retinaface_mnet025")},
    "retinaface_r50": {
        "main": Reduced(
            of=small_faces.retinaface_r50,
            rules=((r"^body\.conv1\.weight$", "normal:0.003"), (r"^ClassHead", "matrix:3")),
        )
    },
    "bisenet_r18": {"main": Reduced(of=small_faces.bisenet_r18, tensors=square(64, image=3, logits=19))},
    "unet_lapa": {"main": Reduced(of=small_faces.unet_lapa, tensors=square(64, image=3, logits=11))},
    "arcface": {
        "main": Reduced(
            of=small_faces.arcface,
            rules=((r"prelu\.weight$", "prelu"), (r"\.conv2\.weight$", "matrix:0.5")),
            tensors={"embedding": ("N", 64)},
        )
    },
    "gpen": {
        "main": Reduced(of=small_faces.gpen, rules=GPEN_RULES, tensors=square(64, face=3, restored=3)),
        "parsing": Reduced(of=small_faces.parsenet, tensors=square(64, face=3, logits=19)),
    },
    "lightweight_openpose": {
        "main": Reduced(
            of=small_bodies.narrowed(
                "lightweight_openpose", exact={".trunk.0.initial.0.weight": (16, 16 + 19 + 38, 1, 1)}
            ),
            rules=small_bodies.OPENPOSE_RULES,
            tensors={
                "image": ("N", 3, 64, "W"),
                "heatmaps": ("N", 19, 8, "w"),
                "fields": ("N", 38, 8, "w"),
            },
            sizes={"W": 96},
        )
    },
    "posenet_101": {
        "main": Reduced(
            of=small_bodies.narrowed("posenet_mobilenet_v1_101_s16", keep="^(heatmap|offset|displacement)"),
            rules=small_bodies.POSENET_RULES,
            tensors={
                **square(129, image=3),
                **square(9, heatmap=17, offset=34, forward=32, backward=32),
            },
        )
    },
    "graphonomy": {
        "main": Reduced(
            of=small_bodies.narrowed("graphonomy_cihp20"),
            rules=small_bodies.GRAPHONOMY_RULES,
            sizes={"H": 96, "W": 80},
        )
    },
    "schp_lip": {
        "main": Reduced(
            of=small_bodies.narrowed("schp_lip20"),
            rules=small_bodies.SCHP_RULES,
            tensors={**square(97, image=3), **square(25, logits=20)},
        )
    },
    "schp_atr": {
        "main": Reduced(
            of=small_bodies.narrowed("schp_atr18"),
            rules=small_bodies.SCHP_RULES,
            tensors={**square(96, image=3), **square(24, logits=18)},
        )
    },
    "densepose": dict.fromkeys(
        ("forward", "classify", "surface"),
        Reduced(
            of=small_bodies.narrowed("densepose_r50_fpn_s1x", without=r"\.res4\.[2-5]\."),
            rules=small_bodies.DENSEPOSE_RULES,
            tensors={f"p{level}": ("N", 32, f"H{2**level}", f"W{2**level}") for level in range(2, 6)},
            sizes={
                **{"H": 96, "W": 128, "R": 5},
                **{f"{side}{2**level}": n // 2**level for level in range(2, 6) for side, n in (("H", 96), ("W", 128))},
            },
        ),
    ),
    "u2net_published": {
        "main": Reduced(
            of=small_bodies.narrowed("u2net"),
            rules=small_bodies.U_BLOCK_RULES,
            tensors=square(64, image=3, saliency=1),
        )
    },
    "u2netp": {
        "main": Reduced(
            of=small_bodies.narrowed("u2netp"),
            rules=small_bodies.U_BLOCK_RULES,
            tensors=square(64, image=3, saliency=1),
        )
    },
    "isnet_general": {
        "main": Reduced(
            of=small_bodies.narrowed("isnet_dis"),
            rules=small_bodies.U_BLOCK_RULES,
            tensors=square(128, image=3, object=1),
        )
    },
    "modnet_portrait": {
        "main": Reduced(of=small_bodies.narrowed("modnet"), sizes={"H": 128, "W": 96}),
    },
    "cloth_unet": {
        "main": Reduced(of=small_bodies.small_garment_unet, tensors=square(96, image=3, garment=1)),
    },
    "cloth_u2net": {
        "main": Reduced(
            of=small_bodies.narrowed("cloth_u2net4"),
            rules=small_bodies.U_BLOCK_RULES,
            tensors=square(64, image=3, garment=1),
        )
    },
    "hrviton_tocg": {
        "main": Reduced(
            of=small_tryon.conditions,
            rules=((r"flow_conv\.\d\.weight$", "matrix:3"),),
            tensors={
                "garment": ("N", 4, 128, 96),
                "person": ("N", 16, 128, 96),
                "flow": ("N", 2, 64, 48),
                "labels": ("N", 13, 128, 96),
                "mask": ("N", 1, 128, 96),
            },
        )
    },
    "hrviton_gen": {
        "main": Reduced(
            of=small_tryon.generator,
            rules=small_tryon.SPECTRAL,
            tensors={
                "pictures": ("N", 9, 256, 192),
                "labels": ("N", 7, 256, 192),
                "noise": ("N", small_tryon.noise(256, 192)),
                "image": ("N", 3, 256, 192),
            },
        )
    },
    "paint_by_example": {
        "example": Reduced(
            of="paint_by_example_tiny.image_encoder",
            tensors={"example": ("N", 3, 32, 32), "condition": ("N", 1, 32), "nothing": ("N", 1, 32)},
        ),
        "encoder": Reduced(
            of="paint_by_example_tiny.vae", tensors={"picture": ("N", 3, 32, 32), "moments": ("N", 8, 16, 16)}
        ),
        "unet": Reduced(
            of="paint_by_example_tiny.unet",
            tensors={"sample": ("N", 9, 16, 16), "condition": ("N", 1, 32), "noise": ("N", 4, 16, 16)},
        ),
        "decoder": Reduced(
            of="paint_by_example_tiny.vae", tensors={"latents": ("N", 4, 16, 16), "picture": ("N", 3, 32, 32)}
        ),
    },
    "dexined": {"main": Reduced(of=lambda: narrow("dexined", 8), tensors=square(64, image=3, edges=1))},
    "teed": {"main": Reduced(of="teed", tensors=square(64, image=3, edges=1))},
    "ldc": {"main": Reduced(of="ldc_b4", tensors=square(64, image=3, edges=1))},
    "pix2pix_unet": {"main": Reduced(of=lambda: narrow("pix2pix_unet256", 8))},
    "fashion_siglip": {
        "main": Reduced(of=small_sketch.siglip, tensors={"image": ("N", 3, 32, 32), "embedding": ("N", 128)})
    },
    "fashion_clip": {
        "main": Reduced(of=small_sketch.clip, tensors={"image": ("N", 3, 64, 64), "embedding": ("N", 64)})
    },
    "stylegan2_ada": {
        "mapping": Reduced(of=small_swaps.stylegan2_ada, rules=STYLEGAN2_RULES, tensors=small_swaps.LATENTS),
        "synthesis": Reduced(of=small_swaps.stylegan2_ada, rules=STYLEGAN2_RULES, tensors=small_swaps.LATENTS),
    },
    "stylegan2_rosinality": {
        name: Reduced(
            of=small_swaps.stylegan2_rosinality,
            rules=STYLEGAN2_RULES,
            tensors=small_swaps.LATENTS,
            beside={"latent_avg": np.full((1, small_swaps.LATENT), 0.1, np.float32)},
        )
        for name in ("mapping", "synthesis")
    },
    "e4e": {
        "main": Reduced(
            of=small_swaps.e4e,
            rules=(
                (r"(input_layer\.2|res_layer\.2)\.weight$", "prelu"),
                (r"styles\.\d+\.linear\.weight$", "normal:1"),
                (r"convs\.\d+\.weight$", "matrix"),
            ),
            tensors={"face": ("N", 3, 64, 64), "offset": ("N", small_swaps.LATENT)},
        )
    },
    "faceshifter": {
        "main": Reduced(
            of=lambda: narrow("aei_ghost_unet_2blocks", 8), rules=AEI_RULES, tensors={"identity": ("N", 64)}
        ),
        "identity": Reduced(
            of=small_faces.arcface,
            rules=((r"prelu\.weight$", "prelu"), (r"\.conv2\.weight$", "matrix:0.5")),
            tensors={"embedding": ("N", 64)},
        ),
    },
    "faceshifter_hear": {
        "main": Reduced(of=lambda: narrow("aei_taotaonice", 8), rules=AEI_RULES, tensors={"identity": ("N", 64)}),
        "hear": Reduced(of=lambda: narrow("hear_taotaonice", 8)),
        "identity": Reduced(
            of=small_swaps.ir_se,
            rules=((r"(input_layer\.2|res_layer\.2)\.weight$", "prelu"),),
            tensors={"embedding": ("N", 64)},
        ),
    },
    "copart": {
        name: Reduced(of=small_swaps.copart, rules=small_swaps.COPART_RULES, tensors=small_swaps.COPART_TENSORS)
        for name in ("segments", "features", "exchange")
    },
    "beautygan": {
        "main": Reduced(of=lambda: narrow("beautygan_branch", 8), tensors=square(64, face=3, reference=3, made_up=3))
    },
    "psgan": {"main": Reduced(of=lambda: narrow("psgan", 8), tensors=small_swaps.PSGAN_TENSORS)},
}
"""model -> engine -> its small network; models that are not here run as they are."""


def open_reduced(model_id: str, folder: Path) -> Model[Any, Any]:
    """folder: for graphs, which are written where they are absent"""
    if model_id not in REDUCED:
        return open_model(model_id)
    found = model_class(model_id)
    engines = {name: open_small(model_id, name, spec, folder) for name, spec in found.spec.engines.items()}
    return found(engines)


def open_small(model_id: str, name: str, spec: EngineSpec, folder: Path) -> Engine:
    if name not in REDUCED[model_id]:
        return compiled(spec, graph_file(spec), "float32", 1)
    small, path = small_spec(model_id, name, spec), folder / f"{model_id}-{name}.onnx"
    return opened_graph(small, lambda: small_part(model_id, name, spec), path)


def opened_graph(spec: EngineSpec, part: Callable[[], Module], path: Path) -> Engine:
    """path: of the graph, which is written where it is absent"""
    from compile.export import export

    if not path.exists():
        export(part(), spec.inputs, spec.outputs, path, spec.sizes)
    return compiled(spec, path, "float32", 1)


def small_spec(model_id: str, name: str, spec: EngineSpec) -> EngineSpec:
    row = REDUCED[model_id][name]
    shapes = row.tensors
    inputs, outputs = (
        tuple(replace(tensor, shape=shapes.get(tensor.name, tensor.shape)) for tensor in tensors)
        for tensors in (spec.inputs, spec.outputs)
    )
    return replace(spec, inputs=inputs, outputs=outputs, sizes={**spec.sizes, **row.sizes})


def small_part(model_id: str, name: str, spec: EngineSpec) -> Module:
    """The engine's module with deterministic weights."""
    import torch

    identifier, row = entry(spec.weights).network, REDUCED[model_id][name]
    assert identifier is not None, f"{model_id} {name} runs no published network"
    beside = {key: torch.from_numpy(value) for key, value in row.beside.items()}
    return network(identifier).parts[spec.part](small_net(identifier, row), beside).eval()


def small_net(identifier: str, row: Reduced) -> Module:
    import torch

    of, kit = network(identifier), _kit(row)
    assert of.knows(kit.shapes), f"the small network is not one of {identifier}"
    net = of.build(kit.shapes, {**kit.arch, **row.arch})
    state = net.state_dict()
    for key, values in kits.weights(kit).items():
        state[key].copy_(torch.from_numpy(values))
    return net


def _kit(row: Reduced) -> Kit:
    if isinstance(row.of, str):
        everyone = {kit.name: kit for found in kits.read_kits(KITS) for kit in (found, *found.parts)}
        return everyone[row.of]
    state = row.of().state_dict()
    shapes: Shapes = {key: tuple(value.shape) for key, value in state.items()}
    dtypes = {key: str(value.dtype).removeprefix("torch.") for key, value in state.items()}
    return Kit(name="small", shapes=shapes, dtypes=dtypes, rules=row.rules)
