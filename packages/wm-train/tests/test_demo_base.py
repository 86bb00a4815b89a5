"""The demo's base is a small Qwen3 in every respect that the watermark can see."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

import wm_score
from wm_train import demo_base


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return demo_base.demo_tokenizer()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "base"
    demo_base.build(folder, seed=0)
    return folder


def test_every_base_id_means_what_it_means_in_qwen3(tokenizer: PreTrainedTokenizerFast) -> None:
    """Each id's bytes, through the byte-level alphabet and back."""
    alphabet = {char: byte for byte, char in enumerate(demo_base._byte_alphabet())}
    for id in range(demo_base.VOCAB):
        piece = bytes(alphabet[char] for char in tokenizer.convert_ids_to_tokens(id))
        assert piece == wm_score.token_bytes(id)


def test_a_token_is_encoded_as_itself(tokenizer: PreTrainedTokenizerFast) -> None:
    """Each token that is text on its own: the merges rebuild it, so they are Qwen3's."""
    for id in range(256, demo_base.VOCAB):
        text = wm_score.token_bytes(id).decode("utf-8", errors="ignore")
        if wm_score.encode(text) == [id]:
            assert tokenizer.encode(text) == [id], text


# A full stop only behind a word: Qwen3 has tokens of its own for long runs of stops, above VOCAB.
COMMON = [" the", " a", " good", " man", " and", " of", " is", " old", " day.", " not", " it."]


@given(st.lists(st.sampled_from(COMMON)))
def test_common_words_have_qwen3s_ids(tokenizer: PreTrainedTokenizerFast, words: list[str]) -> None:
    text = "".join(words)
    assert tokenizer.encode(text) == wm_score.encode(text)


@given(st.text())
def test_text_survives_a_round_trip(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == unicodedata.normalize("NFC", text)


def test_special_tokens_are_qwen3s(tokenizer: PreTrainedTokenizerFast) -> None:
    assert len(tokenizer) == demo_base.VOCAB + 26
    assert tokenizer.convert_ids_to_tokens(demo_base.VOCAB) == "<|endoftext|>"
    assert tokenizer.encode("<|im_end|>") == [tokenizer.eos_token_id]


def test_template_closes_the_thought_in_the_prompt(tokenizer: PreTrainedTokenizerFast) -> None:
    """As Qwen3's template does: only when thinking is switched off, and only for a new answer."""
    messages = [{"role": "user", "content": "x"}]
    off = tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    on = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert off == on + "<think>\n\n</think>\n\n"
    assert on == "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n"


def test_folder_is_an_ordinary_model(folder: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    loaded = AutoTokenizer.from_pretrained(folder)
    assert model.config.model_type == "qwen3"
    assert 1_000_000 < model.num_parameters() < 2_000_000
    assert model.config.vocab_size == len(loaded) == len(tokenizer)
    assert loaded.chat_template == tokenizer.chat_template
    assert loaded.encode("the river<|im_end|>") == tokenizer.encode("the river<|im_end|>")


def test_the_seed_decides_the_weights(folder: Path, tmp_path: Path) -> None:
    weights = (folder / "model.safetensors").read_bytes()
    demo_base.build(tmp_path / "same", seed=0)
    demo_base.build(tmp_path / "other", seed=1)
    assert (tmp_path / "same/model.safetensors").read_bytes() == weights
    assert (tmp_path / "other/model.safetensors").read_bytes() != weights
