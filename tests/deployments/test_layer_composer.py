"""What the composition changes, and what it leaves alone."""

import cv2
import numpy as np
import pytest

from deployments.layer_composer import light, skin
from deployments.layer_composer.fill import backdrop, spread
from deployments.layer_composer.model import LayerComposer
from deployments.roles import Dressed, PiecedGarment, SynthesisInput
from modiste.image import Keypoints, LabelMap, Mask, RGBAImage, RGBImage
from modiste.labels import BodyPart

SKIN, SHIRT, WALL, NEW = (205, 160, 135), (60, 90, 180), (225, 228, 230), (180, 40, 60)
SIZE = (320, 240)


def labelled() -> LabelMap:
    """A block figure: head, hair, neck, shirt with long sleeves, hands, trousers."""
    labels = np.zeros(SIZE, np.uint8)
    labels[20:40, 100:140] = BodyPart.HAIR
    labels[40:80, 100:140] = BodyPart.FACE
    labels[80:95, 110:130] = BodyPart.NECK
    labels[95:220, 80:160] = BodyPart.UPPER_GARMENT
    labels[95:210, 50:75] = BodyPart.UPPER_GARMENT
    labels[95:210, 165:190] = BodyPart.UPPER_GARMENT
    labels[210:235, 52:73] = BodyPart.RIGHT_ARM
    labels[210:235, 167:188] = BodyPart.LEFT_ARM
    labels[220:320, 85:155] = BodyPart.LOWER_GARMENT
    return LabelMap(labels)


def photo(labels: LabelMap) -> RGBImage:
    picture = np.empty((*SIZE, 3), np.float32)
    picture[:] = WALL
    for part in (BodyPart.FACE, BodyPart.NECK, BodyPart.LEFT_ARM, BodyPart.RIGHT_ARM):
        picture[labels == part] = SKIN
    picture[labels == BodyPart.HAIR] = (50, 35, 25)
    picture[labels == BodyPart.UPPER_GARMENT] = SHIRT
    picture[labels == BodyPart.LOWER_GARMENT] = (90, 90, 95)
    picture += np.random.default_rng(0).normal(0, 1.5, picture.shape)
    return RGBImage(np.clip(np.rint(picture), 0, 255).astype(np.uint8))


def warped(labels: LabelMap, *, alpha: int = 255) -> PiecedGarment:
    """A sleeveless top; the arms under the old sleeves are bare."""
    layer = np.zeros((*SIZE, 4), np.uint8)
    layer[..., :3] = NEW
    layer[95:220, 80:160, 3] = alpha
    pieces = (layer[..., 3] > 127).astype(np.uint8)
    bare = np.zeros(SIZE, np.uint8)
    bare[95:240, 80:160] = BodyPart.OTHER
    bare[80:110, 105:135] = BodyPart.NECK
    bare[95:235, 54:71] = BodyPart.RIGHT_ARM
    bare[95:235, 169:186] = BodyPart.LEFT_ARM
    return PiecedGarment(
        layer=RGBAImage(layer),
        category="upper",
        pieces=LabelMap(pieces),
        bare=LabelMap(bare),
        relief=np.zeros((*SIZE, 2), np.float32),
        covered=Mask(np.zeros(SIZE, np.uint8)),
        unit=110.0,
        sleeve_reach=(0.0, 0.0),
    )


def compose(background: tuple[int, int, int] | None = None) -> tuple[RGBImage, RGBImage, LabelMap]:
    labels = labelled()
    picture = photo(labels)
    person = Dressed(
        labels=labels,
        keypoints=Keypoints(np.zeros((25, 3), np.float32)),
        person=Mask(np.where(labels > 0, 255, 0).astype(np.uint8)),
    )
    composed = LayerComposer({})(
        [SynthesisInput(image=picture, person=person, warped=warped(labels), tuck="auto", background=background)]
    )[0]
    return picture, composed.image, labels


def test_the_old_garment_is_gone() -> None:
    _, image, _ = compose()
    to_shirt = np.linalg.norm(image.astype(float) - SHIRT, axis=2)
    assert (to_shirt < 40).sum() == 0


def test_bared_arms_have_the_persons_skin() -> None:
    _, image, _ = compose()
    for columns in (slice(58, 67), slice(173, 182)):
        arm = image[120:200, columns].reshape(-1, 3).mean(axis=0)
        ratio = arm / np.array(SKIN)
        assert 0.75 < ratio.mean() < 1.1
        assert np.ptp(ratio) < 0.12  # the hue is kept, whatever the shading


def test_face_hair_and_backdrop_are_untouched() -> None:
    picture, image, labels = compose()
    for part in (BodyPart.FACE, BodyPart.HAIR):
        inner = cv2.erode((labels == part).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        assert (image[inner] == picture[inner]).all()
    far = cv2.dilate((labels > 0).astype(np.uint8), np.ones((15, 15), np.uint8)) == 0
    assert (image[far] == picture[far]).all()


def test_what_the_old_sleeves_leave_becomes_backdrop() -> None:
    _, image, labels = compose()
    # Bare arms are slimmer than the sleeves were.
    left = image[110:190, 50:52].reshape(-1, 3).mean(axis=0)
    assert np.abs(left - WALL).max() < 12
    assert labels[150, 51] == BodyPart.UPPER_GARMENT


def test_a_new_background_replaces_the_old_one() -> None:
    _, image, labels = compose(background=(10, 200, 30))
    far = cv2.dilate((labels > 0).astype(np.uint8), np.ones((15, 15), np.uint8)) == 0
    assert (image[far] == (10, 200, 30)).all()
    assert np.abs(image[60, 120].astype(int) - SKIN).max() < 12


def test_spread_keeps_what_is_known_and_fills_the_rest_smoothly() -> None:
    x = np.linspace(40, 200, 90, dtype=np.float32)
    ramp = np.repeat(np.repeat(x[None, :, None], 70, axis=0), 3, axis=2)
    known = np.ones((70, 90), np.bool_)
    known[20:50, 30:60] = False
    filled = spread(np.where(known[..., None], ramp, 0).astype(np.float32), known)
    assert np.abs(filled - ramp)[known].max() < 1e-3
    assert np.abs(filled - ramp).max() < 30


def test_the_backdrop_has_no_ghost_of_the_person() -> None:
    picture = np.full((80, 100, 3), 200, np.float32)
    picture[20:60, 40:60] = 10
    free = np.ones((80, 100), np.bool_)
    free[15:65, 35:65] = False
    assert np.abs(backdrop(picture, free) - 200).max() < 5


def test_patterns_give_no_folds_and_plain_cloth_does() -> None:
    old = np.ones((200, 200), np.bool_)
    stripes = np.repeat(np.where(np.arange(200) // 10 % 2, 220, 60)[:, None, None], 200, axis=1)
    assert (light.folds(np.repeat(stripes, 3, axis=2).astype(np.float32), old, 150.0) == 1).all()
    shade = 150 + 30 * np.sin(np.arange(200) / 30)
    plain = np.repeat(np.repeat(shade[None, :, None], 200, axis=0), 3, axis=2).astype(np.float32)
    folds = light.folds(plain, old, 150.0)
    assert np.corrcoef(folds[100, 40:160], shade[40:160])[0, 1] > 0.9


@pytest.mark.parametrize("part", [BodyPart.LEFT_ARM, BodyPart.RIGHT_LEG])
def test_tone_falls_back_to_the_face(part: BodyPart) -> None:
    labels = labelled()
    labels[labels == part] = 0
    tone = skin.tone(photo(labels).astype(np.float32), labels, part)
    assert np.abs(tone - SKIN).max() < 6
