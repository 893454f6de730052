"""Notebooks are clean and in step with the modules and the README; `--write` brings them in step instead of telling.

A copy of nbs/ and instructgen/ is cleaned and exported with nbdev and compared with the original, so nothing in the checkout is touched.
"""
import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
COPIED = ('nbs', 'instructgen', 'settings.ini', 'setup.py')


def readme(notebook: Path) -> str:
    "The text of README.md: the cells of the index notebook, code fenced, with its text outputs; hidden cells left out."
    parts = []
    for cell in nbformat.read(notebook, as_version=4).cells:
        if '#| hide' in cell.source: continue
        if cell.cell_type == 'markdown': parts.append(cell.source)
        elif cell.cell_type == 'code' and cell.source.strip():
            source = '\n'.join(line for line in cell.source.splitlines() if not line.startswith('#|'))
            parts.append(f'```python\n{source.strip()}\n```')
            texts = [output.get('text') or output.get('data', {}).get('text/plain', '') for output in cell.outputs]
            if any(texts): parts.append('\n'.join('    ' + line for text in texts for line in text.rstrip().splitlines()))
    return '\n\n'.join(parts) + '\n'


def in_step(copy: Path) -> None:
    "Clean and export the copy, as a developer should have done."
    environment = {**os.environ, 'PATH': f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'}
    for command in ('nbdev_clean', 'nbdev_export'): subprocess.run([command], cwd=copy, check=True, env=environment)
    (copy/'README.md').write_text(readme(copy/'nbs'/'index.ipynb'), encoding='utf-8')


def differences(copy: Path) -> list[str]:
    "Files that the copy has otherwise than the checkout."
    wanted = {path.relative_to(copy) for name in ('nbs', 'instructgen') for path in (copy/name).rglob('*')
              if path.is_file() and path.suffix in ('.ipynb', '.py')} | {Path('README.md')}
    return sorted(str(path) for path in wanted if not (ROOT/path).exists() or not filecmp.cmp(copy/path, ROOT/path, shallow=False))


def main() -> int:
    "0 if all is in step."
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            if (ROOT/name).is_dir(): shutil.copytree(ROOT/name, copy/name, ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints'))
            else: shutil.copy(ROOT/name, copy/name)
        in_step(copy)
        changed = differences(copy)
        if '--write' in sys.argv:
            for name in changed: shutil.copy(copy/name, ROOT/name); print(f'wrote {name}')
            return 0
    for name in changed: print(f'out of step: {name}')
    if changed: print('run: .venv/bin/python tests/check_notebooks.py --write, and commit notebook and module together')
    else: print('notebooks are clean and in step with the modules and README.md')
    return int(bool(changed))


if __name__ == '__main__': sys.exit(main())
