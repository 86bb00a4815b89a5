"""The command: exit codes, one line an error, no traceback; light imports."""

import io
import json
import subprocess
import sys

import pytest

import wm_data
from wm_data import cli


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "--recipe", "nope", "--out", "{tmp}/out"], "no recipe 'nope'"),
        (["build", "--recipe", "{tmp}/bad.yaml", "--out", "{tmp}/out"], "not valid YAML"),
        (["build", "--recipe", "{tmp}/typo.yaml", "--out", "{tmp}/out"], "sorces: unknown key"),
        (
            ["build", "--recipe", "{tmp}/twice.yaml", "--out", "{tmp}/out"],
            "twice.yaml: line 3, column 1: 'sources' stands here a second time",
        ),
        (["build", "--recipe", "{tmp}/empty.yaml", "--out", "{tmp}/out"], "expected fields"),
        (["build", "--recipe", "{tmp}/half.yaml", "--out", "{tmp}/out"], "half a surrogate pair"),
        (["build", "--recipe", "{tmp}/deep.yaml", "--out", "{tmp}/out"], "nested too deep"),
        (["build", "--recipe", "demo"], "out"),
        (["build", "--recipe", "demo", "--out", "{tmp}/out", "--limit", "0"], ">= 1"),
        (["build", "--recipe", "demo", "--out", "{tmp}/out", "--limit", "many"], "many"),
        (["build", "--recipe", "demo", "--out", "{tmp}/file/out"], "cannot be written"),
        (["show", "{tmp}/nothing"], "no such folder"),
        (["show", "{tmp}/a\x1b[2J\nb"], r"a\x1b[2J\nb: no such folder"),
        (["nonsense"], "nonsense"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(tmp_path, capsys, arguments, message):
    (tmp_path / "bad.yaml").write_text("name: [unclosed")
    (tmp_path / "typo.yaml").write_text("name: x\nsorces: []\n")
    (tmp_path / "empty.yaml").write_text("")
    half = 'name: x\ndescription: "a \\ud83d"\nsources: [{id: a, grammar: demo}]\n'
    (tmp_path / "half.yaml").write_text(half)
    (tmp_path / "deep.yaml").write_text("[" * 1_000)
    source = "sources: [{id: a, grammar: demo}]\n"
    (tmp_path / "twice.yaml").write_text("name: x\n" + source * 2)
    (tmp_path / "file").write_text("")
    code = cli.main([argument.replace("{tmp}", str(tmp_path)) for argument in arguments])
    captured = capsys.readouterr()
    assert code == 2
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert not (tmp_path / "out").exists()


def test_build_and_show(small, tmp_path, capsys):
    out = str(tmp_path / "out")
    assert cli.main(["build", "--recipe", small, "--out", out, "--limit", "20"]) == 0
    assert cli.main(["show", out]) == 0
    printed = capsys.readouterr().out
    assert "train" in printed
    assert "first test rows" in printed


def test_show_of_a_folder_by_another_version(small, tmp_path, capsys):
    """Reasons that this one does not know, and a path in which rich would see markup."""
    out = tmp_path / "a[/b]"
    arguments = ["build", "--recipe", small, "--out", str(out), "--limit", "20"]
    assert cli.main(arguments) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["dropped"] = {"of [/tomorrow]": 3}
    (out / "manifest.json").write_text(json.dumps(manifest))
    capsys.readouterr()
    assert cli.main(["show", str(out)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "of [/tomorrow]" in printed
    assert "another version" in printed
    assert "a[/b]" in printed.replace(" ", "")


def test_build_prints_what_each_source_gave(tmp_path, records, write_recipe, write_lines, capsys):
    """The second source's rows are all too short."""
    short = [{**record, "red_answer": "a", "blue_answer": "b"} for record in records[:7]]
    recipe = write_recipe(
        {"id": "one", "file": write_lines(records[:40])},
        {"id": "two", "file": write_lines(short, "short.jsonl"), "role": "train"},
    )
    assert cli.main(["build", "--recipe", recipe, "--out", str(tmp_path / "out")]) == 0
    lines = [line.replace("│", " ").split() for line in capsys.readouterr().out.splitlines()]
    assert ["one", "both", "seeds.jsonl", "40", "40"] in lines
    assert ["two", "train", "short.jsonl", "7", "0"] in lines


def test_strangers_rows_do_not_steer_the_terminal(
    tmp_path, records, write_recipe, write_lines, capsys
):
    """Nor fill it: a text of a million characters is cut."""
    strange = [{**r, "prompt": f"\x1b[2J{r['prompt']}\n{'x' * 9_000}"} for r in records[:40]]
    recipe = write_recipe({"id": "a", "file": write_lines(strange)})
    assert cli.main(["build", "--recipe", recipe, "--out", str(tmp_path / "out")]) == 0
    assert cli.main(["show", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "\\x1b[2J" in printed
    assert "\x1b" not in printed
    assert printed.count("x" * 20) < 1_000
    assert "characters" in printed, "which says how many more there are"


def test_a_terminal_that_cannot_show_it_is_one_line(
    tmp_path, records, write_recipe, write_lines, capsys, monkeypatch
):
    accented = [{**record, "prompt": f"{record['prompt']} \xe9"} for record in records[:40]]
    recipe = write_recipe({"id": "a", "file": write_lines(accented)})
    wm_data.build(recipe, tmp_path / "out", progress=False)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert cli.main(["show", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == (
        "error: standard output: all is done but cannot be shown in ascii; set "
        "PYTHONIOENCODING=utf-8\n"
    )


def test_ctrl_c_exits_with_130(tmp_path, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["wm_data.build"], "build", interrupt)
    assert cli.main(["build", "--recipe", "demo", "--out", str(tmp_path / "out")]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_import_loads_no_heavy_library():
    code = (
        "import sys, wm_data, wm_data.cli\n"
        "print([name for name in ('torch', 'transformers', 'datasets', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
