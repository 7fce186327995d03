"""A head on a suit: layers with soft edges, skin painted down into the collar, long hair in front.

Classical: line mask below the jaw, compositing by colour projection, pull-push interpolation of skin (Gortler et al.,
"The Lumigraph", SIGGRAPH 1996).
"""

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.cluster.vq import kmeans2

from compile.engine import Tensors
from deployments.roles import SuitComposition, SuitInput
from deployments.suit_collage.edge import Field, Flags, soft_edge
from deployments.suit_collage.jaw import CHIN, below_jaw, eye_distance, without_throat
from deployments.suit_collage.neck import collar_of, cut_line, paint
from modiste.image import LabelMap, RGBImage
from modiste.labels import FacePart
from modiste.spec import ModelSpec, Resources

HEAD_PARTS = tuple(
    part for part in FacePart if part not in (FacePart.BACKGROUND, FacePart.NECK, FacePart.NECKLACE, FacePart.CLOTH)
)
HANGING_PARTS = (FacePart.LEFT_EAR, FacePart.RIGHT_EAR, FacePart.EARRING)
HAIR_PARTS = (FacePart.HAIR, FacePart.HAT)
HAIR_BAND, SKIN_BAND = 0.14, 0.04
"""Half width of the uncertain strip along hair and skin, in eye distances."""
UNLIKE = 17.0
"""Distance (half lightness, one and a half times hue, in 8-bit Lab) from all of somebody's hair colours."""


class SuitCollage(SuitComposition):
    """Background, suit, neck, head; hair comes last."""

    spec = ModelSpec(
        id="suit_collage",
        role="SuitComposition",
        paper="classical: line mask, compositing by colour projection, pull-push skin interpolation",
        licence="MIT",
        resources=Resources(cpus=1.0),
    )

    def postprocess(self, outputs: Tensors, x: SuitInput) -> RGBImage:
        image, landmarks = x.portrait.image, x.portrait.landmarks
        labels = own_hair(x, without_throat(image, landmarks, x.portrait.labels))
        x = replace(x, portrait=replace(x.portrait, labels=labels))
        height, width = labels.shape
        unit, collar = eye_distance(landmarks), collar_of(x.opening)
        neck = paint(image, landmarks, labels, x.seen, collar)
        alpha, colour, hair = head_layer(
            x, cut_line(landmarks, collar), below_jaw(landmarks, height, width), neck.alpha
        )

        photo = np.empty((height, width, 3), np.float32)
        photo[:] = x.background
        suit, cloth = x.suit[..., :3].astype(np.float32), x.suit[..., 3:].astype(np.float32) / 255
        photo += (suit * _shadow(hair, unit)[..., None] - photo) * cloth
        # The collar's back lies behind the neck, its front before it.
        columns = np.arange(width)
        between = (columns >= collar.left) & (columns <= collar.right)
        before = np.clip(np.arange(height, dtype=np.float32)[:, None] - collar.lower[None] + 0.5, 0, 1)
        front = np.where(between[None], before, 1) * cloth[..., 0]
        shown = neck.alpha * (1 - cv2.GaussianBlur(front.astype(np.float32), (0, 0), 0.8))
        photo += (neck.colour - photo) * shown[..., None]
        photo += (colour - photo) * alpha[..., None]
        return RGBImage(np.clip(np.rint(photo), 0, 255).astype(np.uint8))


def head_layer(x: SuitInput, line: float, below: Field, neck: Field) -> tuple[Field, Field, Field]:
    """What of the portrait is kept: face and ears down to the line below the jaw, hair wherever it falls.

    line:    how far below the jaw skin is kept, pixels; below: [H, W] distance below the jaw; neck: [H, W] its alpha
    returns: alpha [H, W] 0-1, colour [H, W, 3], alpha of the hair alone [H, W]
    """
    labels, image = x.portrait.labels, x.portrait.image
    unit = eye_distance(x.portrait.landmarks)
    hair_kept = np.isin(labels, HAIR_PARTS) & (x.seen > 0)
    skin_kept = np.isin(labels, [p for p in HEAD_PARTS if p not in HAIR_PARTS]) & (x.seen > 0)
    # Beards hang below the jaw, and so do ears and earrings; skin beside the jaw is neck, and that is painted.
    hanging = np.isin(labels, HANGING_PARTS) | ((neck > 0) & (labels == FacePart.SKIN))
    skin_kept &= (below < 0.1 * unit) | ((below < max(line, 0.45 * unit)) & hanging)
    kept = hair_kept | skin_kept
    hair_alpha, hair_colour = soft_edge(image, hair_kept, max(2.0, HAIR_BAND * unit))
    skin_alpha, skin_colour = soft_edge(image, kept, max(1.5, SKIN_BAND * unit))
    # Between hair and face there is nothing to cut: the strip that counts runs along the outside of both.
    alpha = np.maximum(np.where(hair_kept | ~skin_kept, hair_alpha, 0), skin_alpha)
    colour = np.where((hair_alpha > skin_alpha)[..., None], hair_colour, skin_colour)
    inner = cv2.erode(kept.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=max(1, round(HAIR_BAND * unit)))
    alpha, colour = np.where(inner > 0, 1, alpha), np.where((inner > 0)[..., None], image, colour)
    return alpha.astype(np.float32), colour.astype(np.float32), hair_alpha


def own_hair(x: SuitInput, labels: LabelMap) -> LabelMap:
    """Hair that is not of this head becomes cloth."""
    unit, chin = eye_distance(x.portrait.landmarks), round(float(x.portrait.landmarks[CHIN, 1]))
    found = np.isin(labels, HAIR_PARTS)
    hair = attached(like_the_rest(found, x.portrait.image, chin, unit), labels, max(3, round(0.06 * unit)))
    return LabelMap(np.where(found & ~hair, FacePart.CLOTH, labels).astype(np.uint8))


def like_the_rest(hair: Flags, image: NDArray[np.uint8], chin: int, unit: float) -> Flags:
    """Hair below the chin only where it has a colour that occurs above: fur collars and dark cloth look like hair.

    hair: [H, W]; image: [H, W, 3]; chin: row
    """
    above, low = hair.copy(), hair.copy()
    above[max(0, chin - round(0.2 * unit)) :], low[: max(0, chin)] = False, False
    if above.sum() < 0.2 * unit**2 or not low.any():
        return hair
    lab = cv2.cvtColor(cv2.GaussianBlur(image, (0, 0), 0.03 * unit), cv2.COLOR_RGB2LAB).astype(np.float32)
    # Ends in the shadow are darker, but hardly of another hue.
    lab = lab * np.array([0.5, 1.5, 1.5], np.float32)
    sample = lab[above][:: max(1, int(above.sum()) // 4000)]
    palette, _ = kmeans2(sample, min(6, len(sample)), minit="++", seed=0)
    distance = np.full(hair.shape, np.inf, np.float32)
    distance[low] = np.min([np.linalg.norm(lab[low] - colour, axis=1) for colour in palette], axis=0)
    fits = cv2.medianBlur((distance < UNLIKE).astype(np.uint8), 2 * max(1, round(0.05 * unit)) + 1)
    kept = hair & ((fits > 0) | ~low)
    return np.asarray(kept | (ndimage.binary_fill_holes(kept) & hair))


def attached(hair: Flags, labels: LabelMap, thread: int) -> Flags:
    """Hair that hangs together with the head, by more than `thread` pixels' breadth.

    The parser finds hair in dark clothes and backgrounds, too.
    """
    face = np.isin(labels, (FacePart.SKIN, FacePart.LEFT_EAR, FacePart.RIGHT_EAR, FacePart.GLASSES))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (thread, thread))
    together = cv2.erode((hair | face).astype(np.uint8), kernel)
    _, patches = cv2.connectedComponents(together)
    ids, counts = np.unique(patches[(labels == FacePart.SKIN) & (together > 0)], return_counts=True)
    if len(ids) == 0:
        return hair
    body = cv2.dilate((patches == ids[counts.argmax()]).astype(np.uint8), kernel)
    return np.asarray(hair & (body > 0))


def _shadow(hair: Field, unit: float) -> Field:
    """[H, W] factor: hair that lies on the suit darkens it a little."""
    moved = np.roll(hair, round(0.06 * unit), axis=0)
    return np.asarray(1 - 0.28 * cv2.GaussianBlur(moved, (0, 0), 0.07 * unit), np.float32)
