"""Our preparation and sampling against those of diffusers and transformers, on small networks with random weights."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from deployments.paint_by_example.prepare import Floats, at_latents, example_at, kept, masked, picture_of
from deployments.paint_by_example.sampling import combined, moved, paint, remaining_signal, schedule
from modiste.image import Mask, RGBImage

SIDE = 32
"""Of the example in the small networks."""


def blocks(height: int, width: int, seed: int) -> RGBImage:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return RGBImage(coarse.repeat(8, 0).repeat(8, 1))


def square(height: int, width: int) -> Mask:
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : height // 2, width // 4 : -8] = 255
    return Mask(mask)


def test_what_is_painted_is_grey_and_zero() -> None:
    picture, mask = blocks(32, 48, 0), square(32, 48)
    keep = kept(mask)
    seen = masked(picture, keep)
    assert keep.shape == (1, 1, 32, 48)
    assert set(np.unique(keep[0, 0][mask == 255])) == {0}
    assert set(np.unique(keep[0, 0][mask == 0])) == {1}
    assert not seen[:, :, mask == 255].any()
    assert np.array_equal(picture_of(seen)[mask == 0], picture[mask == 0])
    assert np.array_equal(at_latents(keep, 4, 6), keep[:, :, ::8, ::8])


@pytest.mark.parametrize("steps", [1, 4, 50])
def test_noise_that_is_known_is_taken_away(steps: int) -> None:
    """With the true noise predicted at every step, the clean latents come out of any number of steps."""
    random = np.random.default_rng(0)
    clean, noise = random.normal(size=(2, 1, 4, 8, 8)).astype(np.float32)
    signal = remaining_signal()
    moves = list(schedule(steps))
    latents = np.sqrt(signal[moves[0][1]]) * clean + np.sqrt(1 - signal[moves[0][1]]) * noise
    for number, (_, source, target) in enumerate(moves):
        if number != 1:  # which makes the first move again
            latents = moved(latents, noise, signal[source], signal[max(target, 0)])
    assert np.abs(latents - (np.sqrt(signal[0]) * clean + np.sqrt(1 - signal[0]) * noise)).max() < 1e-3


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_equal_predictions_combine_to_the_same(count: int) -> None:
    assert combined([np.full((1, 4, 2, 2), 3, np.float32)] * count) == pytest.approx(3)


@pytest.fixture(scope="module")
def library() -> Iterator[Any]:
    """diffusers' pipeline; its codec is made to encode without noise, which nobody else can draw the same."""
    import torch

    from compile.torch_vision import make_importable

    make_importable()
    from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
    from diffusers.pipelines.deprecated.paint_by_example import PaintByExamplePipeline
    from diffusers.pipelines.deprecated.paint_by_example.image_encoder import PaintByExampleImageEncoder
    from transformers import CLIPVisionConfig

    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            in_channels=9, out_channels=4, sample_size=8, block_out_channels=(32, 64), layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), attention_head_dim=8,
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=32,
        )  # fmt: skip
        codec = AutoencoderKL(
            block_out_channels=(32, 32, 32, 32), layers_per_block=1, latent_channels=4,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        )  # fmt: skip
        encoder = PaintByExampleImageEncoder(
            CLIPVisionConfig(
                hidden_size=64, intermediate_size=96, projection_dim=32, num_hidden_layers=9, num_attention_heads=1,
                image_size=SIDE, patch_size=8,
            )
        )  # fmt: skip
        with torch.no_grad():
            codec.quant_conv.weight[4:] = 0
            codec.quant_conv.bias[4:] = -30
    scheduler = PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
    )
    pipeline = PaintByExamplePipeline(codec.eval(), encoder.eval(), unet.eval(), scheduler, None, None)
    pipeline.set_progress_bar_config(disable=True)
    yield pipeline


class OurNetworks:
    """The networks as our own table builds them from their keys, with the library's weights."""

    example_side = SIDE

    def __init__(self, library: Any) -> None:
        import torch

        from deployments.networks import network, recognise

        self.torch = torch
        self.built = {}
        for name in ("unet", "vae", "image_encoder"):
            state = getattr(library, name).state_dict()
            shapes = {key: tuple(value.shape) for key, value in state.items()}
            built = network(recognise(shapes) or "").build(shapes, {})
            built.load_state_dict(state)
            self.built[name] = built

    def encode(self, picture: Floats) -> Floats:
        with self.torch.inference_mode():
            return self.built["vae"].encode(self.torch.from_numpy(picture)).latent_dist.parameters.numpy()

    def embed(self, example: Floats) -> tuple[Floats, Floats]:
        with self.torch.inference_mode():
            encoder = self.built["image_encoder"]
            return encoder(self.torch.from_numpy(example)).numpy(), encoder.uncond_vector.detach().numpy()

    def denoise(self, sample: Floats, step: int, condition: Floats) -> Floats:
        with self.torch.inference_mode():
            of = self.torch.from_numpy
            return self.built["unet"](of(sample), step, of(np.ascontiguousarray(condition))).sample.numpy()

    def decode(self, latents: Floats) -> Floats:
        with self.torch.inference_mode():
            return self.built["vae"].decode(self.torch.from_numpy(latents)).sample.numpy()


@pytest.mark.torch
@pytest.mark.parametrize("steps", [2, 7])
def test_the_sampling_loop_gives_what_the_library_gives(library: Any, steps: int) -> None:
    import torch
    from PIL import Image

    picture, mask, example = blocks(64, 96, 1), square(64, 96), blocks(40, 56, 2)
    found = paint(OurNetworks(library), picture, mask, example, seed=3, steps=steps, guidance=4.0)
    latents = np.random.default_rng(3).standard_normal((1, 4, 8, 12), dtype=np.float32)
    expected = library(
        example_image=torch.from_numpy(example_at(SIDE, example)), image=Image.fromarray(picture),
        mask_image=Image.fromarray(mask), latents=torch.from_numpy(latents), num_inference_steps=steps,
        guidance_scale=4.0, output_type="np",
    ).images[0]  # fmt: skip
    assert expected.std() > 0.02
    assert np.abs(found / 255 - expected).max() <= 0.6 / 255


@pytest.mark.torch
@pytest.mark.parametrize("size", [(300, 200), (90, 250), (224, 224)])
def test_the_example_is_cut_and_normalised_as_transformers_does(size: tuple[int, int]) -> None:
    from compile.torch_vision import make_importable

    make_importable()
    from transformers import CLIPImageProcessorPil

    example = RGBImage(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))
    expected = CLIPImageProcessorPil()(example, return_tensors="np").pixel_values
    assert np.abs(example_at(224, example) - expected).max() < 1e-5
