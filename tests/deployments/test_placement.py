"""What fits on which GPU, what a replica is told of its share, and that it does not start without room."""

from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from deployments import gpu_device
from deployments.__main__ import main
from deployments.placement import PARTS, Demand, demand, gpu_share, memory_mb, mps_limits, pack, share
from modiste.settings import settings
from modiste.spec import Resources

Configure = Callable[..., None]


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Configure]:
    def set_all(**values: object) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"MODISTE_{name.upper()}", str(value))
        settings.cache_clear()

    yield set_all
    settings.cache_clear()


def test_replicas_of_one_model_are_spread_over_the_gpus() -> None:
    plan = pack([Demand(model="a", memory_mb=1000, least=3, most=3)], gpus=2, usable_mb=8000)
    assert plan.gpus == (Counter(a=2), Counter(a=1))
    assert plan.free_mb == (6000, 7000)
    assert not plan.missing


def test_the_largest_goes_first_and_what_does_not_fit_is_named() -> None:
    """Smallest first, the small ones would leave neither GPU room for the large one."""
    demands = [Demand(model="small", memory_mb=3000, least=2), Demand(model="large", memory_mb=6000, least=2, most=2)]
    plan = pack(demands, gpus=2, usable_mb=8000)
    assert plan.gpus == (Counter(large=1), Counter(large=1))
    assert plan.missing == Counter(small=2)


def test_more_replicas_only_where_every_model_has_its_least() -> None:
    demands = [Demand(model="large", memory_mb=5000, most=4), Demand(model="small", memory_mb=1000, most=3)]
    plan = pack(demands, gpus=1, usable_mb=8000)
    assert plan.gpus == (Counter(large=1, small=3),)
    assert (plan.missing, plan.spare, plan.free_mb) == (Counter(), Counter(large=3), (0,))


@given(
    sizes=st.lists(st.tuples(st.integers(1, 9000), st.integers(1, 3), st.integers(0, 3)), max_size=8),
    gpus=st.integers(1, 4),
)
def test_no_gpu_is_overfilled_and_no_replica_is_lost(sizes: list[tuple[int, int, int]], gpus: int) -> None:
    demands = [
        Demand(model=str(i), memory_mb=size, least=least, most=least + more)
        for i, (size, least, more) in enumerate(sizes)
    ]
    plan = pack(demands, gpus=gpus, usable_mb=8000)
    for on, free in zip(plan.gpus, plan.free_mb, strict=True):
        assert free == 8000 - sum(of.memory_mb * on[of.model] for of in demands) >= 0
        assert sum(on[of.model] * round(share(of.memory_mb, 8000) * PARTS) for of in demands) <= PARTS + on.total()
    for of in demands:
        counts = [on[of.model] for on in plan.gpus]
        assert sum(counts) + plan.missing[of.model] >= of.least
        assert plan.missing or sum(counts) + plan.spare[of.model] == of.most


def test_models_that_start_when_called_need_room_for_one() -> None:
    assert demand("m", Resources(gpu_memory_mb=500, max_replicas=2)) == Demand(model="m", memory_mb=500, most=2)
    assert demand("m", Resources(gpu_memory_mb=500, min_replicas=3, max_replicas=2)).most == 3


@pytest.mark.parametrize(("text", "expected"), [("24GB", 24576), ("24 GiB", 24576), ("500MB", 500), ("1.5gb", 1536)])
def test_memory_is_read_as_people_write_it(text: str, expected: int) -> None:
    assert memory_mb(text) == expected


@pytest.mark.parametrize("text", ["24", "GB", "24TB", "-1GB"])
def test_memory_without_a_unit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=text):
        memory_mb(text)


def test_a_share_is_rounded_up_to_what_ray_counts() -> None:
    assert share(1, 3) == 0.3334
    assert share(8000, 8000) == 1.0


def test_the_reserve_is_not_given_away(configure: Configure) -> None:
    configure(target="cuda", gpu_memory_mb=9000, gpu_reserve_mb=1000)
    assert gpu_share(Resources(gpu_memory_mb=2000)) == 0.25
    assert gpu_share(Resources()) == 0.0
    with pytest.raises(ValueError, match=r"at most 8000 MB.*8001 MB"):
        gpu_share(Resources(gpu_memory_mb=8001))


@pytest.mark.parametrize(("target", "memory"), [("openvino", 8000), ("tensorrt", 0)])
def test_a_target_that_contradicts_the_memory_is_refused(configure: Configure, target: str, memory: int) -> None:
    configure(target=target, gpu_memory_mb=memory)
    with pytest.raises(ValueError, match=f"{target} and {memory} MB"):
        gpu_share(Resources(gpu_memory_mb=100))
    assert gpu_share(Resources()) == 0.0


def test_the_multi_process_service_is_told_memory_and_threads(configure: Configure) -> None:
    configure(target="cuda", gpu_memory_mb=9000, gpu_reserve_mb=1000, mps=True)
    assert mps_limits(Resources(gpu_memory_mb=1600)) == {
        "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "0=1600M",
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "40",
    }
    assert mps_limits(Resources(gpu_memory_mb=6000))["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "100"
    assert mps_limits(Resources()) == {}
    configure(mps=False)
    assert mps_limits(Resources(gpu_memory_mb=1600)) == {}


def test_a_replica_needs_the_memory_that_its_model_declares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-11,GPU-22")
    monkeypatch.setattr(gpu_device, "free_mb", lambda: 1999)
    gpu_device.require_free(1999)
    with pytest.raises(RuntimeError, match="expected 2000 MB free on GPU GPU-11, got 1999 MB"):
        gpu_device.require_free(2000)


def test_the_plan_shows_what_goes_where(configure: Configure) -> None:
    configure(edition="default", gpu_reserve_mb=1024)
    shown = CliRunner().invoke(main, ["plan", "--gpu-memory", "24GB", "--gpus", "2"])
    assert shown.exit_code == 0
    assert "mobile_stylegan" in shown.stdout
    assert "Does not fit" not in shown.stdout
    assert "On the CPU: blazeface" in shown.stdout


def test_a_plan_that_does_not_fit_fails_and_names_what_is_left_over(configure: Configure) -> None:
    configure(edition="paper", gpu_reserve_mb=1024)
    shown = CliRunner().invoke(main, ["plan", "--gpu-memory", "6GB", "--gpus", "1"])
    assert shown.exit_code == 1
    assert "1 x paint_by_example" in shown.stdout
    assert CliRunner().invoke(main, ["plan", "--gpu-memory", "6"]).exit_code == 2
    assert CliRunner().invoke(main, ["plan", "--gpu-memory", "1GB"]).exit_code == 2
