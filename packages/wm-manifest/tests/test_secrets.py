"""An error names the field at fault and repeats nothing that looks like a key or a password."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

import pytest

from wm_manifest import ManifestError, load, save
from wm_manifest.schema import RECORDS
from wm_manifest.secret_forms import FORMS

# None is anybody's. Text -> the part that must not be shown.
HUB, WANDB = "hf_" + "Qx9" * 11, "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"
SECRETS = {
    "hub token": (HUB, "Qx9"),
    "hub token in a sentence": (f"the token\n{HUB} is mine", "Qx9"),
    "hub token that is cut": ("x" * 50 + " " + HUB, "hf_"),
    "hub login": ("hf_oauth_" + "Qx9." * 11, "Qx9"),
    "W&B key": (WANDB, "0a1b"),
    "W&B key of a local server": (f"local-{WANDB}", "0a1b"),
    "longer W&B key": (WANDB * 2, "0a1b"),
    "new W&B key": ("wandb_v1_" + "Zk7_" * 14, "Zk7"),
    "API key": ("sk-" + "Qx9-" * 11, "Qx9"),
    "GitHub token": ("ghp_" + "Qx9" * 12, "Qx9"),
    "private key": ("-----BEGIN OPENSSH PRIVATE KEY-----\nQx9", "Qx9"),
    "URL with a password": ("https://me:pw-Qx9@host.example/x", "Qx9"),
    "URL with a slash in it": ("https://me:pw/Qx9@host.example/x", "Qx9"),
    "URL with a token": ("https://pw-Qx9@host.example/x", "Qx9"),
    "URL that pathlib has seen": ("https:/me:pw-Qx9@host.example", "Qx9"),
    "URL's query": ("https://host.example/x?access_token=Qx9", "Qx9"),
    "option": ("wm-train --hub-token=Qx9", "Qx9"),
    "variable": ("WANDB_API_KEY=Qx9", "Qx9"),
}  # fmt: skip


def content(golden: dict[str, list[Path]]) -> dict[str, Any]:
    return json.loads(golden["run"][0].read_text("utf-8"))


def refused(whole: dict[str, Any], path: Path) -> tuple[str, str]:
    """The error's line, and the whole of what Python would print of it."""
    path.write_text(json.dumps(whole), "utf-8")
    with pytest.raises(ManifestError) as caught:
        load(RECORDS["run"], path)
    return str(caught.value), "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("name", SECRETS)
def test_wrong_value_is_not_repeated(
    name: str, golden: dict[str, list[Path]], tmp_path: Path
) -> None:
    text, secret = SECRETS[name]
    line, printed = refused(content(golden) | {"seed": text}, tmp_path / "manifest.json")
    assert f"seed: Input should be a valid integer, found a text of {len(text)} characters" in line
    assert secret not in printed


@pytest.mark.parametrize("name", SECRETS)
def test_name_of_a_field_is_not_repeated(
    name: str, golden: dict[str, list[Path]], tmp_path: Path
) -> None:
    text, secret = SECRETS[name]
    line, printed = refused(content(golden) | {text: 1}, tmp_path / "manifest.json")
    assert "<redacted>" in line
    assert "Extra inputs are not permitted, found 1" in line
    assert secret not in printed


@pytest.mark.parametrize("field", ["hf_token", "WANDB_API_KEY", "password"])
def test_value_of_a_field_that_is_called_a_secret_is_not_repeated(
    field: str, golden: dict[str, list[Path]], tmp_path: Path
) -> None:
    line, printed = refused(content(golden) | {field: "Qx9"}, tmp_path / "manifest.json")
    assert f"{field}: Extra inputs are not permitted, found a text of 3 characters" in line
    assert "Qx9" not in printed


def test_what_is_not_written_is_not_repeated(example: Any, tmp_path: Path) -> None:
    record = example("run").model_copy(update={"seed": HUB, "config": {}})
    with pytest.raises(ManifestError, match="seed: not written") as caught:
        save(record, tmp_path / "manifest.json")
    assert "Qx9" not in "".join(traceback.format_exception(caught.value))
    record = example("run").model_copy(update={"config": {HUB: {1}}})
    with pytest.raises(ManifestError, match=r"config\.<redacted>: not written") as caught:
        save(record, tmp_path / "manifest.json")
    assert "Qx9" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "text",
    ["many", "hf_token", "seed=7", "me@host.example", "https://host.example/x", "half_Qx9" * 3],
)
def test_any_other_value_is_shown(text: str, golden: dict[str, list[Path]], tmp_path: Path) -> None:
    line, _ = refused(content(golden) | {"seed": text}, tmp_path / "manifest.json")
    assert f"found {text!r} (" in line


def test_value_of_a_number_of_tokens_is_shown(
    golden: dict[str, list[Path]], tmp_path: Path
) -> None:
    whole = content(golden)
    whole["decoding"]["max_new_tokens"] = "many"
    line, _ = refused(whole, tmp_path / "manifest.json")
    assert "decoding.max_new_tokens: Input should be a valid integer, found 'many'" in line


@pytest.mark.parametrize("text", ["a:/" * 300_000, "hf_" * 300_000, "-----BEGIN " * 90_000])
@pytest.mark.timeout(60)  # a search that goes back for each letter takes longer
def test_a_million_letters_are_a_short_line_soon(
    text: str, golden: dict[str, list[Path]], tmp_path: Path
) -> None:
    for change in ({"seed": text}, {text: 1}, {text: text}):
        line, _ = refused(content(golden) | change, tmp_path / "manifest.json")
        assert len(line) < 1_500


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_begins_with_plain_text(form: str) -> None:
    """A look behind at each character took a minute and a half for 120,000 rows."""
    assert not form.startswith(("(", "["))
