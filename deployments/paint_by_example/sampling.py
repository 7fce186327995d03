"""Paint-by-Example: from noise to a picture, with engines for the networks.

Yang et al., "Paint by Example: Exemplar-based Image Editing with Diffusion Models", CVPR 2023, arXiv:2211.13227;
steps of Liu et al., "Pseudo Numerical Methods for Diffusion Models on Manifolds", ICLR 2022, arXiv:2202.09778, in the
linear multi-step form.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from deployments.paint_by_example.prepare import Floats, at_latents, example_at, kept, masked, picture_of
from modiste.image import Mask, RGBImage

TRAINED_STEPS = 1000
BETAS = (0.00085, 0.012)
"""The noise's variance at the first and the last step; its root grows evenly between them."""
OFFSET = 1
"""Of the sampled steps from whole fractions of the trained ones."""
SCALE = 0.18215
"""Of latents to what the decoder wants."""


class Networks(Protocol):
    """The four networks of the pipeline; every array is float32."""

    example_side: int
    """Pixels of the example that `embed` wants."""

    def encode(self, picture: Floats) -> Floats:
        """[N, 3, H, W] -1 to 1 -> [N, 8, h, w], mean and logarithm of the variance."""
        ...

    def embed(self, example: Floats) -> tuple[Floats, Floats]:
        """[N, 3, side, side] CLIP-normalised -> condition [N, 1, D] and what stands for no example, [1, 1, D]."""
        ...

    def denoise(self, sample: Floats, step: int, condition: Floats) -> Floats:
        """[N, 9, h, w]: latents, masked picture's latents, what is kept -> the noise in the latents [N, 4, h, w]."""
        ...

    def decode(self, latents: Floats) -> Floats:
        """[N, 4, h, w] -> [N, 3, H, W] RGB, about -1 to 1."""
        ...


def paint(
    networks: Networks,
    picture: RGBImage,
    mask: Mask,
    example: RGBImage,
    *,
    seed: int,
    steps: int = 50,
    guidance: float = 5.0,
) -> RGBImage:
    """Paint what the example shows into the masked part of a picture.

    picture:  [H, W, 3], both multiples of 8; trained at 512 x 512
    mask:     255 = paint here
    example:  a crop that shows the thing alone
    guidance: how much more than without the example; 1 is the example's own prediction
    returns:  [H, W, 3], all of it decoded: paste it back under the mask to keep the rest exactly
    """
    random = np.random.default_rng(seed)
    keep = kept(mask)
    moments = networks.encode(masked(picture, keep))
    mean, logarithm = np.split(moments, 2, axis=1)
    shape = mean.shape
    latents = random.standard_normal(shape, dtype=np.float32)
    deviation = np.exp(np.float32(0.5) * logarithm.clip(-30, 20))
    seen = (mean + deviation * random.standard_normal(shape, dtype=np.float32)) * np.float32(SCALE)
    beside = np.concatenate([seen, at_latents(keep, *shape[2:])], axis=1)
    condition, nothing = networks.embed(example_at(networks.example_side, example))
    found = denoised(networks, latents, beside, condition, nothing, steps=steps, guidance=guidance)
    return picture_of(networks.decode(found / np.float32(SCALE)))


def denoised(
    networks: Networks,
    latents: Floats,
    beside: Floats,
    condition: Floats,
    nothing: Floats,
    *,
    steps: int,
    guidance: float,
) -> Floats:
    """Latents without noise.

    latents: [N, 4, h, w] noise
    beside:  [N, 5, h, w] the masked picture's latents and what is kept
    """
    both = np.concatenate([np.broadcast_to(nothing, condition.shape), condition])
    remaining = remaining_signal()
    predictions: list[Floats] = []
    started = latents
    for number, (step, source, target) in enumerate(schedule(steps)):
        sample = np.concatenate([latents, beside], axis=1)
        without, along = np.split(networks.denoise(np.concatenate([sample, sample]), step, both), 2)
        noise = np.asarray(without + np.float32(guidance) * (along - without), np.float32)
        if number == 1:
            # The first step again, with the mean of the predictions at its two ends.
            noise, latents = (noise + predictions[-1]) * np.float32(0.5), started
        else:
            predictions = [*predictions[-3:], noise]
            noise = combined(predictions)
        latents = moved(latents, noise, remaining[source], remaining[max(target, 0)])
    return latents


def schedule(steps: int) -> Iterator[tuple[int, int, int]]:
    """(step whose noise is predicted, step left, step reached); of several moves, the first is made twice."""
    stride = TRAINED_STEPS // steps
    times = np.arange(steps)[::-1] * stride + OFFSET
    for number, time in enumerate(int(t) for t in times):
        yield time, time, time - stride
        if number == 0 and steps > 1:
            yield time - stride, time, time - stride


def remaining_signal() -> NDArray[np.float32]:
    """[1000] share of the picture's variance that is left at each step."""
    betas = np.linspace(np.sqrt(BETAS[0]), np.sqrt(BETAS[1]), TRAINED_STEPS, dtype=np.float64) ** 2
    return np.asarray(np.cumprod(1 - betas), np.float32)


ADAMS_BASHFORTH: Sequence[Sequence[float]] = (
    (1.0,),
    (-1 / 2, 3 / 2),
    (5 / 12, -16 / 12, 23 / 12),
    (-9 / 24, 37 / 24, -59 / 24, 55 / 24),
)
"""Weights of the last one to four predictions, the oldest first."""


def combined(predictions: Sequence[Floats]) -> Floats:
    weights = ADAMS_BASHFORTH[len(predictions) - 1]
    return np.asarray(
        sum(np.float32(w) * prediction for w, prediction in zip(weights, predictions, strict=True)), np.float32
    )


def moved(latents: Floats, noise: Floats, left: np.float32, reached: np.float32) -> Floats:
    """From a step with `left` of the signal to one with `reached`, along the noise."""
    clean = (latents - np.sqrt(1 - left) * noise) / np.sqrt(left)
    return np.asarray(np.sqrt(reached) * clean + np.sqrt(1 - reached) * noise, np.float32)
