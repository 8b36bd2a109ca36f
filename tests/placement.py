"""Where TensorFlow puts operations: on which device, and whether a GPU could run them.

TensorFlow has no public names for either; both come from its own tests.
"""

import functools

import tensorflow as tf
from tensorflow.python.eager import context
from tensorflow.python.framework import kernels, op_def_registry

# What carries values between devices and around loops.
_PLUMBING = {
    *("_Arg", "_DeviceArg", "_Retval", "_DeviceRetval", "Const", "Identity", "NoOp"),
    *("_Send", "_Recv", "_HostSend", "_HostRecv", "Placeholder", "IdentityN"),
    *("Enter", "Exit", "Switch", "Merge", "NextIteration", "LoopCond"),
}
_SINGLE_NUMBERS = {"padding_value"}  # which the host passes on with the launch
_FLOATS = {tf.float16, tf.bfloat16, tf.float32, tf.float64}


def graphs_of(function):
    """Returns the graphs, cut by device, that TensorFlow makes while this runs."""
    context.enable_run_metadata()
    try:
        function()
        found = context.export_run_metadata().function_graphs
    finally:
        context.disable_run_metadata()
    return [list(graphs.partition_graphs) for graphs in found]


def training_step(graphs):
    """Returns the nodes of the one that updates weights."""
    (found,) = (
        nodes
        for nodes in ([n for part in parts for n in part.node] for parts in graphs)
        if any(node.op == "ResourceApplyAdam" for node in nodes)
    )
    return found


def strays(nodes, device):
    """Returns the operations on floating-point numbers that are on another device."""
    return {
        f"{node.op} {node.name} on {node.device}"
        for node in nodes
        if not node.device.endswith(device)
        and node.op not in _PLUMBING
        and tf.as_dtype(node.attr["T"].type or tf.int32) in _FLOATS
    }


def without_gpu_kernel(graph):
    """Returns the operations of a graph, and of its functions, that no GPU can run."""
    definition = graph.as_graph_def()
    nodes = [*definition.node]
    for function in definition.library.function:
        nodes += function.node_def
    calls = {function.signature.name for function in definition.library.function}
    return {
        f"{node.op} {dtype_of(node)}"
        for node in nodes
        if node.op not in calls and not has_gpu_kernel(node)
    }


def dtype_of(node):
    return tf.as_dtype(node.attr["T"].type).name if node.attr["T"].type else ""


def has_gpu_kernel(node):
    """Returns whether a GPU can run it, and not by copying its numbers to the host."""
    return any(
        all(
            node.attr[constraint.name].type in constraint.allowed_values.list.type
            for constraint in kernel.constraint
        )
        and not any(
            is_float(node, name) and name not in _SINGLE_NUMBERS
            for name in kernel.host_memory_arg
        )
        for kernel in gpu_kernels(node.op)
    )


def is_float(node, argument):
    definition = op_def_registry.get(node.op)
    for given in (*definition.input_arg, *definition.output_arg):
        if given.name == argument:
            kind = node.attr[given.type_attr].type if given.type_attr else given.type
            return bool(kind) and tf.as_dtype(kind) in _FLOATS
    raise ValueError(f"{node.op} has no argument {argument}.")


@functools.cache
def gpu_kernels(op):
    found = kernels.get_registered_kernels_for_op(op).kernel
    return [kernel for kernel in found if kernel.device_type in ("GPU", "DEFAULT")]
