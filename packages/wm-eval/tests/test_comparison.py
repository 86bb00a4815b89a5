"""A comparison can be read at any width: as a table, or as lines where that has no room."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from wm_eval.cli import main
from wm_eval.compare import Difference
from wm_eval.comparison import fits, lines, table
from wm_manifest import Estimate


def differences() -> list[Difference]:
    def one(name: str, p: float | None, verdict: str) -> Difference:
        estimate = Estimate(value=-0.125, low=-0.417, high=0.083, n=1234)
        return Difference(name, 0.583, 0.458, estimate, 17, 12, p, verdict)

    return [
        one("detect/likelihood/both_orders", 0.227, "no difference seen"),
        one("watermark/blue/success/sound", None, "too few to tell"),
    ]


def test_lines_hold_all_that_the_table_does_and_fit_a_narrow_terminal() -> None:
    said = lines(differences())
    assert said.startswith(
        "detect/likelihood/both_orders: no difference seen\n"
        "  n 1234, A 0.583, B 0.458, B - A -0.125 (-0.417 to 0.083)\n"
        "  only A 17, only B 12, p 0.227\n"
    )
    assert "only A 17, only B 12, p -\n" in said
    assert max(map(len, said.splitlines())) <= 80


def test_no_p_is_0() -> None:
    estimate = Estimate(value=-0.2, low=-0.3, high=-0.1, n=106)
    found = [Difference("watermark/blue/success", 1.0, 0.8, estimate, 23, 0, 2**-23, "A is better")]
    assert "p <0.001\n" in lines(found)
    shown = Console(width=200, file=StringIO())
    shown.print(table(found))
    assert " <0.001 " in shown.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def test_a_table_fits_where_no_part_of_it_is_cut() -> None:
    """One column less, and rich shortens a cell or breaks it."""
    grid = table(differences())
    widths = [width for width in range(60, 200) if fits(grid, Console(width=width))]
    assert widths == list(range(widths[0], 200))
    shown = Console(width=widths[0], file=StringIO())
    shown.print(grid)
    drawn = shown.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    rows = [line for line in drawn.splitlines() if "both_orders" in line]
    (cells,) = [[cell.strip() for cell in row.split("│")[1:-1]] for row in rows]
    assert cells == [
        *("detect/likelihood/both_orders", "1234", "0.583", "0.458", "-0.125"),
        *("-0.417 to 0.083", "17, 12", "0.227", "no difference seen"),
    ]
    assert len(rows[0]) == widths[0]


@pytest.mark.parametrize(("columns", "drawn"), [(40, False), (80, False), (160, True)])
def test_the_command_prints_what_there_is_room_for_and_both_paths_whole(
    columns: int,
    drawn: bool,
    run_script: object,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert callable(run_script)
    folders = [tmp_path_factory.mktemp("a-rather-long-name-of-a-run") / "eval" for _ in "ab"]
    for folder in folders:
        run_script(lambda request: "", out=folder)
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as stop:
        main(["compare", *map(str, folders)])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(f"A = {folders[0]}\nB = {folders[1]}\n")
    assert ("│" in out) == drawn
    assert ("detect/both_orders: too few to tell\n" in out) == (not drawn)
    assert "…" not in out
