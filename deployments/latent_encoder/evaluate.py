"""What the encoder finds in faces that neither trained nor chose it: `figures.json`, the card's table, a sheet.

`python -m deployments.latent_encoder.evaluate`, a second and a half per face on one thread. The faces are encoded,
made again from their codes alone, and compared: where they are among the generator's faces, who they look like to the
identity network, and what they look like to EfficientNet-Lite0. The last stands in for LPIPS, whose backbones no
package registry has: the same recipe (feature maps of five depths, each place's features scaled to length 1, squared
differences averaged over places and summed over depths) on another network and without learned weights, so its numbers
compare with nothing but each other.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import openvino as ov
import typer
from numpy.typing import NDArray
from rich.progress import track

from deployments import open_model
from deployments.roles import Face, FaceSeed, IdentityInput, LandmarksInput
from modiste.geometry import Box
from modiste.image import Landmarks, RGBImage
from weights.recipes.latent_encoder.generator import GENERATOR, coordinates
from weights.store import artefact

FIRST_SEED = 2_000_000
TRUNCATION = 0.7
AROUND = 0.35
SIDE, HALF, SHOWN, TILE = 224, 512, 8, 128
FIGURES = Path(__file__).with_name("figures.json")
CARD, SHEET = Path(__file__).with_name("README.md"), Path(__file__).with_name("held_out.jpg")
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
_FACE = Face(box=Box(262, 330, 762, 900), score=1.0, eyes=np.array([[390, 480], [634, 480]], np.float32))

Floats = NDArray[np.float32]


class Perception:
    """Feature maps of EfficientNet-Lite0, the last ones at each of its five sizes."""

    def __init__(self) -> None:
        core = ov.Core()
        model = core.read_model(artefact("efficientnet_lite0"))
        model.reshape([1, 3, SIDE, SIDE])
        last = {}
        for node in model.get_ordered_ops():
            shape = node.output(0).get_partial_shape()
            if node.get_type_name() in ("Add", "Clamp") and shape.rank.get_length() == 4 and shape[2] == shape[3]:
                last[shape[2].get_length()] = node.output(0)
        maps = [last[size] for size in sorted(last, reverse=True) if size > 1]
        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        self._compiled = core.compile_model(ov.Model(maps, model.get_parameters(), "maps"), "CPU", options)

    def __call__(self, image: RGBImage) -> list[Floats]:
        small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
        found = self._compiled([((small - 127) / 128).transpose(2, 0, 1)[None]])
        maps = [np.array(found[k][0], np.float32) for k in range(len(found))]
        return [m / (np.linalg.norm(m, axis=0, keepdims=True) + 1e-8) for m in maps]


def distance(one: list[Floats], other: list[Floats]) -> float:
    return float(sum(np.square(a - b).sum(axis=0).mean() for a, b in zip(one, other, strict=True)))


class Judges:
    """The models that make, find and compare faces, each opened once."""

    def __init__(self) -> None:
        self.generator, self.encoder = open_model("mobile_stylegan"), open_model("latent_encoder")
        self.mesh, self.identity = open_model("face_mesh"), open_model("dlib_resnet")
        self.perception = Perception()
        self.mean = np.load(GENERATOR / "mean_style.npy")
        self.directions = np.load(GENERATOR / "directions.npy").astype(np.float32)

    def who(self, face: RGBImage) -> Floats:
        """float32 [128], length 1"""
        (fitted,) = self.mesh([LandmarksInput(image=face, face=_FACE)])
        small = RGBImage(cv2.resize(face, (HALF, HALF), interpolation=cv2.INTER_AREA))
        points = Landmarks(fitted.points * np.float32(HALF / face.shape[0]))
        (embedding,) = self.identity([IdentityInput(image=small, landmarks=points)])
        return np.asarray(embedding)

    def place(self, seed: FaceSeed) -> tuple[Floats, Floats]:
        """w [512], from the mean face, and in deviations along the principal directions [64]."""
        w = self.generator.preprocess(seed)["style"]
        return (w - self.mean)[0], coordinates(w, self.mean, self.directions)[0]

    def again(self, face: RGBImage) -> tuple[FaceSeed, RGBImage]:
        """The face that is made from nothing but the code of one."""
        (code,) = self.encoder([face])
        seed = FaceSeed(seed=0, truncation=0.0, centre=code)
        return seed, self.generator([seed])[0]


def measure(judges: Judges, count: int) -> tuple[dict[str, float], NDArray[np.uint8]]:
    """Figures over `count` faces, and the sheet of the first few."""
    goals, found, wrong, people, twins, rows = [], [], [], [], [], []
    near, alike, strangers = [], [], []
    before: list[Floats] | None = None
    mean_maps = judges.perception(judges.generator([FaceSeed(seed=0, truncation=0.0)])[0])
    far = []
    for number in track(range(count), description="Faces"):
        seed = FaceSeed(seed=FIRST_SEED + number, truncation=TRUNCATION)
        face = judges.generator([seed])[0]
        twin, again = judges.again(face)
        (w, goal), (w_again, code) = judges.place(seed), judges.place(twin)
        goals.append(goal)
        found.append(code)
        wrong.append(np.linalg.norm(w_again - w) / np.linalg.norm(w))
        people.append(judges.who(face))
        twins.append(judges.who(again))
        maps = judges.perception(face)
        alike.append(distance(judges.perception(again), maps))
        far.append(distance(mean_maps, maps))
        if before is not None:
            strangers.append(distance(before, maps))
        before = maps
        if number < SHOWN:
            near = [judges.generator([FaceSeed(seed=s, truncation=AROUND, centre=twin.centre)])[0] for s in (1, 2, 3)]
            rows.append(
                np.hstack([cv2.resize(f, (TILE, TILE), interpolation=cv2.INTER_AREA) for f in (face, again, *near)])
            )
    goal, code, who, who_again = (np.stack(list_) for list_ in (goals, found, people, twins))
    own = (who * who_again).sum(axis=1)
    others = (who @ who.T)[~np.eye(count, dtype=bool)]
    lengths = np.square(judges.directions).sum(axis=1)
    error, variance = np.square(code - goal).mean(axis=0), np.square(goal).mean(axis=0)
    figures = {
        "faces": count,
        "r2": 1 - float((error * lengths).sum() / (variance * lengths).sum()),
        "r2_first_16": 1 - float(error[:16].sum() / variance[:16].sum()),
        "r2_plain": 1 - float(error.sum() / variance.sum()),
        "mse": float(error.mean()),
        "mse_of_mean": float(variance.mean()),
        "w_error": float(np.mean(wrong)),
        "cosine": float(own.mean()),
        "cosine_low": float(np.quantile(own, 0.05)),
        "others": float(others.mean()),
        "others_high": float(np.quantile(others, 0.95)),
        "first": float((own[:, None] > who_again @ who.T - 2 * np.eye(count)).all(axis=1).mean()),
        "distance": float(np.mean(alike)),
        "distance_of_mean": float(np.mean(far)),
        "distance_of_others": float(np.mean(strangers)),
    }
    half = len(rows) // 2
    sheet = np.hstack([np.vstack(rows[:half]), np.full((half * TILE, 8, 3), 255, np.uint8), np.vstack(rows[half:])])
    return {name: round(value, 4) for name, value in figures.items()}, sheet


def table(f: dict[str, float]) -> str:
    """Markdown."""
    return f"""| {f["faces"]:.0f} held-out faces, truncation {TRUNCATION} | from their codes | for comparison |
| --- | ---: | --- |
| squared error of a coordinate, deviations | {f["mse"]:.3f} | {f["mse_of_mean"]:.3f} for the mean face |
| R2 of all 64 coordinates, each counted as far as it moves w | {f["r2"]:.3f} | {f["r2_plain"]:.3f} counted alike |
| R2 of the first 16 coordinates | {f["r2_first_16"]:.3f} | |
| distance of w over that of w and the mean face | {f["w_error"]:.3f} | 1 for the mean face; 0.46 for exact codes |
| identity cosine with the original (dlib_resnet) | {f["cosine"]:.3f}, 5% under {f["cosine_low"]:.3f} \
| other faces {f["others"]:.3f}, 5% over {f["others_high"]:.3f} |
| most like its own original among all | {f["first"]:.0%} | |
| perceptual distance in EfficientNet-Lite0 features (not LPIPS) | {f["distance"]:.3f} \
| mean face {f["distance_of_mean"]:.3f}, other faces {f["distance_of_others"]:.3f} |""".replace("\\\n", "")


def main(count: int = 160) -> None:
    figures, sheet = measure(Judges(), count)
    FIGURES.write_text(json.dumps(figures, indent=2) + "\n")
    before, _, rest = CARD.read_text().partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"{CARD}: expected the marks {BEGIN} and {END}")
    CARD.write_text(f"{before}{BEGIN}\n{table(figures)}\n{END}{after}")
    cv2.imwrite(str(SHEET), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    typer.echo(table(figures))


if __name__ == "__main__":
    typer.run(main)
