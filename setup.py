"""Package metadata from settings.ini; report notebooks and demo data travel in the wheel."""
import configparser
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
config = configparser.ConfigParser(delimiters=['='])
config.read(HERE / 'settings.ini', encoding='utf-8')
settings = config['DEFAULT']


def folders(package: str, root: str) -> dict[str, str]:
    """Every folder below `root` as a package below `package`, so that its files are found inside the wheel."""
    found = {package: root}
    for path in sorted((HERE / root).rglob('*')):
        parts = path.relative_to(HERE / root).parts
        if path.is_dir() and not any(part.startswith(('.', '_')) for part in parts):
            found['.'.join((package, *parts))] = path.relative_to(HERE).as_posix()
    return found


reports = folders('instructgen.reports', 'nbs/reports')
demo = {**folders('instructgen.demo', 'nbs/demo'), **folders('instructgen.demo_bonito', 'nbs/demo_bonito'), **folders('instructgen.demo_eval', 'nbs/demo_eval')}
extras = {'dev': settings['dev_requirements'].split(), 'docs': settings['docs_requirements'].split(),
          'documents': ['pypdf>=5', 'python-docx>=1.1', 'beautifulsoup4>=4.12', 'lxml>=5'],
          'embeddings': ['sentence-transformers>=3'], 'gpu': ['bitsandbytes>=0.45', 'vllm>=0.8']}

setup(
    name=settings['lib_name'],
    version=settings['version'],
    description=settings['description'],
    long_description=(HERE / 'README.md').read_text(encoding='utf-8') if (HERE / 'README.md').exists() else '',
    long_description_content_type='text/markdown',
    author=settings['author'],
    url=settings['git_url'],
    license='Apache-2.0',
    keywords=settings['keywords'],
    python_requires=f">={settings['min_python']}",
    packages=[*find_packages(include=['instructgen', 'instructgen.*']), *reports, *demo],
    package_dir={**reports, **demo},
    package_data={'instructgen': ['*.yaml', 'py.typed'], 'instructgen.dynosaur': ['*.yaml'], 'instructgen.bonito': ['*.yaml'],
                  **{name: ['*.ipynb', '*.yaml', '*.csv'] for name in reports},
                  **{name: ['*', '.*'] for name in demo}},
    include_package_data=False,
    install_requires=settings['requirements'].split(),
    extras_require=extras,
    entry_points={'console_scripts': settings['console_scripts'].split()},
    zip_safe=False,
)
