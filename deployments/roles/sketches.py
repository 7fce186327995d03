"""Roles about sketches, articles and how they look."""

from dataclasses import dataclass

from deployments.base import Model
from modiste.image import Embedding, Mask, RGBImage
from modiste.labels import SketchCategory


class EdgeDetection(Model[RGBImage, Mask]):
    """Outlines: 255 on a line, 0 elsewhere, same size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sketch:
    """image: dark lines on white, coloured strokes or dots as hints; category: None = what the outline looks like."""

    image: RGBImage
    category: SketchCategory | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SketchedGarment:
    """image: on white; category: as asked for, or as found; coloured: the sketch had colour hints."""

    image: RGBImage
    category: SketchCategory
    coloured: bool


class SketchToGarment(Model[Sketch, SketchedGarment]):
    """A garment on white that follows the sketch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Article:
    """coloured: False where the picture's colours mean nothing and shall not count."""

    image: RGBImage
    coloured: bool = True


class FashionEmbedding(Model[Article, Embedding]):
    """What an article looks like; similar articles have a high cosine."""
