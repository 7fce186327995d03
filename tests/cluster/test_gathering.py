"""A real model on a real deployment that gathers because the settings say so, on the engine that serves here."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from deployments import open_model
from deployments.environment import prepare
from deployments.golden import golden_inputs
from modiste.settings import settings
from modiste.telemetry import Context

# Ray's own threads and sockets outlive a test.
pytestmark = [pytest.mark.cluster, pytest.mark.weights, pytest.mark.filterwarnings("ignore")]

MODEL = "efficientnet_lite0"


@pytest.fixture
def gathering() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        prepare()
        patch.setenv("MODISTE_GATHER", "true")
        settings.cache_clear()

        import ray
        from ray import serve

        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        try:
            serve.start(proxy_location="Disabled")
            yield
        finally:
            serve.shutdown()
            ray.shutdown()
        settings.cache_clear()


async def test_concurrent_callers_get_what_each_would_alone(gathering: None) -> None:
    from ray import serve

    from deployments.app import GatheringReplica, answer, bind

    article = golden_inputs("FashionEmbedding")[0]
    articles = [replace(article, image=np.ascontiguousarray(article.image[20 * by :])) for by in range(8)]
    model = open_model(MODEL)
    alone = [model([each])[0] for each in articles]
    model.close()
    handle = serve.run(bind(MODEL), name=MODEL, route_prefix=None)
    assert bind(MODEL)._bound_deployment.func_or_class is GatheringReplica
    together = await asyncio.gather(
        *(answer(lambda each=each: handle.remote([each], Context()), MODEL) for each in articles)
    )
    for one, (other,) in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert not np.allclose(alone[0], alone[-1], atol=1e-3)
