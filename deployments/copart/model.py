"""Co-part segmentation: the parts of a face exchanged for another's, moving as the target's do.

Siarohin et al., "Motion-supervised Co-Part Segmentation", ICPR 2020, arXiv:2004.03234.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from compile.engine import Engine, Tensors
from deployments.copart.exchange import of_face
from deployments.roles import FaceView, PartSwap, SwapInput, SwappedFace
from modiste.face_blend import Area, Share, lay_in, loop, replaceable, skin_colour
from modiste.face_mesh import OVAL
from modiste.geometry import Matrix, bounding_box, warp
from modiste.image import RGBImage
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec

SIDE, GRID = 256, 64
PARTS, CHANNELS = 10, 256
MARGIN = 1.7
"""Side of what the network sees, in sides of the mesh's box: hair and shoulders, as in VoxCeleb's clips."""
REMEMBERED = 4
"""Sources whose features are kept, 4 MB each."""
Floats = NDArray[np.float32]


def _parts(prefix: str) -> tuple[TensorSpec, ...]:
    return (
        TensorSpec(
            name=f"{prefix}segments",
            shape=("N", PARTS + 1, GRID, GRID),
            range="[0, 1]",
            meaning="shares of background and parts",
            kind="picture",
        ),
        TensorSpec(name=f"{prefix}shift", shape=("N", PARTS, 2), range="[-1, 1]", meaning="centres of parts"),
        TensorSpec(name=f"{prefix}affine", shape=("N", PARTS, 2, 2), range="about identity", meaning="how parts lie"),
    )


_FEATURES = TensorSpec(name="features", shape=("N", CHANNELS, GRID, GRID), range="0 and more", meaning="of the source")
_PICTURE = TensorSpec(name="picture", shape=("N", 3, SIDE, SIDE), range="[0, 1]", meaning="RGB, head and shoulders")


class CoPart(PartSwap):
    """The face and the parts on it come from the source; what the parsing calls face is laid into the frame."""

    main = "exchange"
    spec = ModelSpec(
        id="copart",
        role="PartSwap",
        paper="Siarohin et al., Motion-supervised Co-Part Segmentation, ICPR 2020, arXiv:2004.03234",
        licence="CC BY-NC 4.0",
        engines={
            "segments": EngineSpec(weights="copart_10", part="segments", inputs=(_PICTURE,), outputs=_parts("")),
            "features": EngineSpec(weights="copart_10", part="features", inputs=(_PICTURE,), outputs=(_FEATURES,)),
            "exchange": EngineSpec(
                weights="copart_10",
                part="exchange",
                max_batch=8,
                inputs=(
                    _FEATURES,
                    _PICTURE,
                    *_parts("their_"),
                    *_parts(""),
                    TensorSpec(
                        name="mask", shape=("N", 1, GRID, GRID), range="[0, 1]", meaning="where the source's parts go"
                    ),
                ),
                outputs=(
                    TensorSpec(
                        name="exchanged", shape=("N", 3, SIDE, SIDE), range="[0, 1]", meaning="RGB", kind="picture"
                    ),
                ),
            ),
        },
        resources=Resources(gpu_memory_mb=1700, cpus=1.0),
    )

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        super().__init__(engines)
        self._side = int(engines["segments"].spec.inputs[0].shape[2])
        self._sources: OrderedDict[bytes, Tensors] = OrderedDict()

    def preprocess(self, x: SwapInput) -> Tensors:
        target, picture = x.target, self._seen(x.target)
        ours = self.engines["segments"]({"picture": picture})
        outline = self._cells(target, loop(target.landmarks, OVAL, target.labels.shape))
        face = self._cells(target, replaceable(target.image, target.landmarks, target.labels))
        # The face is exchanged whole, whatever the parts say; they say how far around it.
        mask = np.maximum(of_face(ours["segments"][0], outline), face)
        return {"picture": picture, **self._source(x.source), **ours, "mask": mask[None, None]}

    def postprocess(self, outputs: Tensors, x: SwapInput) -> SwappedFace:
        target, source = x.target, x.source
        face = np.rint(outputs["exchanged"][0].transpose(1, 2, 0) * 255).clip(0, 255).astype(np.uint8)
        image, mask = lay_in(
            target.image,
            target.landmarks,
            target.labels,
            RGBImage(np.ascontiguousarray(face)),
            self._matrix(target),
            skin=skin_colour(source.image, source.landmarks, source.labels),
            tone=x.tone,
        )
        return SwappedFace(image=image, mask=mask)

    def _cells(self, view: FaceView, area: Area) -> Share:
        """An area of the crop as the network's features are laid out: each cell the mean of the pixels under it."""
        grid = int(self.engines["segments"].spec.outputs[0].shape[2])
        square = cv2.warpAffine(area.astype(np.float32), self._matrix(view), (self._side, self._side))
        return np.asarray(cv2.resize(square, (grid, grid), interpolation=cv2.INTER_AREA), np.float32)

    def _source(self, view: FaceView) -> Tensors:
        """Features and parts, the same for every frame that the face is put into."""
        picture = self._seen(view)
        key = hashlib.blake2b(picture.tobytes(), digest_size=16).digest()
        if key not in self._sources:
            theirs = {f"their_{name}": found for name, found in self.engines["segments"]({"picture": picture}).items()}
            self._sources[key] = {**theirs, **self.engines["features"]({"picture": picture})}
            if len(self._sources) > REMEMBERED:
                self._sources.popitem(last=False)
        self._sources.move_to_end(key)
        return self._sources[key]

    def _seen(self, view: FaceView) -> Floats:
        picture = warp(view.image, self._matrix(view), self._side, self._side).astype(np.float32) / 255
        return np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32)

    def _matrix(self, view: FaceView) -> Matrix:
        """Picture to the upright square that the network sees: nothing is turned, as in the clips it was trained on."""
        box = bounding_box(view.landmarks)
        scale = self._side / (MARGIN * max(box.width, box.height, 1.0))
        (x, y), middle = box.centre, (self._side - 1) / 2
        return np.array([[scale, 0, middle - scale * x], [0, scale, middle - scale * y]])
