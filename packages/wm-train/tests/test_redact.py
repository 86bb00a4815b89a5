"""Secrets do not survive `redact`, whatever form they come in; commits do."""

import json
from pathlib import Path
from urllib.parse import quote

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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SOME_SERVICE_TOKEN", 'qu"ote\\and/slash'),
        ("DATABASE_URL", "postgres://me:qu%40te-pw@host/x"),
        ("AWS_SECRET_ACCESS_KEY", "abcd/efgh+ijkl"),
    ],
)
def test_a_value_is_known_as_json_and_urls_write_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    secret = "qu@te-pw" if "://" in value else value
    for form in (secret, json.dumps(secret)[1:-1], quote(secret, safe="")):
        assert redact(f"<{form}>") == "<<redacted>>"


@pytest.mark.parametrize(
    "text",
    [
        "runs/demo-brisk-lemur-20261126-040707/dataset",  # "sk-" and twenty characters
        '{"a": "https://example.org", "mail": "me@example.org"}',
        "--optim.pack_tokens 4096",
        "user/name@main",
    ],
)
def test_what_only_looks_like_a_secret_is_kept(text: str) -> None:
    assert redact(text) == text


def test_a_path_in_a_variable_called_token_is_no_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert redact(f"{tmp_path}/x") == f"{tmp_path}/x"


def test_redacting_twice_changes_nothing_more() -> None:
    once = redact(f"https://me:pw@host/?access_token=abc {TOKEN}")
    assert once == "https://<redacted>@host/?access_token=<redacted> <redacted>"
    assert redact(once) == once
