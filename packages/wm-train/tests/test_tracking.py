"""W&B as a run uses it: what an offline run holds, and a server that fails or never answers."""

from __future__ import annotations

import http.server
import io
import json
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import wandb
from rich.console import Console
from wandb.proto import wandb_internal_pb2

from wm_manifest import EvalReport, RunManifest, load
from wm_train import run, tracker, tracking
from wm_train.config import TrainConfig
from wm_train.errors import ConfigError
from wm_train.journal import read
from wm_train.record import RunRecord

Make = Callable[..., TrainConfig]


# -------------------------------------------------------------------------------------- what is asked
MODES = [
    # WANDB_MODE, WANDB_DISABLED, mode with a key there
    ("", "", "online"),
    ("offline", "", "offline"),
    ("Offline", "", "offline"),
    ("dryrun", "", "offline"),
    ("run", "", "online"),
    ("disabled", "", "disabled"),
    ("", "true", "disabled"),
    ("online", "true", "disabled"),
    ("", "false", "online"),
]


@pytest.mark.parametrize(("asked", "disabled", "mode"), MODES)
def test_who_asked_to_send_nothing_is_heard(
    monkeypatch: pytest.MonkeyPatch, asked: str, disabled: str, mode: str
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_MODE", asked)
    monkeypatch.setenv("WANDB_DISABLED", disabled)
    assert tracking.resolve_mode("auto") == mode


def test_a_mode_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been meant to send nothing."""
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with pytest.raises(ConfigError, match="WANDB_MODE is 'ofline'; expected one of online"):
        tracking.resolve_mode("auto")


# ---------------------------------------------------------------------------------- the .wandb file
BLOCK, HEAD, IDENT = 32 * 1024, 7, b":W&B"
WHOLE, LAST = 1, 4


def records(path: Path) -> Iterator[Any]:
    """The records of a `.wandb` file: a LevelDB log of W&B's protocol buffers.

    A header of 7 bytes, then blocks of 32 KiB with chunks: checksum (4 bytes), length (2), type (1:
    whole, 2: first, 3: middle, 4: last), content.
    """
    content = path.read_bytes()
    assert content.startswith(IDENT)
    place, parts = HEAD, b""
    while place + HEAD <= len(content):
        left = BLOCK - place % BLOCK
        if left < HEAD:  # padding at a block's end
            place += left
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        if place + HEAD + length > len(content):  # it is being written
            return
        parts += content[place + HEAD : place + HEAD + length]
        place += HEAD + length
        if kind in (WHOLE, LAST):
            yield wandb_internal_pb2.Record.FromString(parts)
            parts = b""


def of(path: Path, kind: str) -> list[Any]:
    return [getattr(r, kind) for r in records(path) if r.WhichOneof("record_type") == kind]


def values(items: Any) -> dict[str, Any]:
    return {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items}


# ----------------------------------------------------------------------------------------- offline
@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory, dataset_dir: Path) -> Path:
    """A LoRA run that broke in the evaluation of step 2, and was started again."""
    from wm_train import presets

    fields = presets.load("demo")
    fields["model"]["lora"] = {"r": 2, "alpha": 4}
    fields["data"] = {"path": str(dataset_dir)}
    fields["optim"] |= {"steps": 3}
    fields["evaluation"] |= {"every": 2, "limit": 1, "full_limit": 1, "max_new_tokens": 8}
    fields["checkpoint"] = {"every": 1, "keep": 1}
    fields["log_every"] = 1
    config = TrainConfig.model_validate(fields)
    folder = tmp_path_factory.mktemp("runs") / "twice"
    folder.mkdir()

    def breaks(self: RunRecord, report: EvalReport) -> None:
        if report.step == 2:
            raise RuntimeError("it broke")
        evaluated(self, report)

    evaluated = RunRecord.evaluated
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.setattr(RunRecord, "evaluated", breaks)
        with pytest.raises(RuntimeError, match="it broke"):
            run.train(config, folder, "demo", ["wm-train"], Console(quiet=True))
        patch.setattr(RunRecord, "evaluated", evaluated)
        run.train(config, folder, "demo", ["wm-train"], Console(quiet=True))
    return folder


def files_of(folder: Path) -> list[Path]:
    """The offline runs' files, whole: W&B's process still writes when `finish` has returned."""
    files = sorted(folder.glob("wandb/offline-run-*/*.wandb"))
    ends = time.monotonic() + 60
    while not all(of(path, "exit") for path in files):
        assert time.monotonic() < ends, "W&B has not closed its file"
        time.sleep(0.02)
    return files


def test_both_attempts_are_one_run_and_say_which_they_are(twice: Path) -> None:
    manifest = load(RunManifest, twice / "manifest.json")
    assert manifest.wandb is not None
    first, second = files_of(twice)
    for number, path in enumerate((first, second), start=1):
        (opened,) = of(path, "run")
        assert (opened.run_id, opened.display_name) == (manifest.wandb.id, "twice")
        rows = [values(row.item) for row in of(path, "history")]
        assert {row["attempt"] for row in rows} == {number}
        config = values(opened.config.update)
        assert len(config["run"]["attempts"]) == number
    command = manifest.wandb.sync_command
    assert command is not None
    assert command.startswith("wandb sync --append twice/wandb/")
    assert [Path(word).name for word in command.split()[3:]] == [
        path.parent.name for path in (first, second)
    ]


def test_attempts_that_began_in_one_second_are_all_sent(tmp_path: Path) -> None:
    """W&B tells their folders apart by a number behind the id."""
    folder = tmp_path / "runs" / "r"
    for name in ("offline-run-20261126_185012-ab12-1", "offline-run-20261126_185012-ab12"):
        (folder / "wandb" / name).mkdir(parents=True)
    (folder / "wandb" / "offline-run-20261126_185012-cd34-1").mkdir()
    command = tracking.sync_command(folder, "ab12", online=False)
    first = "r/wandb/offline-run-20261126_185012-ab12"
    assert command == f"wandb sync --append {first} {first}-1"


def test_the_configuration_has_the_fields_and_the_origin(twice: Path) -> None:
    manifest = load(RunManifest, twice / "manifest.json")
    config = values(of(files_of(twice)[-1], "run")[0].config.update)
    assert config["optim"] == manifest.config["optim"]
    origin = config["run"]
    assert origin["base"]["location"] == "base"
    assert origin["git"]["commit"] == manifest.git.commit
    assert manifest.dataset is not None
    assert origin["dataset"]["manifest_sha256"] == manifest.dataset.manifest_sha256
    assert origin["packages"]["torch"] == manifest.packages["torch"]


def test_steps_and_evaluations_have_their_own_axes(twice: Path) -> None:
    path = files_of(twice)[-1]
    axes = {m.glob_name: m.step_metric for m in of(path, "metric") if m.glob_name}
    assert axes == {"train/*": "train/step", "eval/*": "eval/step"}
    rows = [values(row.item) for row in of(path, "history")]
    train = [row for row in rows if "train/step" in row]
    logged = read(twice / "log.jsonl", "train")
    assert [row["train/step"] for row in train] == [2, 3]
    assert train[-1]["train/watermark/nll"] == logged[-1]["watermark/nll"]
    last = {k: v for row in rows if row.get("eval/step") == 3 for k, v in row.items()}
    figures = load(RunManifest, twice / "manifest.json").evaluations[-1].figures
    accuracy = figures["detect/accuracy"]
    assert last["eval/detect/accuracy"] == accuracy.value
    assert last["eval/detect/accuracy.low"] == accuracy.low
    assert last["eval/detect/accuracy.high"] == accuracy.high
    assert last["eval/samples/_type"] == "table-file"
    assert last["eval/learning-curves/_type"] == "image-file"
    assert last["eval/training/_type"] == "image-file"
    assert (path.parent / "files" / last["eval/samples/path"]).is_file()


def test_dataset_and_adapter_are_artifacts_and_are_not_copied(twice: Path) -> None:
    found = {a.name: a for path in files_of(twice) for a in of(path, "artifact")}
    dataset, adapter = found["dataset-demo"], found["adapter-twice"]
    assert (dataset.type, adapter.type) == ("dataset", "model")
    sent = {c.path: c.local_path for c in dataset.manifest.contents}
    assert sent["manifest.json"] == str(twice / "dataset/manifest.json")
    assert any(name.endswith(".parquet") for name in sent)  # it is small
    sent = {c.path: c.local_path for c in adapter.manifest.contents}
    assert sent["adapter_model.safetensors"] == str(twice / "adapter/adapter_model.safetensors")


def test_of_a_large_dataset_the_manifest_alone_is_sent(
    twice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker, "SMALL", 10)
    use = load(RunManifest, twice / "manifest.json").dataset
    assert use is not None
    opened = tracking.open_run("r", tmp_path, {}, "offline", "wm", None)
    opened.dataset(use, twice / "dataset")
    assert opened.finish(0) is None
    (artifact,) = [
        a for path in files_of(tmp_path) for a in of(path, "artifact") if a.type == "dataset"
    ]
    assert [c.path for c in artifact.manifest.contents] == ["manifest.json"]


# ------------------------------------------------------------------------------------------ online
BUCKET = {
    "id": "x",
    "name": "abc",
    "displayName": "r",
    "historyLineCount": 0,
    "project": {"name": "wm", "entity": {"name": "me"}},
}
OPENS = {
    "RunResumeStatus": {"model": None},
    "UpsertBucket": {"upsertBucket": {"bucket": BUCKET, "inserted": True}},
}


@contextmanager
def serving(opens: bool, hangs: bool) -> Generator[str]:
    """A W&B that opens runs or not, and answers all else with 500 or never."""
    done = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            asked = [data for name, data in OPENS.items() if opens and name.encode() in body]
            if not asked and hangs:
                done.wait(300)
            content = json.dumps({"data": asked[0]} if asked else {}).encode()
            self.send_response(200 if asked else 500)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST  # noqa: N815

        def handle(self) -> None:
            with suppress(OSError):  # W&B has given up waiting
                super().handle()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        done.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def wandb_at(monkeypatch: pytest.MonkeyPatch) -> Generator[Callable[[str], None]]:
    """Points W&B to an address; short patience. Its settings are read once a process."""
    monkeypatch.setattr(tracking, "INIT_S", 3.0)
    monkeypatch.setattr(tracking, "FINISH_S", 3.0)
    monkeypatch.setattr(tracker, "FINISH_S", 3.0)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_HTTP_TIMEOUT", "2")

    def point(url: str) -> None:
        wandb.teardown()
        monkeypatch.setenv("WANDB_BASE_URL", url)

    yield point
    monkeypatch.undo()
    wandb.teardown()


def services() -> list[str]:
    """W&B's own processes that this one has started and not waited for."""
    mine = [p.read_text() for p in Path("/proc").glob("[0-9]*/stat") if p.is_file()]
    return [
        s for s in mine if "(wandb-core)" in s and s.split(") ")[1].split()[1] == str(os.getpid())
    ]


# opens, hangs
SERVERS = {
    "answers 500": (False, False),
    "never answers": (False, True),
    "answers 500 once the run is open": (True, False),
    "never answers once the run is open": (True, True),
}
DEFAULT = ("answers 500",)


@pytest.mark.parametrize(
    "server",
    [name if name in DEFAULT else pytest.param(name, marks=pytest.mark.slow) for name in SERVERS],
)
def test_a_bad_server_ends_no_training_and_the_run_says_so(
    tiny: Make,
    tmp_path: Path,
    server: str,
    wandb_at: Callable[[str], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    opens, hangs = SERVERS[server]
    folder = tmp_path / "run"
    folder.mkdir()
    console = Console(record=True, width=300, file=io.StringIO())
    with serving(opens, hangs) as url:
        wandb_at(url)
        started = time.monotonic()
        manifest = run.train(tiny(tracking={"mode": "online"}), folder, "demo", ["x"], console)
        assert time.monotonic() - started < 200
    if opens:
        assert not services()  # this process would never end
    assert manifest.status == "finished"
    assert [line["step"] for line in read(folder / "log.jsonl", "train")] == [1, 2]
    assert manifest.wandb is not None
    assert manifest.wandb.sync_command is not None
    kept = folder.parent / manifest.wandb.sync_command.split()[-1]
    (path,) = kept.glob("*.wandb")
    assert [
        values(row.item)["train/step"]
        for row in of(path, "history")
        if "train/step" in values(row.item)
    ] == [1, 2]
    shown = console.export_text()
    if opens:
        assert "W&B did not take" in shown
        assert manifest.wandb.mode == "online"
    else:
        assert "W&B cannot be reached, the run is logged offline" in caplog.text
        assert manifest.wandb.mode == "offline"
    assert f"wandb sync {folder}/wandb" in shown.replace("--append ", "")


def test_a_failing_call_is_told_once_and_the_others_are_made(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made: list[int] = []
    sender = tracker.Sender()

    def fails() -> None:
        raise OSError("the disk\nis full")

    for number in range(3):
        sender.put("a log line", fails)
        sender.put("a log line", lambda number=number: made.append(number))
    assert sender.close(5, 5) == "W&B did not take a log line: the disk is full"
    assert made == [0, 1, 2]
    assert len(caplog.records) == 1


def test_log_lines_go_before_what_asks_the_server() -> None:
    made: list[str] = []
    sender, free = tracker.Sender(), threading.Event()
    sender.put("an artifact", free.wait, tracker.SLOW)
    for name in ("samples", "an adapter"):
        sender.put(name, lambda name=name: made.append(name), tracker.SLOW)
    sender.put("the end", lambda: made.append("end"), tracker.END)
    for number in range(3):
        sender.put("a line", lambda number=number: made.append(f"line {number}"))
    threading.Timer(0.3, free.set).start()
    trouble = sender.close(0.1, 5)  # the first artifact takes all the time that there is for them
    assert made == ["line 0", "line 1", "line 2", "end"]
    assert trouble == "W&B did not take samples: there was no time left for it"


def test_a_call_that_hangs_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker, "WAITING", 10)
    free = threading.Event()
    sender = tracker.Sender()
    started = time.monotonic()
    for _ in range(50):
        sender.put("a log line", free.wait)
    assert time.monotonic() - started < 1
    trouble = sender.close(0.1, 0.1)
    free.set()
    assert trouble == "W&B did not take a log line: 10 calls before it are not answered yet"
