"""The pictures and the page of a run: every curve that has figures, whatever else is missing."""

import io
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest

from wm_manifest import Estimate, Evaluation
from wm_train import plots

NAMES = [name for panel in (plots.WATERMARK, plots.SHARES, plots.DETECT) for name, *_ in panel]


def evaluation(step: int, names: Sequence[str] = NAMES, value: float | None = 0.5) -> Evaluation:
    low, high = (None, None) if value is None else (max(0.0, value - 0.25), min(1.0, value + 0.25))
    figure = Estimate(value=value, low=low, high=high, n=40)
    return Evaluation(step=step, path="x", valid=step != 20, figures=dict.fromkeys(names, figure))


def line(step: int) -> dict[str, Any]:
    return {"event": "train", "step": step, "loss": 1.0, "watermark/nll": 2.0, "detect/nll": None}


RUNS: dict[str, tuple[list[Evaluation], list[dict[str, Any]], list[str]]] = {
    "at the beginning": ([evaluation(0)], [], ["learning-curves.png"]),
    "on the way": (
        [evaluation(0), evaluation(20)],
        [line(10), line(20)],
        ["learning-curves.png", "training.png"],
    ),
    "nothing measured": ([evaluation(0, value=None)], [line(1)], ["learning-curves.png"]),
    "not a number": ([evaluation(0, value=float("nan"))], [], ["learning-curves.png"]),
    "one task alone": ([evaluation(5, NAMES[:4])], [], ["learning-curves.png"]),
    "no evaluation": ([], [line(1), line(2)], ["learning-curves.png", "training.png"]),
}


@pytest.mark.parametrize("run", RUNS)
def test_there_are_pictures_and_a_page(tmp_path: Path, run: str) -> None:
    evaluations, lines, names = RUNS[run]
    drawn = plots.draw(evaluations, lines, "a <run>", tmp_path)
    assert [path.name for path in drawn] == names
    for path in drawn:
        pixels = matplotlib.image.imread(io.BytesIO(path.read_bytes()))
        assert pixels.shape[1] > 1500
        assert len({tuple(pixel) for pixel in pixels[::7].reshape(-1, 4)}) > 10  # not empty
    html = (tmp_path / "learning-curves.html").read_text("utf-8")
    assert html.count("<svg") == len(names)
    assert "<h1>a &lt;run&gt;</h1>" in html
    assert not list(tmp_path.glob("*.staged"))


def test_a_run_that_holds_its_neutral_arm_shows_how_far_off_it_is() -> None:
    plain = [line(1), line(2)]
    held = [{**each, "neutral/loss": 0.1 * each["step"]} for each in plain]
    titles = [axes.get_title() for axes in plots.training_curves(plain, "x").axes]
    more = plots.training_curves(held, "x").axes
    assert [axes.get_title() for axes in more[:-1]] == titles
    (curve,) = more[-1].get_lines()
    assert curve.get_ydata() == pytest.approx([0.1, 0.2])


class Tags(HTMLParser):
    """Every tag in order; an open `p` or `tr` is not checked."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append(tag)


def test_the_page_has_every_figure_with_its_interval_and_needs_nothing_else(tmp_path: Path) -> None:
    plots.draw([evaluation(0), evaluation(20)], [line(10), line(20)], "r", tmp_path)
    html = (tmp_path / "learning-curves.html").read_text("utf-8")
    tags = Tags()
    tags.feed(html)
    assert not {"script", "img", "link", "iframe"} & set(tags.found)
    assert "<th>step 0</th><th>step 20<br>not valid</th>" in html
    row = next(r for r in re.findall(r"<tr>.*?</tr>", html) if "write red" in r)
    assert row.count("50.0 %<br><small>25.0–75.0, n 40</small>") == 2
    assert "asked for red: answer is red" in html  # the legend is text


def test_the_same_run_gives_the_same_files(tmp_path: Path) -> None:
    files: list[list[bytes]] = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        plots.draw([evaluation(0)], [line(1), line(2)], "r", folder)
        files.append([path.read_bytes() for path in sorted(folder.iterdir())])
    assert files[0] == files[1]
    assert len(files[0]) == 3


def test_drawing_takes_a_small_share_of_a_run_but_the_last_picture_is_always_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, drawn = [0.0], list[int]()

    def draw(evaluations: Sequence[Evaluation], *_: Any) -> list[Path]:
        clock[0] += 0.5
        drawn.append(evaluations[-1].step)
        return [tmp_path / "curves.png"]

    monkeypatch.setattr(plots, "draw", draw)
    curves = plots.Curves("r", tmp_path, now=lambda: clock[0])
    done: list[Evaluation] = []
    for step in range(0, 100, 10):
        clock[0] = max(clock[0], float(step))
        done.append(evaluation(step))
        found = curves.refresh(done, [], last=step == 90)
        assert found == ([tmp_path / "curves.png"] if step else []), "a point is no curve"
    assert drawn == [10, 70, 90]  # half a second each: once in 50 seconds
    assert curves.refresh(done, [], last=True) == [tmp_path / "curves.png"]
    assert drawn == [10, 70, 90], "what is in the picture is not drawn again"


def test_a_run_with_one_evaluation_has_it_in_the_end(tmp_path: Path) -> None:
    curves = plots.Curves("r", tmp_path)
    assert curves.refresh([evaluation(0)], [], last=False) == []
    assert curves.refresh([evaluation(0)], [], last=True) == [tmp_path / "learning-curves.png"]
