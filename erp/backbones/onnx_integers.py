"""An ONNX graph whose weights lie in 8-bit integers, made to multiply in integers too."""

from __future__ import annotations

from pathlib import Path


def in_integers(file: Path) -> bytes:
    """The graph of a file, each product with a weight that is ``Cast(int8) * scale`` one of 8-bit integers.

    The other factor is brought to 8 bits as it comes (dynamic quantisation), by one scale over all of it. Other
    products, and graphs with no such weight, stay as they are.
    """
    import onnx
    from onnx import NodeProto, TensorProto
    from onnx.helper import make_node

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

    nodes: list[NodeProto] = []
    for node in graph.node:
        if (found := weight(node)) is None:
            nodes.append(node)
            continue
        rounded, scale, zero, product, real, scales = (f"{node.output[0]}.{part}" for part in "rszpfm")
        nodes += [
            make_node("DynamicQuantizeLinear", [node.input[0]], [rounded, scale, zero]),
            make_node("MatMulInteger", [rounded, found[0], zero], [product]),
            make_node("Cast", [product], [real], to=TensorProto.FLOAT),
            make_node("Mul", [scale, found[1]], [scales]),
            make_node("Mul", [real, scales], list(node.output)),
        ]
    del graph.node[:]
    graph.node.extend(nodes)
    return bytes(model.SerializeToString())
