"""Room in the KV cache of a release that knows a share of the free memory alone, not blocks.

LMDeploy 0.18 takes one region of memory and cuts it into pages, those into slabs of a power of two
and these into blocks; what a slab has left over holds nothing.
"""

from butler.errors import ButlerError
from butler.lmdeploy.cache_room import BLOCK_TOKENS, Room

PAGE = 2**25  # bytes; the region is used from the first multiple of it
LARGEST_SLAB = 2**30
LEAST_USED = 0.95  # of a slab, unless it would be larger than LARGEST_SLAB
WEIGHT_MARGIN = 1.05  # weights in memory, at most, to those of the files
START_BYTES = 2**31  # what an engine may take of a GPU beside weights before its cache


def slab(block: int) -> tuple[int, int]:
    """Return the bytes of a slab of blocks of `block` bytes, and how many it holds."""
    size = max(PAGE, 1 << (block - 1).bit_length())
    while size < LARGEST_SLAB and size // block * block < LEAST_USED * size:
        size *= 2
    return size, size // block


def region_bytes(room: Room, per_token: int) -> int:
    """Return the bytes of a GPU's region that holds `room`, wherever in memory it starts.

    Args:
        room: at least what it holds; it may be a page more.
        per_token: bytes of a token on one GPU.
    """
    size, blocks = slab(BLOCK_TOKENS * per_token)
    return -(-room.blocks // blocks) * size + PAGE


def base_bytes(free: int, weights: int, region: int) -> int:
    """Return how many bytes are to be free on a GPU when its cache is taken.

    That is known only once the weights are loaded, and the share must be named before; so this is
    less than what will be free, and the rest is filled up for as long as the cache is taken.

    Args:
        free: bytes before anything is loaded.
        weights: bytes of the files, of one GPU's part.
        region: bytes that the cache is to take.

    Raises:
        ButlerError: if that leaves the region no room.
    """
    base = free - int(WEIGHT_MARGIN * weights) - START_BYTES
    if base <= region:
        raise ButlerError(
            f"a cache of {region / 2**30:.1f} GiB is to be taken of {max(base, 0) / 2**30:.1f} GiB "
            "that the weights leave of a GPU; lower efficiency.concurrency"
        )
    return base
