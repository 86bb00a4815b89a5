"""A hub on localhost for the real `huggingface_hub` client, with faults on demand. No network.

Speaks what publishing and loading need: whoami, create, info, tree, paths-info, preupload, LFS
(basic transfer), commit with `parentCommit`, refs, commits and resolve, for models and datasets;
tags as revisions.
Not Xet, not pull requests, not branches other than `main`. Repositories live in memory.

    with Hub() as hub:
        HfApi(endpoint=hub.endpoint, token=hub.token).create_repo("me/x")
        hub.faults.append(Fault("POST .*/commit/", "status", status=429, headers={"Retry-After": "3"}))
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

LFS_SUFFIXES = (".safetensors", ".png", ".parquet", ".bin", ".gz")
TOKEN = "a-token-of-the-test-hub"


@dataclass
class Fault:
    """What goes wrong the next `times` times that "METHOD path" matches `where`.

    `status`: an answer with that status. `cut`: the connection closes before the request is done.
    `lost`: the request is done and the connection closes before the answer. `rival`: someone else
    commits just before. `slow`: the answer waits `seconds`.
    """

    where: str
    kind: Literal["status", "cut", "lost", "rival", "slow"]
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1
    seconds: float = 0.05


@dataclass(frozen=True)
class Blob:
    content: bytes
    lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def git(self) -> str:
        """What git would call it: an LFS file is its pointer there."""
        stored = self.content
        if self.lfs:
            pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\n"
            stored = (pointer + f"size {len(self.content)}\n").encode()
        return hashlib.sha1(b"blob %d\0" % len(stored) + stored).hexdigest()


@dataclass
class Commit:
    oid: str
    title: str
    files: dict[str, Blob]


@dataclass
class Repo:
    private: bool
    commits: list[Commit] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)  # name -> commit

    def commit(self, title: str, files: dict[str, Blob]) -> Commit:
        parent = self.commits[-1].oid if self.commits else ""
        names = "".join(f"{path}\0{blob.sha256}\0" for path, blob in sorted(files.items()))
        oid = hashlib.sha1(f"{parent}\0{title}\0{names}".encode()).hexdigest()
        self.commits.append(Commit(oid, title, files))
        return self.commits[-1]

    def at(self, revision: str) -> Commit | None:
        if revision == "main":
            return self.commits[-1]
        oid = self.tags.get(revision, revision)
        return next((c for c in self.commits if c.oid == oid), None)

    def give(self, files: dict[str, bytes]) -> Commit:
        """Commit these files beside what is there, as somebody else would."""
        blobs = {path: Blob(content, is_lfs(path)) for path, content in files.items()}
        return self.commit("Give files", self.commits[-1].files | blobs)


class Hub:
    """The server and its repositories, by "models/me/x" or "datasets/me/x"."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.lfs: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.token = TOKEN
        self.lock = threading.RLock()
        handler = type("BoundHandler", (Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Hub:
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def create(self, repo_id: str, private: bool = True, kind: str = "models") -> Repo:
        repo = self.repos[f"{kind}/{repo_id}"] = Repo(private)
        repo.commit("initial commit", {".gitattributes": Blob(b"*.bin filter=lfs\n", lfs=False)})
        return repo

    def files(self, repo_id: str, kind: str = "models") -> dict[str, bytes]:
        """The newest content of a repository, as the world sees it."""
        return {p: b.content for p, b in self.repos[f"{kind}/{repo_id}"].commits[-1].files.items()}

    def take_fault(self, request: str) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and re.match(fault.where, request):
                fault.times -= 1
                return fault
        return None


class Answer(Exception):  # noqa: N818 - no error
    """A response, raised from wherever it becomes clear."""

    def __init__(self, status: int, body: Any = None, headers: dict[str, str] | None = None):
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers or {}


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the body of an answer waits 40 ms for its headers' ACK

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.serve()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 - the names that http.server calls

    def serve(self) -> None:
        self.route = unquote(urlsplit(self.path).path)
        request = f"{self.command} {self.route}"
        body = self.read_body()
        with self.hub.lock:
            self.hub.requests.append(request)
            fault = self.hub.take_fault(request)
        if fault and fault.kind == "cut":
            return self.cut()
        if fault and fault.kind == "slow":
            time.sleep(fault.seconds)
        try:
            if fault and fault.kind == "status":
                raise Answer(fault.status, {"error": "fault of the test"}, fault.headers)
            with self.hub.lock:
                self.answer(body, rival=bool(fault and fault.kind == "rival"))
        except Answer as answer:
            if fault and fault.kind == "lost":
                return self.cut()
            self.send(answer)
        return None

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def send(self, answer: Answer) -> None:
        raw = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(raw))}
        for name, value in {**headers, **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def answer(self, body: bytes, rival: bool) -> None:
        """Do what is asked, and raise the `Answer`."""
        authorized = self.headers.get("Authorization") == f"Bearer {self.hub.token}"
        if match := re.fullmatch(r"/lfs/([0-9a-f]{64})", self.route):  # signed: needs no token
            if hashlib.sha256(body).hexdigest() != match[1]:
                raise Answer(400, {"error": "content does not match its hash"})
            self.hub.lfs[match[1]] = body
            raise Answer(200, {})
        if not authorized:
            raise Answer(401, {"error": "Invalid credentials in Authorization header"})
        if self.route == "/api/whoami-v2":
            raise Answer(200, {"type": "user", "name": "me", "orgs": []})
        if self.route == "/api/validate-yaml":
            raise Answer(200, {"errors": [], "warnings": []})
        if self.route == "/api/repos/create":
            self.create(json.loads(body))
        if self.route == "/lfs/verify":
            raise Answer(200, {})
        if match := re.fullmatch(
            r"/(datasets/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch", self.route
        ):
            self.lfs_batch(json.loads(body))
        pattern = r"/api/(models|datasets)/([^/]+/[^/]+?)(?:/(revision|tree|paths-info|preupload|commit|commits|refs)(?:/([^/]+))?(?:/(.*))?)?"
        if match := re.fullmatch(pattern, self.route):
            kind, repo_id, action, revision, path = match.groups()
            repo = self.repo(kind, repo_id)
            if action == "commit":
                self.commit(repo, repo_id, body, rival)
            commit = self.revision(repo, revision or "main")
            self.read(repo, repo_id, commit, action or "revision", path or "", body)
        if match := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.route):
            repo = self.repo((match[1] or "models/").rstrip("/"), match[2])
            self.resolve(self.revision(repo, match[3]), match[4])
        raise Answer(404, {"error": f"the test hub does not know {self.route}"})

    def repo(self, kind: str, repo_id: str) -> Repo:
        repo = self.hub.repos.get(f"{kind}/{repo_id}")
        if repo is None:
            message = "Repository not found"
            raise Answer(
                404,
                {"error": message},
                {"X-Error-Code": "RepoNotFound", "X-Error-Message": message},
            )
        return repo

    def revision(self, repo: Repo, revision: str) -> Commit:
        commit = repo.at(revision)
        if commit is None:
            raise Answer(404, {"error": "no such revision"}, {"X-Error-Code": "RevisionNotFound"})
        return commit

    def create(self, asked: dict[str, Any]) -> None:
        repo_id = f"{asked.get('organization') or 'me'}/{asked['name']}"
        kind = f"{asked.get('type') or 'model'}s"
        prefix = "" if kind == "models" else f"{kind}/"
        url = {"url": f"{self.hub.endpoint}/{prefix}{repo_id}", "id": repo_id}
        if f"{kind}/{repo_id}" in self.hub.repos:
            raise Answer(409, {"error": "You already created this repo", **url})
        private = asked.get("private") or asked.get("visibility") == "private"
        self.hub.create(repo_id, bool(private), kind)
        raise Answer(200, url)

    def read(
        self, repo: Repo, repo_id: str, commit: Commit, action: str, path: str, body: bytes
    ) -> None:
        files = [entry(name, blob) for name, blob in sorted(commit.files.items())]
        if action == "revision":
            info = {"id": repo_id, "modelId": repo_id, "sha": commit.oid, "private": repo.private}
            siblings = [{"rfilename": name} for name in sorted(commit.files)]
            raise Answer(
                200, {**info, "tags": [], "downloads": 0, "likes": 0, "siblings": siblings}
            )
        if action == "tree":
            inside = [f for f in files if not path or f["path"].startswith(f"{path}/")]
            if path and not inside:
                raise Answer(404, {"error": "no such folder"}, {"X-Error-Code": "EntryNotFound"})
            raise Answer(
                200, inside if "recursive=true" in self.path.lower() else one_level(inside, path)
            )
        if action == "paths-info":
            raw = body.decode()
            asked = json.loads(raw)["paths"] if raw.startswith("{") else form_values(raw, "paths")
            asked = [asked] if isinstance(asked, str) else asked
            raise Answer(200, [f for f in files if f["path"] in asked])
        if action == "preupload":
            modes = []
            for file in json.loads(body)["files"]:
                known = commit.files.get(file["path"])
                lfs = is_lfs(file["path"])
                oid = (known.sha256 if known.lfs else known.git) if known else None
                mode = "lfs" if lfs else "regular"
                modes.append(
                    {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid}
                )
            raise Answer(200, {"files": modes})
        if action == "commits":
            day = "2026-01-01T00:00:00.000Z"
            log = [
                {"id": c.oid, "title": c.title, "message": "", "authors": [], "date": day}
                for c in repo.commits
            ]
            raise Answer(200, log[::-1])
        if action == "refs":
            main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.commits[-1].oid}
            raise Answer(200, {"branches": [main], "tags": [], "converts": []})

    def lfs_batch(self, asked: dict[str, Any]) -> None:
        objects = []
        for item in asked["objects"]:
            answer = {"oid": item["oid"], "size": item["size"]}
            if item["oid"] not in self.hub.lfs:
                verify = {"href": f"{self.hub.endpoint}/lfs/verify"}
                upload = {"href": f"{self.hub.endpoint}/lfs/{item['oid']}"}
                answer["actions"] = {"upload": upload, "verify": verify}
            objects.append(answer)
        raise Answer(200, {"transfer": "basic", "objects": objects})

    def commit(self, repo: Repo, repo_id: str, body: bytes, rival: bool) -> None:
        """All of it or nothing: the files change in one assignment, after every line was read."""
        if rival:
            note = {"NOTES.md": Blob(b"someone was here\n", lfs=False)}
            repo.commit("Add a note", repo.commits[-1].files | note)
        lines = [json.loads(line) for line in body.splitlines()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        if header.get("parentCommit") not in (None, repo.commits[-1].oid):
            message = "A commit has happened since. Please refresh and try again."
            raise Answer(412, {"error": message}, {"X-Error-Message": message})
        files = dict(repo.commits[-1].files)
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = Blob(base64.b64decode(value["content"]), lfs=False)
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.hub.lfs:
                    raise Answer(400, {"error": f"LFS object {value['oid']} was never uploaded"})
                files[value["path"]] = Blob(self.hub.lfs[value["oid"]], lfs=True)
            elif line["key"] == "deletedFile" and files.pop(value["path"], None) is None:
                raise Answer(404, {"error": "A file with this name doesn't exist"})
        commit = repo.commit(header["summary"], files)
        url = f"{self.hub.endpoint}/{repo_id}/commit/{commit.oid}"
        raise Answer(200, {"success": True, "commitOid": commit.oid, "commitUrl": url})

    def resolve(self, commit: Commit, path: str) -> None:
        blob = commit.files.get(path)
        headers = {"X-Repo-Commit": commit.oid}
        if blob is None:
            raise Answer(
                404, {"error": "Entry not found"}, {**headers, "X-Error-Code": "EntryNotFound"}
            )
        etag = blob.sha256 if blob.lfs else blob.git
        headers |= {"ETag": f'"{etag}"', "Content-Type": "application/octet-stream"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not wanted:
            raise Answer(200, blob.content, headers)
        size, start = len(blob.content), int(wanted[1])
        end = min(int(wanted[2] or size), size - 1)  # the last byte, and not the one after it
        headers |= {"Content-Range": f"bytes {start}-{end}/{size}"}
        raise Answer(206, blob.content[start : end + 1], headers)


def entry(path: str, blob: Blob) -> dict[str, Any]:
    known: dict[str, Any] = {
        "type": "file",
        "path": path,
        "size": len(blob.content),
        "oid": blob.git,
    }
    if blob.lfs:
        known["lfs"] = {"oid": blob.sha256, "size": len(blob.content), "pointerSize": 134}
    return known


def one_level(files: list[dict[str, Any]], path: str) -> list[dict[str, Any]]:
    below = len(path) + 1 if path else 0
    here = [f for f in files if "/" not in f["path"][below:]]
    folders = {f["path"][: f["path"].index("/", below)] for f in files if "/" in f["path"][below:]}
    return [
        {"type": "directory", "path": p, "oid": "0" * 40, "size": 0} for p in sorted(folders)
    ] + here


def is_lfs(path: str) -> bool:
    return path.endswith(LFS_SUFFIXES) or path.rpartition("/")[2] == "tokenizer.json"


def form_values(raw: str, name: str) -> list[str]:
    from urllib.parse import parse_qs

    return parse_qs(raw).get(name, [])
