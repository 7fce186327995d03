"""HR-VITON's preparation against what its reference made of the same pictures."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL import __version__ as pillow

from compile.kit import Arrays, worst
from deployments.hrviton.agnostic import agnostic_image, agnostic_labels, square_hips
from deployments.hrviton.conditions import (
    UPPER,
    Prepared,
    condition_inputs,
    fit,
    generator_picture,
    prepare,
    resized,
    shown,
)
from deployments.hrviton.labels import SEEN, one_hot, seen
from deployments.networks import Procedure
from modiste.image import LabelMap, Mask, RGBImage

ALLOWED = 0.001
"""Share of pixels that may differ where another version of Pillow draws the strokes."""


def _difference(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    if ours.shape != theirs.shape:
        raise ValueError(f"expected shape {theirs.shape}, got {ours.shape}")
    largest = float(np.abs(theirs.astype(np.float64)).max())
    return float(np.abs(ours.astype(np.float64) - theirs).max()) / (largest or 1.0)


def _picture(seed: NDArray[Any]) -> RGBImage:
    """Coloured squares, as kits make their pictures: 32 x 24 of 32 pixels."""
    squares = np.random.default_rng(int(seed)).integers(0, 256, (32, 24, 3), np.uint8)
    return RGBImage(squares.repeat(32, 0).repeat(32, 1))


def _reproduce_agnostic(kit: Arrays) -> Mapping[str, float]:
    same_strokes = str(kit["pil_version"]) == pillow
    found = {}
    for case in _cases(kit):
        labels, joints = LabelMap(kit[f"{case}/parse"]), kit[f"{case}/pose"]
        pictures = {
            "parse_agnostic": agnostic_labels(labels, joints),
            "agnostic": agnostic_image(_picture(kit[f"{case}/image_seed"]), labels, joints),
        }
        for name, ours in pictures.items():
            theirs = kit[f"{case}/{name}"]
            alike = not same_strokes and float(np.mean(ours != theirs)) <= ALLOWED
            found[f"{case}/{name}"] = 0.0 if alike else _difference(ours, theirs)
        found[f"{case}/pose_after"] = _difference(square_hips(joints), kit[f"{case}/pose_after"])
    return found


def _cases(kit: Iterable[str]) -> list[str]:
    return [name.rpartition("/")[0] for name in kit if name.endswith("/pose")]


def _prepared(kit: Arrays) -> tuple[Prepared, NDArray[np.float32]]:
    """And the agnostic picture."""
    labels, joints, width = LabelMap(kit["parse"]), kit["pose"], int(kit["agnostic@shape"][2])
    ready = prepare(
        labels=labels,
        joints=joints,
        dense_pose=_picture(kit["densepose_seed"]),
        garment=_picture(kit["cloth_seed"]),
        garment_mask=Mask(kit["cloth_mask_src"]),
        width=width,
    )
    return ready, shown(agnostic_image(_picture(kit["image_seed"]), labels, joints), width)


def _reproduce_preparation(kit: Arrays) -> Mapping[str, float]:
    ready, agnostic = _prepared(kit)
    width = ready.labels.shape[1]
    image = shown(_picture(kit["image_seed"]), width)
    parsed = seen(LabelMap(resized(kit["parse"], width, Image.Resampling.NEAREST)))
    planes = one_hot(parsed, len(SEEN))
    worn = planes[UPPER]
    whole = {
        "parse_index": parsed,
        "parse_onehot": parsed,
        "parse_sum": planes.sum(axis=0),
        "parse_agnostic_index": ready.labels,
        "pcm": worn,
        "cloth_mask": ready.garment_mask[0],
    }
    sampled = {
        "agnostic": agnostic,
        "densepose": ready.dense_pose,
        "cloth": ready.garment,
        "parse_cloth": image * worn + (1 - worn),
        "image": image,
    }
    return {name: _difference(ours, kit[name]) for name, ours in whole.items()} | worst(kit, sampled)


def _reproduce_conditions(kit: Arrays) -> Mapping[str, float]:
    ready, agnostic = _prepared(kit)
    garment, body = condition_inputs(ready)
    fitted = fit(
        ready,
        flow=np.ascontiguousarray(kit["flow"][0].transpose(2, 0, 1)),
        labels=_blocks(kit["segmap_blocks"][0]),
        warped_mask=_blocks(kit["warped_mask_blocks"][0]),
    )
    sampled = {"input1": garment, "input2": body}
    for name, inside in (("gen_x_noocc", np.ones_like(fitted.shown)), ("gen_x_occ", fitted.shown)):
        sampled[name] = generator_picture(agnostic, ready.dense_pose, fitted.garment, inside)
    asked = {name: array for name, array in kit.items() if name.partition("@")[0] in sampled}
    return {"gen_seg_index": _difference(fitted.labels[None], kit["gen_seg_index"])} | worst(asked, sampled)


def _blocks(coarse: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each number as 8 x 8 pixels."""
    return coarse.repeat(8, 1).repeat(8, 2)


def _is_preparation(names: frozenset[str]) -> bool:
    return {"parse_agnostic_index", "cloth_mask_src", "densepose_seed", "pose"} <= names


AGNOSTIC = Procedure(
    knows=lambda names: any(f"{case}/parse_agnostic" in names for case in _cases(names)), reproduce=_reproduce_agnostic
)
PREPARATION = Procedure(knows=_is_preparation, reproduce=_reproduce_preparation)
CONDITIONS = Procedure(
    knows=lambda names: {"flow", "segmap_blocks", "warped_mask_blocks", "gen_seg_index"} <= names,
    reproduce=_reproduce_conditions,
    beside=_is_preparation,
)
