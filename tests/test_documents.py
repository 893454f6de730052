"""Contexts from documents and data: formats, pages and headings, bad files, chunks, sentences, coverage, real data."""
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hub_server import HubServer, repository

from instructgen.chunks import chunk_text, coverage, split_sentences
from instructgen.contexts import CONTEXT_RULES, ContextRules, read_contexts, sample_contexts
from instructgen.documents import document_format, read_document
from instructgen.html import html_blocks
from instructgen.hub import pin_sources
from instructgen.markup import heading_level, markdown_blocks, text_blocks
from instructgen.records import Context, Rejected
from instructgen.rst import plain_inline, rst_blocks

pypdf, docx, fpdf = pytest.importorskip('pypdf'), pytest.importorskip('docx'), pytest.importorskip('fpdf')
pytest.importorskip('bs4')

NAMES = ['Aldous', 'Berta', 'Cyril', 'Dora', 'Edwin', 'Flora', 'Gilbert', 'Hilda', 'Ivor', 'Jessie']
THINGS = ['north gate', 'south weir', 'mill wheel', 'bell tower', 'eel trap', 'towpath', 'lock house', 'sluice', 'footbridge', 'pump room']


def story(number: int, sentences: int = 5) -> str:
    "A paragraph that no other number gives."
    return ' '.join(f'{NAMES[(number + i) % 10]} repaired the {THINGS[(number * 3 + i) % 10]} in {1700 + 7 * number + i} and was paid {number + 2 * i + 1} shillings for it.' for i in range(sentences))


def make_pdf(path: Path, chapters: int, header: str, first: int = 0) -> None:
    class Book(fpdf.FPDF):
        def header(self):
            self.set_font('Helvetica', '', 9)
            self.cell(0, 8, header, align='C', new_x='LMARGIN', new_y='NEXT')

        def footer(self):
            self.set_y(-15)
            self.set_font('Helvetica', 'I', 8)
            self.cell(0, 10, f'Page {self.page_no()} of {chapters}', align='C')
    book = Book()
    for chapter in range(chapters):
        book.add_page()
        book.set_font('Helvetica', 'B', 16)
        book.cell(0, 10, f'The {THINGS[(first + chapter) % 10]} in year {first + chapter}', new_x='LMARGIN', new_y='NEXT')
        book.set_font('Times', '', 11)
        for part in range(3):
            book.multi_cell(0, 5, story(100 + 10 * (first + chapter) + part), new_x='LMARGIN', new_y='NEXT')
            book.ln(3)
    book.output(str(path))


def make_docx(path: Path, number: int) -> None:
    file = docx.Document()
    file.add_heading(f'Letters of {NAMES[number % 10]}', 0)
    for part in range(2):
        file.add_heading(f'Letter {number}-{part}', 1)
        file.add_paragraph(story(300 + 10 * number + part))
    table = file.add_table(2, 2)
    for row, cells in zip(table.rows, (('Item', 'Cost'), (THINGS[number % 10], str(number)))):
        for cell, text in zip(row.cells, cells): cell.text = text
    file.sections[0].header.paragraphs[0].text = 'Confidential header of the water company'
    file.save(str(path))


@pytest.fixture(scope='module')
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "Sixty documents in seven formats, in folders."
    home = tmp_path_factory.mktemp('archive') / 'archive'
    for folder in ('books', 'letters', 'pages', 'notes', 'tables'): (home / folder).mkdir(parents=True)
    for i in range(12): make_pdf(home / 'books' / f'book{i:02}.pdf', 4, 'Water Company of Milltown - internal', first=5 * i)
    for i in range(10): make_docx(home / 'letters' / f'letter{i}.docx', i)
    for i in range(12):
        (home / 'pages' / f'page{i:02}.html').write_text(f'''<html><head><title>x</title><script>var a = "evil {i}";</script></head><body><nav>Home | Imprint {i}</nav>
            <h1>Town {i}</h1><h2 id="sec-{i}">The {THINGS[i % 10]}</h2><p>{story(500 + i)}</p><footer>All rights {i}</footer></body></html>''')
    for i in range(12): (home / 'notes' / f'note{i:02}.md').write_text(f'---\ntitle: Diary {i}\n---\n\n## Day {i}\n\n{story(600 + i)}\n')
    for i in range(10): (home / 'notes' / f'plain{i}.txt').write_text(f'CHAPTER {i}\n\n{story(700 + i)}\n')
    for i in range(2): (home / 'tables' / f'log{i}.csv').write_text('day,text\n' + ''.join(f'{j},"{story(800 + 10 * i + j)}"\n' for j in range(5)))
    for i in range(2): (home / 'tables' / f'log{i}.jsonl').write_text(''.join(json.dumps({'n': j, 'body': {'text': story(900 + 10 * i + j)}}) + '\n' for j in range(5)))
    return home


def split(items) -> tuple[list[Context], Counter]:
    items, counts = list(items), Counter()
    for item in items:
        if isinstance(item, Rejected): counts[item.rule] += item.count
    return [item for item in items if isinstance(item, Context)], counts


# ---- sixty documents lead back to page and heading

def test_sixty_documents(archive):
    assert sum(path.is_file() for path in archive.rglob('*')) == 60
    lengths = {}
    contexts, counts = split(read_contexts(str(archive), license='CC0-1.0', lengths=lengths))
    assert {context.document for context in contexts} == {path.relative_to(archive).as_posix() for path in archive.rglob('*') if path.is_file()}
    for name in {context.document for context in contexts}:
        rows = [context.row for context in contexts if context.document == name]
        assert rows == sorted(set(rows)) and rows[0] <= 1 and rows[-1] < 12, name  # numbered within the document, before the sieve
    assert len({(context.row, context.url) for context in contexts}) == len(contexts)
    assert {(context.source, context.split, context.license) for context in contexts} == {('archive', 'documents', 'CC0-1.0')}
    assert all(re.fullmatch('[0-9a-f]{16}', context.revision) for context in contexts)
    text = '\n'.join(context.text for context in contexts)
    for gone in ('Water Company of Milltown', ' of 4', 'Confidential header', 'evil', 'Imprint', 'All rights', 'title:'): assert gone not in text
    for kind, first, count in (('books', 100, 12), ('letters', 300, 10), ('pages', 500, 12), ('notes', 600, 12), ('notes', 700, 10)):
        for i in range(count): assert story(first + (50 * i if kind == 'books' else 10 * i if kind == 'letters' else i))[:60] in text, (kind, i)
    share, by_document = coverage(contexts, lengths)
    assert share > .95 and len(by_document) == 60
    assert set(counts) <= {'boilerplate', 'too_short', 'little_prose'} and counts['boilerplate'] == 12 * 4 * 2


def test_page_and_heading_of_a_pdf_are_true(archive):
    contexts = [context for context in split(read_contexts(str(archive)))[0] if context.document.endswith('.pdf')]
    assert len(contexts) >= 48
    readers = {}
    for context in contexts:
        reader = readers.setdefault(context.document, pypdf.PdfReader(archive / context.document))
        page = ' '.join(reader.pages[context.page - 1].extract_text().split())
        assert ' '.join(context.text.split())[:80] in page
        assert context.url == f'{context.document}#page={context.page}'
        assert context.heading in page and context.heading.startswith('The ')


def test_heading_of_other_formats(archive):
    by_document = {context.document: context for context in split(read_contexts(str(archive)))[0]}
    assert (by_document['pages/page03.html'].heading, by_document['pages/page03.html'].url) == ('Town 3 > The bell tower', 'pages/page03.html#sec-3')
    assert (by_document['notes/note05.md'].heading, by_document['notes/note05.md'].url) == ('Diary 5 > Day 5', 'notes/note05.md#day-5')
    assert by_document['notes/plain4.txt'].heading == 'CHAPTER 4' and by_document['notes/plain4.txt'].page == 0
    assert by_document['letters/letter2.docx'].heading.startswith('Letters of Cyril > Letter 2-')
    assert by_document['tables/log1.csv'].url == 'tables/log1.csv#row=4'
    assert by_document['tables/log0.jsonl'].text == story(904)


def test_offsets_find_the_text_again(archive):
    for context in split(read_contexts(str(archive)))[0]:
        if document_format(context.document) == 'rows': continue
        document = read_document(archive / context.document, context.document)
        assert document.text[context.start:context.end] == context.text == context.text.strip()


def test_same_contexts_with_another_hash_seed(archive):
    code = 'import hashlib, sys; from instructgen.contexts import *; from instructgen.records import to_json\nprint(hashlib.sha256("".join(map(to_json, read_contexts(sys.argv[1]))).encode()).hexdigest())'
    small = str(archive / 'notes')
    told = {subprocess.run([sys.executable, '-c', code, small], env={**os.environ, 'PYTHONHASHSEED': seed}, capture_output=True, text=True, check=True).stdout for seed in ('1', '77')}
    assert len(told) == 1


# ---- PDFs that cannot be read, and some that nearly cannot

def blank_pdf(**how) -> bytes:
    writer, stream = pypdf.PdfWriter(), io.BytesIO()
    for _ in range(2): writer.add_blank_page(200, 200)
    if how: writer.encrypt(**how)
    writer.write(stream)
    return stream.getvalue()


def test_bad_files_are_named_and_stop_nobody(tmp_path):
    from PIL import Image
    scan = fpdf.FPDF()
    for shade in (10, 200):
        scan.add_page()
        scan.image(Image.new('L', (60, 60), shade), 10, 10, 100)
    scan.output(str(tmp_path / 'scan.pdf'))
    mixed = fpdf.FPDF()
    mixed.add_page()
    mixed.set_font('Times', '', 11)
    mixed.multi_cell(0, 5, story(1))
    mixed.add_page()
    mixed.image(Image.new('L', (60, 60), 99), 10, 10, 100)
    mixed.output(str(tmp_path / 'mixed.pdf'))
    files = {'locked.pdf': blank_pdf(user_password='secret', algorithm='RC4-128'), 'empty.pdf': blank_pdf(), 'broken.pdf': b'%PDF-1.7\nnothing', 'cut.pdf': (tmp_path / 'mixed.pdf').read_bytes()[:400],
             'zero.txt': b'', 'blank.md': b' \n\n ', 'binary.txt': b'\x89PNG\0\0\xff\xfe' * 50, 'notzip.docx': b'PK\3\4 broken', 'word.doc': b'\xd0\xcf', 'photo.jpg': b'x', 'photo2.jpg': b'x', 'bad.parquet': b'PAR1',
             'good.txt': story(2).encode(), '.hidden.txt': story(3).encode(), '~$open.docx': b'lock', 'latin.txt': ('Café Zürich. ' + story(4)).encode('cp1252'), 'utf16.txt': ('Łódź. ' + story(5)).encode('utf-16')}
    for name, data in files.items(): (tmp_path / name).write_bytes(data)
    (tmp_path / 'nofile.txt').symlink_to('gone.txt')
    (tmp_path / 'loop').symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(tmp_path / 'pipe.txt')
    items = list(read_contexts(str(tmp_path)))
    rules = {item.id: item.rule for item in items if isinstance(item, Rejected) and item.kind == 'source'}
    assert rules == {'locked.pdf': 'encrypted_pdf', 'scan.pdf': 'scanned_pdf', 'empty.pdf': 'empty', 'broken.pdf': 'broken_file', 'cut.pdf': 'broken_file', 'zero.txt': 'empty', 'blank.md': 'empty', 'binary.txt': 'broken_file',
                     'notzip.docx': 'broken_file', 'bad.parquet': 'broken_file', 'nofile.txt': 'unreadable', 'pipe.txt': 'unreadable', '.doc': 'unknown_format', '.jpg': 'unknown_format'}
    assert next(item for item in items if isinstance(item, Rejected) and item.id == '.jpg').count == 2
    assert [item.count for item in items if isinstance(item, Rejected) and item.rule == 'scanned_page'] == [1]
    contexts = {item.document: item for item in items if isinstance(item, Context)}
    assert set(contexts) == {'good.txt', 'latin.txt', 'utf16.txt', 'mixed.pdf'}
    assert contexts['latin.txt'].text.startswith('Café Zürich.') and contexts['utf16.txt'].text.startswith('Łódź.')


@pytest.mark.skipif(os.geteuid() == 0, reason='root may read everything')
def test_a_file_without_permission(tmp_path):
    (tmp_path / 'a.txt').write_text(story(1))
    (tmp_path / 'a.txt').chmod(0)
    assert [item.rule for item in read_contexts(str(tmp_path))] == ['unreadable']


def test_owner_password_only_is_no_lock(tmp_path):
    make_pdf(tmp_path / 'a.pdf', 1, 'Head')
    writer = pypdf.PdfWriter(clone_from=tmp_path / 'a.pdf')
    writer.encrypt(user_password='', owner_password='x', algorithm='RC4-128')
    writer.write(tmp_path / 'b.pdf')
    assert story(100)[:40] in read_document(tmp_path / 'b.pdf').text


@pytest.mark.parametrize('ending, missing', [('pdf', 'pypdf'), ('docx', 'docx'), ('html', 'bs4')])
def test_a_missing_parser_is_named_with_its_install_line(tmp_path, monkeypatch, ending, missing):
    (tmp_path / f'a.{ending}').write_bytes(b'<p>something</p>')
    if ending == 'docx': make_docx(tmp_path / 'a.docx', 1)
    monkeypatch.setitem(sys.modules, missing, None)
    left = read_document(tmp_path / f'a.{ending}')
    assert left.rule == 'parser_missing' and "pip install 'instructgen[documents]'" in left.text


def test_zip_bomb(tmp_path, monkeypatch):
    from instructgen import word
    with zipfile.ZipFile(tmp_path / 'bomb.docx', 'w', zipfile.ZIP_DEFLATED) as file: file.writestr('word/document.xml', b'0' * 3_000_000)
    monkeypatch.setattr(word.check_zip, '__defaults__', (1_000_000,))
    left = read_document(tmp_path / 'bomb.docx')
    assert left.rule == 'broken_file' and 'unpacks to 3,000,000' in left.text


def test_entities_of_xml_are_not_expanded(tmp_path):
    make_docx(tmp_path / 'a.docx', 1)
    parts = {name: zipfile.ZipFile(tmp_path / 'a.docx').read(name) for name in zipfile.ZipFile(tmp_path / 'a.docx').namelist()}
    secret = tmp_path / 'secret.txt'
    secret.write_text('TOPSECRET')
    parts['word/document.xml'] = parts['word/document.xml'].replace(b'?>', f'?><!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}">]>'.encode(), 1).replace(b'Letter 1-0', b'&e;')
    with zipfile.ZipFile(tmp_path / 'b.docx', 'w') as file:
        for name, data in parts.items(): file.writestr(name, data)
    read = read_document(tmp_path / 'b.docx')
    assert 'TOPSECRET' not in (read.text if not isinstance(read, Rejected) else '')


@pytest.mark.parametrize('page', ['<div>' * 5000 + 'deep text' + '</div>' * 5000, '<a ' * 20000, '<!--' * 20000, '<table><tr><td>' * 1000 + 'x', '<b>' * 20000, '<header>' * 5000 + '<h1>x</h1>',
                                  '<script>while(1);</script><p>text</p>', '<p>' + 'word ' * 200_000, '&#x110000;&#xD800;<p>\0text', '<meta charset="utf-7"><p>+ADw-x', '<meta charset="no-such">text', '<html ' + 'a=1 ' * 20000 + '>x'], ids=lambda page: repr(page[:12]))
def test_hostile_pages_end(page):
    text = '\n'.join(block.text for block in html_blocks(page.encode('utf-8', 'surrogatepass')))
    assert 'while(1)' not in text and '\0' not in text
    text.encode('utf-8')


def test_nothing_in_a_page_is_fetched(monkeypatch):
    import socket
    monkeypatch.setattr(socket, 'socket', lambda *args, **keys: pytest.fail('a socket was opened'))
    page = b'<!DOCTYPE html SYSTEM "http://example.org/x.dtd"><img src=http://example.org/a.png><link rel=stylesheet href=http://example.org/b.css><iframe src=file:///etc/passwd></iframe><p>words</p>'
    assert [block.text for block in html_blocks(page)] == ['words']


def test_a_gigantic_line(tmp_path):
    (tmp_path / 'line.txt').write_text('word ' * 400_000)
    (tmp_path / 'blob.txt').write_text('A' * 100_000)
    contexts, counts = split(read_contexts(str(tmp_path), rules=replace(CONTEXT_RULES['careful'], prose=0., duplicates=True)))
    assert max(len(context.text) for context in contexts) <= 2048
    assert all(set(context.text.split()) == {'word'} for context in contexts if context.document == 'line.txt')


# ---- markup

def test_markdown_keeps_words_and_drops_signs():
    blocks = markdown_blocks('Title\n=====\n\nA *b* **c** `d_e` [f](g "h") <i>i</i> ![j](k)\n\n> quote\n\n1. one\n2. two\n\n```\ncode *x*\n```\n')
    assert [(block.text, block.level) for block in blocks[:3]] == [('Title', 1), ('A b c d_e f i j', 0), ('quote', 0)]
    assert blocks[3].text.startswith('1. one\n2. two') and 'code *x*' in '\n'.join(block.text for block in blocks)
    assert markdown_blocks('---\nnot: closed') and not markdown_blocks('<!-- only a comment -->')


@pytest.mark.parametrize('text, want', [('``a*b``', 'a*b'), ('*a* **b**', 'a b'), ('2*3*4 = *24*', '2*3*4 = 24'), (':func:`~os.path.join`', 'os.path.join'), ('`text <url>`_', 'text'), ('see link_.', 'see link.'),
                                        ('snake_case_name __init__ _private', 'snake_case_name __init__ _private'), ('a\\ b \\*c', 'ab *c'), ('note [1]_ and [#n]_', 'note [1] and [n]'), ('|version|', 'version'), ('a | b | c', 'a | b | c')])
def test_inline_rst(text, want):
    assert plain_inline(text) == want


def test_rst_code_ends_with_its_list_item():
    blocks = rst_blocks('1. First::\n\n     code()\n\n   More text.\n\n2. Second\n')
    assert [block.text for block in blocks] == ['1. First:', 'code()', 'More text.', '2. Second']


def test_rst_reads_no_other_file(tmp_path):
    secret = tmp_path / 'secret.txt'
    secret.write_text('TOPSECRET')
    assert rst_blocks(f'.. include:: {secret}\n\n.. raw:: html\n   :file: {secret}\n\n.. csv-table:: t\n   :file: {secret}\n\n.. literalinclude:: {secret}\n') == []


def test_wrapped_lines_are_joined_and_verse_is_not():
    wrapped = 'The keeper of the gate wrote every morning at six into\nthe ledger how high the water stood, and rang the bell of\nthe tower if it stood higher than the red line of 1931.'
    assert text_blocks(wrapped)[0].text == wrapped.replace('\n', ' ')
    verse = 'The mill stands still,\nthe wheel is wood,\nand no one will\nwho once well could.'
    assert text_blocks(verse)[0].text == verse
    assert [block.pages for block in text_blocks('one\n\f\ntwo')] == [((0, 1),), ((0, 2),)]
    assert heading_level('2.1 Scope of work') == 2 and not heading_level('1. Dogs wait outside the room')


# ---- sentences

@pytest.mark.parametrize('text, want', [
    ('Mr. A. B. Hale met Dr. Smith at 5 p.m. on Jan. 5. They spoke.', ['Mr. A. B. Hale met Dr. Smith at 5 p.m. on Jan. 5.', 'They spoke.']),
    ('It rose by 3.5 percent. In 1987. The end.', ['It rose by 3.5 percent.', 'In 1987.', 'The end.']),
    ('"Is it?" he asked. "Yes!" She left.', ['"Is it?" he asked.', '"Yes!"', 'She left.']),
    ('See www.a.org. Use e.g. tea, i.e. leaves, etc. The pot (cf. Fig. 2) is hot.', ['See www.a.org.', 'Use e.g. tea, i.e. leaves, etc.', 'The pot (cf. Fig. 2) is hot.']),
    ('Smith et al. reported this [12]. However, no. 7 differs!', ['Smith et al. reported this [12].', 'However, no. 7 differs!']),
    ('The U.S. Supreme Court and Acme Inc. agreed. So did I. Then we left.', ['The U.S. Supreme Court and Acme Inc. agreed.', 'So did I.', 'Then we left.']),
    ('Rules:\n1. Be kind.\n2. Be brief\n- and loud', ['Rules:', '1. Be kind.', '2. Be brief', '- and loud']),
    ('会议开始。请坐！好吗？', ['会议开始。', '请坐！', '好吗？']), ('Wait... What?! No.', ['Wait...', 'What?!', 'No.']), ('', []), (' \n\n ', []),
])
def test_sentences(text, want):
    assert [text[start:end] for start, end in split_sentences(text)] == want


TEXTS = st.text(st.sampled_from('aB. !?\n"\'()[]1:;,-é中。*\t\x0c'), max_size=300) | st.text(max_size=200)


@given(TEXTS)
@settings(max_examples=300, deadline=None)
def test_every_character_is_in_one_sentence(text):
    spans = split_sentences(text)
    assert all(left[1] <= right[0] for left, right in zip(spans, spans[1:]))
    assert ''.join(''.join(text[start:end].split()) for start, end in spans) == ''.join(text.split())
    assert all(text[start:end] == text[start:end].strip() != '' for start, end in spans)


@pytest.mark.parametrize('text', ['.' * 300_000, 'A. ' * 100_000, '!"' * 100_000, '\n ' * 100_000, 'e.g. X ' * 50_000, '(' * 200_000, '1. ' * 100_000], ids=lambda text: repr(text[:7]))
def test_sentences_of_hostile_text(text):
    assert sum(end - start for start, end in split_sentences(text)) <= len(text)  # in quadratic time this would not end


# ---- chunks

@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9), st.booleans()), max_size=12), st.integers(60, 400), st.integers(0, 50), st.integers(20, 300))
@settings(max_examples=200, deadline=None)
def test_chunks(parts, size, overlap, target):
    paragraphs = [f'Heading {i}' if heading else ' '.join(f'Word{i} walks {n} steps on.' for n in range(count)) or 'x' for i, (count, _, heading) in enumerate(parts)]
    text, headings, place = '\n\n'.join(paragraphs), [], 0
    for paragraph in paragraphs:
        if paragraph.startswith('Heading'): headings.append(place)
        place += len(paragraph) + 2
    chunks = chunk_text(text, size, overlap, target, headings)
    assert chunks == chunk_text(text, size, overlap, target, headings)
    assert all(0 < chunk.end - chunk.start <= size for chunk in chunks)
    assert all(left.start < right.start and left.end < right.end for left, right in zip(chunks, chunks[1:]))
    assert all(right.start >= left.end - overlap for left, right in zip(chunks, chunks[1:]))
    covered = set()
    for chunk in chunks:
        covered.update(range(chunk.start, chunk.end))
        assert not text[chunk.start].isspace() and (chunk.start == 0 or text[chunk.start - 1].isspace()) and (chunk.end == len(text) or text[chunk.end].isspace())
    assert all(i in covered for i, char in enumerate(text) if not char.isspace())


@given(TEXTS, st.integers(5, 60), st.integers(0, 4))
@settings(max_examples=300, deadline=None)
def test_chunks_of_any_text(text, size, overlap):
    chunks = chunk_text(text, size, overlap, size // 2)
    covered = {i for chunk in chunks for i in range(chunk.start, chunk.end)}
    assert all(chunk.end - chunk.start <= size for chunk in chunks)
    assert all(i in covered for i, char in enumerate(text) if not char.isspace())


def test_chunks_overlap_in_a_section_and_not_over_a_heading():
    text = story(1, 40) + '\n\nPrices\n\n' + story(2, 40)
    heading = text.index('Prices')
    chunks = chunk_text(text, 1000, 150, 600, [heading])
    assert any(chunk.start == heading for chunk in chunks)
    for left, right in zip(chunks, chunks[1:]): assert right.start > left.end if right.start == heading else right.start < left.end
    assert all(text[chunk.start:chunk.end].endswith('.') for chunk in chunks)


def test_a_piece_neither_ends_with_a_heading_nor_after_a_colon():
    text = '\n\n'.join(f'Heading {i}\n\n{story(i, 3)} We might do:\n\n>>> ring({i})' for i in range(12))
    for chunk in chunk_text(text, 1200, 100, 400, [match.start() for match in re.finditer('Heading', text)]):
        assert not re.search(r'(?:Heading \d+|:)$', text[chunk.start:chunk.end])


def test_coverage_merges_overlaps():
    def piece(start, end, document='a'): return Context('…', 'f', split='documents', document=document, start=start, end=end)
    share, by_document = coverage([piece(0, 10), piece(5, 20), piece(30, 40), piece(32, 35)], {'f/a': 50, 'f/b': 50})
    assert (share, by_document) == (.3, {'f/a': .6, 'f/b': 0.})
    assert coverage([], {}) == (0., {})


# ---- datasets, columns, runs, sampling

def test_columns(tmp_path):
    (tmp_path / 'x.jsonl').write_text(''.join(json.dumps({'id': i, 'q': 'Why?', 'ctx': {'parts': [story(i, 2), story(i + 50, 2)]}, 'answers': [{'text': 'a'}]}) + '\n' for i in range(3)))
    notes = []
    contexts, _ = split(read_contexts(str(tmp_path / 'x.jsonl'), notes=notes))
    assert notes == ['x.jsonl: column ctx.parts (guessed: the longest text)'] and contexts[0].text == f'{story(0, 2)} {story(50, 2)}'
    assert [(context.source, context.split, context.row, context.document) for context in contexts][2] == ('x', 'train', 2, '')
    with pytest.raises(ValueError, match="has no column 'ctx.body', it has id, q, ctx, answers, ctx.parts"): list(read_contexts(str(tmp_path / 'x.jsonl'), 'ctx.body'))
    assert split(read_contexts(str(tmp_path), 'nope'))[1] == {'no_column': 1}  # among documents it is a reject
    assert split(read_contexts(str(tmp_path / 'x.jsonl'), 'q'))[1] == {'too_short': 1, 'duplicate_context': 2}


def test_places_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match='nothing at'): read_contexts(str(tmp_path / 'gone'))
    with pytest.raises(ValueError, match='no place given'): read_contexts(' , ')
    (tmp_path / 'a.exe').write_bytes(b'MZ')
    with pytest.raises(ValueError, match='no format that can be read'): read_contexts(str(tmp_path / 'a.exe'))
    (tmp_path / 'none').mkdir()
    assert list(read_contexts(str(tmp_path / 'none'))) == []


def test_a_dataset_folder_and_its_licence(tmp_path):
    home = tmp_path / 'news'
    home.mkdir()
    (home / 'README.md').write_text('---\nlanguage: en\ndataset_info:\n  features: []\n---\n# News\n')
    for name in ('train', 'test'): (home / f'{name}.jsonl').write_text(''.join(json.dumps({'text': f'{name}: {story(i)}', 'label': i}) + '\n' for i in range(4)))
    assert split(read_contexts(str(home)))[1] == {'no_license': 1}
    contexts, _ = split(read_contexts(str(home), license='own'))
    assert {(context.source, context.config, context.split, context.license) for context in contexts} == {('news', 'default', 'train', 'own')} and len(contexts) == 4
    assert split(read_contexts(str(home), license='own', split='test'))[0][0].text.startswith('test:')
    with pytest.raises(ValueError, match="no split 'dev'"): list(read_contexts(str(home), license='own', split='dev'))
    (home / 'README.md').write_text('---\nlayout: page\n---\n# A page about the data, no dataset card\n')
    assert {context.split for context in split(read_contexts(str(home)))[0]} == {'documents'}


def test_a_run_gives_its_contexts_once_with_their_provenance(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq
    (tmp_path / 'run1' / 'dataset' / 'data').mkdir(parents=True)
    (tmp_path / 'run1' / 'run.json').write_text('{}')
    rows = [{'id': f'{i}{draw}', 'context': story(i), 'output': 'x', 'source': 'handbook', 'config': 'default', 'split': 'documents', 'row': i, 'revision': 'abc', 'license': 'CC0-1.0', 'url': f'a.pdf#page={i}'} for i in range(3) for draw in range(2)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / 'run1' / 'dataset' / 'data' / 'train-00.parquet')
    contexts, counts = split(read_contexts(str(tmp_path / 'run1')))
    assert [(context.source, context.row, context.url, context.license) for context in contexts] == [('handbook', i, f'a.pdf#page={i}', 'CC0-1.0') for i in range(3)] and not counts
    pq.write_table(pa.Table.from_pylist([{**row, 'context': ''} for row in rows]), tmp_path / 'run1' / 'dataset' / 'data' / 'train-00.parquet')
    assert split(read_contexts(str(tmp_path / 'run1')))[1] == {'no_contexts': 1}


def test_contexts_of_a_run_lead_to_their_documents(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq
    (tmp_path / 'run1' / 'dataset' / 'data').mkdir(parents=True)
    (tmp_path / 'run1' / 'run.json').write_text('{}')
    rows = [{'context': story(10 * i + j), 'source': 'handbook', 'config': 'default', 'split': 'documents', 'row': j, 'url': f'in%20use/a%23{i}.pdf#page={j + 1}'} for j in range(2) for i in range(3)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / 'run1' / 'dataset' / 'data' / 'train-00.parquet')
    lengths = {}
    contexts, _ = split(read_contexts(str(tmp_path / 'run1'), lengths=lengths))
    assert [(context.document, context.row) for context in contexts] == [(f'in use/a#{i}.pdf', j) for j in range(2) for i in range(3)]
    assert set(lengths) == {f'handbook/in use/a#{i}.pdf' for i in range(3)}
    for context in contexts: assert context.end - context.start == len(context.text) and (context.start == 0) == (context.row == 0)
    share, by_document = coverage(contexts, lengths)
    assert share > .99 and len(by_document) == 3


@pytest.mark.parametrize('ending', ['.md', '.csv'])
def test_a_document_in_front_changes_nothing_behind_it(tmp_path, ending):
    for i in range(1, 6):
        if ending == '.csv': (tmp_path / f'd{i}.csv').write_text('day,text\n' + ''.join(f'{j},"{story(100 * i + j, 40)}"\n' for j in range(3)))
        else: (tmp_path / f'd{i}.md').write_text('\n\n'.join(f'# Part {j}\n\nToo short.\n\n# Tale {j}\n\n{story(100 * i + j, 12)}' for j in range(4)))
    before, _ = split(read_contexts(str(tmp_path)))
    assert max(Counter(context.row for context in before).values()) >= 5  # every document begins at its own beginning
    first = '\n'.join(f'{j},"{story(50 + j)}"' for j in range(4)) if ending == '.csv' else f'# First\n\n{story(50, 60)}'
    (tmp_path / f'a{ending}').write_text(('day,text\n' if ending == '.csv' else '') + first)
    (tmp_path / f'd3{ending}').unlink()
    now, _ = split(read_contexts(str(tmp_path)))
    assert [context for context in now if not context.document.startswith('a')] == [context for context in before if not context.document.startswith('d3')]
    assert any(context.document.startswith('a') for context in now)


def test_pieces_of_a_row_of_a_table_share_its_number(tmp_path):
    (tmp_path / 'log.csv').write_text('day,text\n' + ''.join(f'{j},"{story(100 + j, 60)}"\n' for j in range(3)))
    (tmp_path / 'note.txt').write_text(story(7))
    contexts = [context for context in split(read_contexts(str(tmp_path)))[0] if context.document == 'log.csv']
    assert set(Counter(context.row for context in contexts)) == {0, 1, 2} and min(Counter(context.row for context in contexts).values()) > 1
    assert all(context.url == f'log.csv#row={context.row}' for context in contexts)


def test_several_places_share_one_sieve(tmp_path):
    for name in ('a', 'b'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'x.txt').write_text(story(1))
    lengths = {}
    contexts, counts = split(read_contexts(f'{tmp_path / "a"},{tmp_path / "b"}', lengths=lengths))
    assert len(contexts) == 1 and counts == {'duplicate_context': 1} and coverage(contexts, lengths)[0] == 1
    assert len(split(read_contexts(f'{tmp_path / "a"},{tmp_path / "b"}', rules=CONTEXT_RULES['published']))[0]) == 2


def test_published_rules_cut_nothing(tmp_path):
    (tmp_path / 'x.txt').write_text('\n\n'.join(story(i, 9) for i in range(20)))
    assert len(split(read_contexts(str(tmp_path), rules=CONTEXT_RULES['published']))[0]) == 1
    assert len(split(read_contexts(str(tmp_path)))[0]) > 5
    with pytest.raises(ValueError, match='overlap'): ContextRules(size=50)


def test_a_sample_does_not_depend_on_the_order():
    contexts = [Context(story(i), 'f', row=i) for i in range(100)]
    chosen = sample_contexts(contexts, 10, seed=3)
    assert [context.row for context in chosen] == sorted(context.row for context in chosen) and len(chosen) == 10
    assert {context.row for context in sample_contexts(contexts[::-1], 10, seed=3)} == {context.row for context in chosen} != {context.row for context in sample_contexts(contexts, 10, seed=4)}
    assert {context.row for context in chosen} <= {context.row for context in sample_contexts(contexts, 20, seed=3)}


def test_a_dataset_of_the_hub_is_pinned(monkeypatch):
    rows = ''.join(json.dumps({'title': f'No. {i}', 'body': {'text': [story(i, 2), story(i + 50, 2)]}}) + '\n' for i in range(4))
    with HubServer({'me/news': repository('---\nlicense: mit\nlanguage: en\n---\n# News\n', {'data/train.jsonl': rows, 'data/test.jsonl': rows}, tags=['language:en', 'license:mit']),
                    'me/numbers': repository('---\nlicense: mit\nlanguage: en\n---\n# Numbers\n', {'train.jsonl': '{"a": 1}\n' * 3}, sha='b' * 40, tags=['language:en', 'license:mit'])}) as server:
        monkeypatch.setenv('HF_ENDPOINT', server.address)
        notes = []
        contexts, counts = split(read_contexts('hub:me/news,hub:me/numbers,hub:me/gone', notes=notes))
        assert notes == ['me/news: column body.text (guessed: the longest text), split train (the first)']
        with pytest.raises(ValueError, match="me/news has no column 'text', it has title, body, body.text"): list(read_contexts('hub:me/news', 'text'))
    assert [(context.source, context.split, context.row, context.revision, context.license) for context in contexts] == [('me/news', 'train', i, 'a' * 40, 'mit') for i in range(4)]
    assert contexts[1].text == f'{story(1, 2)} {story(51, 2)}' and contexts[1].url.endswith('/datasets/me/news')
    assert counts == {'no_column': 1, 'not_found': 1}


def test_a_saved_list_of_the_hub_is_a_place(tmp_path, monkeypatch):
    rows = ''.join(json.dumps({'text': story(i)}) + '\n' for i in range(4))
    repositories = {'me/news': repository('---\nlicense: mit\nlanguage: en\n---\n# News\n', {'train.jsonl': rows}, tags=['language:en', 'license:mit'])}
    with HubServer(repositories) as server:
        monkeypatch.setenv('HF_ENDPOINT', server.address)
        spec = pin_sources('hub:?language=en', tmp_path / 'hub_sources.json')
        wanted, _ = split(read_contexts('hub:me/news'))
        repositories['me/more'] = repository('---\nlicense: mit\nlanguage: en\n---\n# More\n', {'train.jsonl': rows.replace('repaired', 'painted')}, sha='c' * 40, tags=['language:en', 'license:mit'])
        assert len(split(read_contexts('hub:?language=en'))[0]) == 8 and split(read_contexts(spec))[0] == wanted
        with pytest.raises(ValueError, match="me/news has no column 'body'"): list(read_contexts(spec, 'body'))
    (tmp_path / 'texts.json').write_text(json.dumps([{'text': story(9)}]))  # another JSON file is a table as before
    assert [context.row for context in split(read_contexts(str(tmp_path / 'texts.json')))[0]] == [0]


def test_a_folder_of_dataset_folders(tmp_path):
    for name in ('one', 'two'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'README.md').write_text('---\nlicense: mit\nlanguage: en\n---\n# Data\n')
        (tmp_path / name / 'train.jsonl').write_text(json.dumps({'text': f'{name} {story(1)}'}) + '\n')
    assert [context.source for context in split(read_contexts(str(tmp_path)))[0]] == ['one', 'two']
    (tmp_path / 'letter.txt').write_text(story(2))  # now it is a folder of documents, in which tables lie too
    assert {context.split for context in split(read_contexts(str(tmp_path)))[0]} == {'documents'}


# ---- real data

def test_peps(shared_data, tmp_path):
    with tarfile.open(shared_data / 'text' / 'peps.tar.xz') as file: file.extractall(tmp_path / 'peps', members=[member for i, member in enumerate(file.getmembers()) if i % 4 == 0], filter='data')
    lengths = {}
    contexts, counts = split(read_contexts(str(tmp_path / 'peps'), lengths=lengths))
    assert len(lengths) > 150 and len(contexts) > 10 * len(lengths)
    assert coverage(contexts, lengths)[0] > .8
    assert max(len(context.text) for context in contexts) <= 2048 and all(context.heading for context in contexts)
    assert sum(bool(re.search(r'^\.\. |:\w+:`|^[=~-]{5,}$|``', context.text, re.M)) for context in contexts) < .02 * len(contexts)
    assert sum(context.text.startswith('Copyright\n\nThis document has been placed in the public domain.') for context in contexts) <= 3  # with an appendix below


@pytest.mark.parametrize('name, column, least, changes', [('pubmed_qa', 'contexts', 450, {}), ('contract_nli', 'premise', 100, {}), ('policyqa', 'context', 500, {}), ('gsm8k', 'question', 1900, {}), ('humaneval', 'prompt', 160, {}), ('poem_sentiment', 'text', 290, {'min_chars': 10})])
def test_real_datasets(shared_data, name, column, least, changes):
    lengths = {}
    contexts, counts = split(read_contexts(str(shared_data / 'hub' / name), column, rules=replace(CONTEXT_RULES['careful'], **changes), lengths=lengths))
    assert len(contexts) >= least and coverage(contexts, lengths)[0] > .99 and set(counts) <= {'too_short', 'duplicate_context'}
    assert all(context.source == name and context.license and context.revision and len(context.text) <= 2048 for context in contexts)
