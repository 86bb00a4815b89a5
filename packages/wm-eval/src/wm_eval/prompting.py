"""Turns messages into the ids of a prompt and of a completion, for training and evaluation alike.

Loads no tokenizer and knows no template of ours. Prompt and completion are tokenised apart, so the
ids of the pair are the ids of its parts, whatever the answer begins with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from wm_eval.errors import WmEvalError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = Mapping[str, str]

# Stands for any answer when we look at what a chat template writes after one.
_MARKER = "0"


def prompt_text(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> str:
    """All that comes before the answer's first token, as one string.

    `enable_thinking=False` makes Qwen3's template close an empty thought *in the prompt*. Left to
    its default it lands in the labels instead. Templates that do not know the switch ignore it.
    """
    if not tokenizer.chat_template:
        raise WmEvalError(
            f"the tokenizer of {tokenizer.name_or_path or 'this model'} has no chat template; "
            "use an instruct model, or set tokenizer.chat_template"
        )
    rendered = tokenizer.apply_chat_template(  # pyright: ignore[reportUnknownMemberType] untyped kwargs
        [dict(message) for message in messages],
        tokenize=False,
        add_generation_prompt=True,
        enable_thinking=False,
    )
    return cast(str, rendered)


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


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    """Id that ends an assistant turn in this tokenizer's own chat template.

    Not always the end-of-sequence token: Qwen3's base models name `<|endoftext|>` as that, while
    their template ends a turn with `<|im_end|>`. Where a template ends turns without a special
    token, the end-of-sequence token is taken.
    """
    turn = [{"role": "user", "content": _MARKER}, {"role": "assistant", "content": _MARKER}]
    if tokenizer.chat_template:
        text = cast(str, tokenizer.apply_chat_template(turn, tokenize=False))  # pyright: ignore[reportUnknownMemberType] untyped kwargs
        special = set(tokenizer.added_tokens_decoder)
        for id in _encode(tokenizer, text[text.rindex(_MARKER) + len(_MARKER) :]):
            if id in special:
                return id
    end = cast("int | None", tokenizer.eos_token_id)  # pyright: ignore[reportUnknownMemberType] untyped property
    if end is None:
        raise WmEvalError(
            f"the tokenizer of {tokenizer.name_or_path or 'this model'} has no token that ends an "
            "answer: neither in its chat template nor as eos_token; set tokenizer.eos_token"
        )
    return end


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False)


def _piece(tokenizer: PreTrainedTokenizerBase, id: int) -> str:
    return cast(str, tokenizer.convert_ids_to_tokens(id))
