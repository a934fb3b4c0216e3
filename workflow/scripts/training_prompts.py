"""Write down the tokens that XTuner trains on for the first records, by XTuner's own code."""

import argparse
import json
import os
import tempfile
from pathlib import Path

from butler.errors import ButlerError, run_cli
from butler.files import atomic_open


def main() -> None:
    """Write one JSON line a record: conversation, input_ids, labels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="XTuner's, rendered")
    parser.add_argument("--data", type=Path, required=True, help="train.jsonl")
    parser.add_argument("--records", type=int, default=20)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["HF_HOME"] = cache
        from mmengine.config import Config
        from xtuner.dataset.map_fns import template_map_fn
        from xtuner.dataset.utils import encode_fn
        from xtuner.registry import BUILDER

        config = Config.fromfile(str(args.config))
        tokenizer = BUILDER.build(config.tokenizer)
        lines = args.data.read_text(encoding="utf-8").splitlines()[: args.records]
        if not lines:
            raise ButlerError(f"{args.data} holds no record")
        with atomic_open(args.out) as stream:
            for line in lines:
                record = json.loads(line)
                mapped = template_map_fn(json.loads(line), config.prompt_template)
                encoded = encode_fn(mapped, tokenizer, config.train_dataset.max_length)
                stream.write(json.dumps(record | encoded, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    run_cli(main)
