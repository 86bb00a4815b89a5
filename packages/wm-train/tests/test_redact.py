"""Secrets do not survive `redact`, whatever form they come in; commits do."""

from pathlib import Path

import pytest

from wm_train.redact import redact

TOKEN = "hf_" + "Ab1" * 11
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"--token {TOKEN}", TOKEN),
        ("https://user:hunter22@example.org/x.git", "hunter22"),
        ("https://ghp_0123456789012345678901234567890123@github.com/x", "ghp_0123"),
        ("export X=sk-abcdefghijklmnopqrstuvwx", "sk-abcdef"),
        ("key wandb_v1_abcdefghijklmnopqrstuvwxyz", "wandb_v1_abc"),
    ],
)
def test_a_secret_is_known_by_its_form(text: str, secret: str) -> None:
    assert secret not in redact(text)
    assert "<redacted>" in redact(text)


def test_a_secret_is_known_by_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", COMMIT)
    assert redact(f"logged in with {COMMIT}") == "logged in with <redacted>"


def test_a_netrc_password_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine api.wandb.ai login user password 98765432abcdef\n")
    netrc.chmod(0o600)
    assert redact("98765432abcdef") == "<redacted>"


def test_a_commit_is_kept() -> None:
    assert redact(f"--model.revision {COMMIT}") == f"--model.revision {COMMIT}"


def test_a_flag_in_a_variable_called_token_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USE_TOKEN", "true")
    assert redact("trueish") == "trueish"
