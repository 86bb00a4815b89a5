"""What a key looks like, in one place for all who look for one. Replaces and refuses nothing.

Only forms that nothing else has. 40 hex digits may be an old W&B key and are a commit far more
often: whoever can tell the two apart adds that form by himself, as with passwords in URLs.
"""

from __future__ import annotations

# No letter may stand before a key: a run called "brisk-lemur-20261126-040707" holds no "sk-" key.
# But for that of a line's end as JSON writes it.
NOTHING_BEFORE = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))"


def _alone(start: str, rest: str) -> str:
    """The form of a key that has nothing before it.

    Its start comes first, and what is before that is looked at from there. So a pattern begins with
    plain text, for which `re` searches fifteen times as fast as it looks behind each character.
    """
    return rf"{start}(?:(?<![A-Za-z0-9]{start})|(?<=\\[nrt]{start})){rest}"


# Sources of patterns of text and, encoded, of bytes: so no \w, which differs in the two.
FORMS = {
    "a Hugging Face token": _alone(
        "hf_", r"(?:[A-Za-z0-9]{20,}|(?:oauth|jwt)_[A-Za-z0-9._\-]{30,})"
    ),
    "a W&B key": (
        _alone("wandb_v[0-9]_", r"[A-Za-z0-9_\-]{20,}") + "|" + _alone("local-", r"[0-9a-f]{40}")
    ),
    "a GitHub token": (
        _alone("gh[pousr]_", r"[A-Za-z0-9]{20,}")
        + "|"
        + _alone("github_pat_", r"[A-Za-z0-9_]{20,}")
    ),
    "an AWS key": _alone("A[KS]IA", r"[0-9A-Z]{16}(?![0-9A-Za-z])"),
    # Twenty in a row, or more of them: a name made of words has hyphens sooner, and ends.
    "an API key": _alone("sk-", r"(?=[A-Za-z0-9_]{20}|[A-Za-z0-9_\-]{32})[A-Za-z0-9_\-]+"),
    "a web token": _alone("eyJ", r"[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]{10,}"),
    "a private key": (
        r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY[\s\S]*?"
        r"(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)"
    ),
}
ANY = "|".join(FORMS.values())
