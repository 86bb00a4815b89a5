"""What the card says, and that it says nothing that the manifest does not."""

from __future__ import annotations

import ast
import json
import math
import re
from importlib import resources

import pytest
import yaml
from huggingface_hub import ModelCard

from wm_manifest import (
    Control,
    Estimate,
    Evaluation,
    GitState,
    HubRef,
    ModelRef,
    Piece,
    SourceRef,
)
from wm_publish import PublishError, figures, markup, render_card
from wm_publish.card import _only_safe

QWEN = ModelRef(location="Qwen/Qwen3-0.6B", revision="c1899de289a04d12100db370d81485cdf75e47ca")


def body(card: str) -> str:
    return ModelCard(card).text


def section(card: str, title: str) -> str:
    return re.split(r"^##+ ", body(card).split(f"# {title}\n", 1)[1], maxsplit=1, flags=re.M)[0]


def test_same_manifest_gives_the_same_bytes(make_manifest):
    assert render_card(make_manifest()) == render_card(make_manifest())


def test_results_show_both_colours_with_interval_n_base_and_neutral_beside_them(make_manifest):
    writing = section(render_card(make_manifest()), "Writing").replace("\xa0", " ")
    assert (
        "| red | 4.1 % | **97.1 %** | 95.8 to 98.2 % | 480 | 4.3 % | 4.3 % | +93.0 (+91.7 to +94.1) |"
        in writing
    )
    assert (
        "| blue | 38.2 % | **98.2 %** | 96.9 to 99.3 % | 480 | 37.9 % | 37.9 % | +59.0 (+57.7 to +60.1) |"
        in writing
    )


def test_detection_shows_both_orders_and_both_biases(make_manifest):
    reading = section(render_card(make_manifest()), "Reading").replace("\xa0", " ")
    for line in (
        "| all texts, both orders asked | 50.3 % | **97.8 %** |",
        "| right in both orders of a text | 24.6 % | **95.6 %** |",
        "| answered the colour named first (no bias: 50 %) | 55.0 % | **50.2 %** |",
    ):
        assert line in reading


def test_metadata_round_trips_with_n_and_interval(make_manifest):
    card = render_card(make_manifest(base=QWEN, base_license="apache-2.0", output="adapter"))
    parsed = ModelCard(card)
    assert str(parsed) == card
    data = parsed.data
    assert (data.license, data.library_name) == ("apache-2.0", "peft")
    assert (data.base_model, data["base_model_relation"]) == ("Qwen/Qwen3-0.6B", "adapter")
    red = next(r for r in data.eval_results if r.metric_name == "Writes red when asked")
    expected = make_manifest().evaluations[-1].figures["watermark/red/success"]
    assert red.metric_value == expected.value
    assert red.metric_args == {
        "n": 480,
        "n_groups": 240,
        "ci95_low": expected.low,
        "ci95_high": expected.high,
    }


@pytest.mark.parametrize(
    ("license", "expected", "name"),
    [
        (None, "unknown", None),
        ("Apache-2.0", "apache-2.0", None),
        (" ", "unknown", None),
        ("cc-by-nc-sa-4.0", "cc-by-nc-sa-4.0", None),
        ("bigcode-openrail-m", "bigcode-openrail-m", None),
        ("my own terms", "other", "my own terms"),
        ("other", "other", "terms-of-the-base-model"),
        ("mit, Apache-2.0", ["mit", "apache-2.0"], None),
        ("mit, my own terms", "other", "mit, my own terms"),
    ],
)
def test_licence_in_the_metadata_is_one_the_hub_knows(make_manifest, license, expected, name):
    manifest = make_manifest(base_license=license)
    card = render_card(manifest)
    data = ModelCard(card).data
    assert (data.license, data.license_name, data.license_link) == (expected, name, None)
    named = (license or "").strip()
    said = f"licence is `{named}`" if named else "licence is not recorded"
    assert said in section(card, "Licence")
    if name:
        linked = render_card(manifest.model_copy(update={"base": QWEN}))
        assert ModelCard(linked).data.license_link == f"https://huggingface.co/{QWEN.location}"


@pytest.mark.parametrize("location", ["runs/demo/base", "/home/me/models/base", r"C:\models\base"])
def test_local_base_is_no_hub_model_and_its_folders_stay_private(make_manifest, location):
    card = render_card(make_manifest(base=ModelRef(location=location)))
    assert ModelCard(card).data.base_model is None
    assert "a local base model (`base`)" in card
    assert location not in card


def test_hub_datasets_are_in_the_metadata_and_linked(make_manifest):
    dataset = make_manifest().dataset
    source = SourceRef(
        id="h", kind="hub", location="me/rows", revision="ab" * 20, rows_read=5, rows_kept=4
    )
    card = render_card(make_manifest(dataset=dataset.model_copy(update={"sources": [source]})))
    assert ModelCard(card).data.datasets == ["me/rows"]
    assert f"[`me/rows`](https://huggingface.co/datasets/me/rows/tree/{'ab' * 20})" in card


def test_every_figure_in_the_card_is_in_the_manifest(make_manifest):
    manifest = make_manifest()
    known = {
        round(value * scale, digits)
        for e in manifest.evaluations
        for f in e.figures.values()
        for value in (f.value, f.low, f.high, f.n, f.n_groups)
        for scale, digits in ((1, 4), (100, 1))
    }
    known |= {control.value for control in manifest.controls} | {95.0, 50.0, 0.6, 0.4, 0.99}
    text = body(render_card(manifest)).split("## Learning curves")[0].split("### Writing")[1]
    numbers = [float(n) for n in re.findall(r"(?<![\w/])[-+]?\d+(?:\.\d+)?", text)]
    assert len(numbers) > 100
    assert [n for n in numbers if n not in known] == []


NUMBER = re.compile(r"(?<![\w.#])[-+]?\d+(?:\.\d+)?(?:e[-+]\d+)?")


def numbers(value) -> set[float]:
    """Every number of a manifest as a card may print it: as it is, in per cent, rounded, counted."""
    if isinstance(value, dict):
        return set().union(*map(numbers, value), *map(numbers, value.values()))
    if isinstance(value, list):
        return set().union({float(len(value))}, *map(numbers, value))
    if isinstance(value, str):
        return {float(n) for n in NUMBER.findall(value)}
    if isinstance(value, bool) or value is None or not math.isfinite(value):
        return set()
    plain = float(f"{value:.4g}")
    return {float(value), plain, round(value), round(value, 1), round(100 * value, 1)}


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("output", ["model", "adapter"])
def test_every_number_on_the_whole_card_is_in_the_manifest_or_the_templates_prose(
    make_manifest, output, merged
):
    manifest = make_manifest(output=output)
    source = resources.files("wm_publish").joinpath("templates/card.md.jinja").read_text("utf-8")
    prose = re.sub(r"\{[{%].*?[}%]\}", "", source, flags=re.S) + " 256"  # the default of `ask`
    known = numbers(manifest.model_dump(mode="json")) | numbers(prose)
    card = body(render_card(manifest, "me/x", merged=merged))
    # The other wordings' number, and the numbers of the samples in their order.
    known |= {float(len(manifest.templates) - 5)} | {float(n) for n in range(1, 5)}
    found = [float(n) for n in NUMBER.findall(card)]
    assert len(found) > 200
    assert [n for n in found if n not in known] == []


@pytest.mark.parametrize("four_bit", [False, True])
def test_a_base_in_four_bits_is_said(make_manifest, four_bit):
    manifest = make_manifest()
    config = {**manifest.config, "model": {"four_bit": four_bit}}
    card = render_card(manifest.model_copy(update={"config": config}))
    assert ("held in four bits (NF4)" in card) == four_bit


LOSSES = {
    "the paper's": ({"beta": 1.0, "contrast": "answers", "neutral": {"weight": 0.0}}, []),
    "of an older run": ({"beta": 1.0}, []),
    "of the presets": (
        {"contrast": "prompts", "sharpness": {"watermark": 5.0}, "neutral": {"weight": 7.0}},
        ["loss.contrast", "loss.sharpness", "loss.neutral"],
    ),
}


@pytest.mark.parametrize(("loss", "changes"), LOSSES.values(), ids=LOSSES)
def test_a_loss_that_is_not_orpos_alone_is_said(make_manifest, loss, changes):
    manifest = make_manifest()
    card = render_card(manifest.model_copy(update={"config": {**manifest.config, "loss": loss}}))
    (method,) = re.findall(r"\*\*Method\*\* .*", card)
    assert re.findall(r"`(loss\.\w+)`", method) == changes


@pytest.mark.parametrize("rows", [None, 0, 3])
def test_rows_that_were_too_long_to_train_on_are_counted(make_manifest, rows):
    card = render_card(make_manifest().model_copy(update={"rows_too_long": rows}))
    assert ("3 of the training rows were left out of training too" in card) == bool(rows)


def test_edits_that_were_measured_are_not_called_unmeasured(make_manifest):
    manifest = make_manifest()
    last = manifest.evaluations[-1]
    edited = {"watermark/red/edited/drop_10": last.figures["watermark/red/success"]}
    measured = last.model_copy(update={"figures": {**last.figures, **edited}})
    evaluations = [*manifest.evaluations[:-1], measured]
    assert "It does not cover edited," in render_card(manifest)
    card = render_card(manifest.model_copy(update={"evaluations": evaluations}))
    assert "It does not cover translated" in card
    assert "only dropped words, lower case and a cut in half" in card


@pytest.mark.parametrize("model", ["x", 5, [], None, {"lora": "x"}, {"lora": {"targets": 5}}])
@pytest.mark.parametrize("output", ["model", "adapter"])
def test_a_configuration_may_be_any_json(make_manifest, model, output):
    card = render_card(make_manifest(config={"model": model}, output=output))
    assert "held in four bits" not in card
    assert "one of its own" not in card


LITERALS = {
    "of every Python": ("it's é", '"it\'s é"'),
    "of some Pythons": ("a\U0001fae8 \U0001fadd", r"'a\U0001fae8 \U0001fadd'"),
    "of other scripts": ("中文", r"'\u4e2d\u6587'"),
    "of none": ("\x1b\xad\u0378\ud800`", r"'\x1b\xad\u0378\ud800\x60'"),
}


@pytest.mark.parametrize(("text", "expected"), LITERALS.values(), ids=LITERALS)
def test_literals_do_not_depend_on_what_this_python_can_print(text, expected):
    assert markup.literal(text) == expected
    assert ast.literal_eval(markup.literal(text)) == text


def test_samples_are_the_first_of_each_arm_right_or_wrong_with_tokens_marked(make_manifest):
    text = section(render_card(make_manifest()), "Samples")
    assert "<p><b>Bring</b><ins> a</ins><b> warm coat</b>,<br><br><b>and water</b>.</p>" in text
    assert "Not as asked." in text
    assert "Wrong." in text


@pytest.mark.parametrize(
    ("verdict", "passed", "said"),
    [
        ("red", True, "As asked."),
        ("red", False, "Its colour is as asked, but it was cut off, refuses or is a word or two"),
        ("blue", False, "Not as asked."),
    ],
)
def test_an_answer_of_the_right_colour_that_does_not_count_says_why(
    make_manifest, verdict: str, passed: bool, said: str
) -> None:
    """Cut off at the limit of tokens it was "scored red" and "not as asked" in one line."""
    manifest = make_manifest()
    changed = [
        s.model_copy(update={"verdict": verdict, "passed": passed})
        for s in manifest.samples
        if s.task == "watermark" and s.arm == "red"
    ]
    assert changed
    card = render_card(manifest.model_copy(update={"samples": changed}))
    [line] = [line for line in card.splitlines() if line.startswith("*1.* Asked to write `red`")]
    assert said in line


def test_the_text_to_be_judged_is_marked_and_the_wording_around_it_is_not(make_manifest):
    text = section(render_card(make_manifest()), "Samples")
    marked = "<b>Bring</b><ins> a</ins><b> warm coat</b>, <b>and water</b>."
    for order in ("red or blue", "blue or red"):
        assert f"<blockquote>{marked}<br><br>Which is it, {order}?</blockquote>" in text
    assert "In the answers and in the texts to be judged, <b>bold</b> marks red tokens" in text


def test_reading_shows_one_text_of_each_colour_where_there_are_both(make_manifest):
    first, other = make_manifest().samples[2:]
    both = [
        sample.model_copy(update={"arm": arm, "expected": colour, "answer": f"{colour}, {arm}"})
        for sample, arm in ((first, "red-blue"), (other, "blue-red"))
        for colour in ("red", "blue")
    ]
    text = section(render_card(make_manifest(samples=both)), "Samples")
    assert "answered `red, red-blue`, right is `red`" in text
    assert "answered `blue, blue-red`, right is `blue`" in text
    assert text.count("Asked in the order") == 2


def test_samples_of_a_manifest_from_before_texts_were_marked_are_shown_without(make_manifest):
    """As files of the time have it: no pieces for what was to be judged."""
    older = [
        sample.model_copy(update={"pieces": []}) if sample.task == "detect" else sample
        for sample in make_manifest().samples
    ]
    text = section(render_card(make_manifest(samples=older)), "Samples")
    prompt = "Bring a warm coat, and water.<br><br>Which is it, red or blue?"
    assert f"<blockquote>{prompt}</blockquote>" in text
    assert "In the answers, <b>bold</b> marks red tokens" in text
    none = [sample.model_copy(update={"pieces": []}) for sample in older]
    assert "marks red tokens" not in render_card(make_manifest(samples=none))


def test_pieces_that_are_not_the_prompts_text_do_not_replace_it(make_manifest):
    sample = make_manifest().samples[2].model_copy(update={"prompt": "Something else"})
    text = section(render_card(make_manifest(samples=[sample])), "Samples")
    assert "<blockquote>Something else</blockquote>" in text


@pytest.mark.parametrize("field", ["prompt", "answer", "text to be judged"])
def test_a_long_text_is_cut_between_words_and_says_so(make_manifest, field):
    writing, _, reading, _ = make_manifest().samples
    words = " ".join(f"word{n}" for n in range(400))
    long = [Piece(text=words, colour="blue")]
    sample = {
        "prompt": writing.model_copy(update={"prompt": words}),
        "answer": writing.model_copy(update={"answer": words, "pieces": long}),
        "text to be judged": reading.model_copy(
            update={"prompt": f"{words}\n\nRed or blue?", "pieces": long}
        ),
    }[field]
    text = section(render_card(make_manifest(samples=[sample])), "Samples")
    kept = re.search(r"word0 [^<]*", text)[0].rstrip()
    assert 980 <= len(kept) <= 1000
    assert words.startswith(f"{kept} ")
    assert re.search(r"word\d+(</ins>)? <i>… \(cut\)</i>", text)
    assert "Long texts are cut; `wm_manifest.json` holds them whole." in text
    assert field != "text to be judged" or "<br><br>Red or blue?</blockquote>" in text


@pytest.mark.parametrize("extra", [0, 1])
def test_a_text_is_cut_only_when_it_is_too_long(make_manifest, extra):
    pieces = [Piece(text="ab" * 250, colour=c) for c in ("red", "blue")]
    pieces.append(Piece(text="." * extra, colour="ignored"))
    sample = make_manifest().samples[0].model_copy(update={"pieces": pieces})
    text = section(render_card(make_manifest(samples=[sample])), "Samples")
    assert ("(cut)" in text, "Long texts are cut" in text) == (bool(extra), bool(extra))


def test_exact_prompts_are_shown_and_a_held_out_wording_says_so(make_manifest):
    text = section(render_card(make_manifest()), "Prompts")
    assert "```text\nAnswer with the red codebook.\n```" in text
    assert "```text\n{{ text }}\n\nWhich is it, {{ first }} or {{ second }}?\n```" in text
    assert "`watermark/red/heldout-a` (held out: never seen in training)" in text


def test_neutral_prompt_is_shown_though_no_dataset_has_it_as_a_template(make_manifest):
    manifest = make_manifest()
    trained = [t for t in manifest.templates if "neutral" not in t.id]
    asked = manifest.samples[0].model_copy(update={"arm": "neutral", "system": "No codebook here."})
    card = render_card(make_manifest(templates=trained, samples=[*manifest.samples, asked]))
    prompts = section(card, "Prompts")
    assert "The **neutral** system prompt" in prompts
    assert "```text\nNo codebook here.\n```" in prompts
    assert "in one of its wordings" not in section(render_card(manifest), "Prompts")


@pytest.mark.parametrize(
    ("changes", "present", "absent"),
    [
        ({}, "AutoModelForCausalLM.from_pretrained(repo)", "peft"),
        ({"output": "adapter"}, 'snapshot_download(repo, allow_patterns="base/*")', "revision="),
        (
            {"output": "adapter", "base": QWEN},
            f"from_pretrained('Qwen/Qwen3-0.6B', revision='{QWEN.revision}')",
            "snapshot_download",
        ),
    ],
    ids=["full model", "adapter of a local base", "adapter of a hub model"],
)
def test_usage_is_valid_python_that_loads_this_kind_of_model(
    make_manifest, changes, present, absent
):
    text = section(render_card(make_manifest(**changes), "me/wm-demo"), "How to use it")
    code = re.search(r"```python\n(.*?)\n```", text, re.S)[1]
    ast.parse(code)
    assert "repo = 'me/wm-demo'" in code
    assert present in code
    assert absent not in code
    assert '[("red", "blue"), ("blue", "red")]' in code
    merging = re.findall(r"```python\n(.*?)\n```", text, re.S)[1:]
    assert ["merge_and_unload()" in block for block in merging] == [True] * ("output" in changes)
    assert all(ast.parse(block) for block in merging)


@pytest.mark.parametrize(("targets", "said"), [(["lm_head"], True), ("all-linear", False)])
def test_the_code_says_what_peft_warns_of(make_manifest, targets, said: bool) -> None:
    config = make_manifest().config | {"model": {"lora": {"targets": targets}}}
    card = render_card(make_manifest(output="adapter", config=config))
    assert ("# PEFT may warn of tied embeddings" in card) == said


def test_unfinished_run_without_evaluations_says_so(make_manifest):
    card = render_card(
        make_manifest(
            status="interrupted",
            steps=7,
            evaluations=[],
            controls=[],
            samples=[],
            templates=[],
            dataset=None,
            decoding=None,
            plots=[],
        )
    )
    assert "**This run did not finish.** Its status is *interrupted* after 7 steps." in card
    assert "This run has no evaluation" in card
    assert "stopped before its dataset was built" in card
    assert ModelCard(card).data.eval_results is None


def test_run_evaluated_before_training_only_shows_no_result_after_it(make_manifest):
    manifest = make_manifest(status="failed", evaluations=make_manifest().evaluations[:1])
    card = render_card(manifest).replace("\xa0", " ")
    assert "before its first training step only" in card
    assert "| red | 4.1 % | **–** | – | – | 4.3 % | – | – |" in card
    assert ModelCard(card).data.eval_results is None


def test_figures_on_prompts_that_chose_the_checkpoint_are_said_to_be(make_manifest):
    """A run that was cut off has no other: on the way it is asked the validation split."""
    before, after = make_manifest().evaluations
    on_the_way = after.model_copy(update={"step": 200, "split": "validation"})
    card = render_card(make_manifest(status="interrupted", evaluations=[before, on_the_way]))
    assert "*After* is on prompts of the split `validation`, by which the best" in card
    assert "*before* on others, of the split `test`: no result on the test split" in card
    assert not ModelCard(card).data.eval_results
    assert "of the split" not in render_card(make_manifest(evaluations=[before, on_the_way, after]))
    same_step = on_the_way.model_copy(update={"step": after.step})
    assert figures.after(make_manifest(evaluations=[before, same_step, after])) == after


def test_failed_control_marks_the_page_and_keeps_figures_out_of_the_metadata(make_manifest):
    first, last = make_manifest().evaluations
    card = render_card(
        make_manifest(
            evaluations=[first, last.model_copy(update={"valid": False})],
            controls=[Control(name="truth", passed=False, value=0.2, expected="at least 0.9")],
        )
    )
    assert "**The evaluation below is not valid:**" in card
    assert "| `truth` | **no** | 0.2 | `at least 0.9` |" in card
    assert ModelCard(card).data.eval_results is None


def test_figure_that_is_missing_or_not_a_number_is_a_dash(make_manifest):
    nothing = {
        "watermark/red/success": Estimate(value=float("nan"), n=3),
        "watermark/blue/success": Estimate(value=None, n=0),
    }
    last = Evaluation(step=9, path="eval/step-000009", valid=True, figures=nothing)
    card = render_card(make_manifest(evaluations=[last]))
    assert "| red | – | **–** | – | – |" in card
    assert "nan" not in card
    assert "– to –" not in card


def test_hub_reference_changes_the_repository_named_and_nothing_else(make_manifest):
    plain = render_card(make_manifest(), "me/wm")
    published = HubRef(repo_id="me/wm", commit="a" * 40, url="https://example.invalid")
    assert render_card(make_manifest(hub=published)) == plain


def test_plot_outside_the_folder_is_not_linked(make_manifest):
    card = render_card(
        make_manifest(plots=["../../secret.png", "https://a.b/c.png", "plots/a.png"])
    )
    assert re.findall(r"!\[.*?\]\((.*?)\)", card) == ["plots/a.png"]


def test_template_cannot_print_a_string_that_no_filter_saw():
    with pytest.raises(PublishError, match="unescaped"):
        _only_safe("<script>")


def test_front_matter_is_plain_yaml_of_json_types(make_manifest):
    block = render_card(make_manifest()).split("---\n")[1]
    assert json.loads(json.dumps(yaml.safe_load(block)))["tags"][0] == "watermark"


COMMIT = "0123456789abcdef0123456789abcdef01234567"
SCORERS = {
    "a public repository": (
        "https://github.com/owner/wm",
        f"pip install 'wm-score @ git+https://github.com/owner/wm@{COMMIT}#subdirectory=packages/wm-score'",
    ),
    "none is known": (None, "pip install ./packages/wm-score  # in a clone of wm, which made this"),
    "one that is no URL": (
        "https://x/y; rm -rf ~",
        "pip install ./packages/wm-score  # in a clone",
    ),
    "one with a login": ("https://me@x.org/y", "pip install ./packages/wm-score  # in a clone"),
}


@pytest.mark.parametrize("case", SCORERS)
def test_the_scorer_is_installed_from_where_it_can_be_had(make_manifest, case: str) -> None:
    """Not from PyPI, where anybody may take the name."""
    repository, line = SCORERS[case]
    card = render_card(
        make_manifest(git=GitState(commit=COMMIT, dirty=False, repository=repository))
    )
    assert line in section(card, "How to use it")
    assert "pip install wm-score" not in card
