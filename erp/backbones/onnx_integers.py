"""An ONNX graph whose weights lie in 8-bit integers, made to multiply in integers too."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SIGNED_ZERO = 128  # what is added to a signed integer to make it an unsigned one


def in_integers(file: Path) -> bytes:
    """The graph of a file, each product with a weight that is ``Cast(int8) * scale`` one of 8-bit integers.

    The other factor is brought to 8 bits as it comes (dynamic quantisation), by one scale over all of it. Other
    products, and graphs with no such weight, stay as they are. Where the processor adds up signed weights in 16 bits
    and cuts off what is more (x86 without VNNI), weights are made unsigned: slower, and the same integers.
    """
    import onnx
    from onnx import NodeProto, TensorProto
    from onnx.helper import make_node
    from onnx.numpy_helper import from_array, to_array

    model = onnx.load(file)
    graph = model.graph
    integers = {one.name for one in graph.initializer if one.data_type == TensorProto.INT8}
    source = {name: node for node in graph.node for name in node.output}

    def weight(node: NodeProto) -> tuple[str, str] | None:
        """Integers and scale of a product's second factor."""
        scaled = source.get(node.input[1]) if node.op_type == "MatMul" else None
        cast = source.get(scaled.input[0]) if scaled is not None and scaled.op_type == "Mul" else None
        if scaled is None or cast is None or cast.op_type != "Cast" or cast.input[0] not in integers:
            return None
        return cast.input[0], scaled.input[1]

    unsigned, shift = cuts_off(), "signed.zero"
    nodes: list[NodeProto] = []
    for node in graph.node:
        if (found := weight(node)) is None:
            nodes.append(node)
            continue
        rounded, scale, zero, product, real, scales = (f"{node.output[0]}.{part}" for part in "rszpfm")
        factors = [rounded, found[0], zero]
        if unsigned:
            factors = [rounded, f"{found[0]}.unsigned", zero, shift]
            (held,) = (one for one in graph.initializer if one.name == found[0])
            if factors[1] not in {one.name for one in graph.initializer}:
                graph.initializer.append(from_array(without_sign(to_array(held)), factors[1]))
        nodes += [
            make_node("DynamicQuantizeLinear", [node.input[0]], [rounded, scale, zero]),
            make_node("MatMulInteger", factors, [product]),
            make_node("Cast", [product], [real], to=TensorProto.FLOAT),
            make_node("Mul", [scale, found[1]], [scales]),
            make_node("Mul", [real, scales], list(node.output)),
        ]
    if unsigned and len(nodes) > len(graph.node):
        graph.initializer.append(from_array(np.array(SIGNED_ZERO, np.uint8), shift))
    del graph.node[:]
    graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def without_sign(weight: NDArray[np.int8]) -> NDArray[np.uint8]:
    """The weights as unsigned integers about 128."""
    return np.asarray(weight.astype(np.int16) + SIGNED_ZERO, np.uint8)


@cache
def cuts_off() -> bool:
    """Whether this processor's product of unsigned and signed integers is cut off at 16 bits: one that would be."""
    import onnx
    import onnxruntime
    from onnx import TensorProto
    from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

    size = 32
    graph = make_graph(
        [make_node("MatMulInteger", ["x", "weight"], ["y"])],
        "trial",
        [make_tensor_value_info("x", TensorProto.UINT8, [size, size])],
        [make_tensor_value_info("y", TensorProto.INT32, [size, size])],
        [onnx.numpy_helper.from_array(np.full((size, size), 127, np.int8), "weight")],
    )
    model = make_model(graph, opset_imports=[make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": np.full((size, size), 255, np.uint8)})
    return bool((found != size * 255 * 127).any())
