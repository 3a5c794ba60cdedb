"""A server on this machine that answers the Hub's client as the Hub does, as far as presets need it."""

import base64
import contextlib
import hashlib
import json
import re
import socket
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_of_the_tests"
_ROUTES = []


def _route(method, pattern):
    def register(function):
        _ROUTES.append((method, re.compile(pattern), function))
        return function

    return register


def digest(content):
    return hashlib.sha256(content).hexdigest()


def git_digest(content):
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content)).hexdigest()


class Refusal(Exception):
    """An answer that is no success."""

    def __init__(self, status, code=None):
        super().__init__(status)
        self.status, self.code = status, code


class Repository:
    """Commits, which are files by name, and the branches that name them."""

    def __init__(self, private=False):
        self.private, self.commits, self.branches, self.messages = private, {}, {}, []
        self.commit({".gitattributes": b""}, "initial commit")

    def commit(self, files, message, branch="main"):
        self.messages.append(message)
        name = hashlib.sha1(f"{len(self.commits)} {message} {branch}".encode()).hexdigest()
        self.commits[name] = {**self.commits.get(self.branches.get(branch), {}), **files}
        self.branches[branch] = name
        return name

    def resolve(self, revision):
        commit = self.branches.get(revision, revision)
        if commit not in self.commits:
            raise Refusal(404, "RevisionNotFound")
        return commit


class LoopbackHub(ThreadingHTTPServer):
    """The Hub. `repositories` are by "user/repo"; `requests` are (method, path) in the order in which they came, and
    `resumed` are (name, first byte) of files whose rest was asked for. Those whose names end like `large` are uploaded
    apart from commits.

    `interfere(method, path)` may return a status to answer with in the place of what was asked for, or an integer below
    100: after that many bytes of the file, the connection breaks. `on_the_way(name, content)` returns what becomes of a
    file that is downloaded.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories, self.requests, self.large_files, self.connections = {}, [], {}, []
        self.resumed = []
        self.interfere = lambda method, path: None
        self.on_the_way = lambda name, content: content
        self.large = (".h5", ".png")
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def add(self, repo_id, folder, private=False):
        """A repository with the files of a folder."""
        repository = self.repositories.setdefault(repo_id, Repository(private))
        repository.commit({path.name: path.read_bytes() for path in folder.iterdir()}, "add")
        return repository

    def get_request(self):
        connection, address = super().get_request()
        self.connections.append(connection)
        return connection, address

    def stop(self):
        """Be gone: connections end, and there are no further ones."""
        self.shutdown()
        self.server_close()
        for connection in self.connections:
            with contextlib.suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)

    def etag(self, name, content):
        return (digest if name.endswith(self.large) else git_digest)(content)

    def asked(self, method, pattern):
        """How many requests there were whose path has `pattern` in it."""
        return sum(re.search(pattern, path) is not None for used, path in self.requests if used == method)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self):
        path = self.path.partition("?")[0]
        # A Space "user/repo" is among the repositories as "space:user/repo".
        path = re.sub(r"^/api/spaces/(?=[^/]+/[^/]+)", "/api/models/space:", path)
        path = re.sub(r"^/spaces/", "/space:", path)
        self.body = b"".join(self.chunks())
        self.server.requests.append((self.command, path))
        try:
            self.breaks_after = self.server.interfere(self.command, path)
            if self.breaks_after is not None and self.breaks_after >= 100:
                raise Refusal(self.breaks_after)
            for method, pattern, function in _ROUTES:
                match = pattern.fullmatch(path)
                if match and method == self.command:
                    function(self, *map(urllib.parse.unquote, match.groups("main")))
                    return
            raise Refusal(404)
        except Refusal as refusal:
            code = {"X-Error-Code": refusal.code} if refusal.code else {}
            self.send(refusal.status, json.dumps({"error": "refused"}).encode(), code)

    def chunks(self):
        """The body of the request."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            yield self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    do_GET = do_HEAD = do_POST = do_PUT = answer

    def send(self, status, content=b"", headers=None, length=None):
        self.send_response(status)
        for name, value in {"Content-Length": length or len(content), **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_json(self, value):
        self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def repository(self, repo_id, to_write=False):
        repository = self.server.repositories.get(repo_id)
        may_write = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repository is None:
            raise Refusal(404 if may_write else 401, "RepoNotFound")
        if (to_write or repository.private) and not may_write:
            raise Refusal(401, "RepoNotFound")
        return repository

    # What downloads need.

    @_route("GET", r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?")
    def info(self, repo_id, revision):
        repository = self.repository(repo_id)
        self.send_json({"id": repo_id, "sha": repository.resolve(revision), "private": repository.private})

    @_route("GET", r"/api/models/([^/]+/[^/]+)/tree/([^/]+)")
    def tree(self, repo_id, revision):
        repository = self.repository(repo_id)
        files = repository.commits[repository.resolve(revision)]
        entries = []
        for name, content in files.items():
            entries.append({"type": "file", "path": name, "size": len(content), "oid": git_digest(content)})
            if name.endswith(self.server.large):
                entries[-1]["lfs"] = {"oid": digest(content), "size": len(content), "pointerSize": 130}
        self.send_json(entries)

    @_route("HEAD", r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
    def head(self, repo_id, revision, name):
        self.file(repo_id, revision, name)

    @_route("GET", r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
    def file(self, repo_id, revision, name):
        repository = self.repository(repo_id)
        commit = repository.resolve(revision)
        if name not in repository.commits[commit]:
            raise Refusal(404, "EntryNotFound")
        content = repository.commits[commit][name]
        headers = {"ETag": f'"{self.server.etag(name, content)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        if self.command == "GET":
            content = self.server.on_the_way(name, content)
        if wanted:
            self.server.resumed.append((name, start))
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        part = content[start:] if self.breaks_after is None else content[start : start + self.breaks_after]
        self.send(206 if wanted else 200, part, headers, length=len(content) - start)
        self.close_connection = self.breaks_after is not None

    # What uploads need.

    @_route("POST", "/api/repos/create")
    def create(self):
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise Refusal(401)
        wanted = json.loads(self.body)
        repo_id = f"{wanted['organization']}/{wanted['name']}"
        url = {"url": f"{self.server.url}/{repo_id}"}
        if wanted.get("type") == "space":
            assert wanted["sdk"]
            url = {"url": f"{self.server.url}/spaces/{repo_id}"}
            repo_id = f"space:{repo_id}"
        if repo_id in self.server.repositories:
            self.send(409, json.dumps(url).encode())
            return
        private = wanted.get("visibility") == "private" or wanted.get("private", False)
        self.server.repositories[repo_id] = Repository(private)
        self.send_json(url)

    @_route("POST", r"/api/models/([^/]+/[^/]+)/branch/([^/]+)")
    def branch(self, repo_id, name):
        repository = self.repository(repo_id, to_write=True)
        if name in repository.branches:
            raise Refusal(409)
        repository.branches[name] = repository.branches["main"]
        self.send(200)

    @_route("POST", "/api/validate-yaml")
    def validate(self):
        self.send_json({"warnings": [], "errors": []})

    @_route("POST", r"/api/models/([^/]+/[^/]+)/preupload/([^/]+)")
    def preupload(self, repo_id, revision):
        self.repository(repo_id, to_write=True).resolve(revision)

        def mode(path):
            return "lfs" if path.endswith(self.server.large) else "regular"

        files = [{**file, "uploadMode": mode(file["path"])} for file in json.loads(self.body)["files"]]
        self.send_json({"files": [{**file, "shouldIgnore": False} for file in files]})

    @_route("POST", r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch")
    def batch(self, repo_id):
        self.repository(repo_id, to_write=True)
        objects = json.loads(self.body)["objects"]
        actions = [{"upload": {"href": f"{self.server.url}/large/{found['oid']}"}} for found in objects]
        objects = [{**found, "actions": action} for found, action in zip(objects, actions, strict=True)]
        self.send_json({"transfer": "basic", "objects": objects})

    @_route("PUT", r"/large/(\w+)")
    def large(self, oid):
        assert digest(self.body) == oid
        self.server.large_files[oid] = self.body
        self.send(200)

    @_route("POST", r"/api/models/([^/]+/[^/]+)/commit/([^/]+)")
    def commit(self, repo_id, branch):
        repository = self.repository(repo_id, to_write=True)
        repository.resolve(branch)
        files = {}
        for line in self.body.splitlines():
            key, value = (item := json.loads(line))["key"], item["value"]
            if key == "header":
                message = value["summary"]
            elif key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.server.large_files[value["oid"]]
        name = repository.commit(files, message, branch)
        page = f"{self.server.url}/{repo_id.replace('space:', 'spaces/')}"
        self.send_json({"commitUrl": f"{page}/commit/{name}", "commitOid": name})
