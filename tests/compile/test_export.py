"""Networks as ONNX: any batch, the same numbers, and nothing else changed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest

from modiste.spec import TensorSpec

FACES = TensorSpec(name="face", shape=("N", 3, 112, 112), range="[-1, 1]", meaning="aligned faces")
EMBEDDINGS = TensorSpec(name="embedding", shape=("N", 64), range="any", meaning="identity")


@pytest.fixture(scope="module")
def network() -> Any:
    """ArcFace's backbone with one block a stage, its statistics as uneven as after training."""
    import torch

    from deployments.arcface.network import IResNet

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = IResNet((1, 1, 1, 1), 64)
        for name, value in net.state_dict().items():
            if name.endswith(("running_mean", "running_var")):
                value.copy_(torch.rand_like(value) + 0.5)
    net.eval()
    return net


@pytest.fixture(scope="module")
def exported(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from compile.export import export

    path = tmp_path_factory.mktemp("export") / "iresnet.onnx"
    export(network, (FACES,), (EMBEDDINGS,), path)
    return path


@pytest.mark.torch
@pytest.mark.parametrize("batch", [1, 3])
def test_openvino_gives_what_eager_gives(network: Any, exported: Path, batch: int) -> None:
    import torch

    faces = np.random.default_rng(batch).uniform(-1, 1, (batch, 3, 112, 112)).astype(np.float32)
    compiled = ov.Core().compile_model(exported, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1})
    found = compiled({"face": faces})["embedding"]
    with torch.inference_mode():
        expected = network(torch.from_numpy(faces)).numpy()
    assert found.shape == (batch, 64)
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.torch
def test_the_graph_names_its_tensors_and_keeps_the_batch_free(exported: Path) -> None:
    graph = ov.Core().read_model(exported)
    assert {t.any_name: str(t.partial_shape) for t in graph.inputs} == {"face": "[?,3,112,112]"}
    assert {t.any_name: str(t.partial_shape) for t in graph.outputs} == {"embedding": "[?,64]"}


@pytest.mark.torch
def test_exporting_changes_nothing(network: Any, tmp_path: Path) -> None:
    import torch

    from compile.export import export

    before = {name: value.clone() for name, value in network.state_dict().items()}
    random = torch.get_rng_state()
    export(network, (FACES,), (EMBEDDINGS,), tmp_path / "iresnet.onnx")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert torch.equal(random, torch.get_rng_state())
    assert torch.is_grad_enabled()
    assert not network.training
    assert [path.name for path in tmp_path.iterdir()] == ["iresnet.onnx"]


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:Converting a tensor to a Python boolean")  # by torch's own attention
def test_attention_is_written_out(tmp_path: Path) -> None:
    import torch

    from compile.export import export

    tokens = TensorSpec(name="tokens", shape=("N", 5, 8), range="any", meaning="anything")

    class Attending(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: Any) -> Any:
            return self.attention(x, x, x, need_weights=False)[0]

    net = Attending().eval()
    fused = torch.backends.mha.get_fastpath_enabled()
    export(net, (tokens,), (replace(tokens, name="attended"),), tmp_path / "attention.onnx")
    assert torch.backends.mha.get_fastpath_enabled() == fused
    fed = np.random.default_rng(0).normal(size=(3, 5, 8)).astype(np.float32)
    found = ov.Core().compile_model(tmp_path / "attention.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([fed])[0]
    assert np.allclose(found, net(torch.from_numpy(fed)).detach().numpy(), atol=1e-4)


@pytest.mark.torch
def test_a_network_in_training_is_refused(tmp_path: Path) -> None:
    import torch

    from compile.export import export

    with pytest.raises(ValueError, match="evaluation mode"):
        export(torch.nn.BatchNorm2d(3), (FACES,), (FACES,), tmp_path / "norm.onnx")
