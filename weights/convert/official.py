"""The official checkpoint of each published network, as the state dict of the bare network.

Names in the table are those of the table of networks. What a file holds besides (optimisers, discriminators, other
networks) lies outside the level and prefix that are read, or is left out by name; anything else that is absent, extra
or of another shape is an error. `num_batches_tracked` came with torch 0.4.1: files without these counters get zeros.
"""

import json
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from modiste.errors import NotFound, WeightsUnavailable
from weights.convert import unet_lapa
from weights.convert.checkpoints import State, read_checkpoint
from weights.convert.keras_weights import read_keras
from weights.convert.tfjs_weights import read_weights

Shapes = Mapping[str, tuple[int, ...]]
Read = Callable[[Path, Shapes], State]

NAMED = 8
"""Keys that an error lists of each kind."""


_POSENET = re.compile(r"^MobilenetV1/(Conv2d_|(heatmap|offset|displacement_[bf]wd)_2/)")
"""Of the variables that PoseNet's manifest lists, those in use; others are of heads for training and part segmentation,
whose files nobody fetches."""


def _posenet(path: Path, _shapes: Shapes) -> State:
    """manifest.json as PoseNet has it: variable -> file of raw float32, and shape; kernels turned as torch has them."""
    everything: Mapping[str, Mapping[str, object]] = json.loads(path.read_text())
    listed = {name: variable for name, variable in everything.items() if _POSENET.match(name)}
    groups = [
        {
            "paths": [variable["filename"]],
            "weights": [{"name": name, "shape": variable["shape"], "dtype": "float32"}],
        }
        for name, variable in listed.items()
    ]
    # One folder, whatever the manifest says: a name with a path in it finds nothing here.
    files = {file.name: file for file in path.parent.iterdir()}
    if absent := [str(variable["filename"]) for variable in listed.values() if variable["filename"] not in files]:
        raise WeightsUnavailable(f"Expected the files that {path.name} lists beside it; absent: {_names(absent)}.")
    found = read_weights(groups, files)
    for name, value in found.items():
        if value.ndim == 4:
            found[name] = value.transpose((2, 3, 0, 1) if name.endswith("depthwise_weights") else (3, 2, 0, 1))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Official:
    """How a file becomes the bare network's state dict.

    at, strip: as `read_checkpoint` has them
    rename:    (pattern, replacement), applied one after the other to keys that the network does not have
    leave:     pattern of renamed keys that are left out where the network does not have them
    drawn:     pattern of keys that older files lack and that are random numbers in the reference
    beside:    tensors at the file's top that are no part of the network, but of its use
    formats:   suffix -> what reads files that no torch wrote
    shapes:    of the network, where such a file does not tell
    """

    at: Sequence[str] = ()
    strip: str = ""
    rename: Sequence[tuple[str, str]] = ()
    leave: str | None = None
    drawn: str | None = None
    beside: Sequence[str] = ()
    formats: Mapping[str, Read] = field(default_factory=dict)
    shapes: Callable[[], Shapes] | None = None


FLAT = Official()
WRAPPED = "module."
"""What torch's DataParallel puts before every key."""

OFFICIAL: Mapping[str, Official] = {
    # Plain flat state dict, no prefix; older files have no counters.
    "arcface_iresnet": FLAT,
    "ir_se_arcface": FLAT,
    # None was published; the reference saves G flat.
    "beautygan": FLAT,
    # 79999_iter.pth: flat, 191 keys.
    "bisenet_r18": FLAT,
    # weights.zip: Lightning, 'state_dict' with `model.` before every key of the library's U-Net.
    "cloth_unet": Official(at=("state_dict",), strip="model."),
    # {'reconstruction_module', 'segmentation_module', optimisers, 'epoch'}: the keys keep their first level.
    # First-order files have other names, and their loader copies by name, so that another network of motion may be
    # in them. Without `semantic_seg` the head that finds the parts was never trained: such a file is refused.
    "copart": Official(
        rename=(
            (r"^generator\.", "reconstruction_module."),
            (r"^kp_detector\.jacobian\.", "segmentation_module.affine."),
            (r"^kp_detector\.kp\.", "segmentation_module.shift."),
            (r"^kp_detector\.semantic_seg\.", "segmentation_module.segmentation."),
            (r"^kp_detector\.", "segmentation_module."),
        ),
        leave=r"^(optimizer_\w+|discriminator|reconstruction_module\.dense_motion_network)\.",
    ),
    # {'model': {key: array}, '__author__'}; older files carry buffers of means and anchors.
    "densepose": Official(at=("model",), leave=r"^pixel_(mean|std)$|anchor_generator\.cell_anchors\."),
    # 10_model.pth: flat.
    "dexined": FLAT,
    # {'state_dict', 'latent_avg', 'opts'}: `encoder.` beside `decoder.`; codes are offsets from the mean latent.
    "e4e": Official(at=("state_dict",), strip="encoder.", beside=("latent_avg",)),
    # G_unet_*blocks.pth: flat.
    "aei_ghost": FLAT,
    # None was published; the reference saves G_latest.pth and HEAR_latest.pth flat.
    "aei_taotaonice": FLAT,
    "hear_taotaonice": FLAT,
    # Lightning: 'state_dict' with G., E., and the discriminator D. and identity network Z., which are other networks.
    "aei_mindslab": Official(at=("state_dict",), leave=r"^[DZ]\."),
    "hear_mindslab": Official(at=("state_dict",)),
    # transformers' model; older files have position_ids, which count 0, 1, 2...
    "fashion_clip": Official(leave=r"\.position_ids$"),
    # open_clip's model: flat.
    "fashion_siglip": FLAT,
    # GPEN-BFR-*.pth: flat; what its own training saves has g_ema.
    "gpen": Official(at=("g_ema",)),
    # ParseNet-latest.pth: flat.
    "gpen_parsenet": FLAT,
    # Saved with torch 0.4: flat or with `module.`, and perhaps without counters.
    "graphonomy": Official(strip=WRAPPED),
    # mtviton.pth: flat.
    "hrviton_tocg": FLAT,
    # gen.pth: flat, under the names of an earlier state of the code.
    "hrviton_gen": Official(rename=(("ace", "alias"), (r"\.Spade", ""))),
    # isnet-general-use.pth: flat.
    "isnet": FLAT,
    # 16_model.pth and the like: flat.
    "ldc_b4": FLAT,
    # {'state_dict'} of three refinement stages; the reference's loader takes those that it has, usually the first.
    "lightweight_openpose": Official(at=("state_dict",), leave=r"^refinement_stages\.\d+\."),
    # *.ckpt: `module.` before every key; the backbone is in it twice, as it is in the network.
    "modnet": Official(strip=WRAPPED),
    # transformers 4 named the vision tower one level deeper and had position_ids; both names are networks to us.
    "paint_by_example_encoder": Official(rename=((r"^model\.vision_model\.", "model."),), leave=r"\.position_ids$"),
    # diffusers' layout: flat.
    "paint_by_example_unet": FLAT,
    # diffusers' layout: flat; until its version 0.15 attention had other names.
    "paint_by_example_vae": Official(
        rename=(
            (r"(attentions\.\d+)\.query\.", r"\1.to_q."),
            (r"(attentions\.\d+)\.key\.", r"\1.to_k."),
            (r"(attentions\.\d+)\.value\.", r"\1.to_v."),
            (r"(attentions\.\d+)\.proj_attn\.", r"\1.to_out.0."),
        )
    ),
    # latest_net_G.pth: flat. With instance norm, files of torch before 0.4 hold running statistics to be left out.
    "pix2pix_unet256": Official(leave=r"\.(running_mean|running_var|num_batches_tracked)$"),
    # The reference's .pth is flat; Google's own is a manifest.json with a raw file per variable, where the heads
    # that end in _2 are the used ones.
    "posenet": Official(
        formats={".json": _posenet},
        rename=(
            (r"/(depthwise_)?weights$", ".weight"),
            (r"/biases$", ".bias"),
            (r"^MobilenetV1/Conv2d_(\d+)_(depthwise|pointwise)\.", r"features.conv\1.\2."),
            (r"^MobilenetV1/Conv2d_(\d+)\.", r"features.conv\1.conv."),
            (r"^MobilenetV1/(heatmap|offset|displacement_fwd|displacement_bwd)_2\.", r"\1."),
        ),
    ),
    # assets/models/G.pth: flat.
    "psgan": FLAT,
    # Flat, or under 'state_dict'; keys may begin with `module.`.
    "retinaface": Official(at=("state_dict",), strip=WRAPPED),
    # {'state_dict'} with `module.`; the in-place norms never had counters.
    "schp": Official(at=("state_dict",), strip=WRAPPED),
    # {G, D, G_ema, ...}: modules pickled by their source text.
    "stylegan2_ada": Official(at=("G_ema",)),
    # {g_ema, latent_avg}, also with g, d and optimisers; and the `decoder.` of encoders' files. Older files lack the
    # noise, which is random numbers in the reference.
    "stylegan2_rosinality": Official(
        at=("g_ema", "state_dict"), strip="decoder.", drawn=r"^noises\.noise_\d+$", beside=("latent_avg",)
    ),
    # 5_model.pth: flat.
    "teed": FLAT,
    # cloth_segm_u2net_latest.pth: `module.` before every key.
    "cloth_u2net": Official(strip=WRAPPED),
    # u2net.pth, u2netp.pth: flat.
    "u2net": FLAT,
    # model.h5, with layers numbered by a running count: by their order.
    "unet_lapa": Official(formats={".h5": read_keras}, shapes=unet_lapa.shapes),
}


def official_state(network: str, path: Path, shapes: Shapes) -> State:
    """The network's weights from its official file, key for key.

    shapes:  key -> shape that the network has, in its order
    returns: exactly these, in this order; numbers with a fraction as float32, others as they are stored
    raises:  NotFound for an unknown network, WeightsUnavailable where the file is not one of its checkpoints
    """
    form, found = _form(network, path), {}
    for key, value in _read(form, path, shapes).items():
        name = _renamed(form, key, shapes)
        if name in found:
            raise WeightsUnavailable(f"Expected every key of {network} once in {path.name}; got {name} twice.")
        if name in shapes or not (form.leave and re.search(form.leave, name)):
            found[name] = value.astype(np.float32) if value.dtype.kind == "f" else value
    for key, shape in shapes.items():
        if key in found:
            continue
        if key.endswith(".num_batches_tracked"):
            found[key] = np.zeros(shape, np.int64)
        elif form.drawn and re.search(form.drawn, key):
            found[key] = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape, np.float32)
    _check(network, path, found, shapes)
    return {key: found[key] for key in shapes}


def official_shapes(network: str, path: Path) -> Shapes:
    """Key -> shape of the network's weights in its official file, from which the network can be built.

    Files that do not name what they hold as networks do are only about in one size, which is listed.
    raises: NotFound, WeightsUnavailable
    """
    form = _form(network, path)
    if path.suffix in form.formats and form.shapes is not None:
        return form.shapes()
    state = {_renamed(form, key, {}): value for key, value in _read(form, path, {}).items()}
    return {key: value.shape for key, value in state.items() if not (form.leave and re.search(form.leave, key))}


def official_beside(network: str, path: Path) -> State:
    """What the network's use takes from its official file beside its weights, by name; {} where it takes nothing.

    raises: NotFound, WeightsUnavailable
    """
    form = _form(network, path)
    if not form.beside:
        return {}
    top = read_checkpoint(path)
    if absent := [name for name in form.beside if name not in top]:
        raise WeightsUnavailable(f"Expected {_names(absent)} beside the weights of {network}; {path.name} has none.")
    return {name: top[name].astype(np.float32) for name in form.beside}


def _form(network: str, path: Path) -> Official:
    if network not in OFFICIAL:
        raise NotFound(f"Expected a network among {', '.join(sorted(OFFICIAL))}; got {network!r}.")
    if not path.is_file():
        raise WeightsUnavailable(f"Expected the official file of {network} at {path}; there is none.")
    return OFFICIAL[network]


def _read(form: Official, path: Path, shapes: Shapes) -> State:
    if path.suffix in form.formats:
        return form.formats[path.suffix](path, shapes)
    return read_checkpoint(path, at=form.at, strip=form.strip)


def _renamed(form: Official, key: str, shapes: Shapes) -> str:
    """The network's name; one that it already has stays, since files of both generations are about."""
    if key in shapes:
        return key
    for pattern, replacement in form.rename:
        key = re.sub(pattern, replacement, key)
    return key


def _check(network: str, path: Path, found: State, shapes: Shapes) -> None:
    others = [
        f"{key} {list(found[key].shape)} for {list(shape)}"
        for key, shape in shapes.items()
        if key in found and found[key].shape != tuple(shape)
    ]
    wrong = {
        "absent": [key for key in shapes if key not in found],
        "extra": [key for key in found if key not in shapes],
        "of another shape": others,
    }
    if any(wrong.values()):
        told = "; ".join(f"{what}: {_names(keys)}" for what, keys in wrong.items() if keys)
        raise WeightsUnavailable(f"Expected the keys and shapes of {network} in {path.name}; {told}.")


def _names(keys: Sequence[str]) -> str:
    more = len(keys) - NAMED
    return ", ".join(keys[:NAMED]) + (f" and {more} more" if more > 0 else "")
