"""Exports: every format is read back by its consumer's own loader, types or rules; no source row is in two parts, whatever the data."""
import errno
import hashlib
import json
import tempfile
from collections import Counter, defaultdict
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import instructgen.export as module
from instructgen.export import BY, FORMATS, PartWriter, deal_groups, export_dataset, find_groups, join_prompt, parse_split, split_examples, trim_text
from instructgen.records import EXAMPLE_SCHEMA, Example


def write_rows(folder: Path, examples: list[Example], files: int = 1) -> Path:
    "A run folder that holds these examples in so many files."
    (folder / 'dataset/data').mkdir(parents=True)
    for file in range(files):
        part = [asdict(example) for example in examples[file::files]]
        pq.write_table(pa.Table.from_pylist(part, schema=EXAMPLE_SCHEMA), folder / f'dataset/data/train-{file:02}.parquet', compression='zstd')
    return folder


def dynosaur(sources=3, tasks=3, rows=20, splits=('train',)) -> list[Example]:
    "All tasks of a source on the same rows."
    return [Example(f's{source}t{task}-{split}-{row}', f'Do task {task}.', f'text {source} {split} {row}', f'answer {row}', task_id=f's{source}t{task}',
                    task_type='generation', source=f's{source}', config='default', split=split, row=row, license=('mit', 'cc-by-4.0')[source % 2], generator='rules')
            for source in range(sources) for task in range(tasks) for split in splits for row in range(rows)]


def bonito(documents=12, types=3) -> list[Example]:
    "All task types on the contexts of documents, two contexts a document."
    return [Example(f'{document}-{part}-{kind}', f'Context {document} {part}: what of {kind}?', '', f'answer {kind}', context=f'Context {document} {part}',
                    task_type=f'type {kind}', source='peps', config='default', split='train', row=document, license='own', generator='local:bonito')
            for document in range(documents) for part in range(2) for kind in range(types)]


@pytest.fixture
def run(tmp_path) -> Path:
    return write_rows(tmp_path / 'run', dynosaur(), files=2)


def components(pairs: list[list[tuple]]) -> int:
    "How many groups there are when each item joins its keys: a plain union-find."
    parent = {}
    def root(node):
        while parent.setdefault(node, node) != node: node = parent[node]
        return node
    for first, *others in pairs:
        root(first)
        for other in others: parent[root(first)] = root(other)
    return len({root(first) for first, *_ in pairs})


def row_of(example: Example) -> tuple: return (example.source, example.config, example.split, example.row, example.url)


def parts_of(folder: Path, examples: list[Example], files: int, *words, **named) -> dict[str, int]:
    "Example id -> index of its part."
    parts = split_examples(folder, *words, **named)
    ordered = [example.id for file in range(files) for example in examples[file::files]]
    return dict(zip(ordered, parts.tolist(), strict=True))


# ---- prompts

@pytest.mark.parametrize('instruction, input, wanted', [
    ('Add.', '1\n2', 'Add.\n\n1\n2'), (' Add. \n', '', 'Add.'), ('', ' x ', 'x'), ('Add.', ' \n\t ', 'Add.'),
    ('Explain.', '\n    def f():\n        pass\n', 'Explain.\n\n    def f():\n        pass'), ('Explain.', '   x = 1  ', 'Explain.\n\nx = 1')])
def test_join_prompt(instruction, input, wanted): assert join_prompt(instruction, input) == wanted


@given(st.text(), st.text())
def test_prompts_have_no_white_space_at_their_ends_and_lose_no_words(instruction, input):
    prompt = join_prompt(instruction, input)
    assert prompt == prompt.rstrip() and prompt == prompt.lstrip('\r\n')
    assert prompt.split() == (instruction.split() + input.split())
    assert trim_text(trim_text(input)) == trim_text(input)


# ---- shares

@pytest.mark.parametrize('text', ['', 'x', '0', '-1/2', '0.5/0', '1/1/1/1', 'nan/1', 'inf', '0.9,0.1', '1/'])
def test_shares_that_are_none(text):
    with pytest.raises(ValueError, match='want one to three positive shares'): parse_split(text)


@given(st.lists(st.floats(.001, 1000), min_size=1, max_size=3))
def test_shares_sum_to_one(shares):
    found = parse_split('/'.join(map(str, shares)))
    assert abs(sum(found.values()) - 1) < 1e-9 and len(found) == len(shares) and list(found)[0] == 'train'


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(-1, 12)), min_size=1, max_size=40))
def test_groups_are_the_connected_components(pairs):
    rows, keys = (np.array(column, np.int64) for column in zip(*pairs))
    found = find_groups([rows, keys])
    parent = {}
    def root(node):
        while parent.setdefault(node, node) != node: node = parent[node]
        return node
    for row, key in pairs:
        if key >= 0: parent[root(('row', row))] = root(('key', key))
    wanted = [root(('row', row)) for row, _ in pairs]
    assert all((found[i] == found[j]) == (wanted[i] == wanted[j]) for i in range(len(pairs)) for j in range(len(pairs)))


@given(st.lists(st.integers(1, 50), min_size=2, max_size=40), st.integers(0, 2**32))
def test_deals_are_complete_and_near(sizes, seed):
    sizes, keys = np.array(sizes), np.random.default_rng(seed).integers(0, 2**63, len(sizes)).astype(np.uint64)
    parts = deal_groups(sizes, keys, [.8, .2])
    assert set(parts) == {0, 1}
    assert abs(sizes[parts == 1].sum() / sizes.sum() - .2) <= max(sizes) / sizes.sum()  # never off by more than one group
    order = np.random.default_rng(seed).permutation(len(sizes))
    if len(set(keys.tolist())) == len(keys): assert (deal_groups(sizes[order], keys[order], [.8, .2]) == parts[order]).all()


def test_shares_are_met_where_groups_permit(tmp_path):
    examples = dynosaur(sources=4, tasks=3, rows=500)
    folder = write_rows(tmp_path, examples)
    for split, by in (('0.9/0.1', 'row'), ('0.8/0.1/0.1', 'document'), ('0.5/0.5', 'source'), ('3/1', 'task')):
        shares = parse_split(split)
        found = np.bincount(split_examples(folder, shares, by)) / len(examples)
        assert np.abs(found - list(shares.values())).max() < .002, (split, by)


# ---- no row in two parts

names = st.sampled_from(['a', 'b', 'c'])
example = st.builds(lambda source, config, split, row, task, kind, context, url: (source, config, split, row, task, kind, context, url),
                    names, st.sampled_from(['default', 'x']), st.sampled_from(['train', 'validation']), st.integers(0, 6), st.sampled_from(['', 't1', 't2', 't3', 't4', 't5']),
                    st.sampled_from(['', 'qa', 'nli']), st.sampled_from(['', 'c1', 'c2', 'c3', 'c4', 'c5', 'c6']),
                    st.sampled_from(['', 'a.md', 'a.md#x', 'b.md']))


@settings(max_examples=150, deadline=None)
@given(st.lists(example, min_size=1, max_size=40), st.sampled_from(list(BY)), st.sampled_from(['0.9/0.1', '1/1', '0.8/0.1/0.1', '1']), st.integers(0, 5), st.integers(1, 3))
def test_no_source_row_in_two_parts_and_the_rest_kept_whole(rows, by, split, seed, files):
    examples = [Example(str(number), 'Do.', '', 'x', context, task, kind, source, config, part, row, url=url) for number, (source, config, part, row, task, kind, context, url) in enumerate(rows)]
    shares = parse_split(split)
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder), examples, files)
        try: parts = parts_of(Path(folder), examples, files, shares, by, seed)
        except ValueError as error:
            keys = [[('row', row_of(item)), *([('document', item.context)] if by == 'document' and item.context else []), *([('source', item.source)] if by == 'source' else []),
                     *([('task', item.task_id, item.task_type)] if by in ('task', 'source') and item.task_id + item.task_type else [])] for item in examples]
            if by != 'task-and-row': assert components(keys) < len(shares)   # refused only where it can't be done
            assert 'parts' in str(error) or 'leaves the part' in str(error)
            return
    seen = defaultdict(lambda: defaultdict(set))
    for item in examples:
        if (part := parts[item.id]) < 0: continue
        seen['row'][row_of(item)].add(part)
        if item.task_id or item.task_type: seen['task'][item.task_id, item.task_type].add(part)
        if item.context: seen['document'][item.context].add(part)
        seen['source'][item.source].add(part)
    assert all(len(found) == 1 for found in seen['row'].values())
    also = {'row': (), 'document': ('document',), 'task': ('task',), 'source': ('task', 'source'), 'task-and-row': ('task',)}[by]
    if len(shares) > 1:
        for kind in also: assert all(len(found) == 1 for found in seen[kind].values()), kind
    assert set(parts.values()) - {-1} == set(range(len(shares)))     # no part is empty
    assert by == 'task-and-row' or -1 not in parts.values()          # and nothing is lost unless that was asked for


@pytest.mark.parametrize('by', list(BY))
def test_the_deal_depends_on_seed_and_content_alone(tmp_path, by):
    examples = dynosaur(sources=6, tasks=4, rows=12, splits=('train', 'validation'))
    shuffled = [examples[index] for index in np.random.default_rng(1).permutation(len(examples))]
    shares = parse_split('0.7/0.3')
    first = parts_of(write_rows(tmp_path / 'a', examples, 1), examples, 1, shares, by, 3)
    assert parts_of(write_rows(tmp_path / 'b', shuffled, 3), shuffled, 3, shares, by, 3) == first
    assert any(parts_of(tmp_path / 'a', examples, 1, shares, by, seed) != first for seed in range(4, 8))


def test_most_rows_stay_where_they_were_when_a_dataset_grows(tmp_path):
    small, large = dynosaur(sources=3, rows=200), dynosaur(sources=4, rows=250)
    shares = parse_split('0.9/0.1')
    before, after = (parts_of(write_rows(tmp_path / name, rows), rows, 1, shares) for name, rows in (('a', small), ('b', large)))
    assert np.mean([before[id] == after[id] for id in before]) > .97


def test_documents_stay_whole(tmp_path):
    examples = bonito()
    parts = parts_of(write_rows(tmp_path, examples, 2), examples, 2, parse_split('2/1'), 'document')
    where = defaultdict(set)
    for item in examples: where[item.row].add(parts[item.id])
    assert all(len(found) == 1 for found in where.values()) and Counter(parts.values()) == {0: 48, 1: 24}


def test_first_pieces_of_two_documents_are_two_rows(tmp_path):
    examples = [Example(f'{document}-{part}-{kind}', f'What of {kind}?', '', 'x', f'Piece {document} {part}', '', f'type {kind}', 'archive', 'default', 'documents', part, url=f'{document:02}.md#part')
                for document in range(30) for part in range(4) for kind in range(2)]
    folder = write_rows(tmp_path / 'a', examples, 2)
    for by in ('row', 'document'):
        parts = parts_of(folder, examples, 2, parse_split('0.9/0.1'), by)
        assert Counter(parts.values()) == {0: 216, 1: 24}  # of one row number alone there would be four groups of sixty
        assert all(len({parts[f'{document}-{part}-{kind}'] for kind in range(2)}) == 1 for document in range(30) for part in range(4))
    later = write_rows(tmp_path / 'b', examples[24:], 2)  # three documents in front are taken away
    after = parts_of(later, examples[24:], 2, parse_split('0.9/0.1'))
    assert np.mean([parts[id] == after[id] for id in after]) > .95


def test_tasks_that_share_all_rows(tmp_path):
    examples = bonito(documents=60, types=8)
    folder = write_rows(tmp_path, examples)
    with pytest.raises(ValueError, match="by='task' finds 1 group .* 'task-and-row'"): split_examples(folder, parse_split('0.9/0.1'), 'task')
    parts = parts_of(folder, examples, 1, parse_split('0.9/0.1'), 'task-and-row')
    kept = [part for part in parts.values() if part >= 0]
    assert abs(np.mean(kept) - .1) < .02 and abs(len(kept) / len(examples) - .625) < .03   # as the text above BY says


def test_unknown_choice_and_no_dataset(tmp_path, run):
    with pytest.raises(ValueError, match="by is 'rows', want one of row, document"): export_dataset(run, by='rows')
    with pytest.raises(ValueError, match="format is 'csv', want one of openai-chat, alpaca"): export_dataset(run, 'csv')
    with pytest.raises(FileNotFoundError, match='want a run folder with dataset/data'): export_dataset(tmp_path / 'nothing')
    assert not (run / 'export').exists()


# ---- each format, read by its consumer

def test_openai_chat_meets_the_types_of_openai_and_the_published_rules(run):
    from openai.types.chat import ChatCompletionMessageParam
    from pydantic import TypeAdapter
    adapter, total = TypeAdapter(list[ChatCompletionMessageParam]), 0
    for file in export_dataset(run, 'openai-chat').files:
        assert Path(file).suffix == '.jsonl'
        for line in open(file, encoding='utf-8'):
            record = json.loads(line)
            adapter.validate_python(record['messages'], strict=True)
            assert set(record) == {'messages'}                                    # the checks that OpenAI's guide gives for a training file
            for message in record['messages']:
                assert set(message) == {'role', 'content'} and message['role'] in ('system', 'user', 'assistant')
                assert isinstance(message['content'], str) and message['content'].strip()
            assert record['messages'][-1]['role'] == 'assistant'
            total += 1
    assert total == 180


def test_alpaca_loads_with_the_features_of_alpaca(run, tmp_path):
    from datasets import Features, Value, load_dataset
    features = Features({name: Value('string') for name in ('instruction', 'input', 'output')})
    files = dict(zip(('train', 'test'), export_dataset(run, 'alpaca').files))
    loaded = load_dataset('json', data_files=files, features=features, cache_dir=str(tmp_path / 'cache'))
    assert (len(loaded['train']), len(loaded['test'])) == (162, 18)
    assert loaded['train'][0]['instruction'].startswith('Do task') and set(loaded['train'].column_names) == set(features)
    assert isinstance(json.loads(Path(files['train']).read_text()), list)         # one JSON list, as alpaca_data.json


def test_sharegpt_is_what_its_readers_accept(run, tmp_path):
    "The rules of LLaMA-Factory's converter: turns alternate from human to gpt, and there is an even number of them; axolotl reads the same keys."
    from datasets import load_dataset
    files = export_dataset(run, 'sharegpt', split='1').files
    loaded = load_dataset('json', data_files=list(files), cache_dir=str(tmp_path / 'cache'))['train']
    assert len(loaded) == 180
    for turns in loaded['conversations']:
        assert [turn['from'] for turn in turns] == ['human', 'gpt'] * (len(turns) // 2) and len(turns) % 2 == 0 and turns
        assert all(set(turn) == {'from', 'value'} and turn['value'] for turn in turns)


TEMPLATE = "{% for message in messages %}<{{ message.role }}>{{ message.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"


def test_trl_formats_are_told_apart_by_trl(run, tmp_path):
    from datasets import load_dataset
    chat, plain = (load_dataset('json', data_files=list(export_dataset(run, name, split='1').files), cache_dir=str(tmp_path / 'cache'))['train'] for name in ('trl', 'trl-standard'))
    for row in chat:                                                              # TRL's page on dataset formats: prompt-completion
        assert [message['role'] for message in row['prompt'] + row['completion']] == ['user', 'assistant'] and set(row) == {'prompt', 'completion'}
    assert all(row['prompt'].endswith('\n\n') and row['completion'] == row['completion'].strip() for row in plain)
    trl = pytest.importorskip('trl.data_utils', reason='TRL is no dependency of this project')
    assert trl.is_conversational(chat[0]) and not trl.is_conversational(plain[0])
    from transformers import AutoTokenizer, PreTrainedTokenizerFast
    from tokenizers import Tokenizer, models
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({'x': 0}, unk_token='x')), chat_template=TEMPLATE)
    assert trl.apply_chat_template(chat[0], tokenizer) == {'prompt': '<user>Do task 0.\n\ntext 0 train 0\n<assistant>', 'completion': 'answer 0\n'}


def test_messages_pass_a_chat_template(run, shared_data):
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(shared_data / 'models/stories260K')
    tokenizer.chat_template = TEMPLATE
    file = export_dataset(run, 'openai-chat', split='1').files[0]
    for line in list(open(file, encoding='utf-8'))[:20]:
        messages = json.loads(line)['messages']
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        assert text == f'<user>{messages[0]["content"]}\n<assistant>{messages[1]["content"]}\n'
        assert len(tokenizer.apply_chat_template(messages, tokenize=True)) > 0


@pytest.mark.parametrize('format', list(FORMATS))
def test_the_folder_of_an_export_is_a_dataset_too(run, tmp_path, format):
    from datasets import load_dataset
    export = export_dataset(run, format, tmp_path / 'out', '0.8/0.1/0.1')
    loaded = load_dataset(str(tmp_path / 'out'), cache_dir=str(tmp_path / 'cache'))
    assert {part: len(rows) for part, rows in loaded.items()} == {part: found['examples'] for part, found in export.parts.items()} == {'train': 144, 'validation': 18, 'test': 18}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(), st.text(), st.text()), min_size=1, max_size=5), st.sampled_from(list(FORMATS)))
def test_any_text_comes_back(texts, format):
    texts = [tuple(text.encode('utf-8', 'ignore').decode() for text in row) for row in texts]
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder), [Example(str(number), *row, source='s', row=number) for number, row in enumerate(texts)])
        export = export_dataset(folder, format, split='1')
        content = Path(export.files[0]).read_text('utf-8')
        ids = (Path(export.folder) / 'ids/train.txt').read_text().split()
    kept = [row for row in texts if join_prompt(*row[:2]) and row[2].strip()]
    records = json.loads(content) if format == 'alpaca' else [json.loads(line) for line in content.splitlines()]   # splitlines: no stray line ends either
    assert records == [FORMATS[format][1](*row) for row in kept] and len(ids) == len(kept)
    assert export.left_out.get('blank', 0) == len(texts) - len(kept) and export.parts['train']['examples'] == len(kept)


# ---- the folder

def test_summary_says_what_was_written(run):
    export = export_dataset(run, 'openai-chat', split='0.9/0.1', seed=4)
    summary = json.loads((Path(export.folder) / 'export.json').read_text())
    assert (summary['format'], summary['split'], summary['by'], summary['seed'], summary['examples']) == ('openai-chat', '0.9/0.1', 'document', 4, 180)
    assert summary['parts'] == export.parts and sum(part['share'] for part in export.parts.values()) == 1
    assert Counter(summary['parts']['train']['licenses']) + Counter(summary['parts']['test']['licenses']) == {'mit': 120, 'cc-by-4.0': 60}
    lines = ''.join(f'{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n' for path in sorted((run / 'dataset/data').glob('*.parquet')))
    assert summary['dataset'] == {'files': 2, 'sha256': hashlib.sha256(lines.encode()).hexdigest()}


def test_ids_name_the_row_of_each_record(run):
    export, rows = export_dataset(run, 'alpaca'), {}
    for path in sorted((run / 'dataset/data').glob('*.parquet')): rows |= {row['id']: row for row in pq.read_table(path).to_pylist()}
    seen = []
    for part, file in zip(export.parts, export.files):
        ids = (Path(export.folder) / f'ids/{part}.txt').read_text().splitlines()
        for id, record in zip(ids, json.loads(Path(file).read_text()), strict=True): assert record['input'] == rows[id]['input'] and record['output'] == rows[id]['output']
        seen += ids
    assert sorted(seen) == sorted(rows)


def test_an_export_replaces_the_one_before_as_a_whole(run):
    before = export_dataset(run, 'openai-chat', split='0.9/0.1')
    after = export_dataset(run, 'openai-chat', split='1')
    assert before.folder == after.folder and not (Path(after.folder) / 'test.jsonl').exists() and not (Path(after.folder) / 'ids/test.txt').exists()
    assert sorted(path.name for path in (run / 'export').iterdir()) == ['openai-chat']  # nothing temporary is left


def test_the_same_export_has_the_same_bytes(run, tmp_path):
    first, second = (export_dataset(run, 'trl', tmp_path / name) for name in 'ab')
    for name in ('train.jsonl', 'test.jsonl', 'export.json', 'README.md', 'ids/train.txt'):
        assert (Path(first.folder) / name).read_bytes() == (Path(second.folder) / name).read_bytes()


def test_a_folder_with_something_else_is_refused(run, tmp_path):
    (tmp_path / 'notes').mkdir(); (tmp_path / 'notes/mine.txt').write_text('mine')
    with pytest.raises(FileExistsError, match='holds something that is no export'): export_dataset(run, out=tmp_path / 'notes')
    assert (tmp_path / 'notes/mine.txt').read_text() == 'mine'


@pytest.mark.parametrize('number, kind, message', [(errno.ENOSPC, OSError, 'free some space'), (errno.EIO, OSError, 'broken disk')])
def test_a_failed_export_leaves_the_old_one(run, monkeypatch, number, kind, message):
    export_dataset(run, 'openai-chat')
    before = {path: path.read_bytes() for path in (run / 'export').rglob('*') if path.is_file()}
    def fail(self, id, *texts):
        if self.count == 50: raise OSError(number, 'broken disk')
        self.count += 1
    monkeypatch.setattr(PartWriter, 'write', fail)
    with pytest.raises(kind, match=message): export_dataset(run, 'openai-chat')
    assert {path: path.read_bytes() for path in (run / 'export').rglob('*') if path.is_file()} == before


def test_rows_are_read_in_batches(run, monkeypatch):
    "The texts of a dataset are never in memory together: one batch of rows at a time."
    sizes, read = [], module._rows
    monkeypatch.setattr(module.parquet.ParquetFile, 'iter_batches', lambda self, size, columns, original=pq.ParquetFile.iter_batches: (
        sizes.append(len(batch)) or batch for batch in original(self, 16, columns=columns)))
    export_dataset(run, 'openai-chat')
    assert sum(sizes) == 180 and max(sizes) == 16
