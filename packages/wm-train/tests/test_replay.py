"""A run had again from its manifest alone: the same bits here, named differences elsewhere."""

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from wm_manifest import Estimate, GitState, RunManifest, load, save
from wm_train import commands, origin, presets, replay, run
from wm_train.config import TrainConfig
from wm_train.differences import Figure, differences, figures
from wm_train.errors import ConfigError
from wm_train.provenance import sha256

pytestmark = pytest.mark.usefixtures("no_pictures")

RED = "watermark/red/success"


@pytest.fixture(scope="module", autouse=True)
def unchanging_code() -> Iterator[None]:
    """Whoever edits a file while tests run changes the code that a run records."""
    with pytest.MonkeyPatch.context() as patch:
        state = GitState(commit="a" * 40, dirty=False)
        patch.setattr("wm_train.checkout.state", lambda *_: state)
        yield


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo run of two steps on sixty rows, that built its dataset itself."""
    fields = presets.load("demo")
    fields["data"] |= {"limit": 60}
    fields["optim"] |= {"steps": 2}
    fields["evaluation"] |= {"every": 100, "limit": 1, "full_limit": 2, "max_new_tokens": 8}
    fields["tracking"] = {"mode": "disabled"}
    folder = tmp_path_factory.mktemp("runs") / "original"
    folder.mkdir()
    command = ["wm-train", "--preset", "demo"]
    run.train(TrainConfig.model_validate(fields), folder, "demo", command, Console(quiet=True))
    return folder


@pytest.fixture
def again(tmp_path: Path) -> Callable[[str], tuple[int, str, Path]]:
    """Replay: exit code, what was printed, the new run's folder."""

    def go(source: str) -> tuple[int, str, Path]:
        folder = tmp_path / "runs/again"
        folder.mkdir(parents=True)
        console = Console(record=True, width=200, file=io.StringIO())
        code = replay.replay(origin.find(source), folder, ["wm-train", "replay", source], console)
        return code, console.export_text(), folder

    return go


def altered(folder: Path, tmp_path: Path, **changes: Any) -> str:
    """A manifest file like the run's with other values, alone in a folder."""
    manifest = load(RunManifest, folder / "manifest.json")
    path = tmp_path / "altered.json"
    save(RunManifest.model_validate(manifest.model_dump() | changes), path)
    return str(path)


def test_a_run_folder_gives_the_same_weights_and_says_so(
    original: Path, again: Callable[[str], tuple[int, str, Path]]
) -> None:
    code, said, folder = again(str(original))
    assert code == 0
    assert f"dataset: {original / 'dataset'}, unaltered" in said
    assert "nothing known differs" in said
    assert "confirmed: the same weights, bit for bit" in said
    old, new = (load(RunManifest, path / "manifest.json") for path in (original, folder))
    assert (old.weights_sha256, old.dataset.manifest_sha256) == (
        new.weights_sha256,
        new.dataset.manifest_sha256,
    )  # type: ignore[union-attr]
    assert old.evaluations[-1].figures == new.evaluations[-1].figures
    assert [path.name for path in folder.parent.iterdir()] == ["again"]  # nothing is left beside it


def test_a_manifest_alone_builds_the_dataset_anew_and_names_every_difference(
    original: Path, tmp_path: Path, again: Callable[[str], tuple[int, str, Path]]
) -> None:
    manifest = load(RunManifest, original / "manifest.json")
    other = manifest.git.model_copy(update={"commit": "f" * 40, "diff_sha256": None})
    path = altered(
        original,
        tmp_path,
        git=other.model_dump(),
        packages=manifest.packages | {"torch": "1.0\x1b[31m"},
    )
    code, said, _ = again(path)
    assert code == 0
    assert "dataset: built anew" in said
    assert "dataset's manifest" not in said  # the same bytes came out
    assert "differs: code: commit ffffffffffff then" in said
    assert r"differs: version of torch: 1.0\x1b[31m then" in said
    assert "confirmed: the same weights" in said


def test_other_weights_on_the_same_stack_are_not_confirmed(
    original: Path, tmp_path: Path, again: Callable[[str], tuple[int, str, Path]]
) -> None:
    code, said, _ = again(altered(original, tmp_path, weights_sha256="0" * 64))
    assert code == 1
    assert "not confirmed: the stack is the same" in said


def compare(then: RunManifest, now: RunManifest) -> tuple[int, str]:
    console = Console(record=True, width=200, file=io.StringIO())
    return replay.verdict(then, now, console), console.export_text()


def with_red(manifest: RunManifest, value: float, **changes: Any) -> RunManifest:
    last = manifest.evaluations[-1]
    figure = Estimate(value=value, low=value - 0.03, high=value + 0.03, n=300, n_groups=300)
    last = last.model_copy(update={"figures": last.figures | {RED: figure}})
    update = {"evaluations": [*manifest.evaluations[:-1], last], **changes}
    return manifest.model_copy(update=update)


@pytest.mark.parametrize(
    ("now", "code", "words"),
    [
        (0.93, 0, "confirmed by its figures; what is not as it was: version of Python"),
        (0.80, 1, "not confirmed: figures differ"),
    ],
    ids=["intervals meet", "intervals apart"],
)
def test_on_another_stack_the_intervals_decide(
    original: Path, now: float, code: int, words: str
) -> None:
    manifest = load(RunManifest, original / "manifest.json")
    then = with_red(manifest, 0.9)
    found, said = compare(then, with_red(manifest, now, weights_sha256="0" * 64, python="3.99"))
    assert found == code
    assert words in said
    assert RED in said


@pytest.mark.parametrize(
    ("a", "b", "agree"),
    [
        ((0.5, 0.4, 0.6), (0.65, 0.6, 0.7), True),
        ((0.5, 0.4, 0.6), (0.7, 0.61, 0.8), False),
        ((0.7, 0.61, 0.8), (0.5, 0.4, 0.6), False),
        ((None, None, None), (None, None, None), True),
        ((None, None, None), (0.5, 0.4, 0.6), False),
        ((float("nan"), None, None), (0.5, 0.4, 0.6), False),
    ],
    ids=["touching", "above", "below", "both empty", "one empty", "no number"],
)
def test_figures_agree_when_their_intervals_have_a_value_in_common(a, b, agree) -> None:
    then, now = (Estimate(value=v, low=low, high=high, n=9) for v, low, high in (a, b))
    assert Figure("x", then, now).agree is agree


def test_a_figure_of_one_run_alone_does_not_agree() -> None:
    assert not Figure("x", Estimate(value=0.5, n=9), None).agree


def test_the_figures_compared_are_figures_of_an_evaluation(original: Path) -> None:
    manifest = load(RunManifest, original / "manifest.json")
    assert len(list(figures(manifest, manifest))) == 11


def test_a_dry_run_trains_nothing_and_leaves_nothing(original: Path, tmp_path: Path) -> None:
    console = Console(quiet=True)
    assert replay.check(origin.find(str(original)), tmp_path / "runs", console) == 0
    path = altered(original, tmp_path, python="3.0.0")
    assert replay.check(origin.find(path), tmp_path / "runs", console) == 1
    assert list((tmp_path / "runs").iterdir()) == []


def test_an_altered_template_and_split_are_named(original: Path) -> None:
    then = load(RunManifest, original / "manifest.json")
    assert then.dataset is not None
    first = then.templates[0].model_copy(update={"sha256": "0" * 64})
    split = then.dataset.splits["train"].model_copy(update={"rows": 1})
    dataset = then.dataset.model_copy(update={"splits": then.dataset.splits | {"train": split}})
    now = then.model_copy(update={"templates": [first, *then.templates[1:]], "dataset": dataset})
    assert [d.what for d in differences(then, now)] == ["rows of train", f"template {first.id}"]


@pytest.mark.parametrize(("devices", "said"), [([], []), (["H100"], ["an accelerator's sums"])])
def test_an_accelerator_is_not_asked_for_the_same_bits(
    original: Path, devices: list[str], said: list[str]
) -> None:
    then = load(RunManifest, original / "manifest.json")
    hardware = then.hardware.model_copy(update={"devices": devices})
    then = then.model_copy(update={"hardware": hardware})
    found = [d.what for d in differences(then, then)]
    assert [what.removeprefix("order of ") for what in found] == said


def test_the_base_is_pinned_to_its_commit_and_nothing_goes_to_wandb(
    original: Path, tmp_path: Path
) -> None:
    manifest = load(RunManifest, original / "manifest.json")
    config = json.loads(json.dumps(manifest.config))
    config["model"] |= {"base": "someone/base", "revision": "main"}
    config["tracking"] |= {"mode": "online", "entity": "someone"}
    base = {"location": "someone/base", "revision": "a" * 40}
    found = origin.find(altered(original, tmp_path, config=config, base=base))
    assert found.config.model.revision == "a" * 40
    assert (found.config.tracking.mode, found.config.tracking.entity) == ("disabled", None)


BAD = {
    "unfinished": ({"status": "interrupted"}, "only a finished run can be replayed"),
    "no weights": ({"weights_sha256": None}, "left no final weights"),
    "unknown field": ({"config": {"model": {"base": "demo"}, "x": 1}}, "cannot read the run's"),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_what_cannot_be_replayed_is_one_line(
    original: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        origin.find(altered(original, tmp_path, **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere/at/all", "no such file or folder"),
        ("nobody/nothing", r"wm_manifest\.json cannot be had from the hub"),
        (".", "is no run folder"),
        ("text.txt", "text.txt"),
    ],
)
def test_a_source_that_is_no_run_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # no waiting for it
    Path("text.txt").write_text("no JSON")
    with pytest.raises(ConfigError, match=message) as caught:
        origin.find(source)
    assert "\n" not in str(caught.value)


def test_a_recipe_of_another_version_is_one_line(original: Path, tmp_path: Path) -> None:
    manifest = load(RunManifest, original / "manifest.json")
    assert manifest.dataset is not None
    dataset = manifest.dataset.model_dump() | {"recipe": {"name": "x"}}
    found = origin.find(altered(original, tmp_path, dataset=dataset))
    with pytest.raises(ConfigError, match="cannot read the dataset's recipe: sources"):
        replay.bring_dataset(found, tmp_path / "out", Console(quiet=True))


def test_a_dataset_that_was_built_apart_is_built_anew_as_it_was(
    original: Path, tmp_path: Path
) -> None:
    """Its limit is not in the run's configuration, which names the folder alone."""
    use = load(RunManifest, original / "manifest.json").dataset
    assert use is not None
    assert use.limit == 60
    config = json.loads(json.dumps(load(RunManifest, original / "manifest.json").config))
    config["data"] |= {"recipe": None, "limit": None, "path": str(tmp_path / "gone"), "seed": 0}
    found = origin.find(altered(original, tmp_path, config=config))
    folder = replay.bring_dataset(found, tmp_path / "out", Console(quiet=True))
    assert sha256(folder / "manifest.json") == use.manifest_sha256


def test_an_altered_dataset_folder_is_refused(original: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(original, copy, ignore=shutil.ignore_patterns("checkpoints", "base"))
    (copy / "dataset/seeds/test.parquet").write_bytes(b"x")
    with pytest.raises(Exception, match="changed after the build"):
        replay.bring_dataset(origin.find(str(copy)), tmp_path / "out", Console(quiet=True))


def test_a_run_that_is_there_does_not_stand_for_its_replay(original: Path) -> None:
    """A finished run of that name would be found "the same" without having been trained."""
    asked = commands.Replay(str(original), dry_run=False)
    with pytest.raises(ConfigError, match="original exists already; take another --name"):
        asked.make(original.name, original.parent)
