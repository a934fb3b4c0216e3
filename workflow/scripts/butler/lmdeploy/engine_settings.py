"""The `engine_config` of a served folder: how LMDeploy is to serve it."""

from typing import Any

from butler.errors import ButlerError
from butler.lmdeploy.release import kv_scheme
from butler.schemes import KVScheme
from butler.settings.section import Positive, Section, Share


class EngineSettings(Section):
    """What the engine is told: `session_len` in tokens, `cache_max_entry_count` a share of the free
    GPU memory, `quant_policy` LMDeploy's number for the KV cache.
    """

    quant_policy: int
    cache_max_entry_count: Share
    session_len: Positive

    @classmethod
    def read(cls, raw: Any, where: str, version: str) -> tuple["EngineSettings", KVScheme]:
        """Return the settings in a file, and the KV cache that they mean to that release.

        Args:
            raw: what the file holds under engine_config.
            where: the file.
            version: of the LMDeploy that the folder is for.

        Raises:
            ButlerError: naming the file and the first key that is missing or wrong.
        """
        place, again = f"{where}: engine_config", "make the variant again with variant.py"
        try:
            settings = cls.check(raw if isinstance(raw, dict) else {}, place)
        except ButlerError as error:
            raise ButlerError(f"{error}; {again}") from None
        try:
            return settings, kv_scheme(settings.quant_policy, version)
        except ButlerError as error:
            raise ButlerError(f"{place}: {error}") from None
