"""Every network of the default set as ONNX, against the file that upstream published, both run in float32.

The original is run by OpenVINO one picture at a time, which is all that some of the files can; the ONNX by OpenVINO
and by ONNX Runtime with three at once: two of noise and a photograph.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
from numpy.typing import NDArray

from weights.manifest import select
from weights.store import artefact, path

pytestmark = pytest.mark.weights

Array = NDArray[np.float32]
PHOTOGRAPH = Path(__file__).parents[2] / "samples" / "portraits" / "astronaut.jpg"
TOLERANCE = 1e-4  # of the largest value


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """shape: of one input, without the batch; low, high: its range, or deviations of a normal one where both are 0;
    original: the file that OpenVINO can open, "" where there is none; served: outputs that models use, where not all"""

    id: str
    part: str = ""
    shape: tuple[int, ...]
    low: float = 0
    high: float = 0
    original: str = ""
    served: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.id}-{self.part}" if self.part else self.id


NETWORKS = (
    Network(id="blazeface", shape=(128, 128, 3), low=-1, high=1, original="face_detection_short_range.tflite"),
    Network(id="face_mesh", shape=(192, 192, 3), high=1, original="face_landmark.tflite"),
    Network(id="selfie_multiclass", shape=(256, 256, 3), high=1, original="selfie_multiclass_256x256.tflite"),
    Network(id="blazepose_detector", shape=(224, 224, 3), low=-1, high=1, original="pose_detection.tflite"),
    Network(
        id="blazepose_landmark",
        shape=(256, 256, 3),
        high=1,
        original="pose_landmark_full.tflite",
        served=("Identity", "Identity_1"),
    ),
    Network(id="centerface", shape=(3, 160, 224), high=255, original="centerface.onnx"),
    Network(id="u2net", shape=(3, 320, 320), low=-2.1, high=2.6, original="u2net.onnx", served=("1959",)),
    Network(id="mobile_stylegan", part="mapping", shape=(512,), original="MappingNetwork.xml"),
    Network(id="mobile_stylegan", part="synthesis", shape=(512,), original="SynthesisNetwork.xml"),
    Network(id="bisenet_v2", shape=(3, 256, 192), low=-1, high=1),
    Network(id="dlib_resnet", shape=(3, 150, 150), low=-0.5, high=0.5),
    Network(id="real_esrgan", shape=(3, 24, 32), high=1),
    Network(id="efficientnet_lite0", shape=(3, 224, 224), low=-1, high=1),
    Network(id="sketch_to_garment", shape=(10, 128, 128), high=1),
    Network(id="latent_encoder", shape=(3, 256, 256), low=-1, high=1),
)


def feeds(of: Network) -> Array:
    """Three inputs: two of noise, the last the photograph in the network's layout where it takes pictures."""
    random = np.random.default_rng(20)
    if not of.high:
        z = random.normal(size=(3, *of.shape)).astype(np.float32)
        return z if of.part == "mapping" else next(iter(by_openvino(artefact(of.id, "mapping"), z).values()))
    noise = random.uniform(of.low, of.high, (3, *of.shape)).astype(np.float32)
    last = of.shape[-1] == 3
    height, width = of.shape[:2] if last else of.shape[1:]
    seen = cv2.cvtColor(cv2.imread(str(PHOTOGRAPH)), cv2.COLOR_BGR2RGB)
    seen = cv2.resize(seen, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    seen = of.low + seen / 255 * (of.high - of.low)
    noise[2] = seen if last else np.resize(seen.transpose(2, 0, 1), of.shape)
    return noise


def by_openvino(opened: Path, x: Array, at_once: int = 3) -> dict[str, Array]:
    core = openvino.Core()
    network = core.read_model(opened)
    network.reshape([at_once, *x.shape[1:]])
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = core.compile_model(network, "CPU", options)
    made = [[np.array(values) for values in compiled([part]).values()] for part in x.reshape(-1, at_once, *x.shape[1:])]
    rows = map(np.concatenate, zip(*made, strict=True))
    return {name: row for output, row in zip(compiled.outputs, rows, strict=True) for name in output.get_names()}


def session(opened: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(opened, options, providers=["CPUExecutionProvider"])


def by_onnxruntime(opened: onnxruntime.InferenceSession, x: Array) -> dict[str, Array]:
    names = [output.name for output in opened.get_outputs()]
    return dict(zip(names, opened.run(names, {opened.get_inputs()[0].name: x}), strict=True))


def difference(got: Mapping[str, Array], expected: Mapping[str, Array], names: Iterable[str]) -> float:
    """The largest of any of the named outputs, as a fraction of that output's largest value."""
    return max(float(np.abs(got[name] - expected[name]).max() / np.abs(expected[name]).max()) for name in names)


def test_all_networks_are_here() -> None:
    assert {(of.id, of.part) for of in NETWORKS} == {(of.id, part) for of in select(()) for part in of.parts or [""]}


@pytest.mark.parametrize("of", [of for of in NETWORKS if of.original], ids=str)
def test_onnx_is_the_published_network(of: Network) -> None:
    x, opened = feeds(of), artefact(of.id, of.part)
    expected = by_openvino(path(of.id)[of.original], x, at_once=1)
    exported = by_onnxruntime(session(opened), x)
    assert difference(by_openvino(opened, x), expected, exported) < TOLERANCE
    # Logits that no model uses go through zero in hundreds and differ between any two orders of summing.
    assert difference(exported, expected, of.served or exported) < TOLERANCE


@pytest.mark.parametrize("of", NETWORKS, ids=str)
def test_three_at_once_are_three_singles(of: Network) -> None:
    x, opened = feeds(of), artefact(of.id, of.part)
    run = session(opened)
    together = by_onnxruntime(run, x)
    singles = [by_onnxruntime(run, one[None]) for one in x]
    apart = {name: np.concatenate([single[name] for single in singles]) for name in together}
    assert difference(together, apart, together) < 1e-5
    assert difference(by_openvino(opened, x), together, of.served or together) < TOLERANCE


@pytest.mark.parametrize("of", NETWORKS, ids=str)
def test_onnx_is_of_one_kind(of: Network) -> None:
    model = onnx.load(artefact(of.id, of.part))
    assert [(used.domain, used.version) for used in model.opset_import] == [("", 17)]
    for value in (*model.graph.input, *model.graph.output):
        batch, *inner = value.type.tensor_type.shape.dim
        assert batch.dim_param == "N"
        assert all(size.dim_param != "N" for size in inner)
    assert not {node.op_type for node in model.graph.node} & {"Loop", "If", "Scan", "NonZero"}
    assert onnx.checker.check_model(model, full_check=True) is None


@pytest.mark.parametrize(("height", "width"), [(64, 96), (512, 384)])
def test_detection_runs_at_any_multiple_of_32(height: int, width: int) -> None:
    (of,) = (of for of in NETWORKS if of.id == "centerface")
    sized = Network(id=of.id, shape=(3, height, width), high=of.high)
    x, opened = feeds(sized), artefact(of.id)
    expected = by_openvino(path(of.id)[of.original], x, at_once=1)
    found = by_onnxruntime(session(opened), x)
    assert found["537"].shape == (3, 1, height // 4, width // 4)
    assert difference(found, expected, found) < TOLERANCE
