"""Real cards without rows as the hub has them today: their recorded schema written into the card as `dataset_info`."""
import json
import re
import shutil
from pathlib import Path

import yaml


def yaml_feature(spec, name: str | None = None) -> dict:
    "A feature in the encoding of a card's YAML, from the encoding with `_type`."
    named = {} if name is None else {'name': name}
    if isinstance(spec, list): return {**named, 'list': inner(spec[0])}
    kind = spec.get('_type')
    if not isinstance(kind, str): return {**named, 'struct': [yaml_feature(part, key) for key, part in spec.items()]}
    if kind == 'Value': return {**named, 'dtype': spec['dtype']}
    if kind == 'ClassLabel': return {**named, 'dtype': {'class_label': {'names': {str(i): str(label) for i, label in enumerate(spec['names'])}}}}
    if kind in ('Translation', 'TranslationVariableLanguages'): return {**named, 'dtype': {'translation': {'languages': spec['languages']}}}
    if kind == 'Sequence': return {**named, 'sequence': inner(spec['feature'])}
    return {**named, 'dtype': kind.lower()}


def inner(spec):  # an item of a list has no name, a plain one is a bare word
    found = yaml_feature(spec)
    if 'struct' in found: return found['struct']
    return found['dtype'] if isinstance(found.get('dtype'), str) else found


def columns(folder: Path) -> set[str]:
    "All keys of the rows of a source."
    return {key for path in sorted(folder.glob('data/*.jsonl')) for line in path.read_text(encoding='utf-8').split('\n') if line for key in json.loads(line)}


def cards_with_info(shared_data: Path, target: Path, configs: int = 1) -> Path:
    "A copy of the real cards with `dataset_info` in their YAML: of the configuration that the rows belong to (the first where there are no rows, none where none fits), or of the first `configs`."
    target = Path(target)
    for folder in sorted((shared_data / 'cards').iterdir()):
        copy = target / folder.name
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns('schema.json'), copy_function=shutil.copyfile)
        for path in (copy, *copy.rglob('*')): path.chmod(0o755 if path.is_dir() else 0o644)
        if not (folder / 'schema.json').exists(): continue
        schema, keys = json.loads((folder / 'schema.json').read_text(encoding='utf-8')), columns(folder)
        fitting = [name for name, config in schema.items() if keys and keys <= set(config.get('features') or ())]
        chosen = (fitting or ([] if keys else list(schema)))[:1] if configs == 1 else list(schema)[:configs]
        if not chosen: continue
        infos = [{'config_name': name, 'features': [yaml_feature(spec, key) for key, spec in (schema[name].get('features') or {}).items()]} for name in chosen]
        text = (copy / 'README.md').read_text(encoding='utf-8')
        block = yaml.safe_dump({'dataset_info': infos if configs > 1 else infos[0]}, sort_keys=False, allow_unicode=True)
        header = re.match(r'\A---\n(.*?)^---\n', text, re.S | re.M)
        assert header, folder
        (copy / 'README.md').write_text(f'---\n{header[1]}{block}---\n{text[header.end():]}', encoding='utf-8')
    return target
