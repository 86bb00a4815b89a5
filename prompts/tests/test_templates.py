"""Every template renders, says its codebook and keeps both orders of a text on one prefix."""

import subprocess
import sys
import zipfile
from pathlib import Path

import jinja2
import jinja2.meta
import pytest

import wm_prompts

PARTS = {"watermark": {"red", "blue", "neutral"}, "detect": {"system", "question"}}
TEXT = "A text with {{ braces }}, {% tags %}, <b>marks</b> & more.\n\nSecond paragraph."
FILLED = {"text": TEXT, "first": "red", "second": "blue"}


def test_ids_are_task_part_variant():
    found: dict[str, set[str]] = {}
    for id in wm_prompts.ids():
        task, part, _ = id.split("/")
        found.setdefault(task, set()).add(part)
    assert found == {**PARTS, "generate": {"system"}}  # not trained on: no variants of it


@pytest.mark.parametrize("task", PARTS)
def test_every_part_has_every_variant(task: str):
    for part in PARTS[task]:
        own = [id.split("/")[2] for id in wm_prompts.ids() if id.startswith(f"{task}/{part}/")]
        assert own == wm_prompts.variants(task)


@pytest.mark.parametrize("task", PARTS)
def test_train_and_held_out_variants_are_apart(task: str):
    train = wm_prompts.variants(task, heldout=False)
    held = wm_prompts.variants(task, heldout=True)
    assert len(train) >= 10
    assert len(held) == 2
    assert sorted(train + held) == wm_prompts.variants(task)
    assert all(name.startswith("heldout") for name in held)
    assert not any(name.startswith("heldout") for name in train)


@pytest.mark.parametrize("id", wm_prompts.ids())
def test_every_template_renders(id: str):
    text = wm_prompts.render(id, **FILLED)
    assert text == text.strip()
    assert "\r" not in text


@pytest.mark.parametrize("id", wm_prompts.ids())
def test_a_missing_variable_is_an_error(id: str):
    needed = jinja2.meta.find_undeclared_variables(
        jinja2.Environment().parse(wm_prompts.source(id))
    )
    assert needed == (set(FILLED) if "/question/" in id else set())
    for name in needed:
        rest = {key: value for key, value in FILLED.items() if key != name}
        with pytest.raises(wm_prompts.PromptError, match=name):
            wm_prompts.render(id, **rest)


@pytest.mark.parametrize("name", wm_prompts.variants("watermark"))
def test_watermark_wordings_differ_in_the_codebook_alone(name: str):
    red, blue, neutral = (
        wm_prompts.render(f"watermark/{part}/{name}") for part in ("red", "blue", "neutral")
    )
    assert red.count("red") == 1
    assert red.replace("red", "blue") == blue
    assert neutral in (red.replace("the red", "no"), red.replace("red", "none"))
    assert "token codebook" in red.lower()


@pytest.mark.parametrize("name", wm_prompts.variants("detect"))
def test_both_orders_differ_only_after_the_text(name: str):
    id = f"detect/question/{name}"
    one = wm_prompts.render(id, text=TEXT, first="red", second="blue")
    two = wm_prompts.render(id, text=TEXT, first="blue", second="red")
    assert one != two
    assert TEXT in one  # unchanged: neither escaped nor read as a template
    assert one.split(TEXT)[0] == two.split(TEXT)[0]
    assert one.split(TEXT)[1].index("red") == two.split(TEXT)[1].index("blue")


@pytest.mark.parametrize("part", ["watermark/red", "detect/system", "detect/question"])
def test_wordings_are_distinct(part: str):
    texts = [wm_prompts.source(id) for id in wm_prompts.ids() if id.startswith(f"{part}/")]
    assert len(set(texts)) == len(texts)


def test_unknown_id_names_near_ones():
    with pytest.raises(wm_prompts.PromptError, match="watermark/red/plain"):
        wm_prompts.render("watermark/red/plane")


def test_unknown_task_names_the_known_ones():
    with pytest.raises(wm_prompts.PromptError, match="detect, generate, watermark"):
        wm_prompts.variants("nonsense")


def test_sha256_is_of_the_source():
    hashes = {id: wm_prompts.sha256(id) for id in wm_prompts.ids()}
    assert len(set(hashes.values())) == len(hashes)
    assert all(len(value) == 64 for value in hashes.values())


def test_works_from_a_zip(tmp_path: Path):
    package = Path(wm_prompts.__file__).parent
    archive = tmp_path / "wm_prompts.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for path in sorted(package.rglob("*")):
            if path.suffix in {".py", ".jinja"}:
                out.write(path, path.relative_to(package.parent))
    code = (
        f"import sys; sys.path.insert(0, {str(archive)!r}); import wm_prompts; "
        "assert '.zip' in wm_prompts.__file__; print(len(wm_prompts.ids()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(wm_prompts.ids())


def test_public_names_are_pinned():
    assert wm_prompts.__all__ == ["PromptError", "ids", "render", "sha256", "source", "variants"]
