"""Measure an engine that ends its process when it is taken down, as TurboMind's race does.

Run with the file for the session; GPU and LMDeploy are stood in for, `_child` is the real one.
"""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

import served_folders
from butler.efficiency import measure_engine as measured
from butler.lmdeploy.cache_room import Room


class Instance:
    async def async_stream_infer(self, number, prompt, gen_config, **options):
        yield SimpleNamespace(num_token=1)
        yield SimpleNamespace(num_token=gen_config.max_new_tokens)


class Engine:
    def create_instance(self):
        return Instance()

    def __del__(self):
        os.abort()


class Memory:
    def __init__(self, gpus=1):
        pass

    def used(self):
        return 1


def start(plan, memory, marks):
    marks |= {"context": 2, "loaded": 3}
    return Engine()


messages = SimpleNamespace(GenerationConfig=SimpleNamespace)
sys.modules |= {"lmdeploy": SimpleNamespace(messages=messages), "lmdeploy.messages": messages}
measured.GpuMemory, measured.start_engine = Memory, start
workload = measured.Workload(served_folders.SEVEN_B, 1, Room(2, 16), 8, 4, loads=(1, 2))
measured._child(workload, sys.argv[1], sys.argv[1] + ".log")
