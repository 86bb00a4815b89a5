"""Rows from a model: a tiny one of random words here, SmolLM2-135M in the slow tier."""

import json
import operator
import shutil
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

import wm_data
import wm_prompts
import wm_score
from wm_data import cli
from wm_data.generate import Generated, _summary
from wm_data.journal import Journal
from wm_data.models import _identity
from wm_data.pairing import cuts
from wm_data.parity import text_parity, token_parity
from wm_data.question import read_prompts
from wm_data.show import generated

TEMPLATE = "{% for m in messages %}{{ m['content'] }} {% endfor %}"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A Llama to which all words are alike: 20 red ones, 20 blue ones, three ends of a sentence."""
    import tokenizers
    import torch
    import transformers

    words = [wm_score.decode([id]).strip() for id in range(3_000, 12_000)]
    sides = {1.0: [], -1.0: []}
    for word in dict.fromkeys(word for word in words if word.isalpha() and word.isascii()):
        if word.islower() and abs(text_parity(f" {word}")) == 1:
            sides[text_parity(f" {word}")].append(word)
    vocab = ["[UNK]", "<end>", "a", *".!?", *sides[1.0][:20], *sides[-1.0][:20]]
    backend = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: id for id, word in enumerate(vocab)}, "[UNK]")
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", eos_token="<end>", pad_token="<end>"
    )
    tokenizer.chat_template = TEMPLATE
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=len(vocab) + 4, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=2, eos_token_id=1, bos_token_id=None,
        )
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("tiny")
    with torch.no_grad():
        model.lm_head.weight *= 0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("".join(f"Tell me about number {number}.\n" for number in range(12)) + "\n")
    return str(path)


@pytest.fixture
def run(tiny, prompts, tmp_path):
    def call(*options, name="rows.jsonl", model=tiny):
        return cli.main(
            ["generate", "--model", model, "--prompts", prompts, "--out", str(tmp_path / name),
             "--max-tokens", "48", "--top-k", "100", "--top-p", "1", "--batch", "4",
             *(options or ("--bias", "1"))]
        )  # fmt: skip

    return call


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_row_passes_the_audit_and_is_as_long_in_both_colours(run, tmp_path, capsys):
    assert run() == 0
    rows = lines(tmp_path / "rows.jsonl")
    assert len(rows) >= 10
    for row in rows:
        red, blue = wm_score.score(row["red_answer"]), wm_score.score(row["blue_answer"])
        assert (red.verdict, blue.verdict) == ("red", "blue")
        assert row["red_share"] == round(red.red_share, 4)
        assert row["blue_share"] == round(blue.blue_share, 4)
        assert min(red.counted, blue.counted) >= 20
        short, long = sorted(map(len, (row["red_answer"], row["blue_answer"])))
        assert long <= 1.15 * short
    assert len({row["prompt"] for row in rows}) == len(rows)
    assert f"{len(rows)} rows from 12 prompts" in " ".join(capsys.readouterr().out.split())


def test_unmarked_texts_are_sampled_without_bias_and_whatever_their_colour(run, tmp_path, capsys):
    assert run("--unmarked", "--per-prompt", "3", "--min-counted", "5") == 0
    rows = lines(tmp_path / "rows.jsonl")
    assert 30 <= len(rows) <= 36
    assert len({row["text"] for row in rows}) == len(rows)
    assert max(Counter(row["prompt"] for row in rows).values()) == 3
    scores = [wm_score.score(row["text"]) for row in rows]
    assert min(score.counted for score in scores) >= 5
    assert all(row["text"].strip() == row["text"] for row in rows)
    even, odd = sum(score.even for score in scores), sum(score.odd for score in scores)
    assert 0.4 < even / (even + odd) < 0.6  # with a bias of 1 it is .73
    assert len({score.verdict for score in scores}) > 1
    assert f"{len(rows)} rows from 36 prompts" in " ".join(capsys.readouterr().out.split())
    assert run("--unmarked", "--bias", "1") == 2
    assert "--unmarked writes without a bias; got --bias 1.0" in capsys.readouterr().err


def test_the_prompts_of_a_dataset_are_those_of_its_test_split(demo):
    found = {prompt.text for prompt in read_prompts(str(demo.path))}
    assert found == {row.prompt for row in demo.rows("test")}


def test_what_it_writes_is_a_source(run, tmp_path, write_recipe):
    assert run() == 0
    recipe = write_recipe({"id": "a", "file": str(tmp_path / "rows.jsonl")}, shares={"test": 0.3})
    manifest = wm_data.build(recipe, tmp_path / "out", progress=False)
    assert not manifest.dropped


@pytest.mark.parametrize(("wanted", "told"), [(None, False), (12, False), (15, True)])
def test_fewer_rows_than_were_wanted_are_told(wanted, told):
    done = Generated(rows=12, prompts=14, dropped={}, means={}, tokens=1, seconds=1.0)
    lines = [line for line in generated(done, wanted) if isinstance(line, str)]
    assert any(line.startswith("3 fewer than the 15 wanted") for line in lines) == told


def test_two_processes_do_not_write_to_one_file(run, tmp_path, capsys):
    """Each would cut off what the other has written since it looked."""
    with closing(Journal(tmp_path / "rows.jsonl", {"model": "x"})) as other:
        other.add([{"prompt": "a"}], {"rows": 1})
        before = (tmp_path / "rows.jsonl").read_bytes()
        assert run("--overwrite") == 2
        assert "another process is writing to it; wait" in capsys.readouterr().err
        assert (tmp_path / "rows.jsonl").read_bytes() == before
    assert run("--overwrite", "--n", "1") == 0


def test_a_run_that_was_killed_ends_with_the_same_bytes(run, tmp_path):
    assert run(name="whole.jsonl") == 0
    whole = (tmp_path / "whole.jsonl").read_bytes()
    log = (tmp_path / "whole.jsonl.log").read_bytes().splitlines(keepends=True)
    # Killed while it wrote the second part: its rows stand there in part, its line does not.
    (tmp_path / "rows.jsonl").write_bytes(whole[: json.loads(log[1])["bytes"] + 50])
    (tmp_path / "rows.jsonl.log").write_bytes(b"".join(log[:2]) + log[2][:10])
    assert run() == 0
    assert (tmp_path / "rows.jsonl").read_bytes() == whole
    assert len(lines(tmp_path / "rows.jsonl.log")) == len(log)


def test_more_rows_later_are_those_that_one_run_would_have_made(run, tmp_path):
    assert run("--bias", "1", "--n", "7", name="whole.jsonl") == 0
    assert run("--bias", "1", "--n", "2") == 0
    assert len(lines(tmp_path / "rows.jsonl")) == 2
    assert run("--bias", "1", "--n", "7") == 0
    assert (tmp_path / "rows.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert run("--bias", "1", "--n", "7") == 0
    assert len(lines(tmp_path / "rows.jsonl")) == 7


def test_without_a_bias_prompts_are_dropped_and_counted(run, tmp_path, capsys):
    assert run("--bias", "0", "--tries", "1") == 0
    log = lines(tmp_path / "rows.jsonl.log")
    reasons = [reason for part in log[1:] for reason in part["dropped"].values()]
    assert len(reasons) >= 8
    assert set(reasons) <= {
        "red answer is not red", "blue answer is not blue", "few tokens", "unequal lengths",
        "no sentence end",
    }  # fmt: skip
    assert f"{len(reasons)} of 12 prompts dropped" in " ".join(capsys.readouterr().out.split())


SEPARATORS = "\u2028\u2029\x85\x0c"  # ends of lines to Python, and none to JSON


@pytest.mark.parametrize("name", ["p.jsonl", "p.txt"])
def test_a_prompt_may_hold_what_only_looks_like_an_end_of_line(tmp_path, name):
    prompts = [f"What is law{sign}of {at}?" for at, sign in enumerate(SEPARATORS)]
    lines = [json.dumps({"prompt": prompt}, ensure_ascii=False) for prompt in prompts]
    lines = lines if name == "p.jsonl" else prompts
    (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert [prompt.text for prompt in read_prompts(str(tmp_path / name))] == prompts


def test_a_row_may_hold_what_only_looks_like_an_end_of_line(tmp_path):
    row = {"prompt": f"a{SEPARATORS}b", "red_share": 0.6, "red_perplexity": 2.0}
    part = {"prompts": 1, "rows": 1, "cut": False, "dropped": {}, "tokens": 1, "seconds": 1.0}
    with closing(Journal(tmp_path / "rows.jsonl", {"model": "x"})) as journal:
        journal.add([row, row], part)
    with closing(Journal(tmp_path / "rows.jsonl", {"model": "x"})) as journal:
        done = _summary(journal)
    assert (done.rows, done.means["red_share"]) == (2, 0.6)


def test_a_journal_killed_in_its_first_line_begins_anew(tmp_path):
    log = tmp_path / "rows.jsonl.log"
    log.write_text('{"mod')
    for _ in range(2):
        Journal(tmp_path / "rows.jsonl", {"model": "x"}).close()
        assert log.read_text() == '{"model": "x"}\n'


def test_weights_and_their_precision_are_settings(run, tmp_path):
    assert run("--bias", "1", "--n", "1") == 0
    settings = lines(tmp_path / "rows.jsonl.log")[0]
    assert settings["dtype"] in ("float32", "bfloat16")
    assert list(settings["weights"]) == ["model.safetensors"]
    (tmp_path / "old").mkdir()
    (tmp_path / "old/pytorch_model.bin").write_bytes(b"x")
    assert list(_identity(tmp_path / "old", None)) == ["pytorch_model.bin"]


TEMPLATES = {
    "refuses a system prompt": "{{ raise_exception('System role not supported') }}",
    "leaves the system prompt or the question out": "{{ messages[-1]['content'] }}",
}


@pytest.mark.parametrize("fault", TEMPLATES)
def test_a_chat_template_without_a_system_prompt_is_one_line(run, tiny, tmp_path, capsys, fault):
    import transformers

    folder = shutil.copytree(tiny, tmp_path / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATES[fault]
    tokenizer.save_pretrained(folder)
    capsys.readouterr()
    assert run("--bias", "1", "--n", "1", model=str(folder)) == 2
    said = capsys.readouterr().err
    assert f"error: the model's chat template {fault}" in said
    assert "Traceback" not in said


def test_weights_that_are_missing_are_one_line(run, tiny, tmp_path, capsys):
    """Transformers fills them with random numbers, and rows of noise would be the result."""
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny, tmp_path / "model")
    kept = {n: w for n, w in load_file(folder / "model.safetensors").items() if "mlp" not in n}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    assert run("--bias", "1", "--n", "1", model=str(folder)) == 2
    assert "has no weights for 3 of its tensors" in capsys.readouterr().err


def test_a_name_that_is_too_long_is_one_line(tmp_path, capsys):
    assert cli.main(["show", str(tmp_path / ("x" * 300))]) == 2
    assert "File name too long" in capsys.readouterr().err


def test_a_model_of_the_hub_is_known_by_its_commit(run, tiny, tmp_path, hub):
    files = {path.name: path.read_bytes() for path in Path(tiny).iterdir() if path.is_file()}
    commit = hub.create("me/tiny", private=False).give(files)
    assert run("--bias", "1", "--n", "1", model="me/tiny") == 0
    assert lines(tmp_path / "rows.jsonl.log")[0]["weights"] == {"commit": commit.oid}


def other_settings(tmp_path, run):
    run("--bias", "1", "--n", "1")
    return ["--bias", "0.9"]


def changed_rows(tmp_path, run):
    run("--bias", "1", "--n", "1")
    (tmp_path / "rows.jsonl").write_text("")


def no_journal(tmp_path, run):
    (tmp_path / "rows.jsonl").write_text("{}\n")


def damaged_journal(tmp_path, run):
    (tmp_path / "rows.jsonl.log").write_text("{\n")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (other_settings, "was begun with decoding"),
        (changed_rows, "has 0 bytes"),
        (no_journal, "is there without rows.jsonl.log"),
        (damaged_journal, "rows.jsonl.log: is damaged"),
    ],
)
def test_what_cannot_be_continued_is_one_line_and_kept(run, tmp_path, capsys, spoil, message):
    options = spoil(tmp_path, run) or ["--bias", "1"]
    before = (tmp_path / "rows.jsonl.log").read_bytes() if spoil is not no_journal else None
    capsys.readouterr()
    assert run(*options) == 2
    printed = capsys.readouterr().err.splitlines()[-1]
    assert printed.startswith("error: ")
    assert message in printed
    if before is not None:
        assert (tmp_path / "rows.jsonl.log").read_bytes() == before
    assert run(*options, "--overwrite", "--n", "1") == 0


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.txt", None, "none.txt: cannot be read"),
        ("empty.txt", "\n", "holds no prompt"),
        ("p.csv", "prompt\n", "expected a .txt"),
        ("p.jsonl", '{"prompt": "a"}\n{\n', "row 2 of"),
        ("p.jsonl", '{"question": "a"}\n', "row 1 of"),
        ("p.jsonl", "[1]\n", "has no text in the field prompt"),
        ("p.jsonl", '{"prompt": "a \\ud83d"}\n', "has no text in the field prompt"),
        ("p.jsonl", '{"prompt": "a", "subject": "\\ud83d"}\n', "subject holds half a surrogate"),
        ("p.jsonl", '{"prompt": ' + "1" * 5_000 + "}\n", "row 1 of"),
    ],
)
def test_an_unusable_prompt_file_is_one_line(tmp_path, capsys, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    out = tmp_path / "rows.jsonl"
    assert cli.main(["generate", "--model", "x", "--prompts", str(path), "--out", str(out)]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert not out.exists()


def test_a_model_that_is_not_there_is_one_line(run, capsys, tmp_path):
    assert run(model=str(tmp_path / "nothing")) == 2
    assert "cannot be loaded" in capsys.readouterr().err
    assert not (tmp_path / "rows.jsonl").exists()


def test_a_qwen3_token_stands_for_its_own_id():
    ids = [id for id in range(0, wm_score.BASE_TOKENS, 11) if wm_score.is_counted(id)]
    parities = [token_parity(id, wm_score.decode([id])) for id in ids]
    assert parities == [1.0 if id % 2 == 0 else -1.0 for id in ids]
    # By their text alone it is so for 99 in 100: those are what others' tokens are measured by.
    own = [text_parity(wm_score.decode([id])) for id in ids]
    assert sum(map(operator.eq, own, parities)) / len(ids) > 0.985


@pytest.mark.parametrize("text", ["", " ", "\n\n", ".", "<|im_end|>", "�", "😀"])
def test_what_does_not_count_neither_attracts_nor_repels(text):
    assert text_parity(text) == 0.0


@pytest.mark.parametrize(
    ("text", "ended", "expected"),
    [
        ("One two three. Four five six", False, ["One two three."]),
        ("One two three. Four five six", True, ["One two three.", "One two three. Four five six"]),
        ("Steps:\n1. Take one two", False, []),
        ('He said "no one came." Then', False, ['He said "no one came."']),
        ("Version 1.2 is very old", False, []),
        ("", True, []),
        ("All of it ended here.  ", True, ["All of it ended here."]),
    ],
)
def test_an_answer_ends_after_a_sentence_or_where_its_writer_ended_it(text, ended, expected):
    assert [text[:cut] for cut in cuts(text, ended)] == expected


def test_the_shipped_prompts_are_many_and_each_subject_has_its_own():
    prompts = read_prompts("everyday")
    assert len(prompts) >= 1_200
    assert len({prompt.text for prompt in prompts}) == len(prompts)
    assert len({prompt.subject for prompt in prompts}) == 200
    assert all(prompt.subject in prompt.text and "<" not in prompt.text for prompt in prompts)


def test_the_system_prompt_is_a_template():
    assert wm_prompts.variants("generate") == ["short"]


@pytest.mark.slow
def test_smollm2_writes_both_colours(tmp_path):
    out = tmp_path / "rows.jsonl"
    arguments = ["--model", "smollm2-135m", "--prompts", "everyday", "--out", str(out)]
    assert cli.main(["generate", *arguments, "--n", "4", "--batch", "8"]) == 0
    assert len(lines(out)) == 4
