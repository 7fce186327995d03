"""Landmarks of a garment from its outline alone: trousers and skirts here, tops in `top_outline`."""

import numpy as np

from deployments.limb_tps.half_outline import SAMPLES, Chain, farthest, find_cuff, first_beyond, split_halves
from deployments.limb_tps.kinds import is_dress, sleeveless_kind
from deployments.limb_tps.look import Style
from deployments.limb_tps.shapes import COUNT, Kind, Leg, Shape, SkirtShape, TrousersShape, resample
from deployments.limb_tps.top_outline import measure_top, to_picture
from deployments.limb_tps.upright import Cutout


def measure(cutout: Cutout, kind: Kind | None, *, sleeves: Style | None = None) -> tuple[Kind, Shape]:
    """Find the landmarks; `kind` None decides by the outline.

    sleeves: how long they are by the look of the garment; None where that is not known
    raises: CannotFit, where the outline does not show them
    """
    chains = split_halves(cutout)
    decided = kind or sleeveless_kind(chains)
    if decided is None:
        top = measure_top(cutout, chains, sleeves)
        return ("dress" if is_dress(top) else "upper"), top
    if decided in ("upper", "dress"):
        return decided, measure_top(cutout, chains, sleeves)
    if decided == "trousers":
        return decided, _trousers(cutout, chains)
    return decided, _skirt(cutout, chains)


def _trousers(cutout: Cutout, chains: tuple[Chain, Chain]) -> TrousersShape:
    legs, corners = [], []
    crotch = np.mean([chain[-1] * (0, 1) for chain in chains], axis=0)
    bottom = max(float(chain[:, 1].max()) for chain in chains)
    top = min(float(chain[0, 1]) for chain in chains)
    closed = (bottom - crotch[1]) < 0.12 * (bottom - top)
    if closed:
        # Legs that touch all the way down: the crotch is where tailoring puts it.
        crotch = np.array([0.0, top + 0.27 * (bottom - top)])
    for side, chain in enumerate(chains):
        p = chain
        waist, _ = farthest(p, 0, first_beyond(p, 0.98 * p[:, 0].max(), SAMPLES // 2))
        waist = max(waist, 2)
        last = SAMPLES - 1
        outer_hem, inner_hem = (farthest(p, waist, last)[0], last) if closed else find_cuff(p, waist, last)
        inner = np.stack([crotch, p[last]]) if closed else p[inner_hem:][::-1]
        legs.append(
            Leg(
                outer=resample(to_picture(cutout, side, p[waist : outer_hem + 1]), COUNT),
                inner=resample(to_picture(cutout, side, inner), COUNT),
            )
        )
        corners.append(to_picture(cutout, side, p[: waist + 1]))
    waistline = resample(np.concatenate([corners[0][::-1], corners[1]]), 11)
    return TrousersShape(waist=waistline, crotch=to_picture(cutout, 1, crotch[None])[0], legs=(legs[0], legs[1]))


def _skirt(cutout: Cutout, chains: tuple[Chain, Chain]) -> SkirtShape:
    sides, tops, hems = [], [], []
    for side, chain in enumerate(chains):
        p = chain
        middle = int(np.argmin(np.abs(p[:, 1] - (p[0, 1] + p[-1, 1]) / 2)))
        waist, _ = farthest(p, 0, middle)
        hem, _ = farthest(p, middle, SAMPLES - 1)
        sides.append(resample(to_picture(cutout, side, p[waist : hem + 1]), COUNT))
        tops.append(to_picture(cutout, side, p[: waist + 1]))
        hems.append(to_picture(cutout, side, p[hem:]))
    return SkirtShape(
        waist=resample(np.concatenate([tops[0][::-1], tops[1]]), 11),
        sides=(sides[0], sides[1]),
        hem=resample(np.concatenate([hems[0], hems[1][::-1]]), COUNT),
    )
