"""Official files, in the forms they are published in, become engines that give what their networks give."""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from compile.source import graph_file
from deployments import model_class
from modiste.errors import WeightsUnavailable
from modiste.settings import settings
from modiste.spec import EngineSpec
from weights import manifest, store
from weights.convert.official import OFFICIAL, official_shapes
from weights.convert.unet_lapa import shapes as lapa_shapes

torch = pytest.importorskip("torch", reason="needs the torch environment")
pytestmark = pytest.mark.torch

State = dict[str, NDArray[Any]]
Write = Callable[[Path, State], Path]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A store of its own, for checkpoints of which nobody knows the digest."""
    monkeypatch.setenv("MODISTE_CACHE", str(tmp_path / "cache"))
    settings.cache_clear()
    unknown = {
        of.id: replace(of, files={name: replace(file, sha256=None, bytes=None) for name, file in of.files.items()})
        for of in manifest.listed_manifest().values()
        if of.network is not None
    }
    monkeypatch.setattr(manifest, "listed_manifest", lambda: unknown)
    manifest.load_manifest.cache_clear()
    yield tmp_path / "cache"
    settings.cache_clear()
    manifest.load_manifest.cache_clear()


def tensors(state: State) -> dict[str, Any]:
    return OrderedDict((key, torch.from_numpy(value)) for key, value in state.items())


def flat(path: Path, state: State) -> Path:
    torch.save(tensors(state), path)
    return path


def old(path: Path, state: State) -> Path:
    """As torch wrote before 1.6, and without the counters that came with 0.4.1."""
    kept = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    torch.save(tensors(kept), path, _use_new_zipfile_serialization=False)
    return path


def parallel(path: Path, state: State) -> Path:
    inside = tensors({f"module.{key}": value for key, value in state.items()})
    torch.save({"epoch": 250, "state_dict": inside}, path)
    return path


def trained(path: Path, state: State) -> Path:
    """As GPEN's own training leaves it."""
    other = tensors({key: value * 0 for key, value in state.items()})
    torch.save({"g": other, "d": {"w": torch.ones(2)}, "g_ema": tensors(state)}, path)
    return path


def keras(path: Path, state: State) -> Path:
    """Layers under running numbers, tensors under Keras's names and in its order of axes."""
    h5py = pytest.importorskip("h5py")
    theirs = {"running_mean": "moving_mean", "running_var": "moving_variance"}
    layers = dict.fromkeys(key.rpartition(".")[0] for key in state)
    with h5py.File(path, "w") as file:
        top = file.create_group("model_weights")
        names = {layer: f"{'batch_normalization' if 'norm' in layer else 'conv2d'}_{n + 40}" for n, layer in
                 enumerate(layers)}  # fmt: skip
        top.attrs["layer_names"] = [name.encode() for name in names.values()]
        for layer, name in names.items():
            group, listed = top.create_group(name), []
            kinds = {"weight": "gamma", "bias": "beta", **theirs} if "norm" in layer else {"weight": "kernel"}
            for key, value in state.items():
                place, _, kind = key.rpartition(".")
                if place != layer or kind == "num_batches_tracked":
                    continue
                listed.append(f"{name}/{kinds.get(kind, kind)}:0")
                group[listed[-1]] = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value
            group.attrs["weight_names"] = [one.encode() for one in listed]
    return path


FORMS: tuple[tuple[str, str, Write], ...] = (
    ("retinaface_mobilenet", "main", parallel),
    ("retinaface_r50", "main", flat),
    ("arcface", "main", old),
    ("bisenet_r18", "main", flat),
    ("unet_lapa", "main", keras),
    ("gpen", "main", trained),
    ("gpen", "parsing", flat),
)


def small(model_id: str, engine: str) -> tuple[EngineSpec, Any, State]:
    """The engine's spec at a small size, the network with deterministic weights, and these."""
    from reduced import small_part, small_spec

    spec = small_spec(model_id, engine, model_class(model_id).spec.engines[engine])
    spec = replace(spec, sizes=dict.fromkeys(spec.sizes, 96))
    net = small_part(model_id, engine, spec)
    # Some parts hold the network whose keys the file has.
    state = {re.sub(r"^net\.", "", key): value.numpy() for key, value in net.state_dict().items()}
    return spec, net, state


@pytest.mark.parametrize(("model_id", "engine", "write"), FORMS, ids=[f"{m}-{e}" for m, e, _ in FORMS])
def test_an_official_file_goes_all_the_way(
    model_id: str, engine: str, write: Write, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compile.openvino import compiled
    from deployments.exporting import export_engine

    spec, net, state = small(model_id, engine)
    network = manifest.entry(spec.weights).network
    if network == "unet_lapa":  # a file that does not tell its sizes: those of this small one
        sizes = {key: value.shape for key, value in state.items()}
        monkeypatch.setitem(OFFICIAL, network, replace(OFFICIAL[network], shapes=lambda: sizes))  # type: ignore[misc]
    (name,) = manifest.entry(spec.weights).files
    store.put(spec.weights, {name: write(tmp_path / f"brought{Path(name).suffix}", state)})
    with pytest.raises(WeightsUnavailable, match="python -m deployments export"):
        graph_file(spec)
    written = export_engine(spec)
    assert graph_file(spec) == written
    assert cache in written.parents
    assert not list(cache.rglob(".export-*"))

    generator = np.random.default_rng(0)
    shape = [{"N": 2, **spec.sizes}.get(side, side) if isinstance(side, str) else side for side in spec.inputs[0].shape]
    fed = generator.uniform(-1, 1, shape).astype(np.float32)
    opened = compiled(spec, written, "float32", 1)
    found = opened({spec.inputs[0].name: fed})
    with torch.inference_mode():
        given = net(torch.from_numpy(fed))
    references = [given] if isinstance(given, torch.Tensor) else given
    for tensor, reference in zip(spec.outputs, references, strict=True):
        expected = reference.numpy()
        assert found[tensor.name].shape == expected.shape
        assert np.abs(found[tensor.name] - expected).max() <= 1e-3 * np.abs(expected).max(), tensor.name
    opened.close()


def test_a_graph_belongs_to_its_checkpoint_and_sizes(cache: Path, tmp_path: Path) -> None:
    from deployments.exporting import export_engine

    spec, _, state = small("gpen", "parsing")
    (name,) = manifest.entry(spec.weights).files
    store.put(spec.weights, {name: flat(tmp_path / "net.pth", state)})
    written = export_engine(spec)
    larger = replace(
        spec,
        inputs=tuple(replace(tensor, shape=("N", 3, 96, 96)) for tensor in spec.inputs),
        outputs=tuple(replace(tensor, shape=("N", 19, 96, 96)) for tensor in spec.outputs),
    )
    with pytest.raises(WeightsUnavailable, match="deployments export"):
        graph_file(larger)
    assert export_engine(larger) != written
    first = written.read_bytes()
    assert export_engine(spec) == written  # once more, in the place of the first
    assert written.read_bytes() == first


def test_a_file_of_another_network_is_refused(cache: Path, tmp_path: Path) -> None:
    from deployments.exporting import export_engine

    spec, _, _ = small("gpen", "parsing")
    _, _, other = small("unet_lapa", "main")
    (name,) = manifest.entry(spec.weights).files
    store.put(spec.weights, {name: flat(tmp_path / "net.pth", other)})
    with pytest.raises(WeightsUnavailable, match=r"keys of gpen_parsenet in ParseNet-latest\.pth; got \['downs\.0"):
        export_engine(spec)


def test_a_file_that_lacks_a_tensor_is_refused(cache: Path, tmp_path: Path) -> None:
    from deployments.exporting import export_engine

    spec, _, state = small("gpen", "parsing")
    del state["body.0.conv1.norm.norm.running_mean"]
    (name,) = manifest.entry(spec.weights).files
    store.put(spec.weights, {name: flat(tmp_path / "net.pth", state)})
    with pytest.raises(WeightsUnavailable, match=r"absent: body\.0\.conv1\.norm\.norm\.running_mean"):
        export_engine(spec)
    assert not list(cache.rglob("*.onnx"))


def test_an_export_that_breaks_off_leaves_nothing(cache: Path, tmp_path: Path) -> None:
    from deployments.exporting import export_engine

    spec, _, state = small("gpen", "parsing")
    (name,) = manifest.entry(spec.weights).files
    store.put(spec.weights, {name: flat(tmp_path / "net.pth", state)})
    broken = replace(spec, inputs=(replace(spec.inputs[0], shape=("N", 4, 64, 64)),))
    with pytest.raises(RuntimeError):
        export_engine(broken)
    assert not list(cache.rglob(".export-*")) and not list(cache.rglob("*.onnx"))


def test_the_keras_file_is_taken_for_the_published_size(tmp_path: Path) -> None:
    from deployments.networks import network
    from deployments.unet_lapa.network import OFFICIAL as SIZE
    from deployments.unet_lapa.network import UNet

    with torch.device("meta"):
        expected = {key: tuple(value.shape) for key, value in UNet(**SIZE).state_dict().items()}
    found = lapa_shapes()
    assert list(found.items()) == list(expected.items())
    assert network("unet_lapa").knows(found)
    assert sum(np.prod(shape) for key, shape in found.items() if not key.endswith("tracked")) == 31_055_947
    file = tmp_path / "model.h5"
    file.touch()
    assert official_shapes("unet_lapa", file) == found
