"""The structure of the notebooks: layers, opening cells, imports, examples, prose, parameters.

Every rule is a function from a notebook, or from all of them, to sentences that say what is wrong; a rule without sentences holds. The
second half of this file shows for each rule that it can fail, on small made-up notebooks. That the modules are what nbdev exports from
the notebooks is checked by tests/check_notebooks.py.
"""
import ast
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
ALIASES = {'numpy': 'np', 'pandas': 'pd', 'matplotlib.pyplot': 'plt', 'pyarrow': 'pa', 'pyarrow.compute': 'pc', 'pyarrow.parquet': 'pq'}  # the ecosystem's own
HEAVY = {'accelerate', 'datasets', 'datasketch', 'evaluate', 'huggingface_hub', 'matplotlib', 'nbconvert', 'nltk', 'openai', 'papermill', 'peft', 'scipy', 'seaborn', 'sklearn',
         'spacy', 'torch', 'transformers'}       # imported where they are used, so that the command starts within a second
DRAWING = {'plots', 'score_plots'}                              # modules whose whole work is with one of those
NOT_EXPORTED = {'__init__', '_modidx'}           # modules that nbdev writes by itself


@dataclass
class Cell:
    "A cell as the rules see it."
    kind: str                       # 'code' or 'markdown'
    source: str
    outputs: list = field(default_factory=list)
    tags: tuple[str, ...] = ()

    @property
    def directives(self) -> list[str]: return [line[2:].strip() for line in self.source.splitlines() if line.startswith('#|')]

    @property
    def code(self) -> str: return '\n'.join('' if line.startswith(('#|', '%', '!')) else line for line in self.source.splitlines())

    @property
    def exported(self) -> bool: return self.kind == 'code' and any(re.match(r'exporti?s?\b', text) for text in self.directives)

    @property
    def hidden(self) -> bool: return 'hide' in self.directives or 'include: false' in self.directives

    @property
    def lines(self) -> list[str]: return [line for line in self.source.splitlines() if line.strip() and not line.startswith('#|')]

    @property
    def tree(self) -> ast.Module: return ast.parse(self.code) if self.kind == 'code' else ast.Module([], [])

    @property
    def public(self) -> list[ast.AST]:
        return [node for node in self.tree.body if isinstance(node, FUNCTIONS + (ast.ClassDef,)) and not node.name.startswith('_')]


@dataclass
class Notebook:
    "A notebook with its number, its module, and the text of that module's file."
    path: Path
    cells: list[Cell]
    kernel: dict
    module_text: str = ''

    @property
    def name(self) -> str: return self.path.stem

    @property
    def number(self) -> int: return int(found[0]) if (found := re.match(r'\d\d(?=_)', self.name)) else -1

    @property
    def module(self) -> str: return next((text.split()[1] for cell in self.cells for text in cell.directives if text.startswith('default_exp')), '')

    @property
    def exported(self) -> list[Cell]: return [cell for cell in self.cells if cell.exported]

    @property
    def code(self) -> list[Cell]: return [cell for cell in self.cells if cell.kind == 'code']


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def read_notebook(path: Path) -> Notebook:
    book = nbformat.read(path, as_version=4)
    cells = [Cell(cell.cell_type, cell.source, list(cell.get('outputs', [])), tuple(cell.metadata.get('tags', ()))) for cell in book.cells]
    notebook = Notebook(path, cells, dict(book.metadata.get('kernelspec', {})))
    module = ROOT / 'instructgen' / f'{notebook.module.replace(".", "/")}.py'
    notebook.module_text = module.read_text('utf-8') if notebook.module and module.is_file() else ''
    return notebook


def imports(tree: ast.AST) -> Iterator[tuple[ast.AST, str, str, str | None]]:
    "Each imported thing: node, module, name ('' for the module itself), alias."
    for node in ast.walk(tree):
        if isinstance(node, ast.Import): yield from ((node, alias.name, '', alias.asname) for alias in node.names)
        if isinstance(node, ast.ImportFrom): yield from ((node, '.' * node.level + (node.module or ''), alias.name, alias.asname) for alias in node.names)


def ours(notebook: Notebook) -> set[str]:
    "Modules of the package that the exported cells import, without the package's name."
    found = set()
    for cell in notebook.exported:
        for _, module, name, _ in imports(cell.tree):
            if module == 'instructgen' and name not in ('', '__version__'): found.add(name)
            elif module.startswith('instructgen.'): found.add(module.removeprefix('instructgen.'))
    return found


def names_in(tree: ast.AST) -> set[str]:
    return {node.id if isinstance(node, ast.Name) else node.attr for node in ast.walk(tree) if isinstance(node, (ast.Name, ast.Attribute))}


def checks_in(tree: ast.AST) -> int:
    "How many asserts, calls of test_* and `with raises` a cell has."
    def called(node): return getattr(node.func, 'id', getattr(node.func, 'attr', '')) if isinstance(node, ast.Call) else ''
    return sum(isinstance(node, ast.Assert) or called(node).startswith('test_') or called(node) == 'raises' for node in ast.walk(tree))


def label(cell: Cell) -> str:
    "The first line of code of a cell, for messages."
    return (cell.lines or ['(empty)'])[0].strip()[:70]


def examples(notebook: Notebook) -> Iterator[tuple[str, list[Cell]]]:
    "Each public symbol with the visible cells below it, before the next exported cell, that use it by name."
    for index, cell in enumerate(notebook.cells):
        if not cell.exported: continue
        below = []
        for other in notebook.cells[index + 1:]:
            if other.exported: break
            if other.kind == 'code' and not other.hidden: below.append(other)
        for node in cell.public: yield node.name, [other for other in below if node.name in names_in(other.tree)]


# ---- rules for a library notebook

def name_and_module(notebook: Notebook) -> list[str]:
    "File name = number + module path, and `default_exp` says the same, once."
    found = [text for cell in notebook.cells for text in cell.directives if text.startswith('default_exp')]
    if not re.fullmatch(r'\d\d_[a-z][a-z_]*(\.[a-z][a-z_]*)*', notebook.name): return [f'the file is called {notebook.name!r}, want NN_module or NN_package.module']
    if found != [f'default_exp {notebook.name[3:]}']: return [f'want one cell with `#| default_exp {notebook.name[3:]}`, found {found}']
    return []


def opening(notebook: Notebook) -> list[str]:
    "Three opening cells: title and promise, target, what goes in and out."
    kinds = [cell.kind for cell in notebook.cells[:3]]
    if kinds != ['markdown', 'code', 'markdown']: return [f'the first three cells are {kinds}, want title, `#| default_exp`, and prose']
    title, target, prose = notebook.cells[:3]
    wrong = []
    if not re.fullmatch(rf'# {re.escape(notebook.name[3:])}\s*\n+> \S[^\n]*\s*', title.source): wrong.append(f'the first cell is {title.source[:60]!r}, want `# {notebook.name[3:]}` and a line `> promise`')
    if target.lines or not target.directives or not target.directives[0].startswith('default_exp'): wrong.append('the second cell is not `#| default_exp` alone')
    if len(prose.source.split()) < 15: wrong.append('the third cell does not say what goes in and what comes out')
    return wrong


def imports_in_one_cell(notebook: Notebook) -> list[str]:
    "Exported imports stand in one cell that holds nothing else."
    holding = [cell for cell in notebook.exported if any(isinstance(node, (ast.Import, ast.ImportFrom)) for node in cell.tree.body)]
    wrong = [f'a second exported cell imports: {label(cell)}' for cell in holding[1:]]
    for cell in holding:
        if not all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in cell.tree.body): wrong.append(f'an exported cell imports and does more: {label(cell)}')
    return wrong


def imports_by_name(notebook: Notebook) -> list[str]:
    "No star and no alias but np, pd, plt; modules of the package by their full names."
    wrong = []
    for cell in notebook.code:
        for _, module, name, alias in imports(cell.tree):
            if name == '*': wrong.append(f'from {module} import *')
            if module.startswith('.'): wrong.append(f'from {module} import {name}: want instructgen.…')
            if alias and ALIASES.get(module if not name else f'{module}.{name}') != alias: wrong.append(f'{module}{"." + name if name else ""} as {alias}: the aliases are np, pd, plt')
    return wrong


def light_imports(notebook: Notebook) -> list[str]:
    "Heavy libraries are imported inside the functions that use them."
    if notebook.module in DRAWING: return []
    heavy = [module for cell in notebook.exported for node in cell.tree.body if isinstance(node, (ast.Import, ast.ImportFrom))
             for _, module, _, _ in imports(node) if module.split('.')[0] in HEAVY]
    return [f'{module} is imported at the top of the module, want it inside a function' for module in heavy]


def one_public_symbol(notebook: Notebook) -> list[str]:
    "An exported cell defines one public function or class at most."
    return [f'a cell exports {", ".join(node.name for node in cell.public)}, want one public symbol' for cell in notebook.exported if len(cell.public) > 1]


def short_cells(notebook: Notebook) -> list[str]:
    "No exported cell is over 60 lines."
    return [f'an exported cell of {len(cell.lines)} lines: {label(cell)}' for cell in notebook.exported if len(cell.lines) > 60]


def typed(notebook: Notebook) -> list[str]:
    "Every argument and every return of an exported function or method is annotated."
    wrong = []
    for cell in notebook.exported:
        for outer in cell.tree.body:
            for node in ([outer] if isinstance(outer, FUNCTIONS) else [item for item in outer.body if isinstance(item, FUNCTIONS)] if isinstance(outer, ast.ClassDef) else []):
                where = node.name if node is outer else f'{outer.name}.{node.name}'
                listed = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, *filter(None, (node.args.vararg, node.args.kwarg))]
                wrong += [f'{where}: the argument {item.arg} has no type' for item in listed if item.annotation is None and item.arg not in ('self', 'cls')]
                if node.returns is None and node.name not in ('__init__', '__post_init__'): wrong.append(f'{where}: the return has no type')
    return wrong


def documented(notebook: Notebook) -> list[str]:
    "A public function has a docstring of one line, and a comment (or the command line's help) beside every argument and its return."
    wrong = []
    for cell in notebook.exported:
        lines = cell.code.splitlines()
        for node in cell.public:
            if not (text := ast.get_docstring(node)) or '\n' in text: wrong.append(f'{node.name}: want a docstring of one line')
            if not isinstance(node, FUNCTIONS): continue
            listed = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, *filter(None, (node.args.vararg, node.args.kwarg))]
            bare = [item.arg for item in listed if not any('#' in lines[row - 1] for row in (item.lineno, item.end_lineno)) and 'help=' not in ast.unparse(item)]
            if bare: wrong.append(f'{node.name}: no comment beside {", ".join(bare)}')
            if node.returns and ast.unparse(node.returns) != 'None' and '#' not in lines[node.returns.end_lineno - 1]: wrong.append(f'{node.name}: no comment beside the return')
    return wrong


def examples_below(notebook: Notebook) -> list[str]:
    "Below every public symbol, before the next exported cell, stands a visible cell that uses it."
    return [f'{name} has no visible example below it' for name, cells in examples(notebook) if not cells]


def examples_checked(notebook: Notebook) -> list[str]:
    "Four of five examples check what they show, in view."
    found = [(name, any(checks_in(cell.tree) for cell in cells)) for name, cells in examples(notebook)]
    share = sum(ok for _, ok in found) / len(found) if found else 1
    return [f'{share:.0%} of the public symbols have a visible check, want 80 %; without: {", ".join(name for name, ok in found if not ok)}'] if share < .8 else []


def checks_in_view(notebook: Notebook) -> list[str]:
    "Fewer than a quarter of the checks are hidden from the reader."
    counts = [(cell.hidden, checks_in(cell.tree)) for cell in notebook.code if not cell.exported]
    hidden, total = sum(count for hides, count in counts if hides), sum(count for _, count in counts)
    return [f'{hidden} of {total} checks are hidden, want fewer than a quarter'] if total and hidden / total >= .25 else []


def enough_prose(notebook: Notebook) -> list[str]:
    "Two words of prose for each exported line of code."
    words = sum(len(cell.source.split()) for cell in notebook.cells if cell.kind == 'markdown')
    lines = sum(len(cell.lines) for cell in notebook.exported)
    return [f'{words} words of prose for {lines} exported lines, want 2 a line'] if words < 2 * lines else []


def short_module(notebook: Notebook) -> list[str]:
    "No module is over 500 lines."
    lines = len(notebook.module_text.splitlines())
    return [f'the module has {lines} lines, want 500 at most: split it by noun'] if lines > 500 else []


def quiet(notebook: Notebook) -> list[str]:
    "Exported code does not print."
    return [f'exported code prints: {label(cell)}' for cell in notebook.exported for node in ast.walk(cell.tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'print']


def narrow_errors(notebook: Notebook) -> list[str]:
    "No bare except, and nothing raises Exception itself."
    wrong = []
    for cell in notebook.exported:
        for node in ast.walk(cell.tree):
            if isinstance(node, ast.ExceptHandler) and node.type is None: wrong.append(f'bare except: {label(cell)}')
            if isinstance(node, ast.Raise) and node.exc is not None and ast.unparse(node.exc).split('(')[0] in ('Exception', 'BaseException'): wrong.append(f'raises Exception: {label(cell)}')
    return wrong


def no_patches(notebook: Notebook) -> list[str]:
    "Methods stand in the class body."
    return [f'@patch on {node.name}: want the method in the class body' for cell in notebook.exported for node in cell.tree.body
            if isinstance(node, FUNCTIONS) and any(ast.unparse(mark).split('(')[0] in ('patch', 'patch_to') for mark in node.decorator_list)]


def kernel(notebook: Notebook) -> list[str]:
    "Papermill finds the language by the kernelspec python3."
    want = {'name': 'python3', 'language': 'python', 'display_name': 'python3'}
    return [] if notebook.kernel == want else [f'kernelspec is {notebook.kernel}, want {want}']


def with_outputs(notebook: Notebook) -> list[str]:
    "Library notebooks are committed with their outputs, none of them an error, and none that changes from run to run."
    wrong, shown = [], [cell for cell in notebook.code if cell.tree.body and isinstance(cell.tree.body[-1], ast.Expr) and not cell.exported and not cell.hidden
                        and isinstance(cell.tree.body[-1].value, (ast.Name, ast.Dict, ast.Tuple, ast.List, ast.Subscript))]
    if shown and not any(cell.outputs for cell in notebook.code): wrong.append('no cell has an output: execute the notebook before you commit it')
    for cell in notebook.code:
        text = str(cell.outputs)
        if any(output.get('output_type') == 'error' for output in cell.outputs): wrong.append(f'an output is an error: {label(cell)}')
        if found := re.search(r'/tmp/\S*| at 0x[0-9a-f]{6,}|/home/\w+', text): wrong.append(f'an output changes from run to run ({found[0][:30]}): {label(cell)}')
    return wrong


# ---- rules for a report

def one_parameters_cell(notebook: Notebook) -> list[str]:
    "One cell is tagged `parameters`, with a plain literal in each of its lines."
    tagged = [cell for cell in notebook.cells if 'parameters' in cell.tags]
    if len(tagged) != 1: return [f'{len(tagged)} cells are tagged parameters, want 1']
    wrong = []
    for line in tagged[0].lines:
        if line.startswith('#'): continue
        try:
            node, = ast.parse(line).body
            if not (isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)): raise ValueError('no assignment to one name')
            ast.literal_eval(node.value)
        except (SyntaxError, ValueError): wrong.append(f'the parameters have {line.strip()!r}, want `name = literal`')
    return wrong


def without_outputs(notebook: Notebook) -> list[str]:
    "A report's source holds no outputs: executed copies go to outputs/."
    return [f'an output in the source: {label(cell)}' for cell in notebook.code if cell.outputs]


def report_name(notebook: Notebook) -> list[str]:
    "A report has a plain name, and exports nothing."
    wrong = [] if re.fullmatch(r'[a-z][a-z_]*', notebook.name) else [f'the file is called {notebook.name!r}, want a plain name without a number']
    return wrong + (['a report exports code: logic lives in the library'] if notebook.exported or notebook.module else [])


# ---- rules for all of them together

def layers(notebooks: list[Notebook]) -> list[str]:
    "Imports point to lower numbers; modules of one number may import each other, but never in a circle."
    numbers, beside, wrong = {notebook.module: notebook.number for notebook in notebooks}, {}, []
    for notebook in notebooks:
        for module in sorted(ours(notebook)):
            if module not in numbers: wrong.append(f'{notebook.name} imports instructgen.{module}, which no notebook exports')
            elif numbers[module] > notebook.number: wrong.append(f'{notebook.name} imports {numbers[module]:02}_{module}: want a lower number')
            elif numbers[module] == notebook.number: beside.setdefault(notebook.module, set()).add(module)
    try: TopologicalSorter(beside).prepare()
    except CycleError as error: wrong.append(f'modules of one number import in a circle: {" <- ".join(error.args[1])}')
    return wrong


def papers_apart(notebooks: list[Notebook]) -> list[str]:
    "`dynosaur` and `bonito` never import each other."
    pairs = (('dynosaur', 'bonito'), ('bonito', 'dynosaur'))
    return [f'{notebook.name} imports {module}' for notebook in notebooks for module in sorted(ours(notebook)) for one, other in pairs
            if notebook.module.split('.')[0] == one and module.split('.')[0] == other]


def no_doubles(notebooks: list[Notebook]) -> list[str]:
    "No two notebooks export the same module."
    modules = [notebook.module for notebook in notebooks]
    return [f'{module} is exported by {", ".join(notebook.name for notebook in notebooks if notebook.module == module)}' for module in sorted(set(modules)) if modules.count(module) > 1]


def no_stale_modules(notebooks: list[Notebook], files: list[str]) -> list[str]:
    "Every module of the package has its notebook, and every notebook its module."
    modules = {notebook.module.replace('.', '/') + '.py' for notebook in notebooks}
    written = {file for file in files if file.endswith('.py') and Path(file).stem not in NOT_EXPORTED}
    return [f'instructgen/{file} has no notebook: remove it' for file in sorted(written - modules)] + [f'{file} is exported by a notebook and not there: export it' for file in sorted(modules - written)]


LIBRARY_RULES = (name_and_module, opening, imports_in_one_cell, imports_by_name, light_imports, one_public_symbol, short_cells, typed, documented, examples_below,
                 examples_checked, checks_in_view, enough_prose, short_module, quiet, narrow_errors, no_patches, kernel, with_outputs)
REPORT_RULES = (one_parameters_cell, without_outputs, report_name, kernel, imports_by_name)
LIBRARY = [read_notebook(path) for path in sorted((ROOT / 'nbs').glob('*.ipynb')) if path.stem != 'index' and not path.name.startswith(('_', '.'))]
REPORTS = [read_notebook(path) for path in sorted((ROOT / 'nbs/reports').glob('*.ipynb')) if not path.name.startswith(('_', '.'))]


def told(wrong: list[str]) -> None: assert not wrong, '\n' + '\n'.join(wrong)


@pytest.mark.parametrize('notebook', LIBRARY, ids=lambda notebook: notebook.name)
@pytest.mark.parametrize('rule', LIBRARY_RULES, ids=lambda rule: rule.__name__)
def test_library(rule: Callable, notebook: Notebook): told(rule(notebook))


@pytest.mark.parametrize('notebook', REPORTS, ids=lambda notebook: notebook.name)
@pytest.mark.parametrize('rule', REPORT_RULES, ids=lambda rule: rule.__name__)
def test_report(rule: Callable, notebook: Notebook): told(rule(notebook))


@pytest.mark.parametrize('rule', (layers, papers_apart, no_doubles), ids=lambda rule: rule.__name__)
def test_together(rule: Callable): told(rule(LIBRARY))


def test_modules_and_notebooks_belong_together():
    told(no_stale_modules(LIBRARY, [path.relative_to(ROOT / 'instructgen').as_posix() for path in (ROOT / 'instructgen').rglob('*.py')]))


def test_nbdev_leaves_the_reports_out(): assert (ROOT / 'nbs/reports/.notest').is_file()


def test_index_has_the_kernel():
    if (ROOT / 'nbs/index.ipynb').is_file(): told(kernel(read_notebook(ROOT / 'nbs/index.ipynb')))


# ---- each rule can fail

FUNCTION = '''#| export
def add_words(
    first: str,   # a word
    second: str,  # another
) -> str:         # both with a blank between
    "Two words as one text."
    return _join([first, second])

def _join(words: list[str]) -> str: return ' '.join(words)'''
GOOD = Notebook(Path('nbs/07_words.ipynb'), [
    Cell('markdown', '# words\n> Words put together'), Cell('code', '#| default_exp words'),
    Cell('markdown', 'Two words are often wanted as one text. In: two words. Out: one text. This module knows no paper and imports nothing of the package.'),
    Cell('code', '#| export\nimport re\n\nfrom instructgen.records import Task'), Cell('code', '#| hide\nfrom fastcore.test import test_eq'),
    Cell('markdown', 'A blank goes between them, because a reader would miss it. ' * 3), Cell('code', FUNCTION),
    Cell('code', "test_eq(add_words('a', 'b'), 'a b')\nfound = add_words('c', 'd')\nfound", [{'output_type': 'execute_result', 'data': {'text/plain': "'c d'"}}])],
    {'name': 'python3', 'language': 'python', 'display_name': 'python3'}, 'x = 1\n')
BASE = replace(GOOD, path=Path('nbs/00_records.ipynb'), cells=[Cell('code', '#| default_exp records')])
REPORT = Notebook(Path('nbs/reports/words.ipynb'), [Cell('markdown', '# Words'), Cell('code', "# what\nwords = 'a,b'  # joined by commas\nlimit = -1\nchecks = [1, 2]\nnothing = None", tags=('parameters',)),
                                                    Cell('code', 'words')], GOOD.kernel)


def changed(notebook: Notebook, index: int, old: str = '', new: str = '', **values) -> Notebook:
    "A copy of a notebook with one cell changed."
    copy = deepcopy(notebook)
    assert old in copy.cells[index].source
    copy.cells[index] = replace(copy.cells[index], source=copy.cells[index].source.replace(old, new) if old else copy.cells[index].source, **values)
    return copy


def with_cells(notebook: Notebook, *cells: Cell, at: int = 100) -> Notebook:
    return replace(notebook, cells=[*deepcopy(notebook.cells[:at]), *cells, *deepcopy(notebook.cells[at:])])


FAULTS = [
    (name_and_module, replace(GOOD, path=Path('nbs/words.ipynb')), 'want NN_module'), (name_and_module, replace(GOOD, path=Path('nbs/07_texts.ipynb')), 'default_exp texts'),
    (name_and_module, with_cells(GOOD, Cell('code', '#| default_exp words')), 'want one cell'),
    (opening, changed(GOOD, 0, '\n> Words put together', ''), 'want `# words` and a line'), (opening, changed(GOOD, 0, '# words', '# Words'), 'want `# words`'),
    (opening, changed(GOOD, 1, 'words', 'words\nimport re'), 'alone'), (opening, changed(GOOD, 2, 'Two', '', kind='code'), 'the first three cells'),
    (opening, replace(GOOD, cells=[*GOOD.cells[:2], Cell('markdown', 'Words.'), *GOOD.cells[3:]]), 'does not say'),
    (imports_in_one_cell, with_cells(GOOD, Cell('code', '#| export\nimport json')), 'a second exported cell imports: import json'),
    (imports_in_one_cell, changed(GOOD, 3, 'import re', 'import re\nPATTERN = 1'), 'does more'),
    (imports_by_name, changed(GOOD, 3, 'import Task', 'import *'), 'import *'), (imports_by_name, changed(GOOD, 4, 'import test_eq', 'import *'), 'fastcore.test import *'),
    (imports_by_name, changed(GOOD, 3, 'import re', 'import pyarrow as arrow'), 'pyarrow as arrow'), (imports_by_name, changed(GOOD, 3, 'import re', 'import numpy as numeric'), 'numpy as numeric'),
    (imports_by_name, changed(GOOD, 3, 'instructgen.records', '.records'), 'from .records'), (imports_by_name, changed(GOOD, 3, 'import Task', 'import Task as T'), 'records.Task as T'),
    (light_imports, changed(GOOD, 3, 'import re', 'import torch.nn'), 'torch.nn is imported at the top'),
    (one_public_symbol, changed(GOOD, 6, 'def _join', 'def join'), 'add_words, join'),
    (short_cells, changed(GOOD, 6, '    return', '    first = first\n' * 60 + '    return'), 'an exported cell of 67 lines'),
    (typed, changed(GOOD, 6, 'first: str', 'first'), 'add_words: the argument first has no type'), (typed, changed(GOOD, 6, ') -> str:   ', '):'), 'the return has no type'),
    (typed, changed(GOOD, 6, 'words: list[str])', 'words, *more, **named)'), '_join: the argument named'),
    (typed, with_cells(GOOD, Cell('code', '#| export\nclass Text:\n    def show(self, width): return 1')), 'Text.show: the argument width has no type'),
    (documented, changed(GOOD, 6, '  # a word', ''), 'no comment beside first'), (documented, changed(GOOD, 6, '         # both with a blank between', ''), 'no comment beside the return'),
    (documented, changed(GOOD, 6, '    "Two words as one text."\n', ''), 'want a docstring of one line'),
    (examples_below, changed(GOOD, 7, 'add_words', '_join'), 'add_words has no visible example'), (examples_below, changed(GOOD, 7, 'test_eq', '#| hide\ntest_eq'), 'add_words has no visible'),
    (examples_below, with_cells(GOOD, Cell('code', '#| export\nLIMIT = 3'), at=7), 'add_words has no visible'),
    (examples_checked, changed(GOOD, 7, "test_eq(add_words('a', 'b'), 'a b')", ''), 'without: add_words'),
    (checks_in_view, changed(GOOD, 4, 'import test_eq', 'import test_eq\ntest_eq(1, 1)'), '1 of 2 checks are hidden'), (checks_in_view, with_cells(GOOD, Cell('code', '#| hide\nassert 1')), '1 of 2'),
    (enough_prose, replace(GOOD, cells=[cell for cell in GOOD.cells if not cell.source.startswith('A blank')] + [Cell('code', '#| export\n' + 'x = 1\n' * 20)]), 'want 2 a line'),
    (short_module, replace(GOOD, module_text='x = 1\n' * 501), 'the module has 501 lines'),
    (quiet, changed(GOOD, 6, 'return _join', 'print(first)\n    return _join'), 'exported code prints'),
    (narrow_errors, changed(GOOD, 6, 'return _join([first, second])', 'try: return 1\n    except: return 2'), 'bare except'),
    (narrow_errors, changed(GOOD, 6, 'return _join([first, second])', "raise Exception('no')"), 'raises Exception'),
    (no_patches, changed(GOOD, 6, 'def add_words', '@patch\ndef add_words'), '@patch on add_words'),
    (kernel, replace(GOOD, kernel={}), 'kernelspec is {}'), (kernel, replace(GOOD, kernel={**GOOD.kernel, 'name': 'conda'}), "'conda'"),
    (with_outputs, changed(GOOD, 7, outputs=[]), 'no cell has an output'), (with_outputs, changed(GOOD, 7, outputs=[{'output_type': 'error', 'evalue': 'x'}]), 'an output is an error'),
    (with_outputs, changed(GOOD, 7, outputs=[{'output_type': 'stream', 'text': 'wrote /tmp/abc/x'}]), 'changes from run to run (/tmp/abc'),
    (with_outputs, changed(GOOD, 7, outputs=[{'output_type': 'stream', 'text': '<object at 0x7f3de8559ad0>'}]), 'changes from run to run'),
    (one_parameters_cell, changed(REPORT, 1, tags=()), '0 cells are tagged'), (one_parameters_cell, changed(REPORT, 2, tags=('parameters',)), '2 cells are tagged'),
    (one_parameters_cell, changed(REPORT, 1, 'limit = -1', 'limit, other = 1, 2'), 'limit, other'), (one_parameters_cell, changed(REPORT, 1, 'limit = -1', 'limit: int = 1'), 'limit: int'),
    (one_parameters_cell, changed(REPORT, 1, 'limit = -1', 'limit = len(words)'), 'len(words)'), (one_parameters_cell, changed(REPORT, 1, '[1, 2]', '[1,\n 2]'), "'checks = [1,'"),
    (without_outputs, changed(REPORT, 2, outputs=[{'output_type': 'stream'}]), 'an output in the source: words'),
    (report_name, replace(REPORT, path=Path('nbs/reports/60_words.ipynb')), 'without a number'), (report_name, with_cells(REPORT, Cell('code', '#| export\nx = 1')), 'a report exports code'),
]


@pytest.mark.parametrize('rule, notebook, message', FAULTS, ids=lambda value: getattr(value, '__name__', None) or (value if isinstance(value, str) else '-'))
def test_a_fault_is_found_and_named(rule: Callable, notebook: Notebook, message: str):
    assert message in '\n'.join(rule(notebook))


def test_a_good_notebook_has_no_fault():
    for rule in LIBRARY_RULES: assert rule(GOOD) == [], rule.__name__
    for rule in REPORT_RULES: assert rule(REPORT) == [], rule.__name__


def test_every_rule_is_shown_to_fail():
    assert {rule for rule, _, _ in FAULTS} == set(LIBRARY_RULES) | set(REPORT_RULES)


def book(name: str, *modules: str) -> Notebook:
    "A notebook with a number and module that imports these modules."
    lines = '\n'.join(f'from instructgen.{module} import x' for module in modules)
    return replace(GOOD, path=Path(f'nbs/{name}.ipynb'), cells=[Cell('code', f'#| default_exp {name[3:]}'), Cell('code', f'#| export\n{lines}')])


@pytest.mark.parametrize('rule, notebooks, message', [
    (layers, [book('00_a', 'b'), book('01_b')], '00_a imports 01_b'), (layers, [book('01_a', 'b'), book('01_b', 'c'), book('01_c', 'a')], 'in a circle: '), (layers, [book('01_a', 'a')], 'in a circle: a <- a'),
    (layers, [book('01_a', 'gone')], 'which no notebook exports'), (layers, [book('10_dynosaur.x'), book('11_bonito.y', 'dynosaur.x'), book('09_z', 'dynosaur.x')], '09_z imports 10_dynosaur.x'),
    (papers_apart, [book('10_dynosaur.x'), book('20_bonito.y', 'dynosaur.x')], '20_bonito.y imports dynosaur.x'), (papers_apart, [book('20_bonito.y'), book('10_dynosaur.x', 'bonito.y')], 'imports bonito.y'),
    (no_doubles, [book('01_a'), book('02_a')], 'a is exported by 01_a, 02_a')])
def test_a_fault_between_notebooks_is_found(rule: Callable, notebooks: list[Notebook], message: str): assert message in '\n'.join(rule(notebooks))


def test_imports_inside_functions_count_too():
    late = replace(book('00_a'), cells=[Cell('code', '#| default_exp a'), Cell('code', '#| export\ndef f():\n    from instructgen.b import x\n    from instructgen import c')])
    assert len(layers([late, book('01_b'), book('02_c')])) == 2


def test_good_notebooks_together_have_no_fault():
    together = [BASE, book('01_a', 'records'), book('01_b', 'a', 'records'), book('10_dynosaur.x', 'b'), book('20_bonito.y', 'b')]
    assert layers(together) == papers_apart(together) == no_doubles(together) == []


def test_stale_and_missing_modules_are_found():
    wrong = no_stale_modules([book('01_a'), book('10_dynosaur.x')], ['__init__.py', '_modidx.py', 'a.py', 'old.py', 'dynosaur/__init__.py', 'dynosaur/en.yaml'])
    assert wrong == ['instructgen/old.py has no notebook: remove it', 'dynosaur/x.py is exported by a notebook and not there: export it']
