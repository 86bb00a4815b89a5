"""What was published is loaded from the hub by others, over HTTP, and is what the run had.

Every step is a command or a script of its own, as it is for them; the hub is on localhost.
"""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from wm_manifest import EvalReport, RunManifest, load

SMALL = (
    *("--data.limit", "60", "--optim.steps", "2", "--log_every", "1"),
    *("--evaluation.limit", "1", "--evaluation.full_limit", "3"),
    *("--evaluation.max_new_tokens", "12", "--checkpoint.every", "2"),
)
SETTINGS = ("--limit", "3", "--max-new-tokens", "12")


@dataclass(frozen=True)
class Place:
    """A folder to work in and the environment of what is started there."""

    home: Path
    env: dict[str, str]

    def call(self, *command: str) -> str:
        """Run one of our commands; its output, both streams together."""
        done = self.start([str(Path(sys.executable).parent / command[0]), *command[1:]])
        return done.stdout + done.stderr

    def python(self, text: str) -> str:
        """Run a script; what it printed."""
        return self.start([sys.executable, "-c", text]).stdout

    def start(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        env = self.env | {"HOME": str(self.home)}
        done = subprocess.run(
            command, cwd=self.home, env=env, capture_output=True, text=True, timeout=250
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def evaluated(self, *options: str) -> EvalReport:
        self.call("wm-eval", *options, *SETTINGS, "--out", "again")
        return load(EvalReport, self.home / "again/eval.json")

    def run(self, name: str) -> RunManifest:
        return load(RunManifest, self.home / "runs" / name / "manifest.json")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, hub_env: dict[str, str]) -> Place:
    """Where a demo run of two steps was trained and published, with its dataset."""
    place = Place(tmp_path_factory.mktemp("publisher"), hub_env)
    place.call("wm-train", "--preset", "demo", "--name", "tiny", *SMALL)
    place.call("wm-publish", "runs/tiny", "--repo-id", "me/tiny")
    return place


@pytest.fixture
def stranger(place: Place, tmp_path: Path) -> Place:
    """Somebody else: an empty folder, an empty cache, the same hub."""
    return Place(tmp_path, place.env | {"HF_HOME": str(tmp_path / "hf")})


BASE_OF_THE_HUB = """
from pathlib import Path
from huggingface_hub import HfApi
from wm_train import base, demo_base
from wm_train.config import ModelConfig

config = ModelConfig(base="me/base")
demo_base.build(Path("base"), 0)
HfApi().create_repo("me/base")
commit = HfApi().upload_folder(repo_id="me/base", folder_path="base").oid
model, _, loaded = base.load(config, "me/base")
card = HfApi().upload_file(path_or_fileobj=b"#", path_in_repo="README.md", repo_id="me/base").oid
then = base.pinned(config, base.reference(model, "me/base", loaded, Path("run")))
found = [base.load(c, "me/base")[2] for c in (config, then)]
print(loaded == commit, found == [card, commit])
"""


def test_a_base_of_the_hub_is_recorded_at_its_commit(
    hub_env: dict[str, str], tmp_path: Path
) -> None:
    """Without it an adapter passes for one of a local base, and cannot be published; and a run whose
    base gets a new card on the hub could not be resumed."""
    assert Place(tmp_path, hub_env).python(BASE_OF_THE_HUB).split() == ["True", "True"]


ADAPTERS_OF_THE_HUB = """
from pathlib import Path
import peft, transformers
from huggingface_hub import HfApi
from wm_eval import WmEvalError, load_model
from wm_train import demo_base

demo_base.build(Path("base"), 0)
model = transformers.AutoModelForCausalLM.from_pretrained("base")
model.name_or_path = "me/below"
config = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
lora = peft.get_peft_model(model, config)
lora.save_pretrained("lora", save_embedding_layers=False)
for name, folder, files in (
    ("me/below", "base", None), ("me/other", "base", None),
    ("me/adapter", "lora", None), ("me/half", "lora", ["adapter_config.json"]),
):
    HfApi().create_repo(name)
    HfApi().upload_folder(repo_id=name, folder_path=folder, allow_patterns=files)
for given in (
    ("me/below", "me/adapter"), ("me/below", "me/other"), ("me/other", "me/adapter"),
    ("me/below", "me/half"), ("me/below", "me/nothing"), ("me/adapter", None),
):
    try:
        print("loaded", type(load_model(*given)[0]).__name__)
    except WmEvalError as error:
        print("refused", error)
"""


@pytest.mark.slow
def test_adapters_of_the_hub_that_do_not_fit_are_told_apart(
    hub_env: dict[str, str], tmp_path: Path
) -> None:
    said = Place(tmp_path, hub_env).python(ADAPTERS_OF_THE_HUB).splitlines()
    expected = (
        "loaded PeftModelForCausalLM",
        "refused me/other is a whole model and no adapter",
        "refused the adapter me/adapter was made for me/below, not for me/other",
        "refused me/half has no adapter_model.safetensors",
        "refused adapter me/nothing cannot be read from the hub",
        "refused me/adapter is an adapter and not a model",
    )
    assert len(said) == len(expected), said
    for line, start in zip(said, expected, strict=True):
        assert line.startswith(start)


@pytest.mark.slow
def test_evaluating_the_published_model_gives_the_runs_own_figures(
    place: Place, stranger: Place
) -> None:
    dataset = str(place.home / "runs/tiny/dataset")
    report = stranger.evaluated("--model", "me/tiny", "--data", dataset)
    own = place.run("tiny").evaluations[-1].figures
    # The run knew its base; a stranger has the published weights alone.
    of_base = {name for name in own if name.endswith(("/base_success", "/lift_over_base"))}
    assert of_base
    assert report.figures == {name: figure for name, figure in own.items() if name not in of_base}


@pytest.mark.slow
def test_the_dataset_loads_with_load_dataset(place: Place, stranger: Place) -> None:
    place.call("wm-data", "push", "runs/tiny/dataset", "me/rows")
    said = stranger.python(
        "import datasets, json\n"
        "found = datasets.load_dataset('me/rows')\n"
        "print(json.dumps({name: len(split) for name, split in found.items()}))"
    )
    splits = place.run("tiny").dataset.splits
    assert json.loads(said.splitlines()[-1]) == {n: s.examples for n, s in splits.items()}


@pytest.mark.slow
def test_a_stranger_replays_a_published_run(place: Place, stranger: Place) -> None:
    said = stranger.call("wm-train", "replay", "me/tiny", "--name", "again")
    assert "dataset: built anew" in said
    assert "confirmed: the same weights, bit for bit" in said
    assert stranger.run("again").weights_sha256 == place.run("tiny").weights_sha256


@pytest.mark.slow
def test_an_adapter_of_a_hub_model_from_training_to_the_strangers_evaluation(
    place: Place, stranger: Place
) -> None:
    """Base, adapter and merged model all come from the hub, and agree."""
    base = ("--model.base", "me/tiny", "--model.lora.r", "4")
    place.call("wm-train", "--preset", "demo", "--name", "lora", *SMALL, *base)
    place.call("wm-publish", "runs/lora", "--repo-id", "me/lora")
    place.call("wm-publish", "runs/lora", "--merge", "--repo-id", "me/lora-merged")
    trained = place.run("lora")
    expected = trained.evaluations[-1].figures
    published = place.run("tiny").hub
    assert published is not None
    assert trained.base.revision == published.commit
    data = ("--data", str(place.home / "runs/lora/dataset"))
    adapted = stranger.evaluated("--model", "me/tiny", "--adapter", "me/lora", *data)
    assert adapted.figures == expected
    merged = Place(stranger.home / "merged", stranger.env)
    merged.home.mkdir()
    figures = merged.evaluated("--model", "me/lora-merged", *data).figures
    # Another order of additions: an answer may differ where two words are as likely.
    for name in ("detect/likelihood/accuracy", "watermark/red/red_share"):
        assert figures[name].value == pytest.approx(expected[name].value, abs=0.2)
    said = stranger.call("wm-train", "replay", "me/lora", "--name", "again")
    assert "confirmed: the same weights, bit for bit" in said


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--model.lora.r", "4")], ids=["model", "adapter"])
def test_the_cards_own_code_runs_as_it_is(
    place: Place, stranger: Place, options: tuple[str, ...]
) -> None:
    name = "code-lora" if options else "code"
    place.call("wm-train", "--preset", "demo", "--name", name, *SMALL, *options)
    place.call("wm-publish", f"runs/{name}", "--repo-id", f"me/{name}")
    card = (place.home / "runs" / name / "README.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", card, re.S | re.M)
    assert len(blocks) == (2 if options else 1)  # an adapter's card merges it as well
    if options:
        before = "import torch\nids = torch.arange(20)[None]\nbefore = model(ids).logits\n"
        after = "print((model(ids).logits - before).abs().max().item() < 1e-3)\n"
        blocks = [blocks[0], before, blocks[1], after]
    said = stranger.python("\n".join(blocks)).splitlines()
    assert set(said[-2 if options else -1].split()) <= {"red", "blue", "none"}
    assert not options or said[-1] == "True"
