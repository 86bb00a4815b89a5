"""The demo folder, built once; small local sources; a server that speaks the hub's protocol."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

import wm_data

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> wm_data.Dataset:
    out = tmp_path_factory.mktemp("built") / "demo"
    wm_data.build("demo", out, progress=False)
    return wm_data.read(out)


@pytest.fixture(scope="session")
def demo_rows(demo: wm_data.Dataset) -> list[wm_data.Row]:
    return [row for split in demo.manifest.splits for row in demo.rows(split)]


@pytest.fixture(scope="session")
def records(demo_rows: list[wm_data.Row]) -> list[dict[str, str]]:
    """Sound records as a source file holds them, 300 with as many prompts."""
    found: dict[str, dict[str, str]] = {}
    for row in demo_rows:
        found[row.group] = {
            "prompt": row.prompt,
            "red_answer": row.red_answer,
            "blue_answer": row.blue_answer,
        }
    return sorted(found.values(), key=lambda record: record["blue_answer"])[:300]


@pytest.fixture
def write_recipe(tmp_path: Path) -> Callable[..., str]:
    """Write a recipe with these sources and return its path."""

    def write(*sources: dict[str, object], **rest: object) -> str:
        recipe = {"name": "small", "sources": list(sources), "shares": {"test": 0.2}, **rest}
        path = tmp_path / "recipe.yaml"
        path.write_text(json.dumps(recipe))  # JSON is YAML
        return str(path)

    return write


@pytest.fixture
def write_lines(tmp_path: Path) -> Callable[..., str]:
    """Write records as JSON lines and return the file's path."""

    def write(records: list[dict[str, object]], name: str = "seeds.jsonl") -> str:
        path = tmp_path / name
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return str(path)

    return write


@pytest.fixture
def small(write_recipe: Callable[..., str], write_lines: Callable[..., str], records) -> str:
    """A recipe over the 300 records: builds in a fraction of the demo's time."""
    return write_recipe({"id": "a", "file": write_lines(records)})


@pytest.fixture
def files(demo: wm_data.Dataset) -> dict[str, bytes]:
    """Content of every file of the demo folder."""
    return {
        str(path.relative_to(demo.path)): path.read_bytes()
        for path in demo.path.rglob("*")
        if path.is_file()
    }


class Hub:
    """One dataset, `someone/seeds`, as the hub serves it. Knows what the real clients ask for."""

    def __init__(self, server: HTTPServer, home: Path) -> None:
        self.files: dict[str, bytes] = {}
        self.server, self.home = server, home
        self.commits: list[list[dict[str, object]]] = []  # lines of each commit as it was sent
        self.created: list[dict[str, object]] = []
        server.expect_request(re.compile(".*")).respond_with_handler(self.answer)

    def answer(self, request: Request) -> Response:
        path = request.path
        if request.method == "POST":
            return self.accept(path, request)
        if path in (
            f"/api/datasets/someone/seeds/revision/{name}" for name in ("main", "v1", COMMIT)
        ):
            return self.json({"id": "someone/seeds", "sha": COMMIT, "tags": [], "siblings": [
                {"rfilename": name} for name in self.files
            ]})  # fmt: skip
        if path.startswith("/api/datasets/someone/seeds/revision/"):
            return self.error("RevisionNotFound")
        if path.startswith("/api/datasets/someone/seeds/tree/"):
            folder = path.partition(COMMIT)[2].strip("/")
            return self.json([
                {"type": "file", "path": name, "oid": "2" * 40, "size": len(data)}
                for name, data in self.files.items()
                if name.rpartition("/")[0] == folder
            ] + [{"type": "directory", "path": "data", "oid": "1" * 40}] * (folder == ""))  # fmt: skip
        name = path.partition(f"/resolve/{COMMIT}/")[2]
        if name in self.files:
            data = self.files[name]
            return Response(data, headers={"ETag": f'"{len(data)}"', "X-Repo-Commit": COMMIT})
        return self.error("EntryNotFound" if "someone/seeds" in path else "RepoNotFound")

    def accept(self, path: str, request: Request) -> Response:
        if path == "/api/repos/create":
            self.created.append(json.loads(request.data))
            return self.json({"url": self.server.url_for("/datasets/someone/seeds")})
        if path == "/api/validate-yaml":
            return self.json({"errors": [], "warnings": []})
        if path == "/api/datasets/someone/seeds/preupload/main":
            asked = json.loads(request.data)["files"]
            modes = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in asked
            ]
            return self.json({"files": modes})
        if path == "/api/datasets/someone/seeds/commit/main":
            self.commits.append([json.loads(line) for line in request.data.splitlines()])
            url = self.server.url_for(f"/datasets/someone/seeds/commit/{COMMIT}")
            return self.json({"success": True, "commitUrl": url, "commitOid": COMMIT})
        return self.error("RepoNotFound")

    @staticmethod
    def json(content: object) -> Response:
        return Response(json.dumps(content), content_type="application/json")

    @staticmethod
    def error(code: str) -> Response:
        return Response('{"error": ""}', 404, headers={"X-Error-Code": code})

    def run(self, *arguments: str, endpoint: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run wm-data with the real clients pointed at this server."""
        environment = {
            **os.environ,
            "HF_ENDPOINT": endpoint or self.server.url_for("").rstrip("/"),
            "HF_HOME": str(self.home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0",
            "HF_TOKEN": "hf_not_a_real_token",
        }
        return subprocess.run(
            [sys.executable, "-m", "wm_data", *arguments],
            capture_output=True, text=True, check=False, env=environment,
        )  # fmt: skip


@pytest.fixture
def hub(httpserver: HTTPServer, tmp_path: Path) -> Hub:
    return Hub(httpserver, tmp_path / "hub-home")
