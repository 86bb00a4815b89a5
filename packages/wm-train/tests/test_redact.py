"""Secrets do not survive `redact`, whatever form they come in; commits do."""

import json
from pathlib import Path
from urllib.parse import quote

import pytest

from wm_train import presets
from wm_train.config import TrainConfig
from wm_train.redact import redact, redact_fields, redact_files

TOKEN = "hf_" + "Ab1" * 11
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"--token {TOKEN}", TOKEN),
        (f"as hf_oauth_{TOKEN[3:]}.x-{TOKEN[3:]}", TOKEN[3:]),
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


SECRET = "Gk41-mmQw92x"


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("HF_TOKEN", True),
        ("WANDB_API_KEY", True),
        ("MY_SECRET", True),
        ("TOKEN_FOR_X", True),
        ("TOKENS", True),
        ("TOKEN2", True),
        ("PGPASSWORD", True),
        ("AWS_SECRETKEY", True),
        ("accessTokenOfMe", True),
        ("db.password", True),
        ("TOKENIZER", False),
        ("TOKENIZER_NAME", False),
        ("TOKENIZERS_PARALLELISM", False),
        ("MyTokenizer", False),
        ("SECRETARY", False),
        ("KEYBOARD", False),
    ],
)
def test_a_variable_is_secret_by_a_word_of_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, secret: bool
) -> None:
    monkeypatch.setenv(name, SECRET)
    assert (SECRET not in redact(f"a {SECRET} b")) is secret
    assert (SECRET not in str(redact_fields({"x": {"y": [SECRET]}}))) is secret


@pytest.mark.parametrize("word", ["watermark", "constant", "learning_rate", "steps-and-more"])
def test_a_secret_that_is_also_a_word_of_ours_leaves_a_record_whole(
    monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.setenv("NOTEBOOK_PASSWORD", word)
    fields = presets.load("demo")
    fields["optim"] |= {"schedule": "constant", "warmup": 0.0}
    fields["early_stop"] = {"metric": "watermark/red/lift"}
    plain = json.loads(TrainConfig.model_validate(fields).model_dump_json())
    assert redact_fields(plain) == plain
    # In what a user wrote it is a secret all the same.
    assert redact_fields({"command": ["x", f"/home/{word}"]})["command"][1] == "/home/<redacted>"
    for section, field in (("data", "path"), ("tracking", "project"), ("publish", "repo_id")):
        own = {section: {field: f"me/{word}/x"}}
        assert redact_fields(own) == {section: {field: "me/<redacted>/x"}}
    assert redact(f"read /home/{word}/x") == "read /home/<redacted>/x"


def test_sixteen_letters_may_be_a_real_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", "abcdefghijklmnop")
    assert redact_fields({"note": "abcdefghijklmnop"}) == {"note": "<redacted>"}


def test_a_token_behind_a_line_break_is_found_in_fields() -> None:
    """In JSON the break is a backslash and a letter, and no token begins behind a letter."""
    assert redact_fields({"text": f"a\n{TOKEN}"}) == {"text": "a\n<redacted>"}


def test_files_of_a_model_lose_secrets_and_keep_their_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NOTEBOOK_PASSWORD", "assistant")
    files = {
        "adapter_config.json": {"base_model_name_or_path": "/home/assistant/x", "assistant": 1},
        "tokenizer.json": {"vocab": {"assistant": 7}, "merges": ["assistant s"], "x": TOKEN},
    }
    for name, fields in files.items():
        (tmp_path / name).write_text(json.dumps(fields))
    (tmp_path / "chat_template.jinja").write_text(f"<assistant> {TOKEN}")
    (tmp_path / "README.md").write_text("written by assistant")
    untouched = tmp_path / "config.json"
    untouched.write_text('{"a":  1.50}')
    redact_files(tmp_path)
    adapter, tokenizer = (json.loads((tmp_path / name).read_text()) for name in files)
    assert adapter == {"base_model_name_or_path": "/home/<redacted>/x", "assistant": 1}
    assert tokenizer == files["tokenizer.json"] | {"x": "<redacted>"}
    assert (tmp_path / "chat_template.jinja").read_text() == "<assistant> <redacted>"
    assert (tmp_path / "README.md").read_text() == "written by <redacted>"
    assert untouched.read_text() == '{"a":  1.50}'
