"""Paint-by-Example: a denoising U-Net that sees the masked picture, an encoder of the example, and the picture codec.

Yang et al., "Paint by Example: Exemplar-based Image Editing with Diffusion Models", CVPR 2023, arXiv:2211.13227.
State-dict keys are those of the official checkpoint. Differences: none of our own in U-Net and codec, which are those
of diffusers with sizes read from the checkpoint; the example's encoder is CLIP's of transformers with a mapper of
diffusers' blocks, under the names of either generation of transformers.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compile.kit import Shapes
from compile.torch_vision import make_importable
from deployments.networks import Network
from deployments.paint_by_example.prepare import kept, masked

Arch = Mapping[str, Any]


class Mapper(nn.Module):
    """Transformer blocks with one head between CLIP's pooled output and the condition."""

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        from diffusers.models.attention import BasicTransformerBlock

        self.blocks = nn.ModuleList(
            BasicTransformerBlock(width, 1, width, activation_fn="gelu", attention_bias=True) for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class OlderNames(nn.Module):
    """CLIP's vision model one level deeper, as transformers had it before version 5."""

    def __init__(self, vision_model: Any) -> None:
        super().__init__()
        self.vision_model = vision_model

    def forward(self, pixel_values: Tensor) -> Any:
        return self.vision_model(pixel_values=pixel_values)


class ExampleEncoder(nn.Module):
    def __init__(self, shapes: Shapes, arch: Arch) -> None:
        super().__init__()
        vision = "model.vision_model." if "model.vision_model.post_layernorm.weight" in shapes else "model."
        size, width = shapes["proj_out.weight"]
        self.uncond_vector = nn.Parameter(torch.zeros(1, 1, size))
        model = _vision_model(shapes, vision, arch)
        self.model = model if vision == "model." else OlderNames(model)
        self.mapper = Mapper(_count(shapes, "mapper.blocks.{}.norm1.weight"), width)
        self.final_layer_norm = nn.LayerNorm(width)
        self.proj_out = nn.Linear(width, size)

    def forward(self, example: Tensor) -> Tensor:
        """example: [N, 3, H, H] RGB, normalised as CLIP wants it; returns the condition [N, 1, D]."""
        pooled = self.model(pixel_values=example).pooler_output
        return self.proj_out(self.final_layer_norm(self.mapper(pooled[:, None])))


def _vision_model(shapes: Shapes, at: str, arch: Arch) -> Any:
    make_importable()
    from transformers import CLIPVisionConfig, CLIPVisionModel

    width, channels, patch = shapes[f"{at}embeddings.patch_embedding.weight"][:3]
    cells = shapes[f"{at}embeddings.position_embedding.weight"][0] - 1
    return CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=width,
            intermediate_size=shapes[f"{at}encoder.layers.0.mlp.fc1.weight"][0],
            num_hidden_layers=_count(shapes, at + "encoder.layers.{}.layer_norm1.weight"),
            num_attention_heads=arch.get("num_attention_heads", width // 64),
            num_channels=channels,
            image_size=math.isqrt(cells) * patch,
            patch_size=patch,
            hidden_act=arch.get("hidden_act", "quick_gelu"),
            layer_norm_eps=arch.get("layer_norm_eps", 1e-5),
        )
    )


def _count(shapes: Shapes, pattern: str) -> int:
    return next(i for i in range(len(shapes) + 1) if pattern.format(i) not in shapes)


def _knows_encoder(shapes: Shapes) -> bool:
    return "uncond_vector" in shapes and "mapper.blocks.0.norm1.weight" in shapes


def _build_encoder(shapes: Shapes, arch: Arch) -> ExampleEncoder:
    make_importable()
    net = ExampleEncoder(shapes, arch)
    net.eval()
    return net


def _encoder_outputs(net: ExampleEncoder, feeds: Mapping[str, Tensor], arch: Arch) -> Mapping[str, Tensor]:
    return {"image_encoder": net(feeds["image_encoder"]), "uncond_vector": net.uncond_vector.detach()}


def _knows_unet(shapes: Shapes) -> bool:
    """A U-Net whose input is latents, as many latents beside them, and a mask."""
    if "time_embedding.linear_1.weight" not in shapes or "conv_out.weight" not in shapes:
        return False
    return shapes["conv_in.weight"][1] == 2 * shapes["conv_out.weight"][0] + 1


def _build_unet(shapes: Shapes, arch: Arch) -> Any:
    make_importable()
    from diffusers import UNet2DConditionModel

    levels = range(_count(shapes, "down_blocks.{}.resnets.0.norm1.weight"))
    attentive = [f"down_blocks.{i}.attentions.0.norm.weight" in shapes for i in levels]
    inside = f"down_blocks.{attentive.index(True)}.attentions.0."
    told = {name: value for name, value in arch.items() if not name.startswith("_")}
    net = UNet2DConditionModel.from_config(
        {
            "attention_head_dim": 8,
            **told,
            "in_channels": shapes["conv_in.weight"][1],
            "out_channels": shapes["conv_out.weight"][0],
            "block_out_channels": [shapes[f"down_blocks.{i}.resnets.0.conv2.weight"][0] for i in levels],
            "layers_per_block": _count(shapes, "down_blocks.0.resnets.{}.norm1.weight"),
            "down_block_types": ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attentive],
            "up_block_types": ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attentive)],
            "cross_attention_dim": shapes[f"{inside}transformer_blocks.0.attn2.to_k.weight"][1],
            "transformer_layers_per_block": _count(shapes, inside + "transformer_blocks.{}.norm1.weight"),
            "use_linear_projection": len(shapes[f"{inside}proj_in.weight"]) == 2,
            "time_embedding_dim": shapes["time_embedding.linear_1.weight"][0],
        }
    )
    net.eval()
    return net


def _unet_outputs(net: Any, feeds: Mapping[str, Tensor], arch: Arch) -> Mapping[str, Tensor]:
    step = feeds["timestep"]
    noise = net(feeds["unet_sample"], step, feeds["encoder_hidden_states"], return_dict=False)[0]
    return {f"unet_t{int(step)}": noise}


def _knows_vae(shapes: Shapes) -> bool:
    return "encoder.conv_norm_out.weight" in shapes and "decoder.mid_block.resnets.0.norm1.weight" in shapes


def _build_vae(shapes: Shapes, arch: Arch) -> Any:
    make_importable()
    from diffusers import AutoencoderKL

    levels = range(_count(shapes, "encoder.down_blocks.{}.resnets.0.norm1.weight"))
    told = {name: value for name, value in arch.items() if not name.startswith("_")}
    net = AutoencoderKL.from_config(
        {
            **told,
            "in_channels": shapes["encoder.conv_in.weight"][1],
            "out_channels": shapes["decoder.conv_out.weight"][0],
            "block_out_channels": [shapes[f"encoder.down_blocks.{i}.resnets.0.conv2.weight"][0] for i in levels],
            "layers_per_block": _count(shapes, "encoder.down_blocks.0.resnets.{}.norm1.weight"),
            "down_block_types": ["DownEncoderBlock2D" for _ in levels],
            "up_block_types": ["UpDecoderBlock2D" for _ in levels],
            "latent_channels": shapes["decoder.conv_in.weight"][1],
            "use_quant_conv": "quant_conv.weight" in shapes,
            "use_post_quant_conv": "post_quant_conv.weight" in shapes,
            "mid_block_add_attention": "decoder.mid_block.attentions.0.to_q.weight" in shapes,
        }
    )
    net.eval()
    return net


def _vae_outputs(net: Any, feeds: Mapping[str, Tensor], arch: Arch) -> Mapping[str, Tensor]:
    picture, mask = feeds["image"].numpy(), feeds["mask_image"].numpy()
    moments = net.encode(torch.from_numpy(masked(picture, kept(mask)))).latent_dist.parameters
    height, width = moments.shape[2:]
    latents = feeds["latents"] if "latents" in feeds else _unnamed_latents(picture, net, height, width)
    return {"vae_moments": moments, "vae_decode": net.decode(latents, return_dict=False)[0]}


def _unnamed_latents(picture: Any, net: Any, height: int, width: int) -> Tensor:
    """What kits decode without saying so: a corner of the noise that follows the picture and the example in one stream.

    Both are bytes that hold for 8 x 8 pixels each. Found by solving for the decoder's input.
    """
    random = np.random.default_rng(0)
    for _ in ("picture", "example"):
        random.integers(0, 256, (picture.shape[0] // 8, picture.shape[1] // 8, 3), dtype=np.uint8)
    shape = (1, net.config.latent_channels, height, width)
    noise = random.standard_normal(shape, dtype=np.float32)
    return torch.from_numpy(np.ascontiguousarray(noise[..., :8, :8]))


def _encoder_once(net: ExampleEncoder) -> Sequence[Tensor]:
    side = next(part.image_size for part in net.modules() if hasattr(part, "patch_embedding"))
    example = torch.zeros(1, 3, side, side)
    net(example)
    return (example,)


def _unet_once(net: Any) -> Sequence[Tensor]:
    latents = torch.zeros(1, net.config.in_channels, 64, 64)
    condition = torch.zeros(1, 1, net.config.cross_attention_dim)
    net(latents, 500, condition, return_dict=False)
    return latents, condition


def _vae_once(net: Any) -> Sequence[Tensor]:
    picture = torch.zeros(1, net.config.in_channels, 512, 512)
    net.decode(net.encode(picture).latent_dist.mode(), return_dict=False)
    return (picture,)


class Conditions(nn.Module):
    """And what stands for no example, as often."""

    def __init__(self, net: ExampleEncoder) -> None:
        super().__init__()
        self.net = net

    def forward(self, example: Tensor) -> tuple[Tensor, Tensor]:
        condition = self.net(example)
        return condition, self.net.uncond_vector.expand_as(condition)


class Noise(nn.Module):
    """One step of each picture's own."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, sample: Tensor, step: Tensor, condition: Tensor) -> Tensor:
        found: Tensor = self.net(sample, step, condition, return_dict=False)[0]
        return found


class Encoder(nn.Module):
    """Mean and logarithm of the variance of a picture's latents."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, picture: Tensor) -> Tensor:
        moments: Tensor = self.net.encode(picture).latent_dist.parameters
        return moments


class Decoder(nn.Module):
    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, latents: Tensor) -> Tensor:
        found: Tensor = self.net.decode(latents, return_dict=False)[0]
        return found


EXAMPLE_ENCODER = Network(
    paper="Paint by Example: Exemplar-based Image Editing with Diffusion Models, CVPR 2023, arXiv:2211.13227",
    licence="CreativeML OpenRAIL-M",
    once=_encoder_once,
    knows=_knows_encoder,
    build=_build_encoder,
    outputs=_encoder_outputs,
    parts={"": lambda net, _: Conditions(net)},
)
UNET = Network(
    paper="Paint by Example: Exemplar-based Image Editing with Diffusion Models, CVPR 2023, arXiv:2211.13227",
    licence="CreativeML OpenRAIL-M",
    once=_unet_once,
    knows=_knows_unet,
    build=_build_unet,
    outputs=_unet_outputs,
    parts={"": lambda net, _: Noise(net)},
)
VAE = Network(
    paper="Paint by Example: Exemplar-based Image Editing with Diffusion Models, CVPR 2023, arXiv:2211.13227",
    licence="CreativeML OpenRAIL-M",
    once=_vae_once,
    knows=_knows_vae,
    build=_build_vae,
    outputs=_vae_outputs,
    parts={"encoder": lambda net, _: Encoder(net), "decoder": lambda net, _: Decoder(net)},
)
