"""Small networks of the kinds that embed pictures of articles."""

from compile.kit import Shapes
from deployments.networks import Module, network


def siglip() -> Module:
    """Pictures of 2 x 2 patches of 16, two layers of two heads."""
    width, tower, text = 128, "visual.trunk", "text.transformer.resblocks"
    shapes: Shapes = {
        f"{tower}.patch_embed.proj.weight": (width, 3, 16, 16),
        f"{tower}.pos_embed": (1, 4, width),
        **{f"{tower}.blocks.{i}.norm1.weight": (width,) for i in range(2)},
        f"{tower}.blocks.0.mlp.fc1.weight": (2 * width, width),
        "text.token_embedding.weight": (32, width),
        "text.positional_embedding": (8, width),
        "text.text_projection.weight": (width, width),
        f"{text}.0.ln_1.weight": (width,),
        f"{text}.0.mlp.c_fc.weight": (2 * width, width),
    }
    return network("fashion_siglip").build(shapes, {})


def clip() -> Module:
    """Pictures of 2 x 2 patches of 32, two layers of two heads."""
    width, vision, text = 128, "vision_model", "text_model"
    shapes: Shapes = {
        f"{text}.embeddings.token_embedding.weight": (32, width),
        f"{text}.embeddings.position_embedding.weight": (8, width),
        f"{text}.encoder.layers.0.layer_norm1.weight": (width,),
        f"{text}.encoder.layers.0.mlp.fc1.weight": (2 * width, width),
        f"{vision}.embeddings.patch_embedding.weight": (width, 3, 32, 32),
        f"{vision}.embeddings.position_embedding.weight": (5, width),
        **{f"{vision}.encoder.layers.{i}.layer_norm1.weight": (width,) for i in range(2)},
        f"{vision}.encoder.layers.0.mlp.fc1.weight": (2 * width, width),
        "text_projection.weight": (64, width),
    }
    return network("fashion_clip").build(shapes, {})
