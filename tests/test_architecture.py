"""Packages use each other, and other people's, only as drawn; prompts live in templates alone."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

import wm_prompts

ROOT = Path(__file__).parents[1]
HOMES = {p.parent.name: p.parent for p in ROOT.glob("packages/*/pyproject.toml")}
HOMES["wm-prompts"] = ROOT / "prompts"

ARROWS: dict[str, set[str]] = {
    "wm-score": set(),
    "wm-prompts": set(),
    "wm-manifest": set(),
    "wm-data": {"wm-score", "wm-prompts", "wm-manifest"},
    "wm-eval": {"wm-score", "wm-prompts", "wm-manifest"},
    "wm-publish": {"wm-manifest"},
    # To wm-score: docs/adr/0002-wm-train-uses-wm-score.md
    # To wm-prompts: docs/adr/0028-held-to-the-base-where-nobody-asks.md
    "wm-train": {"wm-score", "wm-prompts", "wm-data", "wm-eval", "wm-publish", "wm-manifest"},
}
# vLLM pins other versions of torch and transformers than the lock has: whoever wants it installs it.
UNDECLARED = {"wm-eval": {"vllm"}}
ALONE = {"wm-score": set[str](), "wm-prompts": {"jinja2"}, "wm-manifest": {"pydantic"}}


def normal(name: str) -> str:
    """A distribution's name as PEP 503 compares it, without extras and version."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;@]", name, maxsplit=1)[0]).lower()


def declared(package: str) -> dict[str, set[str]]:
    """Required distributions under "", each extra's under its name."""
    project = tomllib.loads((HOMES[package] / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project.get("optional-dependencies", {})
    return {
        "": {normal(d) for d in project.get("dependencies", [])},
        **{extra: {normal(d) for d in found} for extra, found in extras.items()},
    }


def sources(package: str) -> list[Path]:
    home = HOMES[package]
    folder = home / ("wm_prompts" if package == "wm-prompts" else "src")
    return sorted(folder.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Top-level names of everything a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def test_the_drawing_has_every_package() -> None:
    assert set(ARROWS) == set(HOMES)


@pytest.mark.parametrize("package", sorted(ARROWS))
def test_declared_arrows_are_drawn(package: str) -> None:
    every = set().union(*declared(package).values())
    # An extra may build on another extra of its own package.
    assert {name for name in every if name.startswith("wm-")} <= ARROWS[package] | {package}


@pytest.mark.parametrize("package", sorted(ARROWS))
def test_imported_arrows_are_drawn(package: str) -> None:
    for path in sources(package):
        used = {normal(name) for name in imports(path) if name.startswith("wm_")} - {package}
        assert used <= ARROWS[package], f"{path} imports {used - ARROWS[package]}"


@pytest.mark.parametrize("package", sorted(ARROWS))
def test_imports_are_declared(package: str) -> None:
    """A package that imports what another one brought along breaks on its own."""
    owners = metadata.packages_distributions()
    every = set().union(*declared(package).values(), UNDECLARED.get(package, ())) | {package}
    for path in sources(package):
        for name in set(imports(path)) - set(sys.stdlib_module_names):
            dists = {normal(dist) for dist in owners.get(name, [name])}
            assert dists & every, f"{path} imports {name}: {package} declares none of {dists}"


@pytest.mark.parametrize(("package", "others"), ALONE.items())
def test_small_packages_bring_nothing_else(package: str, others: set[str]) -> None:
    assert declared(package)[""] == others


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("wm_score", ["torch", "numpy", "pydantic", "jinja2"]),
        ("wm_manifest", ["torch", "numpy", "wm_manifest.hub", "huggingface_hub"]),
        ("wm_manifest.hub", ["torch", "huggingface_hub"]),
        ("wm_data", ["torch", "transformers"]),
        ("wm_eval", ["torch", "transformers"]),
        ("wm_eval.stats", ["torch", "transformers"]),
        ("wm_publish", ["torch", "transformers"]),
        ("wm_train", ["torch", "transformers", "wandb"]),
        ("wm_train.cli", ["torch", "transformers", "wandb"]),
    ],
)
def test_importing_is_cheap(module: str, unwanted: list[str]) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(unwanted) & set(done.stdout.split())


# ------------------------------------------------------------------------------------- prompt text


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """Every string of a Python file but docstrings, with its line; an f-string's fixed parts."""
    tree = ast.parse(path.read_text("utf-8"))
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.lineno, node.value


def words(text: str) -> str:
    return " ".join(re.findall(r"[a-z]+", text.lower()))


def fragments() -> set[str]:
    """Four words in a row of any template: enough that no error message has them by chance."""
    found: set[str] = set()
    for template in wm_prompts.ids():
        for part in re.split(r"\{[{%#].*?[}%#]\}|[.?!:\n]", wm_prompts.source(template)):
            line = words(part).split()
            found |= {" ".join(line[i : i + 4]) for i in range(len(line) - 3)}
    return found


def python_files() -> list[Path]:
    return [path for package in HOMES for path in sources(package)]


def test_no_template_text_stands_in_python() -> None:
    known = fragments()
    assert len(known) > 50, "the templates were not found"
    for path in python_files():
        for line, text in strings(path):
            here = words(text).split()
            grams = {" ".join(here[i : i + 4]) for i in range(len(here) - 3)}
            assert not grams & known, f"{path}:{line} has prompt text: {grams & known}"


def message_texts(path: Path) -> Iterator[tuple[int, str]]:
    """Fixed text that a file gives a chat message: {"role": ..., "content": "text"}."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Dict):
            continue
        keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
        if "role" in keys and "content" in keys:
            content = node.values[keys.index("content")]
            fixed = [n.value for n in ast.walk(content) if isinstance(n, ast.Constant)]
            yield node.lineno, " ".join(text for text in fixed if isinstance(text, str))


def test_no_message_is_worded_in_python() -> None:
    for path in python_files():
        for line, text in message_texts(path):
            assert len(words(text).split()) < 2, f"{path}:{line} words a message: {text!r}"


def test_the_scan_finds_what_it_looks_for(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    template = words(wm_prompts.source("watermark/red/plain"))
    planted.write_text(f'"""Doc."""\nm = {{"role": "system", "content": "{template}"}}\n')
    assert [text for _, text in message_texts(planted)] == [template]
    assert template in [text for _, text in strings(planted)]
    assert "Doc." not in [text for _, text in strings(planted)]


def test_the_type_checker_is_pointed_at_folders_that_are_there() -> None:
    """A pattern that it does not know finds nothing, and it reports that there are no errors."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["pyright"]
    checked = [ROOT / path for path in settings["include"]]
    assert all(folder.is_dir() for folder in checked)
    for source in ROOT.glob("packages/*/src"):
        assert any(source.is_relative_to(folder) for folder in checked), source
