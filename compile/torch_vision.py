"""torchvision beside a torch of another build.

The package index carries torchvision compiled for CUDA. Beside a CPU-only torch its operators cannot be loaded, and
importing it fails, because it describes two operators that then nobody has declared; every library that takes its
picture transforms from it (timm, open_clip, transformers, diffusers) fails with it.
"""

from importlib import import_module

import torch

_DECLARED: list[object] = []  # torch forgets the declarations of a library that is garbage


def make_importable() -> None:
    """Declare the two operators where they cannot be loaded; calling one is an error then, importing is none.

    To be called before timm, open_clip, segmentation_models_pytorch, transformers or diffusers are imported.
    """
    try:
        import_module("torchvision")
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _DECLARED.append(library)
        import_module("torchvision")
