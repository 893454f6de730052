"""A built wheel carries reports, demo data and prompt files, and runs a report away from the checkout."""
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope='module')
def wheel(tmp_path_factory) -> Path:
    "The wheel of the present checkout, built from a copy so that nothing is left behind."
    place = tmp_path_factory.mktemp('wheel')
    copy = place/'source'
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns('.git', '.venv', 'outputs', 'build', 'site', '_proc', '*.egg-info', '__pycache__'))
    subprocess.run([sys.executable, '-m', 'build', '--wheel', '--no-isolation', '--outdir', place/'dist', copy], check=True, capture_output=True, timeout=300)
    return next((place/'dist').glob('*.whl'))


def test_wheel_holds_what_an_installed_package_needs(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {f'instructgen/reports/{path.name}' for path in (ROOT/'nbs'/'reports').glob('*.ipynb')} <= set(names)
    for folder in ('demo', 'demo_bonito', 'demo_eval'):
        demo = {f'instructgen/{path.relative_to(ROOT/"nbs").as_posix()}' for path in (ROOT/'nbs'/folder).rglob('*') if path.is_file() and '__pycache__' not in path.parts}
        assert len(demo) >= 5 and demo <= set(names)
    assert {'instructgen/dynosaur/en.yaml', 'instructgen/dynosaur/de.yaml', 'instructgen/bonito/en.yaml', 'instructgen/bonito/ctga.yaml', 'instructgen/bonito/task_types.yaml'} <= set(names)
    assert not [name for name in names if name.startswith(('nbs/', 'tests/'))]


@pytest.mark.parametrize('report', ['dynosaur_data', 'bonito_data', 'evaluation'])
def test_wheel_runs_a_report(wheel, tmp_path, report):
    place = tmp_path/'site'
    subprocess.run([sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--no-index', '--target', place, wheel], check=True, capture_output=True)
    environment = {**os.environ, 'PYTHONPATH': str(place), 'INSTRUCTGEN_OUTPUTS': str(tmp_path/'outputs')}
    program = 'import instructgen, sys; from instructgen.cli import main; print(instructgen.__file__, file=sys.stderr); main()'
    done = subprocess.run([sys.executable, '-c', program, 'run', report, '-p', 'instances' if report == 'evaluation' else 'limit', '10', '--out', 'run'], cwd=tmp_path, env=environment,
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert str(place) in done.stderr
    assert (tmp_path/'run'/'report.html').exists() and 'report.html' in done.stdout
