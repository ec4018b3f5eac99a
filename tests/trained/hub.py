"""A hub on this machine: the few requests by which huggingface_hub uploads a folder, and fetches one by its commit."""

import base64
import hashlib
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

from huggingface_hub import constants

TOKEN = "hf_of_me"


class Hub:
    """Repositories by name: whether private, and commits by their sha, the last one newest.

    Attributes:
        repositories: ``{name: (private, {sha: {file: content}})}``.
        branches: commits by names other than main.
        asked: requests so far, as ``METHOD /path``.
        messages: of commits that were uploaded.
        says: status that every request is answered with, where it is not 0.
    """

    def __init__(self):
        self.repositories, self.branches, self.asked, self.messages, self.says = {}, {}, [], [], 0

    def put(self, name, files, private=False):
        """Commit files, and nothing else; returns the commit's sha."""
        sha = hashlib.sha1(json.dumps({file: content.hex() for file, content in files.items()}).encode()).hexdigest()
        self.repositories.setdefault(name, (private, {}))[1][sha] = dict(files)
        return sha


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        path = urlsplit(self.path).path
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.hub.asked.append(f"{self.command} {path}")
        given = self.headers.get("Authorization")
        if self.server.hub.says:
            return self.answer(self.server.hub.says)
        if given not in (None, f"Bearer {TOKEN}"):
            return self.answer(401, X_Error_Message="Invalid credentials in Authorization header")
        parts = path.strip("/").split("/")
        if self.command == "POST":
            return self.posted(parts[1:], body)
        if parts[0] == "api":
            return self.told("/".join(parts[2:4]), parts[5] if len(parts) > 4 else None)
        return self.file("/".join(parts[:2]), parts[3], parts[4])

    do_HEAD = do_POST = do_GET  # noqa: N815

    def commits(self, name):
        """Those of a repository that whoever asks may see."""
        private, commits = self.server.hub.repositories.get(name, (True, {}))
        return {} if private and self.headers.get("Authorization") is None else commits

    def told(self, name, revision):
        commits = self.commits(name)
        if name not in self.server.hub.repositories or not (commits or self.headers.get("Authorization")):
            return self.answer(404, X_Error_Code="RepoNotFound")
        sha = next(reversed(commits), None) if revision in (None, "main") else revision
        sha = self.server.hub.branches.get(sha, sha)
        if sha is not None and sha not in commits:
            return self.answer(404, X_Error_Code="RevisionNotFound")
        files = [{"rfilename": file, "size": len(content)} for file, content in commits.get(sha, {}).items()]
        private = self.server.hub.repositories[name][0]
        return self.answer(200, {"id": name, "sha": sha, "private": private, "siblings": files})

    def file(self, name, revision, file):
        content = self.commits(name).get(revision, {}).get(file)
        if content is None:
            return self.answer(404, X_Error_Code="EntryNotFound")
        return self.answer(200, content, ETag=f'"{hashlib.sha1(content).hexdigest()}"', X_Repo_Commit=revision)

    def posted(self, parts, body):
        if self.headers.get("Authorization") is None:
            return self.answer(401)
        if parts == ["validate-yaml"]:
            headed = json.loads(body)["content"].startswith("---\n")
            unheaded = [] if headed else [{"message": "empty or missing yaml metadata in repo card"}]
            return self.answer(200, {"errors": [], "warnings": unheaded})
        if parts == ["repos", "create"]:
            given = json.loads(body)
            if given["organization"] != "me":
                return self.answer(403, X_Error_Message="You don't have the rights")
            name = f"me/{given['name']}"
            self.server.hub.repositories[name] = (given["visibility"] == "private", {})
            return self.answer(200, {"url": f"{constants.ENDPOINT}/{name}"})
        name = "/".join(parts[1:3])
        if not name.startswith("me/"):
            return self.answer(403, X_Error_Message="You don't have the rights")
        if parts[3] == "preupload":
            files = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                     for file in json.loads(body)["files"]]  # fmt: skip
            return self.answer(200, {"files": files})
        files = dict(next(reversed(self.server.hub.repositories[name][1].values()), {}))
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "header":
                self.server.hub.messages.append(line["value"]["summary"])
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            if line["key"] == "deletedFile":
                del files[line["value"]["path"]]
        sha = self.server.hub.put(name, files)
        return self.answer(200, {"success": True, "commitOid": sha, "commitUrl": f"{constants.ENDPOINT}/{name}"})


@contextmanager
def local_hub(monkeypatch, folder):
    """A hub that huggingface_hub asks in this process, with a cache of its own; ended, it cannot be reached."""
    hub = Hub()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.hub = hub
        server.daemon_threads = True
        hub.address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        resolve = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", resolve)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield hub
        finally:
            server.shutdown()
