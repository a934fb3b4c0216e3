"""A served folder's record, without the folder: InternLM2-7B's shape, for `lmdeploy: latest`."""

from pathlib import Path

from butler.lmdeploy.engine_settings import EngineSettings
from butler.lmdeploy.release import RELEASES
from butler.lmdeploy.served_folder import ModelShape, ServedFolder
from butler.schemes import KV_CACHES, TURBOMIND

SEVEN_B = ServedFolder(
    path=Path("model"),
    release=RELEASES["latest"],
    version=RELEASES["latest"].version,
    backend=TURBOMIND,
    settings=EngineSettings(quant_policy=0, cache_max_entry_count=0.5, session_len=2048),
    kv=KV_CACHES["fp16"],
    shape=ModelShape(layers=32, heads=32, kv_heads=8, head_dim=128),
    vocab=92544,
    tp=None,
    weight_bytes=15 * 2**30,
)
