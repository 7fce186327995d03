"""FashionSigLIP: pictures and texts of articles in one space of 768 numbers.

Zhu et al., "Generalized Contrastive Learning for Multi-Modal Retrieval and Ranking", arXiv:2404.08535, on SigLIP:
Zhai et al., "Sigmoid Loss for Language Image Pre-Training", ICCV 2023, arXiv:2303.15343.
State-dict keys are those of the official checkpoint. Differences: none of our own; the towers are timm's and
open_clip's, with sizes read from the checkpoint.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compile.kit import Shapes
from compile.torch_vision import make_importable
from deployments.networks import Network

Arch = Mapping[str, Any]

HEADS = {1152: 72}
"""Width of an attention head by the tower's width, where it is not 64 and the constructor arguments do not say it."""


class FashionSigLIP(nn.Module):
    def __init__(self, shapes: Shapes, arch: Arch) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.zeros(()))
        self.logit_bias = nn.Parameter(torch.zeros(()))
        self.visual = nn.Module()
        self.visual.trunk = _picture_tower(shapes, arch)
        self.text = _text_tower(shapes, arch)

    def forward(self, picture: Tensor) -> Tensor:
        """picture: [N, 3, H, H] RGB, -1 to 1; returns [N, D], of any length."""
        return self.visual.trunk(picture)

    def embed_text(self, tokens: Tensor) -> Tensor:
        """tokens: [N, L] ids, filled up to the context's length; returns [N, D], of any length."""
        return self.text(tokens)


def _picture_tower(shapes: Shapes, arch: Arch) -> Any:
    from timm.models.vision_transformer import VisionTransformer

    at = "visual.trunk."
    width, channels, patch = shapes[f"{at}patch_embed.proj.weight"][:3]
    return VisionTransformer(
        img_size=math.isqrt(shapes[f"{at}pos_embed"][1]) * patch,
        patch_size=patch,
        in_chans=channels,
        num_classes=0,
        global_pool="map",
        embed_dim=width,
        depth=_count(shapes, at + "blocks.{}.norm1.weight"),
        num_heads=_heads(width, arch),
        mlp_ratio=_ratio(shapes[f"{at}blocks.0.mlp.fc1.weight"]),
        class_token=False,
    )


def _text_tower(shapes: Shapes, arch: Arch) -> Any:
    from open_clip.transformer import LayerNorm, TextTransformer

    vocabulary, width = shapes["text.token_embedding.weight"]
    return TextTransformer(
        context_length=shapes["text.positional_embedding"][0],
        vocab_size=vocabulary,
        width=width,
        heads=_heads(width, arch),
        layers=_count(shapes, "text.transformer.resblocks.{}.ln_1.weight"),
        mlp_ratio=_ratio(shapes["text.transformer.resblocks.0.mlp.c_fc.weight"]),
        output_dim=shapes["text.text_projection.weight"][0],
        no_causal_mask=True,
        pool_type="last",
        proj_bias=True,
        norm_layer=partial(LayerNorm, eps=1e-6),
    )


def _heads(width: int, arch: Arch) -> int:
    """Both towers have the same width and the same heads in every SigLIP."""
    told = arch.get("text_cfg", {})
    return int(told["heads"]) if told.get("width") == width and "heads" in told else width // HEADS.get(width, 64)


def _ratio(shape: Sequence[int]) -> float:
    """A hidden layer's width over its input's, so that the product's whole part is that width again."""
    return (shape[0] + 0.5) / shape[1]


def _count(shapes: Shapes, pattern: str) -> int:
    return next(i for i in range(len(shapes) + 1) if pattern.format(i) not in shapes)


def _knows(shapes: Shapes) -> bool:
    return "visual.trunk.attn_pool.latent" in shapes and "text.token_embedding.weight" in shapes


def _build(shapes: Shapes, arch: Arch) -> FashionSigLIP:
    make_importable()
    net = FashionSigLIP(shapes, arch)
    net.eval()
    return net


def _outputs(net: FashionSigLIP, feeds: Mapping[str, Tensor], arch: Arch) -> Mapping[str, Tensor]:
    found = net(feeds["image"])
    return {
        "image_embed": found,
        "image_embed_normalised": F.normalize(found, dim=-1),
        "text_embed": net.embed_text(feeds["tokens"]),
    }


FASHION_SIGLIP = Network(
    paper=(
        "Generalized Contrastive Learning for Multi-Modal Retrieval and Ranking, 2024, arXiv:2404.08535; "
        "Sigmoid Loss for Language Image Pre-Training, ICCV 2023, arXiv:2303.15343"
    ),
    licence="Apache-2.0",
    knows=_knows,
    build=_build,
    outputs=_outputs,
    parts={"picture": lambda net, beside: net.visual.trunk},
)
