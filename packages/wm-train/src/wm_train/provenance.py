"""What a run ran on: packages and machine, and hashes of files. The code is in `checkout`."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from wm_manifest import FileRef, Hardware
from wm_train.errors import first_line
from wm_train.redact import redact

PACKAGES = (
    *("wm-train", "wm-eval", "wm-data", "wm-score", "wm-prompts", "wm-manifest", "wm-publish"),
    *("torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers", "wandb"),
)
PACKS_WEIGHTS = "bitsandbytes"  # of a base in four bits, and of no other


def utc_now() -> str:
    """Now, in UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def python_version() -> str:
    """Version of the interpreter."""
    return platform.python_version()


def versions(four_bit: bool = False) -> dict[str, str]:
    """Versions of what decides a run's numbers."""
    packs = four_bit and importlib.util.find_spec(PACKS_WEIGHTS)
    names = (*PACKAGES, PACKS_WEIGHTS) if packs else PACKAGES
    return {name: metadata.version(name) for name in names}


def sha256(path: Path) -> str:
    """Hash of one file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_sha256(text: str) -> str:
    """Hash of a text's UTF-8 bytes."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def file_refs(folder: Path, run_dir: Path) -> list[FileRef]:
    """Every file below `folder`, sorted, by size and hash; paths are relative to the run's."""
    return [
        FileRef(path=p.relative_to(run_dir).as_posix(), bytes=p.stat().st_size, sha256=sha256(p))
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    ]


def weights_sha256(files: list[FileRef]) -> str:
    """One hash for a model's weights: of its safetensors' hashes, in order of their names."""
    shards = [file.sha256 for file in files if file.path.endswith(".safetensors")]
    return shards[0] if len(shards) == 1 else text_sha256("\n".join(shards))


def one_line(error: BaseException) -> str:
    """An error for the manifest: its kind and first line, without secrets."""
    return redact(f"{type(error).__name__}: {first_line(error)}"[:500])


def lock_sha256() -> str | None:
    """Hash of the uv.lock above this file; None for an installed wheel."""
    if "site-packages" in Path(__file__).parts:
        return None  # a lock file above it is its user's
    for folder in Path(__file__).parents:
        lock = folder / "uv.lock"
        if lock.is_file():
            return sha256(lock)
    return None


def hardware() -> Hardware:
    """This machine. Memory is what the system says it has in all."""
    import torch

    cuda = range(torch.cuda.device_count())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return Hardware(
        platform=platform.platform(),
        cpu=_cpu_name(),
        cores=os.cpu_count() or 1,
        memory_gib=round(memory, 1),
        devices=[torch.cuda.get_device_name(i) for i in cuda],
        threads=torch.get_num_threads(),
    )


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
