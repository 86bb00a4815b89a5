"""Every form of a key is known to all who look for one: in errors, in runs and before a release."""

import pytest

from wm_manifest.secret_forms import FORMS
from wm_manifest.shown import without_secrets
from wm_publish.secrets import find
from wm_train.redact import redact

# None is anybody's, and none stands here as a scanner of repositories would look for it.
EXAMPLES = {
    "a Hugging Face token": ["hf_" + "Qx9" * 11, "hf_oauth_" + "Qx9." * 11, "hf_jwt_" + "Qx-" * 11],
    "a W&B key": ["wandb_v1_" + "Zk7_" * 14, "local-" + "0a1b2c3d" * 5],
    "a GitHub token": ["ghp_" + "Qx9" * 12, "github_pat_" + "Qx9_" * 12],
    "an AWS key": ["AKIA" + "QX97" * 4, "ASIA" + "QX97" * 4],
    "an API key": ["sk-" + "Qx9" * 16, "sk-proj-" + "Qx9-" * 11],
    "a web token": ["eyJ" + "Qx9" * 5 + ".eyJ" + "Qx9" * 5 + "." + "Qx9_" * 5],
    "a private key": [
        "-----BEGIN RSA " + "PRIVATE KEY-----\nQx9\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN " + "PRIVATE KEY-----\nQx9",  # cut off
    ],
}
CASES = [
    pytest.param(kind, key, id=f"{kind} {n}")
    for kind in FORMS
    for n, key in enumerate(EXAMPLES[kind])
]

# A run's name, a repository, a commit, and words that begin as a key does.
PLAIN = [
    "runs/demo-brisk-lemur-20261126-040707/dataset",
    "sk-learn-compatible-models",
    "hf_hub_download and hf_oauth_expiration_minutes",
    "wandb_version_of_the_client",
    "eyJ.is.no token",
    "AKIAMEANSNOTHINGHEREatall",
]


@pytest.mark.parametrize(("kind", "key"), CASES)
@pytest.mark.parametrize(
    "around", ["{}", "--x={} --y", '{{"x": "{}"}}', "(see {})\n", r"first\n{}\n"]
)
def test_a_key_is_known_to_all(kind: str, key: str, around: str) -> None:
    text = around.format(key)
    for clean in (redact(text), without_secrets(text)):
        assert "Qx9" not in clean
        assert key not in clean
        assert "<redacted>" in clean
    found = find(text.encode(), {})
    assert found is not None
    assert found.kind == kind


@pytest.mark.parametrize("text", PLAIN)
def test_what_only_begins_as_a_key_does_is_kept(text: str) -> None:
    assert redact(text) == without_secrets(text) == text
    assert find(text.encode(), {}) is None


def test_what_stands_behind_a_private_key_is_kept() -> None:
    [key, _] = EXAMPLES["a private key"]
    assert redact(f"before {key} after") == without_secrets(f"before {key} after")
    assert redact(f"before {key} after") == "before <redacted> after"
