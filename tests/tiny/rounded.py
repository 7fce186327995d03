"""A graph in float16 or bfloat16 as one in float32 that rounds after every operator: its errors on any CPU.

Operators compute in float32 inside, as GPUs' units do, and no rounding is fused away. ONNX Runtime has few operators in
float16 on CPUs and none in bfloat16.
"""

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

LOW = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
FLOAT = TensorProto.FLOAT


def rounded(model: ModelProto) -> ModelProto:
    """model: from `compile.precision.lowered`; changed here"""
    graph = model.graph
    found = onnx.shape_inference.infer_shapes(model).graph.value_info
    types = {value.name: value.type.tensor_type.elem_type for value in found}
    for tensor in graph.initializer:
        if tensor.data_type in LOW:
            value = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    nodes = []
    for node in graph.node:
        nodes.append(node)
        if node.op_type == "Cast" and types.get(node.input[0]) in LOW and node.attribute[0].i == FLOAT:
            node.op_type = "Identity"
            del node.attribute[:]
        for place, name in enumerate(node.output):
            low = types.get(name)
            if low not in LOW:
                continue
            exact, short = f"{name}:exact", f"{name}:short"
            node.output[place] = exact
            if node.op_type == "Cast":
                node.attribute[0].i = low
                node.output[place] = short
            else:
                nodes.append(helper.make_node("Cast", [exact], [short], to=low))
            nodes.append(helper.make_node("Cast", [short], [name], to=FLOAT))
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    return model
