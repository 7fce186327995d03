"""SCHP: human parsing with the classes of LIP or of ATR, told in CIHP's.

Li et al., "Self-Correction for Human Parsing", TPAMI 2020, arXiv:1910.09777.
"""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from compile.engine import Tensors
from deployments.roles import HumanParsing, Parsing, ParsingInput
from deployments.schp.parse import ATR, ATR_TO_CIHP, LIP, LIP_TO_CIHP, labels, prepare, with_neck
from modiste.image import LabelMap
from modiste.labels import body_parts
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec


def _spec(identifier: str, side: int, classes: int) -> ModelSpec:
    cells = -(-side // 4)
    return ModelSpec(
        id=identifier,
        role="HumanParsing",
        paper="Li et al., Self-Correction for Human Parsing, TPAMI 2020, arXiv:1910.09777",
        licence="none of its own",
        engines={
            "main": EngineSpec(
                weights=identifier,
                max_batch=8,
                inputs=(
                    TensorSpec(
                        name="image",
                        shape=("N", 3, side, side),
                        range="mean 0, deviation 1",
                        meaning="BGR, black around it",
                    ),
                ),
                outputs=(
                    TensorSpec(
                        name="logits",
                        shape=("N", classes, cells, cells),
                        range="logit",
                        meaning="classes, fused with the edges",
                        kind="labels",
                    ),
                ),
            )
        },
        resources=Resources(gpu_memory_mb=3000, cpus=1.0, max_replicas=2),
    )


class _SCHP(HumanParsing):
    """to_cihp: class of the network -> `modiste.labels.Clothes`."""

    to_cihp: ClassVar[NDArray[np.uint8]]

    def preprocess(self, x: ParsingInput) -> Tensors:
        return {"image": prepare(x.image, self._side)}

    def postprocess(self, outputs: Tensors, x: ParsingInput) -> Parsing:
        found = labels(outputs["logits"][0], self._side, *x.image.shape[:2])
        clothes = with_neck(LabelMap(self.to_cihp[found]), x.keypoints)
        return Parsing(labels=body_parts(clothes), clothes=clothes)

    @property
    def _side(self) -> int:
        side = self.engines["main"].spec.inputs[0].shape[2]
        assert isinstance(side, int)
        return side


class SCHPLip(_SCHP):
    spec = _spec("schp_lip", LIP, 20)
    to_cihp = LIP_TO_CIHP


class SCHPAtr(_SCHP):
    spec = _spec("schp_atr", ATR, 18)
    to_cihp = ATR_TO_CIHP
