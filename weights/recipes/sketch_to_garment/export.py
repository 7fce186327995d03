"""Take the averaged weights out of a checkpoint: safetensors in float16, checked against the ONNX graph."""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import openvino
import torch
from safetensors.torch import load_file, save_file

from weights.convert.pix2pix import convert
from weights.recipes.sketch_to_garment.train import network_builder

MOST_BYTES = 16_000_000
TOLERANCE = 1e-3


def difference(weights: Path, network: str) -> float:
    """Largest absolute difference between the network in torch and its ONNX graph in OpenVINO, in float32."""
    rng = np.random.default_rng(0)
    sketch = np.zeros((3, 10, 128, 128), np.float32)
    sketch[:, 0] = rng.random((3, 128, 128)) < 0.04
    sketch[:, 4] = rng.random((3, 128, 128)) < 0.02
    sketch[:, 1:4] = rng.uniform(-1, 1, (3, 3, 128, 128)) * sketch[:, 4:5]
    sketch[[0, 1, 2], [5, 7, 9]] = 1.0
    with torch.no_grad():
        expected = network_builder(network)(load_file(weights))(torch.from_numpy(sketch)).numpy()
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "network.onnx"
        convert({"weights": weights}, graph)
        compiled = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        painted = compiled([sketch])[0]
    return float(np.abs(painted - expected).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint.pt of a training run")
    parser.add_argument("--out", type=Path, default=Path("weights/trained/sketch_to_garment.safetensors"))
    parser.add_argument("--network", default="deployments.pix2pix_garment.network:build", help="module:function")
    asked = parser.parse_args()
    saved = torch.load(asked.checkpoint, weights_only=True)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    halves = {name: value.half().contiguous() for name, value in saved["average"].items()}
    save_file(halves, asked.out, metadata={"steps": str(saved["step"])})
    size, worst = asked.out.stat().st_size, difference(asked.out, asked.network)
    print(f"{asked.out}: step {saved['step']}, {size} bytes, torch and ONNX differ by at most {worst:.1e}")
    if size > MOST_BYTES or worst > TOLERANCE:
        raise SystemExit(f"expected at most {MOST_BYTES} bytes and a difference of at most {TOLERANCE}")


if __name__ == "__main__":
    main()
