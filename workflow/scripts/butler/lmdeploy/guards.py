"""What must hold before TurboMind is started: each refusal is one sentence, and comes at once."""

from pathlib import Path

from butler.driver import check_lmdeploy
from butler.errors import ButlerError
from butler.lmdeploy.cache_room import Room
from butler.lmdeploy.release import CONVERTER, norms_unread
from butler.lmdeploy.served_folder import ModelShape, ServedFolder, is_workspace
from butler.lmdeploy.workspace_files import CONFIG
from butler.yaml_files import read_yaml

GIB = 2**30
RUNTIME_BYTES = GIB // 2  # of one GPU: CUDA's context, the libraries and the smallest buffers
CHAT_ANSWER = 1024  # tokens that `lmdeploy chat` of 0.7.3 keeps free for an answer


def check_split(tp: int, shape: ModelShape, what: str = "tensor parallelism") -> None:
    """Check that `tp` GPUs can share a model's attention heads.

    LMDeploy repeats the key-value heads where there are fewer than GPUs, but fails to for AWQ.

    Raises:
        ButlerError: naming the number that does not fit.
    """
    if tp < 1 or tp & (tp - 1):
        raise ButlerError(f"{what} is {tp}; LMDeploy takes 1, 2, 4, 8, …")
    if shape.heads % tp:
        raise ButlerError(
            f"{what} {tp} does not divide the model's {shape.heads} attention heads; "
            "take a smaller power of two"
        )
    if shape.kv_heads % tp:
        raise ButlerError(
            f"{what} {tp} does not divide the model's {shape.kv_heads} key-value heads; "
            "take a smaller power of two"
        )


def resolve_tp(folder: ServedFolder, wanted: int | None) -> int:
    """Return how many GPUs share the folder's tensors.

    Raises:
        ButlerError: if a workspace is split otherwise or the heads cannot be.
    """
    if folder.tp is not None and wanted not in (None, folder.tp):
        raise ButlerError(
            f"--tp {wanted} is not what {folder.path} was converted for ({folder.tp}), and "
            "TurboMind would silently keep to that; set workspace.tp and make the workspace again"
        )
    tp = folder.tp or wanted or 1
    check_split(tp, folder.shape, "--tp")
    return tp


def resolve_session_len(folder: ServedFolder, wanted: int | None, face: str) -> int:
    """Return the tokens of a session.

    Raises:
        ButlerError: if the terminal chat would refuse every question.
    """
    length = wanted or folder.settings.session_len
    if face == "chat" and folder.release.workspaces and length <= CHAT_ANSWER:
        raise ButlerError(
            f"a session of {length} tokens is too short for LMDeploy's terminal chat, which keeps "
            f"{CHAT_ANSWER} of them free for an answer; give a larger --session-len"
        )
    return length


def check_gpus(tp: int, present: int) -> None:
    """Check that there are GPUs enough.

    Raises:
        ButlerError: if there is none, or fewer than `tp`.
    """
    if present == 0:
        raise ButlerError(
            "TurboMind needs a CUDA GPU and torch finds none here; use --engine reference, "
            "our engine on the CPU"
        )
    if tp > present:
        raise ButlerError(
            f"tensor parallelism {tp} needs {tp} GPUs, and {present} can be seen here; "
            "check CUDA_VISIBLE_DEVICES or use a folder that is split for fewer"
        )


def session_bytes(weights: float, per_token: int, share: float, tp: int, session_len: int) -> int:
    """Return the least bytes of GPU memory, on all `tp` GPUs together, to serve one session.

    Args:
        weights: bytes as served.
        per_token: bytes of a token in the cache, on all GPUs.
        share: of what the weights leave, that the cache gets.
        session_len: tokens.
    """
    return int(weights + tp * RUNTIME_BYTES + Room(1, session_len).held * per_token / share)


def needed_bytes(folder: ServedFolder, tp: int, session_len: int) -> int:
    """Return `session_bytes` of a served folder."""
    share = folder.settings.cache_max_entry_count
    return session_bytes(folder.weight_bytes, folder.kv_bytes_per_token, share, tp, session_len)


def check_memory(folder: ServedFolder, tp: int, session_len: int, free: int) -> None:
    """Check that weights and the cache of one session fit into `free` bytes of GPU memory.

    Raises:
        ButlerError: with both figures.
    """
    needed = needed_bytes(folder, tp, session_len)
    if needed > free:
        raise ButlerError(
            f"{folder.path} needs at least {needed / GIB:.2f} GiB of GPU memory (weights "
            f"{folder.weight_bytes / GIB:.2f} GiB, and a cache of one session of {session_len} "
            f"tokens within {folder.settings.cache_max_entry_count:.0%} of the rest), but "
            f"{free / GIB:.2f} GiB are free; free some, lower --session-len or take a w4 variant"
        )


def check_norms_loaded(path: Path) -> None:
    """Check that TurboMind loads all that a folder's attention computes with.

    Raises:
        ButlerError: if it is a workspace with norms of queries and keys.
    """
    if is_workspace(path) and read_yaml(path / CONFIG)["model_config"].get("qk_norm"):
        raise ButlerError(
            f"{path} has {norms_unread(CONVERTER)}; make it with lmdeploy: latest, or use "
            "--engine reference, our engine on the CPU"
        )


def check_machine(folder: ServedFolder, tp: int, session_len: int) -> None:
    """Check this machine's GPUs for a folder; CUDA is asked without taking up any of its memory.

    Raises:
        ButlerError: if they are too few or too full, or the engine would serve noise.
    """
    import torch

    from butler.gpu import GpuMemory

    check_norms_loaded(folder.path)
    # device_count() asks the driver alone; a CUDA context would hold memory beside LMDeploy's.
    check_gpus(tp, torch.cuda.device_count())
    memory = GpuMemory(tp)
    one = folder.release
    check_lmdeploy(memory.cards(), one.version, one.newest_capability, folder.kv.capability)
    check_memory(folder, tp, session_len, memory.free())
