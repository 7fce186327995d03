"""FashionCLIP: pictures and texts of articles in one space of 512 numbers.

Chia et al., "Contrastive language and vision learning of general fashion concepts", Scientific Reports 2022,
10.1038/s41598-022-23052-9, arXiv:2204.03972, on CLIP: Radford et al., ICML 2021, arXiv:2103.00020.
State-dict keys are those of the official checkpoint. Differences: none of our own; the network is that of
transformers, with sizes read from the checkpoint. Older files' `position_ids` are no weights and are left out.
"""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from compile.kit import Shapes
from compile.torch_vision import make_importable
from deployments.networks import Network

HEAD = 64
"""Width of an attention head in every CLIP, where the constructor arguments do not say the number of heads."""


def _knows(shapes: Shapes) -> bool:
    return "vision_model.pre_layrnorm.weight" in shapes and "text_projection.weight" in shapes


def _build(shapes: Shapes, arch: Mapping[str, Any]) -> Any:
    """arch: as transformers' config. No weight tells `hidden_act`: it is "gelu" in files that go back to LAION's CLIP
    (version 2) and "quick_gelu" in those that go back to OpenAI's."""
    make_importable()
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

    told = {"hidden_act": "gelu", **arch}
    told_text, told_vision = ({**told, **arch.get(f"{tower}_config", {})} for tower in ("text", "vision"))
    vocabulary, text_width = shapes["text_model.embeddings.token_embedding.weight"]
    width, channels, patch = shapes["vision_model.embeddings.patch_embedding.weight"][:3]
    cells = shapes["vision_model.embeddings.position_embedding.weight"][0] - 1
    text = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=text_width,
        intermediate_size=shapes["text_model.encoder.layers.0.mlp.fc1.weight"][0],
        num_hidden_layers=_depth(shapes, "text_model"),
        num_attention_heads=told_text.get("num_attention_heads", text_width // HEAD),
        max_position_embeddings=shapes["text_model.embeddings.position_embedding.weight"][0],
        hidden_act=told_text["hidden_act"],
        # Where a text ends: at its highest token, which is how the official file says it, too.
        eos_token_id=2,
    )
    vision = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=shapes["vision_model.encoder.layers.0.mlp.fc1.weight"][0],
        num_hidden_layers=_depth(shapes, "vision_model"),
        num_attention_heads=told_vision.get("num_attention_heads", width // HEAD),
        num_channels=channels,
        image_size=math.isqrt(cells) * patch,
        patch_size=patch,
        hidden_act=told_vision["hidden_act"],
    )
    net = CLIPModel(
        CLIPConfig(
            text_config=text.to_dict(),
            vision_config=vision.to_dict(),
            projection_dim=shapes["text_projection.weight"][0],
        )
    )
    net.eval()
    return net


def _depth(shapes: Shapes, tower: str) -> int:
    return sum(key.startswith(f"{tower}.encoder.layers.") and key.endswith("layer_norm1.weight") for key in shapes)


class PictureTower(nn.Module):
    def __init__(self, net: Any) -> None:
        super().__init__()
        self.vision_model, self.visual_projection = net.vision_model, net.visual_projection

    def forward(self, picture: Tensor) -> Tensor:
        return embed_picture(self, picture)


def embed_picture(net: Any, picture: Tensor) -> Tensor:
    """[N, 3, H, H] RGB, normalised as CLIP wants it -> [N, D], of any length."""
    return net.visual_projection(net.vision_model(pixel_values=picture).pooler_output)


def embed_text(net: Any, tokens: Tensor) -> Tensor:
    """[N, L] token ids -> [N, D], of any length."""
    return net.text_projection(net.text_model(input_ids=tokens).pooler_output)


def _outputs(net: Any, feeds: Mapping[str, Tensor], arch: Mapping[str, Any]) -> Mapping[str, Tensor]:
    return {"image_embed": embed_picture(net, feeds["image"]), "text_embed": embed_text(net, feeds["tokens"])}


FASHION_CLIP = Network(
    paper=(
        "Contrastive language and vision learning of general fashion concepts, Scientific Reports 2022, "
        "arXiv:2204.03972"
    ),
    licence="MIT",
    knows=_knows,
    build=_build,
    outputs=_outputs,
    parts={"picture": lambda net, beside: PictureTower(net)},
)
