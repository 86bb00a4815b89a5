"""The same row in several sources: its most held-out copy stays, whatever is read first."""

import pytest

import wm_data

SHARES = {"validation": 0.2, "test": 0.3}


@pytest.fixture
def splits(tmp_path, write_recipe, write_lines):
    """Build from sources of (records, role, columns) in this order; prompt -> split."""

    def build(*sources, **rest):
        listed = [
            {"id": f"s{n}", "file": write_lines(rows, f"{n}.jsonl"), "role": role, **more}
            for n, (rows, role, more) in enumerate(sources)
        ]
        recipe = write_recipe(*listed, shares=SHARES, bands={"counted": []}, **rest)
        out = tmp_path / "out"
        build.manifest = wm_data.build(recipe, out, progress=False, overwrite=True)
        dataset = wm_data.read(out)
        return {row.prompt: name for name in SPLITS for row in dataset.rows(name)}

    return build


SPLITS = ("train", "validation", "test")
SUBJECT = {"columns": {"subject": "subject"}}


@pytest.mark.parametrize("role", ["train", "both", "heldout"])
@pytest.mark.parametrize("first", [True, False], ids=["before", "behind"])
@pytest.mark.parametrize("columns", [{}, SUBJECT], ids=["prompts", "subjects"])
def test_another_source_of_the_same_rows_moves_none_out_of_the_test_split(
    splits, records, role, first, columns
):
    rows = [{**record, "subject": f"Thing {n % 9}"} for n, record in enumerate(records[:60])]
    one = (rows, "both", {})
    before = splits(one)
    other = (rows[:30], role, columns)
    after = splits(*((other, one) if first else (one, other)))
    test = {prompt for prompt, name in before.items() if name == "test"}
    assert len(test) >= 10
    assert {after.get(prompt) for prompt in test} == {"test"}
    assert splits.manifest.dropped == {"duplicate": 30}
    assert len(after) == 60


@pytest.mark.parametrize("first", [True, False], ids=["before", "behind"])
def test_a_training_row_whose_prompt_another_source_tests_is_still_dropped(splits, records, first):
    other = [
        {**records[n], "red_answer": records[n + 60]["red_answer"]} for n in range(60)
    ]  # the same prompts, other rows
    rules = {"audit": {"max_length_ratio": 9}}
    before = splits((records[:60], "both", {}), **rules)
    sources = [(other, "train", {}), (records[:60], "both", {})]
    splits(*(sources if first else reversed(sources)), **rules)
    test = sum(name == "test" for name in before.values())
    assert splits.manifest.dropped == {"held-out prompt": test}
    assert splits.manifest.splits["test"].rows == test
