"""Real inputs for every role whose models run engines: what the parity gate looks at besides noise.

Where looking is cheap there are several pictures that differ, as one decides little.
"""

import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from deployments.golden_pictures import (
    bust,
    dressed,
    face,
    garment,
    head,
    in_suit,
    keypoints,
    landmarks,
    photo,
    sample,
    view,
    worn,
)
from deployments.roles import (
    Article,
    FaceSeed,
    IdentityInput,
    MakeupInput,
    ParsingInput,
    RestorationInput,
    Sketch,
    SwapInput,
    SynthesisInput,
    WarpInput,
)
from modiste.face_alignment import crop_like_ffhq, landmarks_of_mesh
from modiste.geometry import Box, crop
from modiste.image import Landmarks, RGBImage

TEE, DRESS = "garments/g01_tee_breton_women.jpg", "garments/g11_dress_navy_dots.jpg"
SKIRT = "garments/g10_skirt_midi_sage.jpg"
"""Plain cloth, of which embeddings have the least to say: rounding moves them furthest."""


def golden_inputs(role: str) -> list[Any]:
    """What a model of this role is called with, in one call; the same every time.

    raises: KeyError for a role without golden inputs
    """
    return GOLDEN[role]()


@cache
def golden_digest() -> str:
    """sha256 (hex) of all that golden inputs are made from, the pictures themselves left out: those never change."""
    here = Path(__file__)
    made_from = (here, here.with_name("golden_pictures.py"), here.with_name("golden.npz"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in made_from)).hexdigest()


def _aligned(who: str) -> RGBImage:
    return crop_like_ffhq(photo(who), landmarks_of_mesh(landmarks(who)), 256)[0]


def _restoration() -> RestorationInput:
    """The middle of a face, small: super-resolution takes seconds for each of a thousand pixels."""
    image, box = crop(photo("astronaut"), Box(200, 84, 248, 132))
    corner = np.array([box.left, box.top, 0], np.float32)
    return RestorationInput(image=image, landmarks=Landmarks(landmarks("astronaut") - corner), scale=4)


def _swaps() -> list[SwapInput]:
    """Into a photograph of light skin and into a face of dark skin, from the other one each."""
    return [
        SwapInput(source=view("nia"), target=view("astronaut")),
        SwapInput(source=view("ana"), target=view("sam")),
    ]


def _synthesis() -> list[SynthesisInput]:
    own = SynthesisInput(image=photo("ana"), person=dressed("ana"), warped=worn("ana"), tuck="auto", background=None)
    return [own]


def _warp() -> list[WarpInput]:
    laid_flat = garment("g03_tee_coral_women")
    return [
        WarpInput(garment=laid_flat, category="upper", look=None, tuck="auto", wearer=None, person=dressed(who))
        for who in ("ana", "nia")
    ]


GOLDEN: Mapping[str, Callable[[], list[Any]]] = {
    "FaceDetection": lambda: [photo("astronaut"), bust("nia"), bust("ana")],
    "SmallFaceDetection": lambda: [photo("astronaut"), photo("sam")],
    "FaceLandmarks": lambda: [face("astronaut"), face("nia"), face("mei")],
    "FaceParsing": lambda: [head("astronaut"), head("nia")],
    "IdentityEmbedding": lambda: [
        IdentityInput(image=photo(who), landmarks=landmarks(who)) for who in ("astronaut", "nia", "ken")
    ],
    "FaceGeneration": lambda: [FaceSeed(seed=1, truncation=0.6), FaceSeed(seed=2, truncation=1.0)],
    "LatentEncoding": lambda: [_aligned("astronaut"), _aligned("sam")],
    "FaceRestoration": lambda: [_restoration()],
    "FaceSwap": _swaps,
    "PartSwap": _swaps,
    "MakeupTransfer": lambda: [
        MakeupInput(face=view("astronaut"), reference=view("mei")),
        MakeupInput(face=view("nia"), reference=view("mei")),
    ],
    "PoseEstimation": lambda: [photo("ana"), photo("ken")],
    "HumanParsing": lambda: [ParsingInput(image=photo(who), keypoints=keypoints(who)) for who in ("ana", "nia")],
    "DensePose": lambda: [photo("ana")],
    "Matting": lambda: [photo("astronaut"), sample(TEE)],
    "GarmentMask": lambda: [sample(TEE), sample(DRESS)],
    "GarmentWarp": _warp,
    "GarmentSynthesis": _synthesis,
    "SuitComposition": lambda: [in_suit("astronaut", "f_suit_black")],
    "EdgeDetection": lambda: [sample(TEE), photo("ken")],
    "SketchToGarment": lambda: [
        Sketch(image=sample("sketches/tshirt_red.png"), category=None),
        Sketch(image=sample("sketches/dress_plain.png"), category="dress"),
        Sketch(image=sample("sketches/trousers_blue.png"), category=None),
    ],
    "FashionEmbedding": lambda: [
        Article(image=sample(TEE)),
        Article(image=sample(SKIRT)),
        Article(image=sample("sketches/skirt_green.png"), coloured=False),
    ],
}
