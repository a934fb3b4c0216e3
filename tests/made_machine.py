"""A machine as it could be: GPUs as nvidia-smi tells them, commands, and what an index offers."""

import zipfile

OLD, AMPERE, ADA, HOPPER, BLACKWELL = (
    "NVIDIA GeForce GTX 1080, 8192, 6.1",
    "NVIDIA A100-PCIE-40GB, 40960, 8.0",
    "NVIDIA GeForce RTX 4090, 24564, 8.9",
    "NVIDIA H200, 143771, 9.0",
    "NVIDIA GeForce RTX 5090, 32607, 12.0",
)


def put_command(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def make_torch(index, version, requires):
    """Write a torch without content, that tells what it is built for as the real ones do."""
    index.mkdir(exist_ok=True)
    name = f"torch-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {one}\n" for one in requires)
    wheel = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(index / f"torch-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}/METADATA", metadata)
        archive.writestr(f"{name}/WHEEL", wheel)
        archive.writestr(f"{name}/RECORD", "")
