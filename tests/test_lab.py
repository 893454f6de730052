"""Run All of a report in JupyterLab, driven in Chromium; skipped where Playwright or a browser is missing (pip install playwright; apt-get install chromium)."""
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from instructgen.report import report_path, run_report
from test_reports import same

BROWSER = next((path for name in ('chromium', 'chromium-browser', 'google-chrome') if (path := shutil.which(name))), '')


@pytest.fixture
def lab(tmp_path):
    "The address of a JupyterLab over a copy of the report, with a kernel of this environment."
    shutil.copy(report_path('dynosaur_data'), tmp_path/'dynosaur_data.ipynb')
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, 'PATH': f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}', 'JUPYTER_CONFIG_DIR': str(tmp_path/'config')}
    server = subprocess.Popen([sys.executable, '-m', 'jupyterlab', '--no-browser', '--allow-root', f'--port={port}', '--IdentityProvider.token=', f'--notebook-dir={tmp_path}'],
                              env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f'http://127.0.0.1:{port}'
    for _ in range(240):
        try: urllib.request.urlopen(f'{address}/api/status', timeout=2); break
        except OSError: time.sleep(.5)
    yield address
    server.terminate()
    server.wait(30)


@pytest.mark.skipif(not BROWSER, reason='no Chromium')
def test_run_all_in_jupyterlab_leaves_the_same_folder(lab, tmp_path):
    playwright = pytest.importorskip('playwright.sync_api')
    path = tmp_path/'dynosaur_data.ipynb'
    notebook = json.loads(path.read_text())
    cell = next(cell for cell in notebook['cells'] if 'parameters' in cell['metadata'].get('tags', []))
    cell['source'] = ''.join(cell['source']) + f'\nlimit = 20\nout = {str(tmp_path/"run")!r}'
    path.write_text(json.dumps(notebook))
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=['--no-sandbox', '--disable-gpu', '--disable-background-networking'])
        page = browser.new_page(viewport={'width': 1400, 'height': 1000})
        page.goto(f'{lab}/lab/tree/dynosaur_data.ipynb?reset')
        page.wait_for_selector('.jp-Notebook .jp-Cell', timeout=120_000)
        page.wait_for_selector('.jp-NotebookPanel-toolbar [data-status="idle"], .jp-Notebook-ExecutionIndicator[data-status="idle"]', timeout=120_000)
        page.click('text=Run >> nth=0')
        page.click('.lm-Menu-itemLabel:text-is("Run All Cells")')
        for _ in range(240):
            if (tmp_path/'run'/'manifest.json').exists(): break
            time.sleep(.5)
        if shot := os.environ.get('INSTRUCTGEN_LAB_SCREENSHOT'): page.wait_for_timeout(1500); page.screenshot(path=shot)
        browser.close()
    same(run_report('dynosaur_data', out=str(tmp_path/'command'/'run'), sources='demo', limit=20), tmp_path/'run')
