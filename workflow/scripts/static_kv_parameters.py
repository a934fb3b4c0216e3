"""Static KV parameters of each layer, 8 bits, with `lmdeploy.lite.apis.kv_qparams`.

Writes `layers.{i}.past_kv_scale.{rank}.weight`, fp32 [k_scale, k_zp, v_scale, v_zp] with
scale = (max − min)/255, zp = (min + max)/2, q = round((x − zp)/scale) and x = q·scale + zp
(LMDeploy up to 0.3). TurboMind quantises online since 0.4 and does not read them; the reference
engine can (`--kv static`), so that the two can be compared.
"""

import argparse
from pathlib import Path

from butler.errors import ButlerError, run_cli
from butler.files import atomic_dir
from butler.lmdeploy.on_cpu import without_cuda


def main() -> None:
    """Write the parameters of one model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--statistics", type=Path, required=True, help="folder of calibrate.py")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    without_cuda()
    from lmdeploy.lite.apis.kv_qparams import main as kv_qparams

    with atomic_dir(args.out) as folder:
        kv_qparams(str(args.statistics), str(folder), kv_bits=8, kv_sym=False, num_tp=1)
        if not any(folder.glob("layers.*.past_kv_scale.*.weight")):
            raise ButlerError("kv_qparams wrote no parameters: the statistics hold no layer")


if __name__ == "__main__":
    run_cli(main)
