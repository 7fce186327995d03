"""Float32 ONNX -> the same graph with int8 convolutions and products where that does little harm (QDQ).

Weights are symmetric int8 with a scale per output channel, biases stay float32, activations have one scale each:
symmetric int8, the only kind that TensorRT runs in integers, or uint8 with a zero point, twice as fine after a ReLU.
Scales come from what the calibration cases reach.

Not every layer bears it. The network is cut into blocks of consecutive layers; each is quantised alone and judged by
the parity gate's own metrics on calibration cases. Then as many blocks become int8 as together stay within the limits,
those first that spare the most multiplications for the harm they do. The gate judges the finished engine on pictures
that were not seen here.
"""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from compile.backend import Source
from compile.engine import Case
from compile.gate import EngineRefused, checks
from compile.reference import ReferenceEngine
from modiste.spec import EngineSpec

LAYERS = ("Conv", "ConvTranspose", "MatMul", "Gemm")
LEAST_SHARE = 0.25
"""Of the multiplications; with less there is nothing to gain."""
BLOCKS = 30
TRIAL_CASES = 6
"""Which are looked at for each block, the first and others spread over the rest; scales come from all."""
MARGIN = 0.7
"""Of the gate's limits that calibration cases may take; the rest is for pictures that it has not seen."""


class _Feeds(CalibrationDataReader):  # type: ignore[misc]  # untyped
    def __init__(self, cases: Sequence[Case]) -> None:
        self._left: Iterator[dict[str, NDArray[Any]]] = iter([dict(case.feeds) for case in cases])

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._left, None)


class Quantizer:
    """One graph and what its activations reach on calibration cases."""

    def __init__(self, spec: EngineSpec, graph: Path, cases: Sequence[Case], folder: Path, *, symmetric: bool) -> None:
        self._spec, self._cases, self._folder, self._symmetric = spec, _singles(cases), folder, symmetric
        spread = np.linspace(0, len(self._cases) - 1, min(TRIAL_CASES, len(self._cases)))
        self._trials = [self._cases[at] for at in spread.astype(int)]
        self._prepared, self._scales = folder / "prepared.onnx", folder / "scales.json"
        # Without the symbolic inference, which needs sympy: sizes that are free may stay so.
        quant_pre_process(str(graph), str(self._prepared), skip_symbolic_shape=True)
        model = onnx.load(self._prepared)
        for at, node in enumerate(model.graph.node):  # layers are chosen by name, and some exporters give none
            node.name = f"{at}_{node.op_type}"
        onnx.save(model, self._prepared)
        self.work = _multiplications(model, self._cases[0])

    def write(self, layers: Iterable[str], to: Path) -> Path:
        """The graph with these layers in int8."""
        quantize_static(
            str(self._prepared),
            str(to),
            _Feeds(self._cases),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(LAYERS),
            nodes_to_quantize=list(layers),
            per_channel=True,
            activation_type=QuantType.QInt8 if self._symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibration_cache_path=self._scales,
            extra_options={"ActivationSymmetric": self._symmetric, "WeightSymmetric": True, "QuantizeBias": False},
        )
        return to

    def harm(self, layers: Iterable[str]) -> float:
        """The largest error of any output on the trial cases, as a share of its limit."""
        staged = self.write(layers, self._folder / "trial.onnx")
        engine = ReferenceEngine(self._spec, Source(graph=lambda: staged, module=lambda: None))
        found = checks(self._spec, engine, self._trials)
        engine.close()
        return max(check.error / check.limit for check in found)


def quantized(spec: EngineSpec, graph: Path, cases: Sequence[Case], to: Path, *, symmetric: bool) -> float:
    """Write the graph with as much of it in int8 as the limits of the gate allow on the calibration cases.

    cases:     real inputs, and what the network gives for them in float32; not those that the gate looks at
    symmetric: activations as int8, not as uint8
    returns:   the share of multiplications that are int8
    raises:    EngineRefused where that is less than LEAST_SHARE
    """
    with tempfile.TemporaryDirectory() as staged:
        quantizer = Quantizer(spec, graph, cases, Path(staged), symmetric=symmetric)
        layers = harmless(quantizer)
        share = sum(quantizer.work[layer] for layer in layers) / sum(quantizer.work.values())
        if share < LEAST_SHARE:
            raise EngineRefused(
                f"int8: expected at least {LEAST_SHARE:.0%} of the multiplications to bear it, got {share:.0%} within "
                "the limits of the parity gate"
            )
        quantizer.write(layers, to)
    return share


def harmless(quantizer: Quantizer) -> list[str]:
    """The layers that may be int8, which may be none."""
    layers = list(quantizer.work)
    if quantizer.harm(layers) <= MARGIN:
        return layers
    size = -(-len(layers) // BLOCKS)
    blocks = [layers[at : at + size] for at in range(0, len(layers), size)]
    # Rounding errors of blocks are independent: their squares add up.
    price = [quantizer.harm(block) ** 2 / sum(quantizer.work[layer] for layer in block) for block in blocks]
    blocks = [blocks[at] for at in np.argsort(price)]
    fit, over = 0, len(blocks)
    while over - fit > 1:
        middle = (fit + over) // 2
        if quantizer.harm(chain(*blocks[:middle])) <= MARGIN:
            fit = middle
        else:
            over = middle
    return list(chain(*blocks[:fit]))


def _multiplications(model: onnx.ModelProto, case: Case) -> dict[str, int]:
    """By layer, in their order, for inputs of the case's size; 1 where that cannot be told."""
    del model.graph.value_info[:]
    for tensor in model.graph.input:
        for size, dim in zip(case.feeds[tensor.name].shape, tensor.type.tensor_type.shape.dim, strict=True):
            dim.dim_value = size
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    sizes: dict[str, list[int]] = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*inferred.value_info, *inferred.input, *inferred.output)
    } | {tensor.name: list(tensor.dims) for tensor in inferred.initializer}

    def work(node: onnx.NodeProto) -> int:
        seen, weight, given = (sizes.get(name, [1]) for name in (node.input[0], node.input[1], node.output[0]))
        if node.op_type == "Conv":
            return prod(given) * prod(weight[1:])
        if node.op_type == "ConvTranspose":
            return prod(seen) * prod(weight[1:])
        return prod(given) * seen[-1]

    return {node.name: max(work(node), 1) for node in model.graph.node if node.op_type in LAYERS}


def _singles(cases: Sequence[Case]) -> list[Case]:
    """The same, one picture each."""
    return [
        Case(
            name=case.name,
            feeds={name: tensor[i : i + 1] for name, tensor in case.feeds.items()},
            expected={name: tensor[i : i + 1] for name, tensor in case.expected.items()},
        )
        for case in cases
        for i in range(len(next(iter(case.feeds.values()))))
    ]
