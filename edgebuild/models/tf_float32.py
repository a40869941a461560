"""A TensorFlow graph of other floats as one of float32. For the child process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np


def in_float32(frozen: Any) -> Any:
    """Return a concrete function without variables that computes in float32; ``frozen`` itself
    where it does already.

    float32 holds every number of float16 and bfloat16; of float64 it keeps seven digits.
    """
    import tensorflow as tf

    definition = frozen.graph.as_graph_def()
    others = {t.as_datatype_enum for t in (tf.float16, tf.bfloat16, tf.float64)}
    changed = False
    for attribute in _attributes(definition):
        changed |= _widen(attribute, others)
    if not changed:
        return frozen
    for function in definition.library.function:
        for argument in (*function.signature.input_arg, *function.signature.output_arg):
            if argument.type in others:
                argument.type = tf.float32.as_datatype_enum
    wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(definition, name=""), [])
    ends = [[tensor.name for tensor in tensors] for tensors in (frozen.inputs, frozen.outputs)]
    inputs, outputs = ([wrapped.graph.get_tensor_by_name(name) for name in end] for end in ends)
    return wrapped.prune(inputs, outputs)


def _attributes(definition: Any) -> Iterator[Any]:
    for nodes in (definition.node, *(f.node_def for f in definition.library.function)):
        for node in nodes:
            yield from node.attr.values()


def _widen(attribute: Any, others: set[int]) -> bool:
    """Turn what an attribute says of other floats into float32; return whether it did."""
    import tensorflow as tf

    wide = tf.float32.as_datatype_enum
    if attribute.type in others:
        attribute.type = wide
        return True
    if attribute.tensor.dtype in others:
        values = tf.make_ndarray(attribute.tensor).astype(np.float32)
        attribute.tensor.CopyFrom(tf.make_tensor_proto(values, tf.float32))
        return True
    types = list(attribute.list.type)
    if any(kind in others for kind in types):
        attribute.list.type[:] = [wide if kind in others else kind for kind in types]
        return True
    return False
