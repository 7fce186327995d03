"""The U-Net for LaPa as it is built in Keras: a .h5 file does not say which of its layers is which of the network's."""

from collections.abc import Iterator, Mapping

WIDTHS = (64, 128, 256, 512)
"""Channels of each level; the bridge below has twice the last."""
COLOURS, CLASSES = 3, 11


def shapes() -> Mapping[str, tuple[int, ...]]:
    """Key -> shape of the network, in its order: 31,055,947 numbers, counters not counted."""
    found: dict[str, tuple[int, ...]] = {}
    for level, (inside, outside) in enumerate(zip((COLOURS, *WIDTHS), WIDTHS, strict=False)):
        found |= _block(f"downs.{level}", inside, outside)
    found |= _block("bridge", WIDTHS[-1], 2 * WIDTHS[-1])
    for level, width in enumerate(reversed(WIDTHS)):
        found |= {f"ups.{level}.up.weight": (2 * width, width, 2, 2), f"ups.{level}.up.bias": (width,)}
        found |= _block(f"ups.{level}.block", 2 * width, width)
    return found | {"head.weight": (CLASSES, WIDTHS[0], 1, 1), "head.bias": (CLASSES,)}


def _block(name: str, inside: int, outside: int) -> dict[str, tuple[int, ...]]:
    def layers() -> Iterator[tuple[str, tuple[int, ...]]]:
        for number, channels in ((1, inside), (2, outside)):
            yield f"conv{number}.weight", (outside, channels, 3, 3)
            yield f"conv{number}.bias", (outside,)
            for statistic in ("weight", "bias", "running_mean", "running_var"):
                yield f"norm{number}.{statistic}", (outside,)
            yield f"norm{number}.num_batches_tracked", ()

    return {f"{name}.{key}": shape for key, shape in layers()}
