"""What a key looks like, in one place for all who look for one. Replaces and refuses nothing.

Only forms that nothing else has. 40 hex digits may be an old W&B key and are a commit far more
often: whoever can tell the two apart adds that form by himself, as with passwords in URLs.
"""

from __future__ import annotations

# No letter may stand before a key: a run called "brisk-lemur-20261126-040707" holds no "sk-" key.
# But for that of a line's end as JSON writes it.
NOTHING_BEFORE = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))"

# Sources of patterns of text and, encoded, of bytes: so no \w, which differs in the two.
FORMS = {
    kind: NOTHING_BEFORE + form
    for kind, form in {
        "a Hugging Face token": r"hf_(?:[A-Za-z0-9]{20,}|(?:oauth|jwt)_[A-Za-z0-9._\-]{30,})",
        "a W&B key": r"(?:wandb_v[0-9]_[A-Za-z0-9_\-]{20,}|local-[0-9a-f]{40})",
        "a GitHub token": r"(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})",
        "an AWS key": r"(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Za-z])",
        # Twenty in a row, or more of them: a name made of words has hyphens sooner, and ends.
        "an API key": r"sk-(?=[A-Za-z0-9_]{20}|[A-Za-z0-9_\-]{32})[A-Za-z0-9_\-]+",
        "a web token": r"eyJ[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]{10,}",
    }.items()
} | {
    "a private key": (
        r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY[\s\S]*?"
        r"(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)"
    ),
}
ANY = "|".join(FORMS.values())
