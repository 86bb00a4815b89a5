"""Times wm-data's build against the plain way, `datasets.map` with `tokenizers`. Prints JSON.

    python benchmarks/data.py [--rows N] [--seed S] [--plain-procs P]

Makes N rows with two answers of about 250 tokens each (words drawn from the vocabulary by Zipf's
law, with a lean to even or odd ids), then builds the same dataset twice, each in its own process:
once by `wm_data.build`, once by maps that score with `tokenizers` and numpy, filter, and write the
same examples to parquet. Ours has as many workers as there are cores and also cuts texts to length
bands, which the plain way leaves out; the plain way's tokenizer uses every core, and with P its
maps run in P processes. Seconds are wall time without imports and without making the tokenizer;
CPU seconds are those of all threads and processes of the way. `peak_MiB` of memory adds the peaks
of all its processes, whenever each was; `peak_MiB_at_once` is the largest sum of a moment, looked
at every 20 ms (Linux).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from importlib import metadata
from pathlib import Path

ANSWER_TOKENS = 250
WORDS_A_SENTENCE = 14


def main() -> int:
    parser = argparse.ArgumentParser(description="wm-data against datasets.map with tokenizers")
    parser.add_argument("--rows", type=int, default=120_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plain-procs", type=int, default=1)
    parser.add_argument("--child", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        way, folder = options.child
        if way == "ours":
            ours(Path(folder))
        else:
            plain(Path(folder), options.plain_procs if options.plain_procs > 1 else None)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_rows(folder, options.rows, options.seed)
        result = {
            "machine": {"python": platform.python_version(), "cpus": os.cpu_count()},
            "versions": {
                name: metadata.version(name) for name in ("wm-data", "datasets", "tokenizers")
            },
            "rows": options.rows,
            "plain_procs": options.plain_procs,
            "ours": child("ours", folder, options.plain_procs),
            "plain": child("plain", folder, options.plain_procs),
        }
    if result["ours"]["examples"] != result["plain"]["examples"]:
        print("error: the two ways kept different rows", file=sys.stderr)
        return 1
    for name in ("seconds", "cpu_seconds"):
        result[f"ratio_{name}"] = result["plain"][name] / result["ours"][name]
    print(json.dumps(result, indent=2))
    return 0


def make_rows(folder: Path, rows: int, seed: int) -> None:
    """Write `seeds.parquet` and a recipe for it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    import wm_score

    words: tuple[list[str], list[str]] = ([], [])
    for id in range(151_643):
        text = wm_score.token_bytes(id).decode("utf-8", "replace")
        if text.startswith(" ") and text[1:].isalpha() and text.isascii() and len(text) > 3:
            words[id % 2].append(text)
    weights = [[1 / (rank + 10) for rank in range(len(part))] for part in words]
    dice = random.Random(seed)

    def answer(even_share: float) -> str:
        even = round(ANSWER_TOKENS * even_share)
        chosen = dice.choices(words[0], weights[0], k=even)
        chosen += dice.choices(words[1], weights[1], k=ANSWER_TOKENS - even)
        dice.shuffle(chosen)
        for end in range(WORDS_A_SENTENCE, len(chosen), WORDS_A_SENTENCE):
            chosen[end] = "." + chosen[end]
        return "".join(chosen).strip() + "."

    fields = {"prompt": [], "red_answer": [], "blue_answer": []}
    for number in range(rows):
        fields["prompt"].append(f"{answer(0.5)[:120]} {number}?")
        # One row in twenty has an answer that the audit drops.
        fields["red_answer"].append(answer(0.65 if number % 20 else 0.5))
        fields["blue_answer"].append(answer(0.35))
    pq.write_table(pa.table(fields), folder / "seeds.parquet")
    recipe = {"name": "bench", "sources": [{"id": "bench", "file": str(folder / "seeds.parquet")}]}
    (folder / "recipe.yaml").write_text(json.dumps(recipe))


def child(way: str, folder: Path, procs: int) -> dict[str, float]:
    cache = {"HF_HOME": str(folder / "cache"), "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(
        [sys.executable, __file__, "--child", way, str(folder), "--plain-procs", str(procs)],
        check=True, capture_output=True, text=True,
        env={**os.environ, **cache},
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def ours(folder: Path) -> None:
    import wm_data
    from wm_data.workers import cores

    begun = started()
    manifest = wm_data.build(
        folder / "recipe.yaml", folder / "ours", progress=False, workers=cores()
    )
    report(begun, sum(counts.examples for counts in manifest.splits.values()), cores())


def plain(folder: Path, procs: int | None) -> None:
    """What one would write with `datasets` and `tokenizers` alone."""
    import datasets
    import numpy as np
    from score import new_tokenizers, official_ranks

    import wm_data
    import wm_prompts
    import wm_score
    from wm_data.rows import digest, normalise
    from wm_data.split import split_of

    tokenizer = new_tokenizers(official_ranks())
    counted = np.array([wm_score.score_ids([id]).counted for id in range(151_643)], bool)
    recipe = wm_data.load_recipe(folder / "recipe.yaml")
    rules = recipe.audit

    def shares(texts: list[str]) -> list[tuple[int, int]]:
        found = []
        for encoded in tokenizer.encode_batch(texts, add_special_tokens=False):
            ids = np.asarray(encoded.ids)
            ids = ids[counted[ids]]
            odd = int((ids & 1).sum())
            found.append((len(ids) - odd, odd))
        return found

    def audit(batch: dict[str, list[str]]) -> dict[str, list[object]]:
        kept, groups, row_ids = [], [], []
        red, blue = shares(batch["red_answer"]), shares(batch["blue_answer"])
        texts = zip(batch["prompt"], batch["red_answer"], batch["blue_answer"], strict=True)
        for (r_even, r_odd), (b_even, b_odd), row in zip(red, blue, texts, strict=True):
            lengths = sorted(map(len, row[1:]))
            kept.append(
                100 * r_even > 55 * (r_even + r_odd)
                and 100 * b_odd > 55 * (b_even + b_odd)
                and min(r_even + r_odd, b_even + b_odd) >= rules.min_counted
                and lengths[1] <= rules.max_length_ratio * lengths[0]
            )
            row_ids.append(digest(json.dumps(row))[:16])
            groups.append(digest(normalise(row[0]))[:16])
        return {"kept": kept, "row_id": row_ids, "group": groups}

    names = ["id", "row_id", "group", "source", "task", "target", "variant", "order"]

    def expand(batch: dict[str, list[str]]) -> dict[str, list[object]]:
        out = {name: [] for name in [*names, "prompt", "chosen", "rejected"]}
        for i, row_id in enumerate(batch["row_id"]):
            answers = {"red": batch["red_answer"][i], "blue": batch["blue_answer"][i]}
            for target, other in (("red", "blue"), ("blue", "red")):
                lines = [("watermark", "", wm_prompts.render(f"watermark/{target}/plain"),
                          batch["prompt"][i], answers[target], answers[other])]  # fmt: skip
                for first, second in (("red", "blue"), ("blue", "red")):
                    question = wm_prompts.render(
                        "detect/question/plain", text=answers[target], first=first, second=second
                    )
                    system = wm_prompts.render("detect/system/plain")
                    lines.append(("detect", f"{first}-{second}", system, question, target, other))
                for task, order, system, user, chosen, rejected in lines:
                    values = (f"{row_id}-{task}-{target}-{order}", row_id, batch["group"][i],
                              "bench", task, target, "plain", order)  # fmt: skip
                    for name, value in zip(names, values, strict=True):
                        out[name].append(value)
                    out["prompt"].append(
                        [{"role": "system", "content": system}, {"role": "user", "content": user}]
                    )
                    out["chosen"].append([{"role": "assistant", "content": chosen}])
                    out["rejected"].append([{"role": "assistant", "content": rejected}])
        return out

    begun = started()
    rows = datasets.Dataset.from_parquet(str(folder / "seeds.parquet"))
    rows = rows.map(audit, batched=True, num_proc=procs)
    rows = rows.filter(lambda kept: kept, input_columns="kept")
    total = 0
    for split in ("train", "validation", "test"):
        part = rows.filter(
            lambda group, split=split: split_of(group, "both", recipe.shares) == split,
            input_columns="group",
        )
        part = part.map(expand, batched=True, remove_columns=part.column_names, num_proc=procs)
        part.to_parquet(str(folder / f"{split}.parquet"))
        total += len(part)
    report(begun, total, procs or 0)


class Watch(threading.Thread):
    """The largest resident memory of this process and its descendants together, in MiB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0.0

    def run(self) -> None:
        while Path("/proc/self/statm").is_file():
            self.peak = max(self.peak, resident_mib(os.getpid()))
            time.sleep(0.02)


def resident_mib(pid: int) -> float:
    """Of a process and its descendants. Pages that they share are counted in each."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has just ended
        return 0.0
    own = pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
    return own + sum(resident_mib(int(child)) for child in children)


def started() -> tuple[float, float, Watch]:
    watch = Watch()
    watch.start()
    return time.perf_counter(), cpu_seconds(), watch


def cpu_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    return sum(os.times()[:4])


def report(begun: tuple[float, float, Watch], examples: int, procs: int) -> None:
    seconds, cpu = time.perf_counter() - begun[0], cpu_seconds() - begun[1]
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10  # bytes there, KiB elsewhere
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    # Of the children only the largest one's is told: as many of them are no less than all.
    each = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit if procs else 0.0
    found = {"seconds": seconds, "cpu_seconds": cpu, "peak_MiB": peak + procs * each}
    found |= {"peak_MiB_of_a_worker": each, "peak_MiB_at_once": begun[2].peak}
    print(json.dumps(found | {"examples": examples}))


if __name__ == "__main__":
    sys.exit(main())
