"""The command: what it prints, what it exits with, what it refuses."""

from __future__ import annotations

import io
import json
import re
import sys

import pytest

import wm_score
from wm_score import cli, counting, null_file, reading

TEXT = "The committee approved its plan for the winter, and nobody objected to the price.\n" * 3
KEYS = ["input", "even", "odd", "ignored", "red_share", "blue_share", "verdict", "red_p", "blue_p"]
KEYS += ["distinct_even", "distinct_odd", "counted", "codebook"]


@pytest.fixture
def run(capfdbinary, monkeypatch):
    """Runs the command; gives status, standard output and standard error."""

    def command(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        status = cli.main([str(argument) for argument in arguments])
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        return status, out.decode(), err.decode()

    return command


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_json_has_the_promised_keys_and_figures(run, file):
    status, out, err = run("--json", file)
    record = json.loads(out)
    assert (status, err) == (0, "")
    assert list(record)[: len(KEYS)] == KEYS
    found = wm_score.score(TEXT)
    assert (record["even"], record["odd"], record["ignored"]) == (
        found.even,
        found.odd,
        found.ignored,
    )
    assert record["verdict"] == found.verdict
    assert record["red_p"] == pytest.approx(wm_score.evidence(TEXT).red_p, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("rows.jsonl", ["--json"], True),
        ("rows.csv", [], True),
        ("rows.jsonl", ["--jsonl", "t"], False),
        ("rows.jsonl", ["--json", "--quiet"], False),
        ("text.txt", ["--json"], False),
    ],
)
def test_a_file_of_rows_is_not_judged_as_one_text_without_a_word(
    run, tmp_path, name, arguments, said
):
    path = tmp_path / name
    path.write_text(json.dumps({"t": TEXT}) + "\n", encoding="utf-8")
    status, _, err = run(*arguments, path)
    assert status == 0
    assert (f"{name}: judged as one text, with its keys; --jsonl FIELD reads rows" in err) == said


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_standard_input(run, arguments):
    status, out, _ = run("--json", *arguments, stdin=TEXT.encode())
    assert status == 0
    assert json.loads(out)["even"] == wm_score.score(TEXT).even


def test_table_names_every_input_and_the_null(run, file):
    status, out, _ = run(file, file)
    assert status == 0
    assert out.count(str(file)) == 2
    assert "null 'default'" in out


def test_rows_come_back_in_order_and_as_they_were(run, tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = ['{"n":1.50,"text":"one"}', '{ "text" : "zwei \\ud800 é" , "n": 2 }', '{"text": ""}']
    path.write_text("\n".join(rows) + "\n\n", encoding="utf-8")
    status, out, _ = run("--jsonl", "text", path)
    lines = out.splitlines()
    assert status == 0
    assert len(lines) == 3
    assert [line[: line.index(', "wm_score"')] for line in lines] == [
        '{"n":1.50, "text":"one"',
        '{"text" : "zwei \\ud800 é", "n": 2',
        '{"text": ""',
    ]
    for line in lines:
        found = json.loads(line)
        assert set(KEYS) <= set(found["wm_score"])
        assert found["wm_score"]["even"] == wm_score.score(found["text"]).even
    once = run("--jsonl", "text", stdin=out.encode())[1]
    assert once.count("wm_score") == 3
    assert run("--jsonl", "text", stdin=once.encode())[1] == once


@pytest.mark.parametrize(
    ("row", "kept"),
    [
        ('{"n": 1e400, "text": "a"}', '{"n": 1e400, "text": "a", '),
        ('{"wm_score": {"even": [1]}, "text": "a", "n": 1.50}', '{"text": "a", "n": 1.50, '),
        ('{"wm\\u005fscore": 1e400,"text":"a"}', '{"text":"a", '),
        ('{ "a" : {"wm_score": 2} ,\t"text" : "a" }', '{"a" : {"wm_score": 2}, "text" : "a", '),
        ('{"text": "a", "wm_score": 1, "wm_score": 2}', '{"text": "a", '),
    ],
)
def test_what_stood_in_a_row_stays_as_it_was_written(run, row, kept):
    status, out, _ = run("--jsonl", "text", stdin=row.encode())
    assert status == 0
    assert out.startswith(kept + '"wm_score": {"input": ')
    assert json.loads(out, parse_constant=pytest.fail)["text"] == "a"


@pytest.mark.parametrize("number", ["-1", "1.5", "", "many"])
def test_fewest_counted_tokens_are_a_number(run, number):
    with pytest.raises(SystemExit) as stop:
        run(f"--min-counted={number}", stdin=b"text")
    assert stop.value.code == 2


def test_a_byte_order_mark_before_the_first_row_is_left_out(run):
    status, out, _ = run("--jsonl", "text", stdin=b'\xef\xbb\xbf{"text": "one"}\n')
    assert status == 0
    assert json.loads(out)["text"] == "one"


def test_a_byte_order_mark_before_a_text_is_left_out(run):
    marked, plain = (run("--json", stdin=mark + TEXT.encode()) for mark in (b"\xef\xbb\xbf", b""))
    assert marked == plain
    status, _, err = run(stdin=b"\xef\xbb\xbfab\xff")
    assert (status, "byte 5 " in err) == (2, True)


def test_a_number_of_any_length_stays_as_it_is(run):
    row = '{"n": ' + "9" * 5000 + ', "text": "one"'
    status, out, _ = run("--jsonl", "text", stdin=row.encode() + b"}\n")
    assert status == 0
    assert out.startswith(row + ', "wm_score": {"input": ')
    assert run("--jsonl", "n", stdin=row.encode() + b"}\n")[2].endswith(
        "field 'n' is of type int; expected a string\n"
    )


def test_rows_are_read_one_at_a_time(monkeypatch):
    rows = iter([b'{"t": "a"}\n', b'{"t": "b"}\n'])
    found = reading.rows(rows, "x", "t", "strict")
    assert next(found)[1] == "a"
    assert next(rows) == b'{"t": "b"}\n'


BAD_INPUT = {
    "no such file": ([], None, "No such file"),
    "not UTF-8": (["--json"], b"ok \xff\xfe", "byte 3 "),
    "not UTF-8 at the end": (["--json"], b"caf\xc3", "byte 3 "),
    "row is no JSON": (["--jsonl", "text"], b'{"text": "a"}\nhello\n', "line 2"),
    "row is a list": (["--jsonl", "text"], b"[1]\n", "expected an object"),
    "field missing": (["--jsonl", "text"], b'{"txt": "a"}\n', "fields are: txt"),
    "field is a number": (["--jsonl", "text"], b'{"text": 5}\n', "expected a string"),
    "row not UTF-8": (
        ["--jsonl", "text"],
        b'{"text": "a"}\n{"text": "\xff"}\n',
        "line 2: byte 24 ",
    ),
    "unknown null": (["--null", "nonsense"], b"text", "assistant_en"),
    "null that is no file": (["--null", "none.json"], b"text", "--null none.json: no such file"),
    "row without an object": (["--jsonl", "text"], b"{}\n", "fields are: none"),
    "window too small": (["--windows", "--window-size", "1"], b"text", "8 or more"),
    "window size of no windows": (["--window-size", "16"], b"text", "--windows"),
    "field without a name": (["--jsonl", ""], b'{"text": "a"}\n', "no field ''"),
    "row nested too deep": (["--jsonl", "text"], b"[" * 100_000, "line 1: not JSON"),
}


@pytest.mark.parametrize(("arguments", "content", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_is_one_line_and_exit_2(run, tmp_path, arguments, content, message):
    path = tmp_path / "input"
    if content is not None:
        path.write_bytes(content)
    status, _, err = run(*arguments, path)
    assert status == 2
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


def test_a_folder_is_no_file(run, tmp_path):
    status, _, err = run(tmp_path)
    assert (status, err.count("\n")) == (2, 1)


def test_byte_offset_is_exact_across_blocks(run, tmp_path):
    path = tmp_path / "big"
    path.write_bytes(b"ab " * 200_000 + "é".encode() + b"\xff")
    assert "byte 600002 " in run(path)[2]


def test_errors_replace(run, tmp_path):
    path = tmp_path / "input"
    path.write_bytes(b"ok \xff\xfe fine")
    status, out, _ = run("--json", "--errors", "replace", path)
    assert status == 0
    assert json.loads(out)["even"] == wm_score.score("ok \ufffd\ufffd fine").even


def test_abstains_below_the_minimum_and_says_so(run, file):
    status, out, err = run("--json", "--min-counted", "1000", "--fail-on", "any", file)
    record = json.loads(out)
    assert status == 0
    assert record["verdict"] == "abstained"
    assert record["red_p"] is None
    assert "fewer than 1000" in err


def test_rows_abstained_on_are_counted_and_said(run):
    stdin = b'{"t": "one two three four"}\n{"t": "one"}\n{"t": "two"}\n'
    status, out, err = run("--jsonl", "t", "--min-counted", "3", stdin=stdin)
    verdicts = [json.loads(line)["wm_score"]["verdict"] for line in out.splitlines()]
    assert (status, verdicts.count("abstained")) == (0, 2)
    assert err == "-: abstained on 2 of 3 rows, which have fewer than 3 counted tokens\n"


def test_windows_of_a_text_abstained_on_have_no_p(run, file):
    status, out, err = run("--windows", "--min-counted", "1000", file)
    assert status == 0
    assert "abstained: no p-values" in out
    assert " 0." not in out
    assert "1.00" not in out
    assert "fewer than 1000" in err


@pytest.mark.parametrize(
    ("text", "option", "expected"),
    [(" of of of", "blue", 1), (" of of", "red", 0), (" of", "any", 1), (".", "any", 0)],
)
def test_fail_on(run, text, option, expected):
    assert wm_score.score(" of").verdict == "blue"
    assert run("--fail-on", option, stdin=text.encode())[0] == expected


def test_html_is_one_file_with_every_character_escaped(run):
    text = "a <b> & <script>alert(1)</script> 中🙂 e\u0301"
    status, out, _ = run("--tokens", "html", stdin=text.encode())
    assert status == 0
    assert "<script" not in out
    assert "http" not in out
    for colour in ("red", "blue", "none"):
        assert f'<span class="{colour}">' in out
    import html

    body = out[out.index('<div class="text">') : out.rindex("</div>")]
    assert html.unescape(re.sub("<[^>]*>", "", body)) == text


def test_ansi_shows_the_text_and_sends_no_control_of_its_own(run):
    status, out, _ = run("--tokens", "ansi", stdin=b"the price \x1b]0;x\x07 of it")
    assert status == 0
    shown = re.sub(r"\x1b\[\d+m", "", out)
    assert shown.startswith("the price \\x1b]0;x\\x07 of it")


@pytest.mark.parametrize("form", [[], ["--windows"], ["--tokens", "ansi"]])
def test_no_control_character_reaches_the_terminal(run, tmp_path, form):
    """Neither of the text, nor of a file's or a null's name."""
    path = tmp_path / "a\x1b[31mb\nc\u202e.txt"
    path.write_text("the price \x1b]0;x\x07\x9b2J of it " * 3, encoding="utf-8")
    null = json.loads(null_file.shipped()["code"].to_json()) | {"name": "n\x1b[2J"}
    (tmp_path / "null").write_text(json.dumps(null), encoding="ascii")
    status, out, err = run(*form, "--null", tmp_path / "null", "--min-counted", "99", path)
    assert status == 0
    own = re.compile(r"\x1b\[(?:0|31|34|90)m") if form[:1] == ["--tokens"] else re.compile("(?!)")
    shown = own.sub("", out) + err
    assert re.findall("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown) == []
    assert "a\\x1b[31mb\\nc\\u202e.txt" in shown
    for bad in (path.with_name("no\x1b[2Jthing"), "--null=\x1b[2J"):
        status, _, err = run(bad)
        assert (status, err.count("\n"), "\x1b" in err) == (2, 1, False)


def test_windows_say_how_many_were_looked_at(run, file):
    status, out, _ = run("--windows", "--window-size", "16", file)
    found = wm_score.windows(TEXT, 16)
    assert status == 0
    assert f"corrected for {len(found)} windows" in out


def test_calibrate_then_use(run, tmp_path):
    from pydoc_data import topics

    rows = tmp_path / "rows.jsonl"
    texts = [text for _, text in sorted(topics.topics.items())]
    rows.write_text("".join(json.dumps({"t": text}) + "\n" for text in texts), encoding="ascii")
    null = tmp_path / "null.json"
    status, _, err = run("calibrate", rows, "--jsonl", "t", "--out", null, "--name", "manual")
    assert status == 0
    assert "lowest p" in err
    record = json.loads(run("--json", "--null", null, stdin=TEXT.encode())[1])
    assert record["null"] == "manual"
    assert run("calibrate", rows, "--jsonl", "t", "--out", tmp_path / "no" / "x")[0] == 2


def test_calibrate_refuses_too_little(run, file, tmp_path):
    status, _, err = run("calibrate", file, "--out", tmp_path / "null.json")
    assert status == 2
    assert "needs 30 documents and 99 pieces" in err
    assert not (tmp_path / "null.json").exists()


def test_a_large_file_is_read_in_parts_that_change_nothing(run, tmp_path):
    text = TEXT * 1200 + "\u00a0 \u3000 x" * 1000 + "1" * 90_000
    path = tmp_path / "large"
    path.write_text(text, encoding="utf-8", newline="")
    record = json.loads(run("--json", path)[1])
    found = wm_score.score(text)
    assert (record["even"], record["odd"], record["ignored"]) == (
        found.even,
        found.odd,
        found.ignored,
    )
    parts = list(reading.parts(text[i : i + 999] for i in range(0, len(text), 999)))
    assert "".join(parts) == text
    assert len(parts) > 1
    assert [i for part in parts for i in wm_score.encode(part)] == wm_score.encode(text)


class Spy:
    """The border's own pattern, and how many characters it was given to look through."""

    def __init__(self) -> None:
        self.work = 0

    def search(self, text: str, start: int):
        found = counting.CUT.search(text, start)
        self.work += (found.end() if found else len(text)) - start
        return found


@pytest.mark.parametrize("begin", ["", "a word " * 40_000], ids=["all of it", "the rest of it"])
def test_work_on_a_file_without_a_border_grows_as_the_file(monkeypatch, begin):
    work: list[int] = []
    for blocks in (40, 160):
        spy = Spy()
        monkeypatch.setattr(reading, "CUT", spy)
        texts = [begin, *["a" * 65_536] * blocks]
        assert "".join(reading.parts(texts)) == "".join(texts)
        work.append(spy.work)
    assert work[1] < 8 * work[0]  # 4 for the size, 2 for the doubling; squared it is 16


def test_interrupt_is_130(run, monkeypatch):
    def interrupted(_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "score", interrupted)
    assert run()[0] == 130


def test_every_option_is_in_the_readme():
    from pathlib import Path

    readme = Path(__file__).parent.parent.joinpath("README.md").read_text(encoding="utf-8")
    for parser in (cli.score_parser(), cli.calibrate_parser()):
        for action in parser._actions:
            for option in action.option_strings:
                assert option.startswith("-h") or option == "--help" or f"`{option}" in readme, (
                    option
                )
