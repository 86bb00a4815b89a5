"""The documents are in step with the program: commands and options exist, links resolve."""

import io
import re
import shlex
import subprocess
import sys
import tomllib
from contextlib import redirect_stdout
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import yaml

import wm_train.presets
from wm_train.config import TrainConfig

ROOT = Path(__file__).parents[1]
PROJECTS = sorted(ROOT.glob("packages/*/pyproject.toml"))
PATTERNS = ("*.md", "docs/**/*.md", "packages/*/*.md", "packages/*/docs/*.md", "prompts/*.md")
PAGES = sorted(
    path for pattern in PATTERNS for path in ROOT.glob(pattern) if path.name != "CHANGELOG.md"
)
SUBCOMMANDS = (
    "build",
    "show",
    "audit",
    "generate",
    "plan",
    "push",
    "compare",
    "report",
    "presets",
    "calibrate",
    "replay",
    "status",
    "runs",
)


def commands(page: Path) -> list[str]:
    """Lines of console blocks that start one of our commands, without `uv run`, launcher and pipes."""
    fenced = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
    found = fenced.findall(page.read_text("utf-8"))
    blocks = [block for language, block in found if language in ("", "console", "bash", "sh")]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    launched = r"(?:accelerate launch --num_processes \d+ -m )?"
    ours = re.compile(rf"(?:^|\| )(?:uv run )?{launched}wm[-_]([a-z]+ .*)")
    return [f"wm-{m[1]}".partition("  #")[0] for m in map(ours.search, lines) if m]


@cache
def help_of(name: str, *sub: str) -> str:
    """What `--help` prints: from the installed script, and for its subcommands without a process."""
    if not sub:
        script = Path(sys.executable).parent / name
        env = {"COLUMNS": "300", "PATH": "/usr/bin:/bin"}
        command = [str(script), "--help"]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout
    (entry,) = entry_points(group="console_scripts", name=name)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.setenv("COLUMNS", "300")
        patch.setattr("sys.argv", [name, *sub, "--help"])
        try:
            code = entry.load()()
        except SystemExit as end:
            code = end.code
    assert not code
    return printed.getvalue()


CASES = [(page, line) for page in PAGES for line in commands(page)]


def test_there_are_commands_to_check() -> None:
    assert len([line for page, line in CASES if page == ROOT / "README.md"]) >= 6


@pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens")  # as a script
@pytest.mark.parametrize(("page", "line"), CASES, ids=[line for _, line in CASES])
def test_a_documented_command_takes_its_options(page: Path, line: str) -> None:
    words = shlex.split(line)
    sub = [word for word in words[1:2] if word in SUBCOMMANDS]
    text = help_of(words[0], *sub)
    for option in [word.partition("=")[0] for word in words if word.startswith("--")]:
        if not option.startswith("--source."):  # its rest is the name of a source in a recipe
            # Whole: `--n` is no part of `--no-extras`, nor `--data` of `--data.path`.
            assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w.-])", text), (
                f"{page.name}: {line} has {option}"
            )


@pytest.mark.parametrize("page", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])
def test_links_resolve(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def anchors(page: Path) -> set[str]:
    """Names of a page's headings as GitHub and the site make them."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])
def test_links_into_a_page_resolve(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for target, anchor in re.findall(r"\]\(([^)#\s]*\.md|)#([^)\s]+)\)", text):
        if not target.startswith("http"):
            found = anchors(page.parent / target if target else page)
            assert anchor in found, f"{page.name}: {target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])
def test_nothing_is_left_to_fill_in(page: Path) -> None:
    assert not re.findall(r"__[A-Z]+__", page.read_text("utf-8"))


def test_the_readme_shows_the_preset_that_is_shipped() -> None:
    steps = wm_train.presets.load("demo")["optim"]["steps"]
    text = (ROOT / "README.md").read_text("utf-8")
    assert f"step {steps}" in text
    assert f"eval/step-{steps:06d}" in text


def test_every_command_is_in_the_reference() -> None:
    """Its subcommands come with it: the page asks the command for them."""
    projects = [tomllib.loads(path.read_text("utf-8"))["project"] for path in PROJECTS]
    scripts = {name for project in projects for name in project.get("scripts", {})}
    found = re.findall(r"^```{help} (.+)$", (ROOT / "docs/cli.md").read_text("utf-8"), re.M)
    assert len(scripts) >= 5
    assert sorted(found) == sorted(scripts)


def presets_shown() -> list[tuple[Path, str]]:
    blocks = [
        (page, block)
        for page in PAGES
        for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    ]
    return [(page, block) for page, block in blocks if "optim:" in block]


def test_a_preset_that_is_shown_is_a_preset() -> None:
    shown = presets_shown()
    assert {page.name for page, _ in shown} >= {"README.md", "train.md"}
    for _, block in shown:
        TrainConfig.model_validate(yaml.safe_load(block))


def test_every_figure_names_the_script_that_drew_it() -> None:
    for page in (ROOT / "docs").glob("*.md"):
        for caption in re.findall(
            r"^!\[.*?\)\n\n(.*?)(?:\n\n|\Z)", page.read_text("utf-8"), re.M | re.S
        ):
            scripts = re.findall(r"`([\w./-]+\.py)`", caption)
            assert scripts, f"{page.name}: a figure without its script"
            assert all((ROOT / script).is_file() for script in scripts)


@pytest.mark.slow
def test_the_site_builds_whole_and_needs_no_network(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="uv sync --group docs")
    command = ["sphinx-build", "-W", "--keep-going", "-q", str(ROOT / "docs"), str(tmp_path)]
    subprocess.run([sys.executable, "-m", *["sphinx", *command[1:]]], check=True)
    pages = sorted(tmp_path.glob("**/*.html"))
    assert {"index.html", "concepts.html", "cli.html"} <= {page.name for page in pages}
    for page in pages:
        text = page.read_text("utf-8")
        loaded = re.findall(r"""<(?:script|link|img)[^>]*?(?:src|href)="([^"]+)""", text)
        assert [url for url in loaded if url.startswith(("http", "//"))] == [], page
    commands = (tmp_path / "cli.html").read_text("utf-8")
    for found in ("--optim.learning_rate", "wm-train replay", "wm-data push", "wm-score calibrate"):
        assert found in commands
