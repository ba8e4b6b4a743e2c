"""A small graph with stored int8 weights, rewritten: other products would be other neighbours."""

import numpy as np
import onnx
import onnxruntime as ort  # type: ignore[import-untyped]
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tidegate.cache.embedders.integers import NotRewritableError, multiply_in_integers

ROWS, WIDE, OUT = 50, 32, 16


def stored(seed: int, rows: int, columns: int, *, by_row: bool) -> dict[str, NDArray[np.generic]]:
    dice = np.random.default_rng(seed)
    integers = dice.integers(-127, 128, (rows, columns)).astype(np.int8)
    shape = (rows, 1) if by_row else (1, columns)
    return {"w": integers, "s": dice.uniform(0.001, 0.01, shape).astype(np.float32)}


def graph() -> onnx.ModelProto:
    """Rows of a table, then two products that share a factor."""
    weights = {
        f"{kind}{name}": value
        for name, arrays in {
            "table": stored(1, ROWS, WIDE, by_row=True),
            "left": stored(2, WIDE, OUT, by_row=False),
            "right": stored(3, WIDE, OUT, by_row=False),
        }.items()
        for kind, value in arrays.items()
    }
    nodes = []
    for name in ("table", "left", "right"):
        nodes += [
            helper.make_node("Cast", [f"w{name}"], [f"c{name}"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"c{name}", f"s{name}"], [name]),
        ]
    nodes += [
        helper.make_node("Gather", ["table", "ids"], ["rows"], axis=0),
        helper.make_node("MatMul", ["rows", "left"], ["one"]),
        helper.make_node("MatMul", ["rows", "right"], ["two"]),
        helper.make_node("Add", ["one", "two"], ["sum"]),
    ]
    made = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["n", OUT])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model: bytes, ids: list[int]) -> NDArray[np.float32]:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {"ids": np.array(ids, dtype=np.int64)})
    return np.asarray(answer)


def test_products_are_those_of_before_within_eight_bits() -> None:
    before = graph().SerializeToString()
    after = multiply_in_integers(before)
    expected, got = run(before, [3, 1, 4, 1, 5]), run(after, [3, 1, 4, 1, 5])
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() < 0.02 * np.abs(expected).max()


def test_weights_stay_what_they_are_and_a_shared_factor_is_quantised_once() -> None:
    before = graph()
    after = onnx.load_model_from_string(multiply_in_integers(before.SerializeToString()))
    onnx.checker.check_model(after)
    kinds = [node.op_type for node in after.graph.node]
    assert (kinds.count("DynamicQuantizeLinear"), kinds.count("MatMulInteger")) == (1, 2)
    assert "MatMul" not in kinds
    kept = {each.name: each.SerializeToString() for each in after.graph.initializer}
    assert kept == {each.name: each.SerializeToString() for each in before.graph.initializer}


def test_what_has_no_such_weights_is_said_to_have_none() -> None:
    plain = graph()
    del plain.graph.node[:-1]
    with pytest.raises(NotRewritableError, match="int8"):
        multiply_in_integers(plain.SerializeToString())


def test_what_is_no_model() -> None:
    with pytest.raises(NotRewritableError, match="ONNX"):
        multiply_in_integers(b"<html>busy</html>")
