"""Turns messages into the ids of a prompt and of a completion, for training and evaluation alike.

Loads no tokenizer and knows no template of ours. Prompt and completion are tokenised apart, so the
ids of the pair are the ids of its parts, whatever the answer begins with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from jinja2 import TemplateError

from wm_eval.errors import WmEvalError, short

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = Mapping[str, str]

AT_ONCE = 1000  # texts that are encoded in one call: enough for every core

# Stands for any answer when we look at what a chat template writes after one.
_MARKER = "0"


def prompt_text(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> str:
    """All that comes before the answer's first token, as one string.

    `enable_thinking=False` makes Qwen3's template close an empty thought *in the prompt*. Left to
    its default it lands in the labels instead. Templates that do not know the switch ignore it.
    """
    if chat_template(tokenizer) is None:
        raise WmEvalError(
            f"the tokenizer of {name_of(tokenizer)} has no chat template; "
            "use an instruct model, or set tokenizer.chat_template"
        )
    return _render(tokenizer, messages, add_generation_prompt=True, enable_thinking=False)


def chat_template(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The template that prompts are rendered with; of several with names, the default."""
    if not tokenizer.chat_template:
        return None
    try:
        return tokenizer.get_chat_template()
    except ValueError as error:
        raise WmEvalError(
            f"the tokenizer of {name_of(tokenizer)} has several chat templates and no default; "
            "set tokenizer.chat_template to one of them"
        ) from error


def completion_text(tokenizer: PreTrainedTokenizerBase, answer: str) -> str:
    """The answer and the end of its turn, once: the template's newline after it is not learnt."""
    return answer + _piece(tokenizer, end_of_turn(tokenizer))


def prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """Ids of `prompt_text`, with nothing that the tokenizer would add of its own."""
    return _encode(tokenizer, prompt_text(tokenizer, messages))


def completion_ids(tokenizer: PreTrainedTokenizerBase, answer: str) -> list[int]:
    """Ids of `completion_text`: the answer's own and one end-of-turn id."""
    return [*_encode(tokenizer, answer), end_of_turn(tokenizer)]


def word_ids(tokenizer: PreTrainedTokenizerBase, word: str) -> list[int]:
    """Ids of an answer without the end of its turn."""
    return _encode(tokenizer, word)


def encode_all(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Ids of each text by itself, as the functions above give them; of equal texts one list.

    Uses every core, and encodes no text twice.
    """
    each = list(dict.fromkeys(texts))
    found: dict[str, list[int]] = {}
    for start in range(0, len(each), AT_ONCE):
        some = each[start : start + AT_ONCE]
        # `encode` warns of what is longer than the model takes; here the caller sees to that.
        ids = cast(Any, tokenizer)(some, add_special_tokens=False, verbose=False)["input_ids"]
        found.update(zip(some, ids, strict=True))
    return [found[text] for text in texts]


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    """Id that ends an assistant turn in this tokenizer's own chat template.

    Not always the end-of-sequence token: Qwen3's base models name `<|endoftext|>` as that, while
    their template ends a turn with `<|im_end|>`. Where a template ends turns without a special
    token, the end-of-sequence token is taken.
    """
    turn = [{"role": "user", "content": _MARKER}, {"role": "assistant", "content": _MARKER}]
    if chat_template(tokenizer) is not None:
        _, found, after = _render(tokenizer, turn).rpartition(_MARKER)
        if not found:
            raise WmEvalError(
                f"the chat template of {name_of(tokenizer)} leaves messages out; take a model "
                "whose template takes plain text, or set tokenizer.chat_template"
            )
        special = set(tokenizer.added_tokens_decoder)
        for id in _encode(tokenizer, after):
            if id in special:
                return id
    end = cast("int | None", tokenizer.eos_token_id)  # pyright: ignore[reportUnknownMemberType] untyped property
    if end is None:
        raise WmEvalError(
            f"the tokenizer of {name_of(tokenizer)} has no token that ends an answer: neither in "
            "its chat template nor as eos_token; set tokenizer.eos_token"
        )
    return end


def _render(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], **switches: bool
) -> str:
    turns = [dict(message) for message in messages]
    try:
        return cast(Any, tokenizer).apply_chat_template(turns, tokenize=False, **switches)
    except (TemplateError, TypeError, ValueError) as error:
        roles = " and ".join(f"{turn['role']}" for turn in turns)
        raise WmEvalError(
            f"the chat template of {name_of(tokenizer)} refuses a chat of {roles}: {short(error)}; "
            "take a model whose template takes one, or set tokenizer.chat_template"
        ) from error


def name_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """What a message calls its model."""
    return cast(str, tokenizer.name_or_path) or "this model"


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False)


def _piece(tokenizer: PreTrainedTokenizerBase, id: int) -> str:
    return cast(str, tokenizer.convert_ids_to_tokens(id))
