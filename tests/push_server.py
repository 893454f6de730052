"""A stand-in of the hub's HTTP API on loopback, as far as a push needs it.

It keeps repositories in memory: small files arrive in the commit, large ones by the LFS protocol, as on the hub. `fail` makes the next
requests to an address fail with a status. Whatever a client sends is kept, so that a test can compare bytes and look for tokens.
"""
import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub:
    "A running stand-in; a context manager."
    def __init__(self, token: str = 'hf_right', owners: tuple[str, ...] = ('ann',)):
        self.token, self.owners = token, owners
        self.repositories, self.objects, self.requests, self.failures = {}, {}, [], []  # name -> {'private', 'files', 'commits'}; oid -> bytes
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'
            def log_message(self, *words): pass
            def _answer(self):
                body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
                if 'chunked' in self.headers.get('Transfer-Encoding', ''): body = self._chunks()
                hub.requests.append((self.command, self.path, dict(self.headers), body))
                status, value, headers = hub.answer(self.command, self.path.partition('?')[0], dict(self.headers), body)
                text = json.dumps(value).encode()
                self.send_response(status)
                for name, content in {'Content-Type': 'application/json', 'Content-Length': str(len(text)), **headers}.items(): self.send_header(name, content)
                self.end_headers()
                if self.command != 'HEAD': self.wfile.write(text)
            def _chunks(self):
                parts = []
                while size := int(self.rfile.readline(), 16): parts.append(self.rfile.read(size)); self.rfile.readline()
                self.rfile.readline()
                return b''.join(parts)
            do_GET = do_POST = do_PUT = do_HEAD = _answer

        self.server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.endpoint = f'http://127.0.0.1:{self.server.server_port}'

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, kwargs={'poll_interval': .01}, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.server.shutdown(); self.server.server_close()

    def fail(self, part: str, status: int, times: int = 1000, message: str = 'no') -> None:
        "Requests whose address contains `part` get `status`."
        self.failures.append([part, status, times, message])

    def answer(self, command: str, path: str, headers: dict, body: bytes) -> tuple[int, object, dict]:
        "Status, JSON and headers for a request."
        for failure in self.failures:
            if failure[0] in path and failure[2] > 0:
                failure[2] -= 1
                return failure[1], {'error': failure[3]}, {'X-Error-Message': failure[3]}
        if path.startswith('/lfs/'):                                            # storage takes a signed address and no token
            self.objects[path.rsplit('/', 1)[1]] = body
            return 200, {}, {}
        if headers.get('authorization', headers.get('Authorization')) != f'Bearer {self.token}':
            return 401, {'error': 'Invalid credentials in Authorization header'}, {'X-Error-Message': 'Invalid credentials in Authorization header'}
        if path == '/api/repos/create': return self._create(json.loads(body))
        if path == '/api/validate-yaml': return self._validate(json.loads(body)['content'])
        name = '/'.join(path.removeprefix('/api').removeprefix('/datasets/').removesuffix('/info/lfs/objects/batch').removesuffix('.git').split('/')[:2])
        if name not in self.repositories: return 404, {'error': 'Repository not found'}, {'X-Error-Code': 'RepoNotFound'}
        repository, payload = self.repositories[name], body
        if path.endswith('/objects/batch'): return 200, self._batch(json.loads(payload)), {}
        if '/preupload/' in path:
            return 200, {'files': [{'path': file['path'], 'uploadMode': 'lfs' if file['path'].endswith('.parquet') else 'regular', 'shouldIgnore': False}
                                   for file in json.loads(payload)['files']]}, {}
        if '/commit/' in path: return self._commit(name, repository, [json.loads(line) for line in payload.splitlines()])
        if '/tree/' in path:
            return 200, [{'type': 'file', 'path': file, 'size': len(content), 'oid': '0' * 40} for file, content in repository['files'].items()], {}
        return 200, {'id': name, 'private': repository['private'], 'siblings': [{'rfilename': file} for file in repository['files']], 'sha': '0' * 40}, {}

    def _create(self, asked: dict) -> tuple[int, object, dict]:
        name = f'{asked["organization"]}/{asked["name"]}'
        if name in self.repositories: return 409, {'error': 'You already created this dataset repo', 'url': f'{self.endpoint}/datasets/{name}'}, {}
        if asked['organization'] not in self.owners: return 403, {'error': f"You don't have the rights to create a dataset under {asked['organization']}"}, {}
        self.repositories[name] = {'private': asked.get('visibility') == 'private' or asked.get('private', False), 'files': {}, 'commits': []}
        return 200, {'url': f'{self.endpoint}/datasets/{name}', 'id': name}, {}

    def _validate(self, text: str) -> tuple[int, object, dict]:
        import yaml
        header = yaml.safe_load(text.split('---\n')[1])
        errors = [f'"{name}" is not allowed' for name, ok in (('license', isinstance(header.get('license'), str)), ('configs', 'configs' in header)) if not ok]
        return (400, {'errors': [{'message': error} for error in errors]}, {}) if errors else (200, {'warnings': [], 'errors': []}, {})

    def _batch(self, asked: dict) -> dict:
        return {'transfer': 'basic', 'objects': [
            {'oid': item['oid'], 'size': item['size'], **({} if item['oid'] in self.objects else {'actions': {'upload': {'href': f'{self.endpoint}/lfs/{item["oid"]}'}}})}
            for item in asked['objects']]}

    def _commit(self, name: str, repository: dict, lines: list[dict]) -> tuple[int, object, dict]:
        files = dict(repository['files'])
        for line in lines:
            value = line['value']
            if line['key'] == 'file': files[value['path']] = base64.b64decode(value['content'])
            elif line['key'] == 'lfsFile':
                if hashlib.sha256(self.objects.get(value['oid'], b'')).hexdigest() != value['oid']: return 400, {'error': f'missing object of {value["path"]}'}, {}
                files[value['path']] = self.objects[value['oid']]
            elif line['key'] == 'deletedFile': files.pop(value['path'])
        repository['files'] = files
        repository['commits'].append(lines[0]['value']['summary'])
        return 200, {'commitUrl': f'{self.endpoint}/datasets/{name}/commit/{"1" * 40}', 'commitOid': '1' * 40}, {}
