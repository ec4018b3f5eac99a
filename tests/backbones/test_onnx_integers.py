"""A product with weights in 8 bits becomes one of integers; numpy is the judge."""

import numpy as np
import pytest

from erp.backbones import onnx_integers
from erp.backbones.onnx_integers import in_integers

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

RANDOM = np.random.default_rng(0)
WEIGHT = RANDOM.integers(-127, 128, (32, 8)).astype(np.int8)
SCALE = RANDOM.uniform(0.001, 0.01, (1, 8)).astype(np.float32)
X = RANDOM.normal(size=(1, 5, 32)).astype(np.float32)


def written(folder, second):
    """A file of y = x @ second, where ``second`` is made from the weight and its scale."""
    nodes = [
        onnx.helper.make_node("Cast", ["weight"], ["real"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Mul", ["real", "scale"], ["scaled"]),
        onnx.helper.make_node("MatMul", ["x", second], ["y"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "product",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, None, 32])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, None, 8])],
        [onnx.numpy_helper.from_array(WEIGHT, "weight"), onnx.numpy_helper.from_array(SCALE, "scale")],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "model.onnx")
    return folder / "model.onnx"


@pytest.mark.parametrize("cut_off", [None, True])
def test_a_product_is_that_of_the_rounded_factors(tmp_path, monkeypatch, cut_off):
    """Whether the processor can multiply signed weights, or is taken not to."""
    if cut_off is not None:
        monkeypatch.setattr(onnx_integers, "cuts_off", lambda: cut_off)
    graph = in_integers(written(tmp_path, "scaled"))
    (found,) = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(None, {"x": X})
    # The operator's definition: 256 steps from the least to the greatest value, zero among them
    least, greatest = min(X.min(), 0), max(X.max(), 0)
    step = (greatest - least) / 255
    zero = np.round(-least / step)
    rounded = np.clip(np.round(X / step) + zero, 0, 255)
    assert found == pytest.approx((rounded - zero) @ WEIGHT.astype(float) * step * SCALE, rel=1e-4, abs=1e-4)
    exact = X @ (WEIGHT * SCALE)
    assert 0 < np.abs(found - exact).max() < 0.05 * np.abs(exact).max()


def test_a_product_with_other_weights_stays(tmp_path):
    file = written(tmp_path, "real")  # cast, but with no scale
    assert onnx.load_from_string(in_integers(file)) == onnx.load(file)
