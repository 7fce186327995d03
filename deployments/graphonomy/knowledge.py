"""What the graph of body parts knows beforehand: which parts touch, and how near the names of two label sets are.

The tables are those of Gong et al., "Graphonomy: Universal Human Parsing via Graph Transfer Learning", CVPR 2019,
arXiv:1904.04536.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CIHP_TOUCHES = (
    (),
    (2, 13),
    (1, 13),
    (14, 15),
    (13,),
    (6, 7, 9, 10, 11, 12, 14, 15),
    (5, 7, 10, 11, 14, 15, 16, 17),
    (5, 6, 9, 10, 11, 12, 14, 15),
    (16, 17, 18, 19),
    (5, 7, 10, 16, 17, 18, 19),
    (5, 6, 7, 9, 11, 12, 13, 14, 15, 16, 17),
    (5, 6, 7, 10, 13),
    (5, 7, 10, 16, 17),
    (1, 2, 4, 10, 11),
    (3, 5, 6, 7, 10),
    (3, 5, 6, 7, 10),
    (6, 8, 9, 10, 12, 18),
    (6, 8, 9, 10, 12, 19),
    (8, 9, 16),
    (8, 9, 17),
)
"""For each of the 20 classes of CIHP the classes that it touches."""

PASCAL_TOUCHES = ((0,), (1, 2), (1, 2, 3, 5), (2, 3, 4), (3, 4), (2, 5, 6), (5, 6))
"""For each of Pascal's 7 parts the parts that it touches; here a part touches itself, which counts once more."""

# fmt: off
_NEARNESS = (
    (1.0, 0.39615878, 0.16373166, 0.32687232, 0.34069368, 0.28477487, 0.3011378),
    (0.35333052, 0.4620153, 0.2166334, 0.3848246, 0.34817293, 0.35139564, 0.31775978),
    (0.32727194, 0.5232147, 0.3053872, 0.37693462, 0.37525997, 0.4274235, 0.42922646),
    (0.17418084, 0.30826113, 0.28377613, 0.41610834, 0.36497068, 0.4166432, 0.36896256),
    (0.18757585, 0.25669527, 0.1372435, 0.20415749, 0.17841616, 0.20004676, 0.17597556),
    (0.40608522, 0.5474777, 0.4448808, 0.7674908, 0.6974621, 0.7856683, 0.7221466),
    (0.37503982, 0.3670523, 0.29479995, 0.35139853, 0.31731462, 0.42237487, 0.39162803),
    (0.35448462, 0.3901983, 0.31092596, 0.3787411, 0.34628952, 0.41048548, 0.3813787),
    (0.22598556, 0.27519473, 0.22703953, 0.28411737, 0.25167277, 0.37933812, 0.34980297),
    (0.23893578, 0.3433325, 0.33983576, 0.35155421, 0.3207238, 0.46542516, 0.4381842),
    (0.3306426, 0.5272851, 0.7577882, 0.5879262, 0.56711286, 0.6244476, 0.60879177),
    (0.28923404, 0.32771334, 0.2619818, 0.3114172, 0.24894775, 0.3274493, 0.26762545),
    (0.27986574, 0.34819326, 0.37069392, 0.4058511, 0.37000453, 0.49466008, 0.4627116),
    (0.4211553, 0.6388295, 0.35184866, 0.5118922, 0.5260086, 0.49314657, 0.51150477),
    (0.3691578, 0.6804292, 0.49877512, 0.82042736, 0.82483995, 0.71244234, 0.72318107),
    (0.41377747, 0.69368577, 0.49979436, 0.8342413, 0.8496627, 0.71497005, 0.736784),
    (0.3248577, 0.6339579, 0.51853275, 0.7073219, 0.7033991, 0.8234787, 0.8262039),
    (0.3724822, 0.6534434, 0.5251754, 0.727525, 0.7344938, 0.8356659, 0.8494217),
    (0.3686564, 0.5953878, 0.3251774, 0.6032733, 0.5664961, 0.6259714, 0.5943811),
    (0.41500333, 0.6071375, 0.3237731, 0.61431336, 0.58888793, 0.62626815, 0.606076),
)
# fmt: on
"""CIHP's classes (rows) against Pascal's parts: likeness of their names as words."""


def normalised(touches: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """Adjacency with every node its own neighbour, both ways divided by the roots of the degrees; [nodes, nodes]."""
    adjacency = np.eye(len(touches))
    for node, others in enumerate(touches):
        adjacency[node, list(others)] += 1
    scale = 1 / np.sqrt(adjacency.sum(1))
    return np.asarray(scale[:, None] * adjacency * scale, np.float32)


ADJACENCY = {20: normalised(CIHP_TOUCHES), 7: normalised(PASCAL_TOUCHES)}
"""Number of classes -> adjacency [classes, classes]."""

NEARNESS = {(20, 7): np.array(_NEARNESS, np.float32), (7, 20): np.array(_NEARNESS, np.float32).T.copy()}
"""(target classes, source classes) -> likeness [target, source]."""
