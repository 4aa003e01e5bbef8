"""The search space: it begins with the experiment itself, and offers nothing that a setting would refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from melanoma_ray.config import Experiment
from melanoma_ray.errors import ConfigError, DataError, MelanomaRayError
from melanoma_ray.recipes import RECIPES, baseline, lite0
from melanoma_ray.settings import with_setting, with_settings
from melanoma_ray.tuning.dimension import Condition, Dimension
from melanoma_ray.tuning.space import SPACES, build_space, parse_dimension

each_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
each_space = pytest.mark.parametrize("space", SPACES)


@each_recipe
@each_space
def test_a_named_space_includes_the_experiment_itself(recipe: Callable[[], Experiment], space: str) -> None:
    experiment = recipe()
    searched = build_space([space], experiment)
    own = searched.own_values(experiment)
    assert with_settings(experiment, own) == experiment
    assert [one.name for one in searched.dimensions if not one.includes(own[one.name])] == []


@each_recipe
@each_space
def test_every_proposal_of_a_named_space_is_an_experiment(recipe: Callable[[], Experiment], space: str) -> None:
    experiment = recipe()
    dimensions = build_space([space], experiment).dimensions
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = []
    for _ in range(30):
        trial = study.ask()
        drawn.append(with_settings(experiment, {one.name: one.suggest(trial) for one in dimensions}))
    assert len(set(drawn)) >= 12


def test_the_default_space_has_the_learning_rate_weights_and_regularisation() -> None:
    space = {one.name: one for one in build_space([], lite0()).dimensions}
    assert list(space) == [
        "optimizer.learning_rate",
        "optimizer.weight_decay",
        "loss.class_weighting",
        "loss.label_smoothing",
        "model.dropout",
    ]
    assert space["optimizer.learning_rate"].low == pytest.approx(1e-4)
    assert space["optimizer.learning_rate"].high == pytest.approx(3e-3)
    assert space["loss.class_weighting"].choices == ("none", "sqrt", "balanced", "effective")


def test_an_experiment_far_from_a_named_space_stretches_it() -> None:
    far = baseline()
    for name, value in {"model.dropout": 0.9, "loss.label_smoothing": 0.5, "optimizer.weight_decay": 0.3}.items():
        far = with_setting(far, name, value)
    assert all(
        one.includes(value)
        for one, value in zip(
            build_space([], far).dimensions, build_space([], far).own_values(far).values(), strict=True
        )
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "optimizer.learning-rate=log:1e-4:1e-2",
            Dimension(name="optimizer.learning_rate", kind="log", low=1e-4, high=1e-2),
        ),
        ("global-batch-size=int:16:64", Dimension(name="global_batch_size", kind="int", low=16, high=64)),
        (
            "optimizer.ema-decay=choice:none,0.99",
            Dimension(name="optimizer.ema_decay", kind="choice", choices=(None, 0.99)),
        ),
        ("model.num-views=choice:1,4", Dimension(name="model.num_views", kind="choice", choices=(1, 4))),
        (
            "augmentation.vertical-flip=choice:true,no",
            Dimension(name="augmentation.vertical_flip", kind="choice", choices=(True, False)),
        ),
        (
            "loss.focal-gamma=uniform:0:3@loss.class-weighting=none|sqrt",
            Dimension(
                name="loss.focal_gamma",
                kind="uniform",
                low=0,
                high=3,
                when=Condition(name="loss.class_weighting", values=("none", "sqrt")),
            ),
        ),
    ],
)
def test_a_text_of_the_command_line_is_a_dimension(text: str, expected: Dimension) -> None:
    assert parse_dimension(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer.learning-rat=log:1e-4:1e-2", "did you mean optimizer.learning_rate?"),
        ("learning-rate=log:1e-4:1e-2", "did you mean optimizer.learning_rate?"),
        ("optimizer.lr=log:1e-4:1e-2", "did you mean optimizer.learning_rate?"),
        ("lr=log:1e-4:1e-2", "did you mean optimizer.learning_rate?"),
        ("loss.weighting=choice:none,sqrt", "did you mean loss.class_weighting?"),
        ("optimizer.shedule=choice:cosine,constant", "did you mean optimizer.schedule?"),
        ("loss.dropout=uniform:0:0.5", "did you mean model.dropout?"),
        ("optimizer.momentum=uniform:0:1", "python -m jobs.train --help lists the settings"),
        ("zzz=log:1:2", "python -m jobs.train --help lists the settings"),
        ("model.dropout=uniform:0:1", r"model.dropout=1.0: expected \[0, 1\)"),
        ("optimizer.weight-decay=log:0:1", "expected more than 0; use uniform"),
        ("optimizer.learning-rate=log:1e-2:1e-4", "the smaller one first"),
        ("optimizer.learning-rate=log:1e-2", "expected optimizer.learning_rate=uniform:LOW:HIGH"),
        ("optimizer.learning-rate=loguniform:1e-2:1", "expected optimizer.learning_rate=uniform:LOW:HIGH"),
        ("optimizer.learning-rate=log:a:b", "'a' is no number"),
        ("optimizer.learning-rate=log:nan:1", "expected two numbers"),
        ("global-batch-size=uniform:1:2", "expected int or choice"),
        ("loss.class-weighting=uniform:0:1", "expected choice"),
        ("loss.class-weighting=choice:none,many", "expected one of none, sqrt, balanced, effective"),
        ("loss.class-weighting=choice:none", "expected two or more values"),
        ("model=choice:a,b", "is no setting of an experiment"),
        ("num-epochs=int:1:9", "decides how long trials are"),
        ("loss.focal-gamma=uniform:0:3@loss.class-weighting", "expected @OTHER=VALUE"),
        ("loss.focal-gamma=uniform:0:3@loss.class-weighting=all", "expected one of none, sqrt"),
        ("optimzer", "expected one of default, optimizer, augmentation, loss, architecture, a file.json"),
    ],
)
def test_what_no_setting_would_take_is_refused_before_anything_starts(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        build_space([text], baseline())
    assert "\n" not in str(error.value)


def test_a_file_says_the_same_as_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "space.json"
    file.write_text(
        json.dumps(
            {
                "optimizer.learning_rate": {"log": [1e-4, 1e-2]},
                "loss.class_weighting": {"choice": ["none", "sqrt"]},
                "loss.focal-gamma": {"uniform": [0, 3], "when": {"loss.class_weighting": ["sqrt"]}},
            }
        )
    )
    texts = [
        "optimizer.learning-rate=log:1e-4:1e-2",
        "loss.class-weighting=choice:none,sqrt",
        "loss.focal-gamma=uniform:0:3@loss.class-weighting=sqrt",
    ]
    assert build_space([str(file)], baseline()) == build_space(texts, baseline())
    file.write_text(json.dumps({"optimizer.learning_rate": [1e-4, 1e-2]}))
    with pytest.raises(ConfigError, match="expected one of uniform, log, int, choice with a list"):
        build_space([str(file)], baseline())


def test_spaces_are_joined_and_none_has_a_setting_twice() -> None:
    joined = build_space(["loss", "optimizer.learning-rate=log:1e-4:1e-2"], baseline())
    assert [one.name for one in joined.dimensions][-1] == "optimizer.learning_rate"
    both = build_space(["loss", "default"], baseline()).dimensions
    assert {one.name for one in both} >= {"loss.focal_gamma", "optimizer.learning_rate"}
    assert len({one.name for one in both}) == len(both)
    with pytest.raises(ConfigError, match=r"loss\.focal_gamma is in it twice"):
        build_space(["loss.focal-gamma=uniform:0:1", "loss.focal-gamma=uniform:0:2"], baseline())


def test_a_file_that_isn_t_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.json: no such file"):
        build_space([str(tmp_path / "nowhere.json")], baseline())


def test_what_is_said_of_a_setting_counts_before_a_named_space() -> None:
    for texts in (["default", "model.dropout=uniform:0:0.1"], ["model.dropout=uniform:0:0.1", "default"]):
        (own,) = [one for one in build_space(texts, baseline()).dimensions if one.name == "model.dropout"]
        assert own.high == 0.1


NUMBERS = "expected two numbers, the smallest and the largest"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"model.dropout": {"uniform": ["a", "b"]}}', NUMBERS),
        ('{"model.dropout": {"uniform": ["0", "0.3"]}}', NUMBERS),
        ('{"model.dropout": {"uniform": [[0], [1]]}}', NUMBERS),
        ('{"model.dropout": {"uniform": [false, true]}}', NUMBERS),
        (
            '{"model.dropout": {"uniform": [0, 1%s]}}' % ("0" * 400),
            NUMBERS,
        ),
        ('{"global_batch_size": {"int": [8, "64"]}}', NUMBERS),
        ('{"loss.focal_gamma": {"uniform": [0, 1], "when": ["a"]}}', "expected one setting with a list"),
        ('{"loss.focal_gamma": {"uniform": [0, 1], "when": null}}', "expected one setting with a list"),
        ('{"loss.focal_gamma": {"uniform": [0, 1], "when": {}}}', "expected one setting with a list"),
        ('{"loss.focal_gamma": {"uniform": [0, 1], "when": {"sampling": "x"}}}', "expected one setting with a list"),
        ('{"loss.focal_gamma": {"uniform": [0, 1], "when": {"sampling": []}}}', "expected one setting with a list"),
        ('{"model.dropout": {"uniform": [0, 1]}, "model.dropout": {"uniform": [0, 0.5]}}', "is in it twice"),
        ("[1]", "expected a JSON object"),
    ],
)
def test_a_file_of_another_shape_is_refused_in_a_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "space.json").write_text(content)
    with pytest.raises(MelanomaRayError, match=message):
        build_space([str(tmp_path / "space.json")], baseline())


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["loss.focal-gamma=uniform:0:3@loss.class-weighting=balanced"], "nothing searches: no trial would search it"),
        (
            ["loss.class-weighting=choice:none,sqrt", "loss.focal-gamma=uniform:0:3@loss.class-weighting=balanced"],
            "isn't among its values: no trial would search it",
        ),
        (
            ["loss.label-smoothing=uniform:0:0.1", "loss.focal-gamma=uniform:0:3@loss.label-smoothing=0.05"],
            "which has a range of real numbers; give that a choice",
        ),
        (["loss.focal-gamma=uniform:0:3@"], "expected @OTHER=VALUE after the range"),
        (["loss.focal-gamma=uniform:0:3@loss.focal-gamma=1"], "depends on itself"),
        (
            [
                "loss.focal-gamma=choice:0,1@sampling=uniform",
                "sampling=choice:uniform,balanced@loss.focal-gamma=0",
            ],
            "loss.focal_gamma depends on sampling, sampling depends on loss.focal_gamma: a circle; leave one",
        ),
        (
            [
                "loss.label-smoothing=uniform:0:0.1@sampling=uniform",
                "sampling=choice:uniform,balanced@loss.focal-gamma=0",
                "loss.focal-gamma=choice:0,1@loss.class-weighting=none",
                "loss.class-weighting=choice:none,sqrt@sampling=uniform",
            ],
            "search space: sampling depends on loss.focal_gamma, loss.focal_gamma depends on loss.class_weighting, "
            "loss.class_weighting depends on sampling: a circle",
        ),
        (["model.num-views=int:1:8"], "expected choice:1,2,4,8, or some of these"),
        (["seed=int:0:5"], "seed decides nothing but luck"),
        (["global-batch-size=choice:8,16.0"], "expected a whole number, 1 or more"),
        (["global-batch-size=int:8.5:64"], "expected a whole number, 1 or more"),
        (["optimizer.ema-decay=choice:none,None"], "expected two or more values, each of them once"),
    ],
)
def test_a_space_that_no_trial_could_search_is_refused(texts: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_space(texts, baseline())


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["sampling=choice:uniform,sqrt", "loss.focal-gamma=uniform:0:3@sampling=sqrt", "model.dropout=uniform:0:0.1"],
         ["sampling", "loss.focal_gamma", "model.dropout"]),
        (["model.dropout=uniform:0:0.1", "loss.focal-gamma=uniform:0:3@sampling=sqrt", "sampling=choice:uniform,sqrt"],
         ["model.dropout", "sampling", "loss.focal_gamma"]),
        (["loss.label-smoothing=uniform:0:0.1@loss.focal-gamma=0", "loss.focal-gamma=choice:0,1@sampling=sqrt",
          "sampling=choice:uniform,sqrt"],
         ["sampling", "loss.focal_gamma", "loss.label_smoothing"]),
        (["loss.focal-gamma=uniform:0:3@loss.class-weighting=none", "default"],
         ["loss.class_weighting", "loss.focal_gamma", "optimizer.learning_rate", "optimizer.weight_decay",
          "loss.label_smoothing", "model.dropout"]),
    ],
)  # fmt: skip
def test_a_setting_is_drawn_after_the_one_it_depends_on_and_the_rest_stays_in_order(
    texts: list[str], expected: list[str]
) -> None:
    assert [one.name for one in build_space(texts, baseline()).dimensions] == expected


TOO_LARGE = r"global_batch_size=\d+: expected 9007199254740992 \(2\*\*53\) at most"


@pytest.mark.parametrize("number", [str(2**53 + 1), "99999999999999999999999", "1" + "0" * 400])
@pytest.mark.parametrize(
    ("words", "content"),
    [
        ("int:8:{}", '{{"global_batch_size": {{"int": [8, {}]}}}}'),
        ("choice:8,{}", '{{"global_batch_size": {{"choice": [8, {}]}}}}'),
    ],
)
def test_a_whole_number_that_no_table_has_is_refused(tmp_path: Path, number: str, words: str, content: str) -> None:
    with pytest.raises(ConfigError, match=TOO_LARGE):
        build_space(["global-batch-size=" + words.format(number)], baseline())
    (tmp_path / "space.json").write_text(content.format(number))
    with pytest.raises(ConfigError, match=f"{TOO_LARGE}|{NUMBERS}"):
        build_space([str(tmp_path / "space.json")], baseline())


def test_the_largest_whole_number_stays_exact() -> None:
    assert parse_dimension(f"global-batch-size=int:8:{2**53}").high == 2**53
    with pytest.raises(ConfigError, match=TOO_LARGE):
        Condition(name="global_batch_size", values=(2**53 + 1,))
    own = with_setting(lite0(), "global_batch_size", 2**53 + 1)
    with pytest.raises(ConfigError, match=TOO_LARGE):
        build_space(["global-batch-size=int:8:64"], own)


def test_numbers_are_of_their_setting_s_type(tmp_path: Path) -> None:
    sizes = Dimension(name="global_batch_size", kind="choice", choices=(8, 16.0))
    decays = Dimension(name="optimizer.ema_decay", kind="choice", choices=(None, 0.5))
    views = Dimension(name="model.num_views", kind="choice", choices=(1.0, 4))
    gamma = Dimension(name="loss.focal_gamma", kind="uniform", low=0, high=3)
    ends = parse_dimension("global-batch-size=int:8.0:64")
    values = [*sizes.choices, *decays.choices, *views.choices, gamma.low, gamma.high, ends.low, ends.high]
    assert list(map(repr, values)) == ["8", "16", "None", "0.5", "1", "4", "0.0", "3.0", "8", "64"]
    assert sizes.includes(16.0)
    assert not sizes.includes(16.5)
    for name, twice in {"global_batch_size": (8, 8.0), "optimizer.weight_decay": (0, 0.0)}.items():
        with pytest.raises(ConfigError, match="each of them once"):
            Dimension(name=name, kind="choice", choices=twice)
    (tmp_path / "space.json").write_text(
        '{"optimizer.weight_decay": {"choice": [0, 0.01]},'
        ' "loss.focal_gamma": {"uniform": [0, 3], "when": {"optimizer.weight_decay": [0.0]}}}'
    )
    condition = build_space([str(tmp_path / "space.json")], baseline()).dimensions[1].when
    assert condition == Condition(name="optimizer.weight_decay", values=(0,))


def test_yes_is_no_number() -> None:
    with pytest.raises(ConfigError, match=r"model\.num_views=True: expected one of 1, 2, 4, 8"):
        Dimension(name="model.num_views", kind="choice", choices=(True, 2))
