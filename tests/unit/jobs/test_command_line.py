"""A job's command line: its help, and what melanoma.toml and the environment may say in its place."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobs.__main__ import VERBS, describe_verbs, main
from jobs.command_line import ExperimentArgument, parse, read_settings
from jobs.tune import TuneArguments
from melanoma_ray import storage
from melanoma_ray.errors import ConfigError
from melanoma_ray.recipes import RECIPES
from melanoma_ray.settings import to_dict

JOBS = Path(__file__).parents[3] / "jobs"


@dataclass(frozen=True, kw_only=True)
class Job:
    """Do something with an experiment."""

    experiment: ExperimentArgument
    data: str
    """Directory of the prepared dataset."""
    name: str = "first"
    """Of the run."""


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("DATA", "STORAGE", "NAME", "URL"):
        monkeypatch.delenv(f"MELANOMA_{name}", raising=False)
    return tmp_path


def ask(monkeypatch: pytest.MonkeyPatch, *words: str) -> Job:
    monkeypatch.setattr(sys, "argv", ["train", *words])
    return parse(Job, "melanoma train")


def test_what_is_always_the_same_may_stand_in_melanoma_toml_and_is_printed(
    working_directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (working_directory / "melanoma.toml").write_text('data = "s3://bucket/prepared"\nurl = "http://host"\n')
    job = ask(monkeypatch, "lite0", "--num-epochs", "2")
    assert (job.data, job.name, job.experiment.num_epochs) == ("s3://bucket/prepared", "first", 2)
    assert capsys.readouterr().err == "data=s3://bucket/prepared (from melanoma.toml)\n"


def test_the_command_line_counts_before_the_environment_and_that_before_the_file(
    working_directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (working_directory / "melanoma.toml").write_text('data = "file"\nname = "file"\n')
    monkeypatch.setenv("MELANOMA_DATA", "environment")
    monkeypatch.setenv("MELANOMA_NAME", "environment")
    job = ask(monkeypatch, "baseline", "--name", "words")
    assert (job.data, job.name) == ("environment", "words")
    assert capsys.readouterr().err == "data=environment (from MELANOMA_DATA)\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('dta = "prepared"', "unknown key 'dta': did you mean data?"),
        ('epochs = "3"', "unknown key 'epochs': expected one of data, storage, name, url"),
        ("data = 3", "data=3: expected text"),
        ("data = prepared", "not a TOML file"),
    ],
)
def test_a_wrong_melanoma_toml_is_one_clear_line(working_directory: Path, content: str, message: str) -> None:
    (working_directory / "melanoma.toml").write_text(content)
    with pytest.raises(ConfigError, match=r"melanoma\.toml") as caught:
        read_settings(["data"], [])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value).split("not a TOML")[0]


def test_the_help_tells_what_each_experiment_is_and_that_a_file_works(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        ask(monkeypatch, "--help")
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert printed.startswith("usage: melanoma train ")
    for name, build in RECIPES.items():
        assert f"• {name} {(build.__doc__ or '').splitlines()[0][:40]}" in printed
    assert "best.json" in printed.split("• FILE.json ")[1]


def test_a_search_space_in_a_file_isn_t_taken_for_the_experiment(
    working_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (working_directory / "space.json").write_text('{"optimizer.learning_rate": {"log": [1e-4, 1e-2]}}')
    storage.write_json("best.json", {"experiment": to_dict(RECIPES["baseline"]())})
    others = ["--data", "data", "--storage", "sweeps", "--name", "first", "--space", "space.json"]
    for words in (["baseline", *others], ["best.json", *others], ["best.json", *others, "loss"]):
        monkeypatch.setattr(sys, "argv", ["tune", *words])
        found = parse(TuneArguments, "melanoma tune")
        assert found.space[0] == "space.json"
        assert found.experiment == RECIPES["baseline"]()


def test_a_search_of_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["tune", "baseline", "--data", "d", "--storage", "s", "--name", "n", "--space"])
    with pytest.raises(ConfigError, match="--space has nothing after it"):
        parse(TuneArguments, "melanoma tune")


def test_every_job_is_a_verb_with_a_line_of_its_own() -> None:
    jobs = {path.stem for path in JOBS.glob("*.py") if "console.run_job(main" in path.read_text()}
    assert set(VERBS) == jobs
    assert all(f"  {verb}" in describe_verbs() for verb in jobs)


def test_an_unknown_verb_is_refused_with_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["melanoma", "trian"])
    with pytest.raises(SystemExit, match="error: 'trian' is no verb"):
        main()


def test_images_on_the_command_line_take_the_place_of_data_from_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MELANOMA_DATA", "prepared")
    assert read_settings(["data", "images"], [])["data"] == ("prepared", "MELANOMA_DATA")
    assert "data" not in read_settings(["data", "images"], ["--images", "cases"])
