"""The command: exit codes, one line an error, no traceback; light imports."""

import subprocess
import sys

import pytest

from wm_data import cli


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "--recipe", "nope", "--out", "{tmp}/out"], "no recipe 'nope'"),
        (["build", "--recipe", "{tmp}/bad.yaml", "--out", "{tmp}/out"], "not valid YAML"),
        (["build", "--recipe", "{tmp}/typo.yaml", "--out", "{tmp}/out"], "sorces: unknown key"),
        (["build", "--recipe", "demo"], "out"),
        (["build", "--recipe", "demo", "--out", "{tmp}/out", "--limit", "0"], ">= 1"),
        (["build", "--recipe", "demo", "--out", "{tmp}/out", "--limit", "many"], "many"),
        (["build", "--recipe", "demo", "--out", "{tmp}/file/out"], "cannot be written"),
        (["show", "{tmp}/nothing"], "no such folder"),
        (["nonsense"], "nonsense"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(tmp_path, capsys, arguments, message):
    (tmp_path / "bad.yaml").write_text("name: [unclosed")
    (tmp_path / "typo.yaml").write_text("name: x\nsorces: []\n")
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


def test_ctrl_c_exits_with_130(tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["wm_data.build"], "build", interrupt)
    assert cli.main(["build", "--recipe", "demo", "--out", str(tmp_path / "out")]) == 130


def test_import_loads_no_heavy_library():
    code = (
        "import sys, wm_data, wm_data.cli\n"
        "print([name for name in ('torch', 'transformers', 'datasets', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
