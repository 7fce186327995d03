"""U2-Net from the official checkpoints, the full and the small one, in the place of the ONNX copy."""

from deployments.u2net.model import SIDE, U2Net
from modiste.spec import EngineSpec, ModelSpec, Resources, TensorSpec


def _spec(identifier: str, gpu_memory_mb: int) -> ModelSpec:
    return ModelSpec(
        id=identifier,
        role="Matting",
        paper="Qin et al., U2-Net, Pattern Recognition 2020, arXiv:2005.09007",
        licence="Apache-2.0",
        engines={
            "main": EngineSpec(
                weights=identifier,
                max_batch=8,
                inputs=(
                    TensorSpec(name="image", shape=("N", 3, SIDE, SIDE), range="mean 0, deviation 1", meaning="RGB"),
                ),
                outputs=(
                    TensorSpec(
                        name="saliency", shape=("N", 1, SIDE, SIDE), range="[0, 1]", meaning="fused map", kind="picture"
                    ),
                ),
            )
        },
        resources=Resources(gpu_memory_mb=gpu_memory_mb, cpus=1.0, max_replicas=2),
    )


class U2NetPublished(U2Net):
    spec = _spec("u2net_published", 2100)


class U2NetP(U2Net):
    """The small network: 4.5 MB, a third of the work."""

    spec = _spec("u2netp", 1900)
