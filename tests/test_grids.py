"""The package's grids on the demo: points that differ in what they claim to vary and in nothing else, without training."""
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

import instructgen.adaptation_data as adaptation_data
from instructgen.adaptation import check_arms
from instructgen.adaptation_data import AdaptationConfig, count_steps, equalise, gather_arms, make_generator, read_target
from instructgen.bonito.dataset import build_bonito
from instructgen.bonito.model import Generator, ModelConfig, build_training_data, generation_config, total_notice, training_config
from instructgen.claims import fits, read_claims
from instructgen.grids import expand_grid, grid_names, grid_path, make_grid, read_grid
from instructgen.records import EXAMPLE_SCHEMA, Example, content_hash, from_parameters
from instructgen.starts import StartConfig
from instructgen.store import open_run, read_dataset, read_manifest, write_bucket

SPECS = {name: yaml.safe_load(grid_path(name).read_text()) for name in grid_names()}
ADAPTATION = [name for name, spec in SPECS.items() if spec['report'] == 'adaptation']
MODEL = [name for name, spec in SPECS.items() if spec['report'] == 'bonito_model']


def points(name: str, seed: int = 0) -> list[dict[str, Any]]:
    "The parameters of a grid's runs of one seed."
    return [run.parameters for run in read_grid(SPECS[name]['report'], name).runs if run.parameters.get('seed', 0) == seed]


def training_data(parameters: dict[str, Any], folder: Path):
    with open_run('model', {}, out=folder) as run: return build_training_data(run, from_parameters(ModelConfig, parameters))


# ---- the training data of a generator

@pytest.mark.parametrize('seed', [0, 1, 2])
def test_sizes_of_the_training_data(tmp_path: Path, seed: int):
    sizes, before, kinds = [], set(), set()
    for place, given in enumerate(points('ctga_size', seed)):
        config, data = from_parameters(ModelConfig, given), training_data(given, tmp_path/str(place))
        ids = set(read_dataset(data.folder)['id'].to_pylist())
        assert before < ids and len(ids) == config.examples < data.counts['available']
        sizes.append(len(ids))
        before = ids
        kinds.add(generation_config(config, 'local:model', data).task_types)
    assert sizes == [100, 500, 1650] and len(kinds) == 1


def test_a_total_greater_than_there_is(tmp_path: Path):
    few, all_of_them = (training_data({'rows': 10, 'examples': examples}, tmp_path/str(examples)) for examples in (10**6, 0))
    assert read_dataset(few.folder)['id'].to_pylist() == read_dataset(all_of_them.folder)['id'].to_pylist()
    assert 'were asked for' in total_notice(10**6, few.counts) and not total_notice(0, few.counts) and 'were drawn' in total_notice(5, few.counts)
    with pytest.raises(ValueError, match='want 0 or more'): ModelConfig(examples=-1)


def untrained(run: Any, config: ModelConfig, data: Any) -> Generator: return Generator('local:model', 'untrained', True)


def test_the_total_reaches_the_adaptation_s_generator(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(adaptation_data, 'train_generator', untrained)
    for given in points('generator_examples'):
        _, ctga = make_generator(from_parameters(AdaptationConfig, given), StartConfig(), tmp_path)
        assert read_manifest(ctga)['counts']['examples'] == given['generator_examples']
    monkeypatch.setattr(adaptation_data, 'generate_arm', lambda name, *_, **__: adaptation_data.ArmData(name, note='as it is'))
    config = AdaptationConfig(arms='bonito', generator_rows=5, generator_examples=10**6)
    assert 'as it is; 1,000,000 examples of training data were asked for' in gather_arms(config, StartConfig(), read_target(AdaptationConfig()), tmp_path/'data', tmp_path)['bonito'].note


# ---- the data of the arms

def written(run: Any, asked: Any, contexts: Any) -> dict[str, Any]:
    "What a generator that was trained would leave: of 97 in 100 texts and turns a task that hangs on all that was asked for; the embedded rules write for themselves."
    if asked.llm == 'rules': return build_bonito(run, asked, contexts)
    rows = []
    for place, text in enumerate(contexts):
        for turn in range(asked.draws):
            mark = content_hash([asked.llm, asked.temperature, asked.top_p, asked.task_types, asked.seed, text.text, turn])
            if int(mark, 16) % 100 < 97: rows.append(asdict(Example(f'{place}-{turn}', f'Task {mark}?', '', f'answer {mark}', context=text.text, task_type=asked.task_types, source='generated', split='train', generator=asked.llm)))
    write_bucket(run.folder, 0, pa.Table.from_pylist(rows, EXAMPLE_SCHEMA))
    return {'stopped': '', 'examples': len(rows), 'llm': {}}


@pytest.fixture(scope='module')
def arms_of(tmp_path_factory):
    "The arms of a point, after all checks, and what the page tells of them."
    place, known = tmp_path_factory.mktemp('arms'), {}
    def make(given: dict[str, Any]) -> dict[str, adaptation_data.ArmData]:
        if (key := content_hash(given)) in known: return known[key]
        config, start = from_parameters(AdaptationConfig, given), from_parameters(StartConfig, given)
        target = read_target(config)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(adaptation_data, 'train_generator', untrained)
            patch.setattr(adaptation_data, 'build_bonito', written)
            gathered = gather_arms(config, start, target, place/key, place/'starts')
        return known.setdefault(key, equalise(check_arms(gathered, [target.benchmark])[0], config))
    return make


def fingerprint(given: dict[str, Any], arms: dict[str, adaptation_data.ArmData]) -> str:
    return content_hash([count_steps(arms, from_parameters(AdaptationConfig, given).steps), [[name, [asdict(example) for example in arm.examples], [text.text for text in arm.texts]] for name, arm in arms.items()]])


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_more_texts_are_more_texts(arms_of, seed: int):
    sizes = []
    for given in points('contexts', seed):
        arms = arms_of(given)
        assert {'tapt', 'bonito', 'gold'} == {name for name, arm in arms.items() if not arm.reason}, {name: arm.reason for name, arm in arms.items()}
        assert len({arm.contexts for arm in arms.values()}) == 1 and .8 * given['contexts'] <= arms['bonito'].contexts <= given['contexts']
        assert len(arms['bonito'].examples) == len(arms['gold'].examples) > 2 * arms['bonito'].contexts
        sizes.append(arms['bonito'].contexts)
    assert sizes == sorted(set(sizes)) and len(sizes) == 4 and sizes[-1] > 5 * sizes[0]


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_texts_of_the_domain_and_others_are_as_many(arms_of, seed: int):
    own, other = (arms_of(given) for given in points('domain', seed))
    for arms in (own, other):
        assert not any(arm.reason for arm in arms.values()) and set(arms) == {'tapt', 'bonito'}
        assert len(arms['bonito'].examples) == arms['bonito'].contexts == len(arms['tapt'].texts) == len({example.context for example in arms['bonito'].examples}) == 40
    assert not {example.context for example in own['bonito'].examples} & {example.context for example in other['bonito'].examples}


@pytest.mark.parametrize('name', ADAPTATION)
def test_every_point_is_run_on_other_data(arms_of, name: str):
    "All arms that a grid asks for are run, no two of its points are the same experiment, and only the grids of contexts and steps give more to one point than to another."
    given, used = points(name), []
    for one in given:
        arms = arms_of(one)
        assert not {arm: data.reason for arm, data in arms.items() if data.reason} and set(arms) == set(one['arms'].split(',')) - {'zero_shot', 'majority'}
        used.append({arm: (data.used, data.contexts) for arm, data in arms.items()})
    assert len({fingerprint(one, arms_of(one)) for one in given}) == len(given), name
    if name != 'contexts': assert all(one == used[0] for one in used), used


@pytest.mark.parametrize('name', MODEL)
def test_every_point_trains_another_generator(tmp_path: Path, name: str):
    "Another training or other data, the same tasks asked for on the same texts."
    made, asked = set(), set()
    for place, given in enumerate(points(name)):
        config, data = from_parameters(ModelConfig, given), training_data(given, tmp_path/str(place))
        made.add(content_hash([asdict(training_config(config, f'{config.hidden}-{config.layers}')), read_dataset(data.folder)['id'].to_pylist()]))
        asked.add(content_hash(asdict(generation_config(config, 'local:model', data))))
    assert len(made) == len(points(name)) and len(asked) == 1


REFUSED = [('temperature_top_p', {}, "llm is 'rules'"), ('temperature_top_p', {'llm': 'rules'}, 'draws nothing'), ('sampling', {'generator': 'rules'}, 'draws nothing'),
           *[(name, {'llm': 'local:model'}, 'is not trained') for name in MODEL], ('generator_size', {'model': 'gpt2'}, 'from scratch'),
           *[(name, given, told) for name in ('generator_hidden', 'generator_examples') for given, told in (({'generator': 'local:model'}, 'is not trained'), ({'model': 'gpt2'}, 'published generator'), ({'scale': 'paper'}, 'published generator'))]]


@pytest.mark.parametrize('name, given, told', REFUSED)
def test_settings_with_which_all_points_would_be_alike_are_refused(name: str, given: dict[str, str], told: str):
    with pytest.raises(ValueError, match=f'would be alike.*{told}|{told}.*would be alike'): read_grid(SPECS[name]['report'], name, given)


@pytest.mark.parametrize('name, given', [('temperature_top_p', {'llm': 'local:model'}), ('generator_hidden', {'model': 'gpt2', 'templates': 'mine'}), ('generator_steps', {'model': 'gpt2'}), ('sampling', {'generator': 'local:model'})])
def test_settings_with_which_points_differ_are_not(name: str, given: dict[str, str]):
    runs = read_grid(SPECS[name]['report'], name, given).runs
    assert len({content_hash({word: run.parameters[word] for word in run.swept}) for run in runs}) == len(runs) > 1


def test_a_generator_that_is_there_gives_every_point_the_same(tmp_path: Path, monkeypatch):
    "Why such grids are refused: the points of generator_hidden with one generator are one experiment."
    seen = []
    monkeypatch.setattr(adaptation_data, 'generate_arm', lambda name, llm, config, *_, **__: seen.append((llm, config.temperature, config.draws, config.seed)) or adaptation_data.ArmData(name))
    for given in points('generator_hidden'):
        config = from_parameters(AdaptationConfig, {**given, 'generator': 'local:model'})
        gather_arms(config, StartConfig(), read_target(config), tmp_path)
    assert len(seen) == 3 and len(set(seen)) == 1


@pytest.mark.parametrize('refuses, told', [('llm', 'want a list of mappings'), ([{'when': {'llm': 'rules'}}], 'want a list of mappings'), ([{'when': {}, 'why': 'x'}], 'want a list of mappings'), ([{'when': {'writer': 'x'}, 'why': 'x'}], "names 'writer'")])
def test_refusals_that_say_nothing(refuses, told: str):
    with pytest.raises(ValueError, match=told): make_grid('bonito_data', {'refuses': refuses})


def test_a_refusal_looks_at_every_run_and_every_value():
    spec = {'parameters': {'llm': ['local:model', 'recorded:here'], 'seed': [0, 1]}, 'refuses': [{'when': {'llm': ['rules', 'recorded:here'], 'draws': 1, 'two_step': False}, 'why': 'so it is'}]}
    with pytest.raises(ValueError, match="llm is 'recorded:here', draws is '1', two_step is 'false'"): make_grid('bonito_data', spec)
    assert len(make_grid('bonito_data', {**spec, 'base': {'draws': 2}}).runs) == 4


@pytest.mark.parametrize('claim', [claim for claim in read_claims() if claim.settings.startswith('sweep ')], ids=lambda claim: claim.id)
def test_claims_name_points_of_their_grids(claim):
    spec, rule = SPECS[claim.settings.removeprefix('sweep ')], claim.rule
    own = [{**one, 'arm': arm} for one in expand_grid(spec)[1] for arm in spec['base']['arms'].split(',')]
    assert spec['report'] == claim.report
    if rule.over: assert len({one[rule.over] for one in own}) > 1
    meant = [[one for one in own if all(fits(one[name], pattern) for name, pattern in {**rule.where, **side}.items() if name in one)] for side in (rule.this or {}, *rule.that)]
    assert all(meant), [len(side) for side in meant]
