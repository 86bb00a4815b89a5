"""What wm-data leaves out of training for its loops, and what wm-eval calls a loop, is one figure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wm_score
from wm_data.repetition import repetition
from wm_eval.metrics.quality import seq_rep


@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(["on", " and", ","])).map("".join)))
def test_a_text_repeats_alike_in_both(text: str) -> None:
    assert repetition(text) == pytest.approx(seq_rep(wm_score.encode(text)))
