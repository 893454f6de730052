"""A stand-in of the hub on loopback: the calls that huggingface_hub makes for datasets, and failures on demand."""
import json
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlencode, urlsplit


class HubServer:
    "Repositories in memory behind the hub's API; use as a context manager."

    def __init__(self, repositories: dict[str, dict], page: int = 2):
        self.repositories = repositories  # id -> {'files': {name: bytes}, 'sha': …, 'created': …, 'downloads': …, 'branches': {name: {'sha', 'files'}}, 'status': 403 …}
        self.page = page                  # repositories a page of the listing
        self.failures: list[tuple[str, int, dict]] = []  # (pattern of a path, status, headers): each answers one call
        self.calls: Counter = Counter()   # path -> number of calls
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(('127.0.0.1', 0), self._handler())
        self.server.daemon_threads = True

    @property
    def address(self) -> str: return f'http://127.0.0.1:{self.server.server_address[1]}'

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, kwargs={'poll_interval': .01}, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()

    def failure(self, path: str):
        with self.lock:
            self.calls[path] += 1
            for i, (pattern, status, headers) in enumerate(self.failures):
                if re.search(pattern, path): return self.failures.pop(i)[1:]
        return None

    def at(self, name: str, revision: str) -> dict | None:  # the files of a repository at a commit or branch
        repository = self.repositories.get(name)
        if repository is None: return None
        for state in (repository, *repository.get('branches', {}).values()):
            if revision in ('main', state['sha']) and (revision != 'main' or state is repository): return state
        return repository.get('branches', {}).get(revision)

    @staticmethod
    def created(repository: dict) -> str: return repository.get('created', '2022-01-01T00:00:00.000Z')

    def info(self, name: str, state: dict) -> dict:
        repository = self.repositories[name]
        return {'id': name, '_id': name, 'sha': state['sha'], 'createdAt': self.created(repository), 'downloads': repository.get('downloads', 0), 'private': False,
                'gated': False, 'disabled': repository.get('disabled', False), 'tags': repository.get('tags', []), 'siblings': [{'rfilename': file} for file in state['files']]}

    def _handler(self):
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def log_message(self, *args): pass

            def answer(self, status: int, body: bytes = b'', headers: dict | None = None):
                self.send_response(status)
                for key, value in {'Content-Length': str(len(body)), 'Content-Type': 'application/json', **(headers or {})}.items(): self.send_header(key, value)
                self.end_headers()
                if self.command != 'HEAD': self.wfile.write(body)

            def refuse(self, status: int, code: str, headers: dict | None = None): self.answer(status, b'{"error": "refused"}', {'X-Error-Code': code, 'X-Error-Message': code, **(headers or {})})

            def reply(self, data): self.answer(200, json.dumps(data).encode())

            def do_HEAD(self): self.do_GET()

            def do_POST(self):
                length = int(self.headers.get('Content-Length') or 0)
                sent = self.rfile.read(length)
                self.do_GET(sent)

            def do_GET(self, sent: bytes = b''):
                url = urlsplit(self.path)
                path, query = unquote(url.path), parse_qs(url.query)
                if failed := hub.failure(path): return self.refuse(failed[0], 'Busy', failed[1])
                if path == '/api/datasets': return self.listing(query)
                if match := re.fullmatch(r'/datasets/([^/]+/[^/]+)/resolve/([0-9a-f]+|main)/(.+)', path): return self.file(*match.groups())
                match = re.fullmatch(r'/api/datasets/([^/]+/[^/]+?)(?:/(revision|tree|paths-info)/(refs/convert/parquet|[^/]+)(?:/(.*))?)?', path)
                if not match: return self.refuse(404, 'RepoNotFound')
                name, what, revision, inside = match.groups()
                repository = hub.repositories.get(name)
                if repository is None: return self.refuse(401, 'RepoNotFound')
                if 'status' in repository: return self.refuse(repository['status'], 'GatedRepo')
                state = hub.at(name, revision or 'main')
                if state is None: return self.refuse(404, 'RevisionNotFound')
                if what == 'tree': return self.tree(state, inside or '', 'recursive' in query)
                if what == 'paths-info':
                    wanted = parse_qs(sent.decode()).get('paths') or json.loads(sent or b'{}').get('paths', [])
                    return self.reply([self.entry(state, file) for file in wanted if file in state['files']])
                self.reply(hub.info(name, state))

            def entry(self, state: dict, file: str) -> dict: return {'type': 'file', 'oid': f'oid-{file}', 'size': len(state['files'][file]), 'path': file}

            def tree(self, state: dict, inside: str, recursive: bool):
                folder, found = f'{inside.strip("/")}/' if inside.strip('/') else '', {}
                for file in state['files']:
                    if not file.startswith(folder): continue
                    head = folder + file[len(folder):].split('/')[0]
                    if recursive or head == file: found[file] = self.entry(state, file)
                    else: found[head] = {'type': 'directory', 'oid': f'oid-{head}', 'size': 0, 'path': head}
                self.reply(list(found.values()))

            def file(self, name: str, revision: str, file: str):
                state = hub.at(name, revision)
                if state is None or file not in state['files']: return self.refuse(404, 'EntryNotFound')
                data, headers, status = state['files'][file], {'ETag': f'"oid-{file}"', 'X-Repo-Commit': state['sha'], 'Accept-Ranges': 'bytes'}, 200
                if match := re.fullmatch(r'bytes=(\d+)-(\d*)', self.headers.get('Range') or ''):
                    start, end = int(match[1]), min(int(match[2] or len(data) - 1), len(data) - 1)
                    headers['Content-Range'], status, data = f'bytes {start}-{end}/{len(data)}', 206, data[start:end + 1]
                self.answer(status, data, {'Content-Type': 'application/octet-stream', **headers})

            def listing(self, query: dict):
                found = [(name, repository) for name, repository in hub.repositories.items() if set(query.get('filter', ())) <= set(repository.get('tags', ()))
                         and all(author == name.split('/')[0] for author in query.get('author', ())) and all(word in name for word in query.get('search', ()))]
                if query.get('sort') == ['downloads']: found.sort(key=lambda pair: -pair[1].get('downloads', 0))
                if query.get('sort') == ['createdAt']: found.sort(key=lambda pair: hub.created(pair[1]), reverse=True)  # the hub sorts downwards only
                start, count = int(query.get('cursor', ['0'])[0]), min(hub.page, int(query.get('limit', ['1000'])[0]))
                headers = {}
                if start + count < len(found):
                    following = urlencode({**query, 'cursor': start + count}, doseq=True)
                    headers['Link'] = f'<{hub.address}/api/datasets?{following}>; rel="next"'
                self.answer(200, json.dumps([hub.info(name, repository) for name, repository in found[start:start + count]]).encode(), headers)

        return Handler


def repository(text: str, files: dict[str, bytes | str], sha: str = 'a' * 40, **more) -> dict:
    "A repository with a card and files, as `HubServer` wants it."
    return {'sha': sha, 'files': {'README.md': text.encode(), **{name: data.encode() if isinstance(data, str) else data for name, data in files.items()}}, **more}
