"""Models and flows on a real Ray cluster with two declared GPUs of 8000 MB each beside the reserve.

The small model asks for 2000 MB.
"""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
from tiny import ClipRequest, Negative, Plate, TinyOptions, TinyRequest

from graphs.base import VideoFile
from graphs.report import Outcome
from modiste.errors import NoFace
from modiste.image import RGBImage
from modiste.settings import settings
from modiste.spec import Resources
from modiste.telemetry import Context

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

    from api.app import ServeFlows

# Ray's own threads and sockets outlive a test.
pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore")]

PICTURE = RGBImage(np.full((300, 400, 3), 90, np.uint8))
BLACK = RGBImage(np.zeros((8, 8, 3), np.uint8))


def model() -> "DeploymentHandle[list[Negative]]":
    from deployments.app import handle_of

    return handle_of("inverter")


def flows() -> "ServeFlows":
    from api.app import serve_flows

    return serve_flows()


def test_each_model_and_each_flow_is_an_application_of_its_own(cluster: Path) -> None:
    from ray import serve

    deployments = {name: list(found.deployments) for name, found in serve.status().applications.items()}
    assert deployments == {name: [name] for name in ("http", "jobs", "inverter", "tiny", "tiny_clip")}


def test_declared_memory_becomes_a_fraction_of_a_gpu(cluster: Path) -> None:
    """The two flows and the ingress take none of the two GPUs, the model's replica a quarter of one."""
    import ray

    assert ray.cluster_resources()["GPU"] == 2
    assert ray.available_resources()["GPU"] == 1.75


def test_a_model_that_does_not_fit_a_gpu_is_refused(cluster: Path) -> None:
    from deployments.placement import gpu_share

    assert gpu_share(Resources(gpu_memory_mb=8000)) == 1.0
    with pytest.raises(ValueError, match="8001"):
        gpu_share(Resources(gpu_memory_mb=8001))


def test_autoscaling_is_as_the_spec_says(cluster: Path) -> None:
    from deployments.app import bind
    from deployments.scaling import LOOK_BACK_S, UNMEASURED

    deployment = bind("inverter")._bound_deployment
    scaling = deployment._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas, scaling.target_ongoing_requests) == (1, 2, UNMEASURED)
    assert scaling.upscale_delay_s >= scaling.look_back_period_s == LOOK_BACK_S


async def test_inputs_of_one_call_arrive_together_and_in_order(cluster: Path) -> None:
    plates = [Plate(image=RGBImage(np.full((4, 4, 3), value, np.uint8))) for value in (1, 2, 3)]
    negatives = await model().remote(plates, Context())
    assert [negative.image[0, 0, 0] for negative in negatives] == [254, 253, 252]
    assert {negative.calls for negative in negatives} == {3}


async def test_many_callers_are_served_without_back_off(cluster: Path) -> None:
    plates = [Plate(image=PICTURE) for _ in range(40)]
    await model().remote(plates[:1], Context())
    started = time.perf_counter()
    answers = await asyncio.gather(*(_one(plate) for plate in plates))
    assert len(answers) == 40
    assert time.perf_counter() - started < 5


async def _one(plate: Plate) -> Negative:
    answers: list[Negative] = await model().remote([plate], Context())
    return answers[0]


async def test_a_flow_runs_over_its_models(cluster: Path) -> None:
    outcome = await flows().run("tiny", TinyRequest(picture=PICTURE, options=TinyOptions(steps=3)))
    assert np.array_equal(outcome.result.image, 255 - PICTURE)
    assert outcome.report.steps[0].calls == 3


async def test_a_refusal_crosses_every_hop_as_itself(cluster: Path) -> None:
    with pytest.raises(NoFace) as refused:
        await flows().run("tiny", TinyRequest(picture=BLACK))
    assert type(refused.value) is NoFace
    assert refused.value.detail == "expected a picture with something in it, got black"


async def test_a_replica_that_dies_in_mid_call_is_asked_once_more(cluster: Path, tmp_path: Path) -> None:
    options = TinyOptions(die_once=str(tmp_path / "died"))
    outcome = await flows().run("tiny", TinyRequest(picture=PICTURE, options=options))
    assert (tmp_path / "died").exists()
    assert np.array_equal(outcome.result.image, 255 - PICTURE)


async def test_a_call_that_kills_twice_is_not_repeated_for_ever(cluster: Path, tmp_path: Path) -> None:
    from ray.exceptions import RayActorError

    never = tmp_path / "no" / "such" / "folder"  # cannot be written, so the process is not spared the next time
    with pytest.raises(RayActorError):
        await flows().run("tiny", TinyRequest(picture=PICTURE, options=TinyOptions(die_once=str(never))))


async def test_progress_streams_and_the_outcome_comes_last(cluster: Path, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"not looked at")
    request = ClipRequest(video=VideoFile(tmp_path / "clip.mp4"), options=TinyOptions(steps=4, seconds=0.1))
    news = [item async for item in flows().stream("tiny_clip", request)]
    assert isinstance(news[-1], Outcome)
    fractions = [item for item in news[:-1] if isinstance(item, float)]
    assert fractions == sorted(fractions)
    assert len(fractions) >= 2


async def test_closing_the_stream_stops_the_work(cluster: Path, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"not looked at")
    request = ClipRequest(video=VideoFile(tmp_path / "clip.mp4"), options=TinyOptions(steps=1000, seconds=0.05))
    stream = flows().stream("tiny_clip", request)
    async for _ in stream:
        break
    await stream.aclose()
    await asyncio.sleep(0.5)
    trace = cluster / "trace"
    stopped_at = trace.read_text()
    await asyncio.sleep(0.5)
    assert trace.read_text() == stopped_at


async def test_http_reaches_the_flow_and_carries_the_refusal(cluster: Path) -> None:
    from modiste.image import decode, encode

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings().port}", timeout=30) as client:
        answer = await client.post("/v1/flows/tiny", files={"picture": encode(PICTURE)}, params={"format": "png"})
        assert np.array_equal(decode(answer.content), 255 - PICTURE)
        refused = await client.post("/v1/flows/tiny", files={"picture": encode(BLACK)})
        assert (refused.status_code, refused.json()["code"]) == (422, "no_face")
