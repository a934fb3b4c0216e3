"""Which shared libraries an environment lacks, read from the ELF headers of its files.

What is looked at is what a run loads: torch and the NVIDIA libraries beside it, the one library of
bitsandbytes that fits torch's CUDA, and LMDeploy's engine. The rules are those of the loader
(man 8 ld.so): a library that is loaded already serves all who name it, else the folders of RPATH or
RUNPATH are searched. The system's folders are not: a CUDA that happens to lie there is no part of
the environment. No GPU and no driver is needed to tell.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from butler.errors import ButlerError

# Of the C library, of GCC and zlib; Python's own needs them.
SYSTEM = re.compile(r"(ld-linux[\w-]*|lib(c|m|dl|rt|util|pthread|gcc_s|stdc\+\+|z))\.so\.\d+")
DRIVER = re.compile(r"lib(cuda|nvidia-ml)\.so\.1")
# What NVIDIA's own libraries open where a cluster has that network or that process manager, and do
# without elsewhere.
PLUGINS = re.compile(r"(nvshmem_(transport|bootstrap)_\w+|libcufile_rdma)\.so")


@dataclass(frozen=True)
class Missing:
    """A library that is not found, and the file of the environment that names it."""

    library: str
    needed_by: Path


def torch_cuda(site: Path) -> str | None:
    """Return the CUDA release that the torch in `site` is built for, as `13.0`; None for a CPU's.

    Raises:
        ButlerError: if there is no torch.
    """
    version = site / "torch" / "version.py"
    if not version.is_file():
        raise ButlerError(f"there is no torch in {site}; build the environment again")
    found = re.search(r"^cuda\b.*= '([\d.]+)'", version.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else None


def missing_libraries(site: Path) -> list[Missing]:
    """Return what the files of `site`, a site-packages folder with torch, name and do not find."""
    loader = _Loader()
    for file in _loaded_files(site, torch_cuda(site)):
        if file.is_file():
            loader.load(file)
        else:
            loader.missing.append(Missing(file.name, file.parent))
    return list(dict.fromkeys(loader.missing))


def _loaded_files(site: Path, cuda: str | None) -> Iterator[Path]:
    """Yield what a run loads: first `import torch`, then the engines, then what torch may open."""
    yield from sorted(site.glob("torch/_C.*.so"))
    if (site / "bitsandbytes").is_dir():
        build = "cuda" + cuda.replace(".", "") if cuda else "cpu"
        yield site / "bitsandbytes" / f"libbitsandbytes_{build}.so"
    if cuda:  # on a CPU nothing loads the engine
        yield from sorted(site.glob("lmdeploy/**/_turbomind.*.so"))
    yield from sorted(site.glob("torch/lib/*.so"))
    for file in sorted(site.glob("nvidia/**/*.so*")):
        if not PLUGINS.match(file.name):
            yield file


@dataclass
class _Loader:
    """The libraries that are loaded so far, by name, and those that were not found."""

    loaded: set[str] = field(default_factory=set)
    missing: list[Missing] = field(default_factory=list)

    def load(self, file: Path) -> None:
        """Load a file, then all that it names, then all that these name."""
        waiting: list[tuple[Path, tuple[Path, ...]]] = []
        if file.name not in self.loaded:
            self.loaded.add(file.name)
            waiting.append((file, ()))
        for one, inherited in waiting:  # it grows: the RPATHs of who named a file serve it too
            needed, rpath, runpath = _dynamic(one)
            for name in needed:
                if name in self.loaded or SYSTEM.fullmatch(name) or DRIVER.fullmatch(name):
                    continue
                folders = runpath or rpath + inherited  # a RUNPATH switches every RPATH off
                found = next((path for path in (f / name for f in folders) if path.is_file()), None)
                if found:
                    self.loaded.add(name)
                    waiting.append((found, rpath + inherited))
                else:
                    self.missing.append(Missing(name, one))


def _dynamic(file: Path) -> tuple[list[str], tuple[Path, ...], tuple[Path, ...]]:
    """Return the names that a library needs, and the folders of its RPATH and of its RUNPATH.

    Raises:
        ButlerError: if the file is no shared library.
    """
    needed: list[str] = []
    folders: dict[str, tuple[Path, ...]] = {"DT_RPATH": (), "DT_RUNPATH": ()}
    try:
        with file.open("rb") as stream:
            dynamic = next(ELFFile(stream).iter_segments("PT_DYNAMIC"), None)
            for tag in dynamic.iter_tags() if dynamic else ():
                if tag.entry.d_tag == "DT_NEEDED":
                    needed.append(tag.needed)
                elif tag.entry.d_tag in folders:
                    text = getattr(tag, tag.entry.d_tag.removeprefix("DT_").lower())
                    origin = re.sub(r"\$(ORIGIN|\{ORIGIN\})", str(file.parent), text)
                    folders[tag.entry.d_tag] = tuple(map(Path, filter(None, origin.split(":"))))
    except ELFError as error:
        raise ButlerError(f"{file} is no shared library ({error}); build it again") from error
    return needed, folders["DT_RPATH"], folders["DT_RUNPATH"]
