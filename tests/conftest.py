"""Fixtures that several test files share."""
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope='session')
def shared_data() -> Path:
    "The folder of real data, where there is one; see its own README for what lies in it."
    folder = Path(os.environ.get('INSTRUCTGEN_SHARED_DATA') or ROOT.parent / 'shared' / 'data')
    if not folder.is_dir():
        pytest.skip(f'no real data at {folder}; set INSTRUCTGEN_SHARED_DATA')
    return folder
