"""Take the best weights of a run: safetensors in float16, checked against the ONNX graph."""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import openvino
import torch
from safetensors.torch import load_file, save_file

from weights.convert.latent_encoder import convert
from weights.recipes.latent_encoder.network import SIDE, Encoder

MOST_BYTES = 16_000_000
TOLERANCE = 1e-3


def difference(weights: Path) -> float:
    """Largest absolute difference between the network in torch and its ONNX graph in OpenVINO, in float32."""
    pictures = np.random.default_rng(0).uniform(-1, 1, (2, 3, SIDE, SIDE)).astype(np.float32)
    encoder = Encoder()
    encoder.load_state_dict(load_file(weights))
    with torch.no_grad():
        expected = encoder(torch.from_numpy(pictures)).numpy()
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "network.onnx"
        convert({"weights": weights}, graph)
        compiled = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        found = compiled([pictures])[0]
    return float(np.abs(found - expected).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="best.pt of a training run")
    parser.add_argument("--out", type=Path, default=Path("weights/trained/latent_encoder.safetensors"))
    asked = parser.parse_args()
    saved = torch.load(asked.checkpoint, weights_only=True)
    halves = {name: value.half().contiguous() for name, value in saved["average"].items()}
    save_file(halves, asked.out, metadata={"steps": str(saved["step"])})
    size, worst = asked.out.stat().st_size, difference(asked.out)
    print(f"{asked.out}: step {saved['step']}, {size} bytes, torch and ONNX differ by at most {worst:.1e}")
    if size > MOST_BYTES or worst > TOLERANCE:
        raise SystemExit(f"expected at most {MOST_BYTES} bytes and a difference of at most {TOLERANCE}")


if __name__ == "__main__":
    main()
