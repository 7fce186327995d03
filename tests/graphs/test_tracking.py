"""Tracking on painted clips: discs for faces, found by their colour, so that every place is known exactly."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import pytest

from deployments.roles import Face, FaceMesh, LandmarksInput
from graphs.face_tracks import FaceTracker
from graphs.tracking import affinity, between, is_cut, match, smooth, thumbnail
from modiste.geometry import Box, bounding_box
from modiste.image import Landmarks, RGBImage

HEIGHT, WIDTH = 120, 200
Place = tuple[float, float, float]
"""Centre x, y and radius of a painted face."""


def face(x: float, y: float, radius: float) -> Face:
    box = Box(x - radius, y - radius, x + radius, y + radius)
    eyes = np.array([[x - radius / 3, y], [x + radius / 3, y]], np.float32)
    return Face(box=box, score=0.9, eyes=eyes)


def paint(places: Sequence[Place], ground: int = 60) -> RGBImage:
    image = np.full((HEIGHT, WIDTH, 3), ground, np.uint8)
    image[:, ::7] += 8
    for x, y, radius in places:
        cv2.circle(image, (round(x * 16), round(y * 16)), round(radius * 16), (250, 40, 40), -1, cv2.LINE_AA, 4)
    return RGBImage(image)


def discs(image: RGBImage) -> list[Face]:
    red = ((image[..., 0] > 150) & (image[..., 1] < 140)).astype(np.uint8)
    count, _, stats, centres = cv2.connectedComponentsWithStats(red)
    return [face(*centres[i], stats[i, cv2.CC_STAT_WIDTH] / 2) for i in range(1, count) if stats[i, 4] > 12]


class Eyes:
    """A detector and a mesh that see red discs; the detector is blind in the given frames."""

    def __init__(self, clip: Sequence[RGBImage], blind: Callable[[int, Face], bool] = lambda *_: False) -> None:
        self.numbers = {id(frame): i for i, frame in enumerate(clip)}
        self.blind = blind
        self.looked: list[int] = []

    async def detect(self, frames: Sequence[RGBImage]) -> list[tuple[Face, ...]]:
        numbers = [self.numbers[id(frame)] for frame in frames]
        self.looked += numbers
        return [
            tuple(f for f in discs(frame) if not self.blind(i, f)) for i, frame in zip(numbers, frames, strict=True)
        ]

    async def mesh(self, views: Sequence[LandmarksInput]) -> list[FaceMesh]:
        found = []
        for view in views:
            near = [(affinity(view.face, f, reach=1.0), f) for f in discs(view.image)]
            score, best = max(near, key=lambda pair: pair[0], default=(0.0, view.face))
            (x, y), radius = best.box.centre, best.box.width / 2
            angles = np.linspace(0, 2 * np.pi, 468, endpoint=False)
            ring = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles), 0 * angles], axis=1)
            found.append(FaceMesh(points=Landmarks(ring.astype(np.float32)), score=float(score > 0)))
        return found


def outline(points: Landmarks) -> Face:
    box = bounding_box(points)
    return face(*box.centre, box.width / 2)


async def follow(
    places: Sequence[Sequence[Place]], blind: Callable[[int, Face], bool] = lambda *_: False,
    grounds: Sequence[int] | None = None, stretch: int = 16,
) -> tuple[list[dict[int, Box]], Eyes]:  # fmt: skip
    """Run the tracker over a clip as the flow does; returns, for each frame, track number -> box."""
    clip = [paint(p, 60 if grounds is None else grounds[i]) for i, p in enumerate(places)]
    eyes = Eyes(clip, blind)
    tracker = FaceTracker(eyes.detect, eyes.mesh, outline, interval=8)
    seen: list[dict[int, Box]] = []

    def collect(start: int, stop: int) -> None:
        for i in range(start, stop):
            seen.append({track.id: s.face.box for track, s in tracker.at(i) if s.points is not None})

    done = 0
    for start in range(0, len(clip), stretch):
        await tracker.look(clip[start : start + stretch])
        collect(done, start)
        tracker.forget(start)
        done = start
    collect(done, len(clip))
    return seen, eyes


def assert_covered(seen: Sequence[dict[int, Box]], places: Sequence[Sequence[Place]]) -> None:
    for i, (boxes, truth) in enumerate(zip(seen, places, strict=True)):
        for place in truth:
            overlap = max((face(*place).box.iou(box) for box in boxes.values()), default=0.0)
            assert overlap > 0.6, f"frame {i}: {place} is covered by {overlap:.2f} only"


async def test_two_steady_faces_are_two_tracks_and_the_detector_looks_seldom() -> None:
    places = [[(30 + i, 60, 12), (160 - i * 0.5, 70, 16)] for i in range(50)]
    seen, eyes = await follow(places)
    assert_covered(seen, places)
    assert {frozenset(boxes) for boxes in seen} == {frozenset({0, 1})}
    assert len(eyes.looked) <= 8


async def test_who_comes_between_two_looks_is_found_in_the_first_frame() -> None:
    places = [[(100, 60, 20)] if i >= 21 else [] for i in range(48)]
    seen, _ = await follow(places)
    assert_covered(seen, places)
    assert not any(seen[:21])


async def test_who_leaves_is_kept_to_the_last_frame() -> None:
    places = [[(100, 60, 20)] if i <= 26 else [] for i in range(48)]
    seen, _ = await follow(places)
    assert_covered(seen, places)
    assert not any(seen[27:])


async def test_a_face_that_the_detector_finds_late_is_followed_back_across_stretches() -> None:
    places = [[(40 + 2 * i, 60, 15)] for i in range(48)]
    seen, _ = await follow(places, blind=lambda i, _: 2 <= i < 30 and i != 0)
    assert_covered(seen, places)
    late, _ = await follow(places, blind=lambda i, _: i < 27)
    assert_covered(late[16:], places[16:])


async def test_a_short_disappearance_is_filled_and_stays_one_track() -> None:
    places = [[(100 + i, 60, 20)] for i in range(48)]
    hidden = [[] if 20 <= i < 23 else p for i, p in enumerate(places)]
    seen, _ = await follow(hidden)
    assert {track for boxes in seen for track in boxes} == {0}
    assert_covered(seen, places)


async def test_a_cut_ends_all_tracks() -> None:
    places = [[(100, 60, 20)] for _ in range(40)]
    grounds = [60 if i < 21 else 190 for i in range(40)]
    split = [paint(p, g) for p, g in zip(places, grounds, strict=True)]
    assert not is_cut(thumbnail(split[20]), thumbnail(split[21]))  # plain brightening is no cut
    other = split[21].copy()
    other[:, : WIDTH // 2] = 10
    assert is_cut(thumbnail(split[20]), thumbnail(RGBImage(other)))


@pytest.mark.parametrize("stretch", [4, 7, 16, 48])
async def test_the_length_of_a_stretch_does_not_matter(stretch: int) -> None:
    places = [[(20 + 3 * i, 60, 14)] + ([(150, 90, 10)] if 9 < i < 33 else []) for i in range(48)]
    seen, _ = await follow(places, stretch=stretch)
    assert_covered(seen, places)
    assert len({track for boxes in seen for track in boxes}) == 2


def test_matching_takes_the_best_whole_and_refuses_the_impossible() -> None:
    before, after = (
        [face(50, 50, 10), face(80, 50, 10)],
        [face(79, 51, 10), face(52, 50, 10), face(150, 50, 10)],
    )
    assert sorted(match(before, after, reach=0.7)) == [(0, 1), (1, 0)]
    assert match(before, [face(50, 50, 30)], reach=0.7) == []
    assert match([], after, reach=0.7) == []


def test_halfway_between_two_faces() -> None:
    middle = between(face(10, 20, 5), face(20, 40, 7), 0.5)
    assert middle.box == Box(9, 24, 21, 36)


def test_smoothing_removes_jitter_without_lag() -> None:
    rng = np.random.default_rng(1)
    shape = rng.uniform(0, 100, (468, 3))
    noise = rng.normal(0, 0.4, (40, 468, 3))
    still = (shape + noise).astype(np.float32)
    moving = (shape + np.arange(40)[:, None, None] * 4 + noise).astype(np.float32)
    for clip, truth in ((still, shape), (moving, shape + 20 * 4)):
        calm = smooth(clip[17:24], 3)
        assert np.std(calm - truth) < 0.6 * 0.4
        assert abs(np.mean(calm - truth)) < 0.1
    assert np.array_equal(smooth(moving[:5], 0), moving[0])


def test_smoothing_lets_a_blink_through() -> None:
    clip = np.tile(np.random.default_rng(2).uniform(0, 100, (1, 468, 3)), (7, 1, 1)).astype(np.float32)
    clip[3, :20, 1] += 6
    assert np.allclose(smooth(clip, 3)[:20, 1], clip[3, :20, 1], atol=0.3)
