"""Cut every garment out of its photograph: RGBA tiles of 160 px, garment centred, long side 140 px.

The photographs have beds, floors and hangers in them; the network shall learn garments on white. U2-Net finds
what stands out, and pictures on which it is not sure are dropped, with the reason counted. The work can be
stopped and started again, and shared out between processes with `--part 0/2` and `--part 1/2`.
"""

import argparse
import csv
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import openvino
from numpy.typing import NDArray

CATEGORIES = ("top", "trousers", "skirt", "hat", "dress")
"""The order of the network's category planes."""
CATEGORY_OF_LABEL = {
    **dict.fromkeys(
        (
            "Blazer",
            "Blouse",
            "Hoodie",
            "Longsleeve",
            "Outwear",
            "Polo",
            "Shirt",
            "T-Shirt",
            "Top",
            "Undershirt",
        ),
        "top",
    ),
    **dict.fromkeys(("Pants", "Shorts"), "trousers"),
    "Skirt": "skirt",
    "Hat": "hat",
    "Dress": "dress",
}
TILE = 160
GARMENT = 140
MATTE_SIZE = 256
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)

Matting = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Photograph:
    id: str
    category: str
    file: Path


def photographs(garments: Path) -> list[Photograph]:
    """What `labels.csv` lists and a file exists for, in an order that mixes the categories."""
    with (garments / "labels.csv").open(newline="") as rows:
        listed = [
            Photograph(id=row["image"], category=CATEGORY_OF_LABEL[row["label"]], file=path)
            for row in csv.DictReader(rows)
            if row["label"] in CATEGORY_OF_LABEL and (path := garments / row["label"] / f"{row['image']}.jpg").is_file()
        ]
    # Rare categories first, so that a training run started early already sees all of them.
    counts = Counter(photograph.category for photograph in listed)
    places: Counter[str] = Counter()
    keyed = []
    for photograph in sorted(listed, key=lambda p: hashlib.sha256(p.id.encode()).digest()):
        keyed.append((places[photograph.category] / counts[photograph.category] ** 0.5, photograph.id, photograph))
        places[photograph.category] += 1
    return [photograph for _, _, photograph in sorted(keyed, key=lambda k: k[:2])]


def open_matting(weights: Path) -> Matting:
    """U2-Net (Qin et al., Pattern Recognition 2020, arXiv:2005.09007) on one thread.

    returns: a function from uint8 [H, W, 3] RGB to float32 [H, W], 0 (background) to 1
    """
    core = openvino.Core()
    network = core.read_model(weights)
    network.reshape([1, 3, MATTE_SIZE, MATTE_SIZE])
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(network, "CPU", options)

    def matte(photograph: NDArray[np.uint8]) -> NDArray[np.float32]:
        small = cv2.resize(photograph, (MATTE_SIZE, MATTE_SIZE), interpolation=cv2.INTER_AREA).astype(np.float32)
        normal = (small / max(float(small.max()), 1.0) - MEAN) / DEVIATION
        found = compiled([np.ascontiguousarray(normal.transpose(2, 0, 1)[None], np.float32)])[0][0, 0]
        spread = (found - found.min()) / max(float(found.max() - found.min()), 1e-6)
        height, width = photograph.shape[:2]
        return np.asarray(cv2.resize(spread, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)

    return matte


def fault(matte: NDArray[np.float32]) -> str | None:
    """Why a matte cannot be trusted; None where it can."""
    inside = matte > 0.5
    area = float(inside.mean())
    if area < 0.08:
        return "garment under 8% of the picture"
    if area > 0.92:
        return "garment over 92% of the picture"
    if min(float(side.mean()) for side in (inside[1], inside[-2], inside[:, 1], inside[:, -2])) > 0.05:
        return "touches all four borders"
    _, _, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8))
    if stats[1:, cv2.CC_STAT_AREA].max() < 0.9 * inside.sum():
        return "in several pieces"
    if float(((matte > 0.15) & (matte < 0.85)).sum()) > 0.35 * float(inside.sum()):
        return "uncertain outline"
    return None


def tile(photograph: NDArray[np.uint8], matte: NDArray[np.float32]) -> NDArray[np.uint8]:
    """uint8 [160, 160, 4] RGBA: the largest piece of the garment, centred; colour outside it is white."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((matte > 0.5).astype(np.uint8))
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    x, y, width, height = (int(v) for v in stats[largest, :4])
    near = cv2.dilate((labels == largest).astype(np.uint8), np.ones((5, 5), np.uint8))
    # Steeper than the soft matte and pulled inwards, so that no background shines through at the rim.
    alpha = np.clip((matte - 0.4) / 0.4, 0, 1) * near
    scale = GARMENT / max(width, height)
    shift = (TILE - 1) / 2 - scale * np.array([x + (width - 1) / 2, y + (height - 1) / 2])
    to_tile = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float64)
    blur = max(0.0, 0.4 / scale - 0.4)
    smooth = cv2.GaussianBlur(photograph, (0, 0), blur) if blur > 0.2 else photograph
    rgb = cv2.warpAffine(smooth, to_tile, (TILE, TILE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    opacity = cv2.warpAffine(alpha.astype(np.float32), to_tile, (TILE, TILE), flags=cv2.INTER_LINEAR)[..., None]
    white = rgb * opacity + 255 * (1 - opacity)
    return np.concatenate([np.where(opacity > 0, white, 255), opacity * 255], axis=2).round().astype(np.uint8)


def prepare(listed: Iterator[Photograph], matting: Matting, out: Path, rejected: Path) -> None:
    """Write `<category>/<id>.png` for each photograph, or a line in `rejected`."""
    done = {path.stem for path in out.glob("*/*.png")}
    if rejected.is_file():
        done |= {line.split(",", 1)[0] for line in rejected.read_text().splitlines()}
    for photograph in listed:
        if photograph.id in done:
            continue
        pixels = cv2.imread(str(photograph.file), cv2.IMREAD_COLOR)
        if pixels is None:
            reason: str | None = "unreadable"
        else:
            rgb = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
            matte = matting(rgb)
            reason = fault(matte)
        if reason is not None:
            with rejected.open("a") as lines:
                lines.write(f"{photograph.id},{photograph.category},{reason}\n")
            continue
        target = out / photograph.category / f"{photograph.id}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        _, encoded = cv2.imencode(".png", cv2.cvtColor(tile(rgb, matte), cv2.COLOR_RGBA2BGRA))
        partial = target.with_suffix(".part")
        partial.write_bytes(encoded.tobytes())
        partial.rename(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--garments", type=Path, required=True, help="folder with labels.csv and one folder per label")
    parser.add_argument("--matting", type=Path, required=True, help="u2net.onnx")
    parser.add_argument("--out", type=Path, required=True, help="where the tiles go")
    parser.add_argument("--part", default="0/1", help="which share of the photographs, as index/number")
    asked = parser.parse_args()
    part, parts = (int(number) for number in asked.part.split("/"))
    cv2.setNumThreads(1)
    asked.out.mkdir(parents=True, exist_ok=True)
    listed = photographs(asked.garments)
    prepare(iter(listed[part::parts]), open_matting(asked.matting), asked.out, asked.out / f"rejected-{part}.csv")
    reasons: Counter[str] = Counter()
    for file in asked.out.glob("rejected-*.csv"):
        reasons.update(",".join(line.split(",")[1:]) for line in file.read_text().splitlines())
    kept = {category: len(list((asked.out / category).glob("*.png"))) for category in CATEGORIES}
    report = {
        "listed": Counter(p.category for p in listed),
        "kept": kept,
        "rejected": dict(sorted(reasons.items())),
    }
    (asked.out / "report.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
