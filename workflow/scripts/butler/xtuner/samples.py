"""Training samples as XTuner sees them: by its own template and encoding, in its environment."""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from butler.xtuner.configuration import check_rendered


def encoded(
    config: Path, lines: Iterable[str], max_length: int | None = None
) -> Iterator[tuple[dict[str, Any], dict[str, list[int]]]]:
    """Yield each record with its `input_ids` and `labels`.

    Args:
        config: XTuner's configuration, rendered.
        lines: records of train.jsonl.
        max_length: tokens from which a sample is cut; default: the configuration's own.

    Raises:
        ButlerError: if the configuration is none of ours.
    """
    check_rendered(config)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["HF_HOME"] = cache
        from mmengine.config import Config
        from xtuner.dataset.map_fns import template_map_fn
        from xtuner.dataset.utils import encode_fn
        from xtuner.registry import BUILDER

        settings = Config.fromfile(str(config))
        tokenizer = BUILDER.build(settings.tokenizer)
        longest = max_length or settings.train_dataset.max_length
        for line in lines:
            mapped = template_map_fn(json.loads(line), settings.prompt_template)
            yield json.loads(line), encode_fn(mapped, tokenizer, longest)
