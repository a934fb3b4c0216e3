"""GPU memory of each stage, in bytes on all the GPUs that it shares."""

from collections.abc import Callable

from butler.efficiency.figures import room_bytes, session_sizes
from butler.held_out import LONGEST
from butler.lmdeploy.cache_room import Room
from butler.lmdeploy.guards import session_bytes
from butler.plan.host_memory import Task, calibrating, gptq_layer, stock_kept, streamed
from butler.plan.measured import AWQ_SLACK
from butler.plan.model_size import FP16, FP32
from butler.xtuner.memory import BF16, RESERVE, estimate, fixed_bytes, make_plan, micro_batches

Needed = Callable[[Task], float]


def _training(task: Task) -> float:
    """Bytes of an update as `make_plan` cuts it for the free ones, or the least that there is.

    Stock kernels keep fp32 values, and fp32 logits thrice.
    """
    train, shape = task.settings.train, task.size.shape
    micro = micro_batches(train)[-1]
    recomputed = 0 if train.activation_checkpointing is False else shape.layers
    if task.free is not None:
        plan = make_plan(train, shape, True, task.free)
        micro, recomputed = plan.micro_batch, plan.recompute_layers
    if train.kernels == "auto":
        return estimate(shape, train, micro, recomputed) * train.processes
    tokens, kept = micro * train.max_length, stock_kept(task)
    layers = (shape.layers - recomputed) * kept + recomputed * BF16 * shape.hidden
    step = layers + (kept if recomputed else 0) + 3 * FP32 * shape.vocabulary
    return (RESERVE + fixed_bytes(shape, train) + tokens * step) * train.processes


def _streaming(task: Task) -> float:
    return RESERVE + streamed(task)


def _quantising(task: Task) -> float:
    """Bytes of the calibration, a layer, embedding and head; the layers come one after another."""
    shape = task.size.shape
    weights = FP16 * (2 * task.size.table + 3 * shape.linear_parameters / shape.layers)
    return calibrating(task) + AWQ_SLACK * weights


def _gptq(task: Task) -> float:
    return RESERVE + gptq_layer(task)


def _session(task: Task) -> float:
    """Bytes of one session of the variant that takes most."""
    one, tp = task.settings, task.settings.workspace.tp
    shares = {False: one.workspace, True: one.kv_cache}
    return max(
        session_bytes(
            task.size.served(v.weights, one.awq.group_size),
            task.size.kv_bytes(v.kv),
            shares[v.kv.quantised].cache_max_entry_count,
            tp,
            one.workspace.session_len,
        )
        for v in task.variants
    )


def _divergence(task: Task) -> float:
    """Bytes of one session, and the logits of all its tokens as the engine gives them."""
    return _session(task) + FP32 * LONGEST * task.size.shape.vocabulary


def _efficiency(task: Task) -> float:
    """Bytes of the variant that takes most, with room for the most requests at a time."""
    one, group = task.settings.efficiency, task.settings.awq.group_size
    room = Room(session_sizes(one.concurrency)[1], one.prompt_tokens + one.new_tokens)
    return max(
        room_bytes(task.size.served(v.weights, group), room, task.size.kv_bytes(v.kv))
        for v in task.settings.chosen().values()
    )


TOOLS: dict[str, Needed] = {
    "train": _training,
    "check_training": _streaming,
    "check_awq": _streaming,
    "awq": _quantising,
    "gptq": _gptq,
    "check_gptq": _gptq,
    "fp8": _streaming,
    "check_fp8": _streaming,
    "w8a8": _quantising,
    "check_w8a8": _streaming,
    "calibrate": _quantising,
}
ENGINE: dict[str, Needed] = {
    "check_workspace": _session,
    "check_kv_cache": _session,
    "divergence": _divergence,
    "evaluate": _session,
    "efficiency": _efficiency,
}


def gpus(stage: str, task: Task) -> int:
    """Return how many GPUs of a machine share a stage."""
    if stage == "train":
        return task.settings.train.processes
    return task.settings.workspace.tp if stage in ENGINE else 1


def gpu_bytes(stage: str, task: Task) -> float:
    """Return the bytes of GPU memory at a stage's peak, 0 if it takes none.

    Raises:
        ButlerError: if a training cannot be cut to fit into what is free, as `make_plan` tells it.
    """
    if stage in TOOLS and task.on_gpu:
        return TOOLS[stage](task)
    return ENGINE[stage](task) if stage in ENGINE and task.lmdeploy else 0
