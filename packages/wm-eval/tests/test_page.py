"""The page holds the figures and the samples, needs nothing outside, and lets nothing break out."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from wm_eval import WmEvalError, items
from wm_eval.cli import main
from wm_eval.folder import seal
from wm_eval.generator import Reply, Request
from wm_eval.page import write_page
from wm_manifest import EvalReport, save


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_page_shows_figures_plots_and_coloured_samples(
    run_script: Callable[..., EvalReport], gold: Callable[[Request], str], tmp_path: Path
) -> None:
    run_script(gold, out=tmp_path)
    page = Page(write_page(tmp_path).read_text(encoding="utf-8"))
    names = [tag for tag, _ in page.tags]
    assert names.count("svg") == 6
    classes = [attrs.get("class") for tag, attrs in page.tags if tag == "span"]
    assert {"red", "blue", "ignored"} == set(classes)
    assert "detect/both_orders" in page.words
    outside = [a for _, attrs in page.tags for a in attrs if a in ("src", "href")]
    assert not outside, "the page must need nothing outside itself"
    drawn = sorted(tmp_path.glob("plots/*.svg"))
    assert [path.stem for path in drawn] == [
        "detect-length",
        "detect-share",
        "reliability",
        "roc-blue",
        "roc-red",
        "shares",
    ]
    for path in drawn:  # well-formed, or a browser shows nothing of it
        assert ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_an_answer_cannot_break_out_of_the_page(
    run_script: Callable[..., EvalReport], tmp_path: Path
) -> None:
    run_script(lambda request: "<script>alert(1)</script><img src=x>", out=tmp_path)
    page = Page(write_page(tmp_path).read_text(encoding="utf-8"))
    names = [tag for tag, _ in page.tags]
    assert names.count("script") == 1
    assert "img" not in names


def test_an_invalid_evaluation_says_so_on_top(
    run_script: Callable[..., EvalReport], own_dataset_dir: Path, tmp_path: Path
) -> None:
    seeds = own_dataset_dir / "seeds"
    (seeds / "train.parquet").write_bytes((seeds / "test.parquet").read_bytes())
    run_script(lambda request: "", data=items.read(own_dataset_dir), out=tmp_path / "e")
    text = write_page(tmp_path / "e").read_text(encoding="utf-8")
    top = text[: text.index("<h2>")]
    assert "This evaluation is not valid" in top
    assert "does not hold: test groups unseen in training (found 4.000, expected 0 of" in top
    assert "About the model" not in top


def test_title_and_heading_name_the_adapter(
    run_script: Callable[..., EvalReport], tmp_path: Path
) -> None:
    report = run_script(lambda request: "", out=tmp_path)
    for adapter, name in {"an/<adapter>": "a script + an/<adapter>", None: "a script"}.items():
        model = report.model.model_copy(update={"adapter": adapter})
        save(report.model_copy(update={"model": model}), tmp_path / "eval.json")
        seal(tmp_path)
        page = Page(write_page(tmp_path).read_text(encoding="utf-8"))
        assert {f"wm-eval: {name}", name} <= set(page.words)


def test_a_control_that_does_not_block_is_a_note_on_top(
    run_script: Callable[..., EvalReport], tmp_path: Path
) -> None:
    assert run_script(lambda request: "Hi you", out=tmp_path).valid
    text = write_page(tmp_path).read_text(encoding="utf-8")
    top = text[: text.index("<h2>")]
    assert "About the model, not the evaluation" in top
    assert "does not hold: neutral arm can serve as a null (found 1.000, expected at most" in top
    assert "This evaluation is not valid" not in text


def test_an_answer_that_was_asked_for_no_colour_is_not_among_the_wrong_ones(
    run_script: Callable[..., EvalReport], gold: Callable[[Request], str], tmp_path: Path
) -> None:
    run_script(lambda r: "" if r.id.endswith("/blue") else gold(r) or "Hello", out=tmp_path)
    page = Page(write_page(tmp_path).read_text(encoding="utf-8"))
    marks = [attrs["data-wrong"] for _, attrs in page.tags if attrs.get("class") == "sample"]
    assert (marks.count("true"), len(marks)) == (12, 12 * 3 + 96)


def test_wrong_answers_are_shown_first(
    run_script: Callable[..., EvalReport], gold: Callable[[Request], str], tmp_path: Path
) -> None:
    run_script(lambda r: "" if r.seed % 3 == 0 else gold(r) or "Hello", out=tmp_path)
    page = Page(write_page(tmp_path).read_text(encoding="utf-8"))
    marks = [attrs["data-wrong"] for _, attrs in page.tags if attrs.get("class") == "sample"]
    for task in (marks[:36], marks[36:]):
        assert "true" in task
        assert task == sorted(task, reverse=True)


def test_an_empty_answer_is_no_dot_among_the_blue_ones(
    run_script: Callable[..., EvalReport], gold: Callable[[Request], str], tmp_path: Path
) -> None:
    run_script(lambda r: "" if r.id.endswith("/blue") else gold(r) or "Hello", out=tmp_path)
    text = write_page(tmp_path).read_text(encoding="utf-8")
    assert "Share of red tokens, each answer (but 12 without a counted token)" in text
    drawn = ElementTree.parse(tmp_path / "plots" / "shares.svg").getroot()
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}circle"))) == 24


def test_several_steps_give_curves(
    run_script: Callable[..., EvalReport],
    gold: Callable[[Request], str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A step that cannot be read is missing in them, and costs no other step its page."""
    run_script(lambda request: "", out=tmp_path / "step-000000", step=0)
    run_script(gold, out=tmp_path / "step-000010", step=10)
    (tmp_path / "step-000005").mkdir()
    (tmp_path / "step-000005" / "eval.json").write_text('{"of": "another version"}')
    text = write_page(tmp_path / "step-000010").read_text(encoding="utf-8")
    assert "Figures by step" in text
    (line,) = [record.getMessage() for record in caplog.records]
    assert "not in the curves" in line
    assert "step-000005" in line


def test_plots_and_samples_say_what_they_rest_on(
    run_script: Callable[..., EvalReport], gold: Callable[[Request], str], tmp_path: Path
) -> None:
    def stated(request: Request) -> Reply:
        red = request.id.split("/")[2] == "red"
        options = {"red": -0.1 if red else -3.0, "blue": -3.0 if red else -0.1}
        return Reply(gold(request) or "Hi the " * 10, 20, True, options)

    report = run_script(stated, out=tmp_path / "e")
    page = Page(write_page(tmp_path / "e").read_text(encoding="utf-8"))
    area = report.figures["watermark/red/auroc"]
    title = f"ROC: red against neutral, area 1.000 ({area.low:.3f} to 1.000; n 12)"
    assert title in page.words
    assert any("found none (red 0.500 of 20 counted tokens)" in word for word in page.words)
    drawn = {path.stem: path.read_text("utf-8") for path in (tmp_path / "e/plots").glob("*.svg")}
    assert re.findall(r"n \d+", drawn["detect-length"]) == ["n 96"]
    # The diagonal, and an interval for each of the two bins that anything was stated in.
    assert drawn["reliability"].count("<polyline") == 3


def test_names_of_curves_are_not_on_their_rise(
    run_script: Callable[..., EvalReport], gold: Callable[[Request], str], tmp_path: Path
) -> None:
    run_script(lambda request: "", out=tmp_path / "step-000000", step=0)
    run_script(gold, out=tmp_path / "step-000400", step=400)
    write_page(tmp_path / "step-000400")
    svg = ElementTree.parse(tmp_path / "step-000400" / "plots" / "steps.svg").getroot()
    words = [text for text in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert {"0", "200", "400", "step"} <= {str(text.text) for text in words}
    names = [text for text in words if "/" in str(text.text)]
    assert len(names) == 3
    for name in names:
        assert name.get("text-anchor") == "end"
        assert float(name.get("x", 0)) > 300
        assert name.get("paint-order") == "stroke", "a line below it would cross it out"


def test_the_command_writes_the_page_or_says_what_is_missing(
    run_script: Callable[..., EvalReport],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_script(lambda request: "", out=tmp_path / "e")
    with pytest.raises(SystemExit) as stop:
        main(["report", str(tmp_path / "e")])
    assert stop.value.code == 0
    assert (tmp_path / "e" / "report.html").is_file()
    with pytest.raises(SystemExit) as stop:
        main(["report", str(tmp_path)])
    assert stop.value.code == 2
    assert "is this a folder that wm-eval --out wrote" in capsys.readouterr().err
    with pytest.raises(WmEvalError):
        write_page(tmp_path)
