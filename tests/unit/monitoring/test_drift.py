"""Drift: chance alone is no shift, a shift is found, and its page, its JSON and Prometheus's file say the same."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prometheus_client.parser import text_string_to_metric_families

from jobs import drift as job
from melanoma_ray.access.audit_log import AuditLog
from melanoma_ray.errors import CheckpointError, ConfigError, DataError
from melanoma_ray.imaging.appearance import MEASUREMENTS
from melanoma_ray.inference.measures import MEASURES, tabulate_measures
from melanoma_ray.inference.predictions import write_predictions
from melanoma_ray.inference.scorer import Outputs
from melanoma_ray.model.calibration import Calibration
from melanoma_ray.model.checkpoint import identify
from melanoma_ray.monitoring.drift import (
    EVERYTHING,
    LARGE_SHIFT,
    SOME_SHIFT,
    measure_drift,
    population_stability_index,
)
from melanoma_ray.monitoring.served import Served, read_predictions
from tests.checkpoints import build_checkpoint


def draw(number: int, seed: int, shift: float = 0.0) -> dict[str, np.ndarray]:
    """Measures of images, all shifted by a share of their spread."""
    random = np.random.default_rng(seed)
    return {name: random.normal(shift, 1, number) for name in MEASURES}


def served(number: int, seed: int, shift: float = 0.0, source: str = "ward") -> Served:
    return Served(measures=draw(number, seed, shift), sources=(source,) * number, num_answers=number, num_of_others=0)


def join(*parts: Served) -> Served:
    return Served(
        measures={name: np.concatenate([part.measures[name] for part in parts]) for name in MEASURES},
        sources=tuple(source for part in parts for source in part.sources),
        num_answers=sum(map(len, parts)),
        num_of_others=0,
    )


def test_the_index_is_zero_for_the_same_values_and_as_expected_for_known_shares() -> None:
    old = np.arange(1000, dtype=float)
    assert population_stability_index(old, old) == pytest.approx(0, abs=1e-12)
    half = np.concatenate([np.arange(500.0)] * 2)  # all in the lower five bins, a fifth in each
    upper = 0.5 / 1005
    expected = 5 * (200.5 / 1005 - 100.5 / 1005) * np.log(200.5 / 100.5)
    expected += 5 * (upper - 100.5 / 1005) * np.log(upper / (100.5 / 1005))
    assert population_stability_index(half, old) == pytest.approx(expected, rel=1e-6)


def test_chance_alone_is_a_large_shift_in_less_than_one_of_a_hundred_comparisons() -> None:
    validation = draw(300, 0)
    found = [one for seed in range(1, 60) for one in measure_drift(served(100, seed), validation)]
    assert sum(one.is_large for one in found) <= len(found) / 100
    by_chance = np.mean([one.psi for one in found])
    assert by_chance == pytest.approx(found[0].expected_psi, rel=0.25)


def test_a_shift_of_one_source_is_found_there() -> None:
    one, other = served(200, 1, source="ward"), served(200, 2, shift=1.0, source="practice")
    found = measure_drift(join(one, other), draw(300, 0))
    large = {
        source: sum(shift.is_large for shift in found if shift.source == source) for source in ("ward", "practice")
    }
    assert large == {"ward": 0, "practice": len(MEASURES)}
    assert {shift.source for shift in found} == {EVERYTHING, "ward", "practice"}


def test_too_few_images_are_told() -> None:
    with pytest.raises(DataError, match="29 different images of this checkpoint: expected 30 or more; wait until"):
        measure_drift(served(29, 1), draw(300, 0))


def test_where_nothing_can_be_compared_nothing_is_said_to_be_unmoved() -> None:
    few = draw(29, 0)
    few["edges"] = np.concatenate([few["edges"], [np.nan] * 50])
    with pytest.raises(DataError, match=r"29 images of the validation split .* expected 30 or more") as raised:
        measure_drift(served(100, 1, shift=9.0), few)
    assert "\n" not in str(raised.value)


def test_a_source_is_compared_though_the_others_are_small() -> None:
    found = measure_drift(join(served(100, 1, source="ward"), served(29, 2, source="practice")), draw(300, 0))
    assert {shift.source for shift in found} == {EVERYTHING, "ward"}
    assert {shift.source for shift in measure_drift(served(100, 1), draw(300, 0))} == {EVERYTHING}  # it is the ward


def test_a_source_that_is_called_as_everything_is_told_apart() -> None:
    found = measure_drift(join(served(100, 1, source=EVERYTHING), served(100, 2, source="ward")), draw(300, 0))
    assert [shift.source for shift in found if shift.measure == "score"] == ["all", "./all", "ward"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ([0.5] * 300, [0.9] * 100),  # a constant that has risen
        ([0.5] * 300, [0.1] * 100),
        ([*np.linspace(0, 0.9, 200), *[1.0] * 100], [*np.linspace(0, 0.9, 67), *[1.5] * 33]),  # above a tied top
        ([*np.linspace(0, 0.9, 264), *[1.0] * 36], [*np.linspace(0, 0.9, 70), *[1.5] * 30]),
        ([*[0.0] * 100, *np.linspace(0.1, 1, 200)], [*[0.05] * 33, *np.linspace(0.1, 1, 67)]),  # off a tied bottom
    ],
)
def test_a_move_away_from_a_value_that_many_have_shows(old: list[float], new: list[float]) -> None:
    assert population_stability_index(np.array(new), np.array(old)) > LARGE_SHIFT
    again = np.random.default_rng(0).choice(old, 200)
    assert population_stability_index(again, np.array(old)) < SOME_SHIFT


def test_measurements_that_were_rounded_when_they_were_written_down_have_not_moved() -> None:
    """The audit log has four decimals, the checkpoint single precision."""
    validation, new = draw(300, 0), draw(200, 1)
    validation["edges"] = np.repeat([0.1, 0.12345678, 3.3], 100).astype(np.float32)
    new["edges"] = np.repeat([0.1, 0.1235, 3.3], 67)[:200]
    found = measure_drift(Served(measures=new, sources=("ward",) * 200, num_answers=200, num_of_others=0), validation)
    (edges,) = [shift for shift in found if shift.measure == "edges"]
    assert edges.psi < 0.01
    assert edges.p_value > 0.9


def test_what_isn_t_known_of_the_images_isn_t_compared() -> None:
    measures = {name: values if name == "score" else values * np.nan for name, values in draw(100, 1).items()}
    of_a_table = Served(measures=measures, sources=("a",) * 100, num_answers=100, num_of_others=0)
    found = measure_drift(of_a_table, draw(300, 0))
    assert [shift.measure for shift in found] == ["score"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    table = pa.table(draw(300, 0))
    return build_checkpoint(str(tmp_path_factory.mktemp("drift") / "checkpoint"), validation=table)


def write_log(
    folder: Path, checkpoint_id: str, number: int, shift: float, days_ago: float, caller: str, *, image: str = ""
) -> None:
    """Write answers about images, or about one of this name."""
    log, table = AuditLog(str(folder)), draw(number, 7, shift)
    time = (datetime.now(UTC) - timedelta(days=days_ago)).isoformat()
    for i in range(number):
        log.append(
            {
                "time": time,
                "event": "predict",
                "caller_id": caller,
                "image_sha256": image or f"{caller} {shift} {i}",
                "checkpoint_id": checkpoint_id,
                "melanoma_probability": table["score"][i],
                "out_of_distribution_score": table["out_of_distribution_score"][i],
                "appearance": [table[name][i] for name in MEASUREMENTS],
            }
        )


def test_the_command_compares_the_window_of_an_audit_log(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = identify(checkpoint)
    write_log(tmp_path / "log", own, 100, 5.0, 30, "ward")  # before the window
    write_log(tmp_path / "log", "another", 40, 5.0, 1, "ward")
    write_log(tmp_path / "log", own, 100, 0.0, 1, "ward")
    arguments = job.DriftArguments(checkpoint=checkpoint, audit_log=str(tmp_path / "log"), output=str(tmp_path / "out"))
    job.main(arguments)
    assert f"0 large shifts in {len(MEASURES)} comparisons" in capsys.readouterr().out
    write_log(tmp_path / "log", own, 100, 1.5, 0.5, "practice")
    job.main(arguments)
    printed = capsys.readouterr().out
    assert "practice: lightness has moved from" in printed
    assert "ward: " not in printed
    found = json.loads((tmp_path / "out" / "drift.json").read_text())
    assert found["facts"]["Images of other checkpoints, left out"] == "40"
    large = {shift["measure"] for shift in found["shifts"] if shift["is_large"] and shift["source"] == "practice"}
    assert large == set(MEASURES)
    page = (tmp_path / "out" / "drift.html").read_text()
    assert page.count("<strong>large</strong>") == sum(shift["is_large"] for shift in found["shifts"])
    prometheus = (tmp_path / "out" / "drift.prom").read_text()
    (index,) = re.findall(r'^melanoma_drift_psi\{source="practice",measure="score"\} (\S+)$', prometheus, re.MULTILINE)
    (told,) = [one["psi"] for one in found["shifts"] if (one["source"], one["measure"]) == ("practice", "score")]
    assert float(index) == pytest.approx(told, rel=1e-5)


def test_scores_of_a_table_of_predictions_are_compared_by_folder(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = np.concatenate([draw(100, 1)["score"], draw(100, 2, 2.0)["score"], [np.nan]])
    paths = [f"/scans/{'old' if i < 100 else 'new'}/{i}.jpg" for i in range(201)]
    table = pa.table({"path": paths, "melanoma_probability": scores.astype(np.float32)})
    predictions = str(tmp_path / "p.parquet")
    write_predictions(predictions, table, identify(checkpoint))
    job.main(job.DriftArguments(checkpoint=checkpoint, predictions=predictions, output=str(tmp_path / "out")))
    printed = capsys.readouterr().out
    assert "new: score has moved from" in printed
    assert "old: score" not in printed
    facts = json.loads((tmp_path / "out" / "drift.json").read_text())["facts"]
    assert facts["Images of other checkpoints, left out"] == "0"


def write_scores(folder: Path, checkpoint_id: str | None, paths: list[str], **columns: list[str | None]) -> str:
    """Write a table of predictions, with all scores as those of validation images; none: as an earlier version did."""
    scores = pa.array(draw(len(paths), 1)["score"], pa.float32())
    table, file = pa.table({"path": paths, "melanoma_probability": scores, **columns}), str(folder / "p.parquet")
    if checkpoint_id is None:
        pq.write_table(table, file)
    else:
        write_predictions(file, table, checkpoint_id)
    return file


def test_a_table_of_another_checkpoint_is_refused_and_of_an_older_one_it_isn_t_said_whose_it_is(
    checkpoint: str, tmp_path: Path
) -> None:
    paths = [f"/scans/{i}.jpg" for i in range(100)]
    predictions, output = write_scores(tmp_path, "another", paths), tmp_path / "out"
    arguments = job.DriftArguments(checkpoint=checkpoint, predictions=predictions, output=str(output))
    with pytest.raises(DataError, match=f"checkpoint another has made it, not {identify(checkpoint)}") as raised:
        job.main(arguments)
    assert "\n" not in str(raised.value)
    assert not output.exists()
    write_scores(tmp_path, None, paths)
    job.main(arguments)
    for name in ("drift.json", "drift.html"):
        page = (output / name).read_text()
        assert "other checkpoints" not in page
        assert "not known: an earlier version wrote the table" in page


def test_folders_of_one_name_are_told_apart_and_copies_in_one_count_once(tmp_path: Path) -> None:
    paths = ["/scans/ward/left/1.jpg", "/scans/home/left/2.jpg", "/scans/home/left/3.jpg", "/scans/home/4.jpg"]
    copies = [None, None, "/scans/home/left/2.jpg", "/scans/home/left/2.jpg"]
    found = read_predictions(write_scores(tmp_path, "own", paths, copy_of=copies), "own")
    assert found.sources == ("ward/left", "home/left", "home")
    assert found.num_answers == 4
    assert len(found.measures["score"]) == 3


def test_too_few_predictions_don_t_ask_for_more_days(checkpoint: str, tmp_path: Path) -> None:
    predictions = write_scores(tmp_path, identify(checkpoint), ["/a.jpg"])
    with pytest.raises(DataError, match="expected 30 or more; give predictions for more images"):
        job.main(job.DriftArguments(checkpoint=checkpoint, predictions=predictions, output=str(tmp_path / "out")))


@pytest.mark.parametrize(("days_ago", "advice"), [((1,), "wait until more were served"), ((1, 30), "give more --days")])
def test_too_few_answers_ask_for_more_days_where_these_have_any(
    checkpoint: str, tmp_path: Path, days_ago: tuple[int, ...], advice: str
) -> None:
    for ago in days_ago:
        write_log(tmp_path / "log", identify(checkpoint), 5, 0.0, ago, f"ward {ago}")
    with pytest.raises(DataError, match=f"5 different images of this checkpoint: expected 30 or more; {advice}"):
        job.main(
            job.DriftArguments(checkpoint=checkpoint, audit_log=str(tmp_path / "log"), output=str(tmp_path / "out"))
        )


def test_an_image_that_is_sent_every_minute_is_one_image(checkpoint: str, tmp_path: Path) -> None:
    """As a probe of the service's health does."""
    own = identify(checkpoint)
    write_log(tmp_path / "log", own, 100, 0.0, 1, "ward")
    write_log(tmp_path / "log", own, 300, 5.0, 1, "ward", image="probe")
    write_log(tmp_path / "log", "another", 50, 5.0, 1, "ward", image="probe")
    output = tmp_path / "out"
    job.main(job.DriftArguments(checkpoint=checkpoint, audit_log=str(tmp_path / "log"), output=str(output)))
    found = json.loads((output / "drift.json").read_text())
    assert not any(shift["is_large"] for shift in found["shifts"])
    assert found["facts"]["Images"] == "101"
    assert found["facts"]["Answers about them, of which an image's newest counts"] == "400"
    assert found["facts"]["Images of other checkpoints, left out"] == "1"


def test_prometheus_can_read_any_name_of_a_source(checkpoint: str, tmp_path: Path) -> None:
    names = ["Köln", 'the "west" wing', "back\\slash"]
    paths = [f"/scans/{name}/{i}.jpg" for name in names for i in range(40)]
    predictions, output = write_scores(tmp_path, identify(checkpoint), paths), tmp_path / "out"
    job.main(job.DriftArguments(checkpoint=checkpoint, predictions=predictions, output=str(output)))
    (family,) = [
        one
        for one in text_string_to_metric_families((output / "drift.prom").read_text("utf-8"))
        if one.name == "melanoma_drift_psi"
    ]
    assert {sample.labels["source"] for sample in family.samples} == {EVERYTHING, *names}


@pytest.mark.parametrize("days", [0.0, 36501.0, 1e6, float("inf")])
def test_a_window_that_no_calendar_has_is_refused(days: float) -> None:
    with pytest.raises(ConfigError, match=r"days=.*expected \(0, 36500\]"):
        job.DriftArguments(checkpoint="c", output="o", audit_log="a", days=days)


def test_wrong_settings_and_older_checkpoints_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one of them"):
        job.DriftArguments(checkpoint="c", output="o")
    with pytest.raises(ConfigError, match="one of them"):
        job.DriftArguments(checkpoint="c", output="o", audit_log="a", predictions="b")
    with pytest.raises(ConfigError, match=r"--days 30.* leave it out"):
        job.DriftArguments(checkpoint="c", output="o", predictions="b", days=30.0)
    older = build_checkpoint(str(tmp_path / "older"))
    with pytest.raises(CheckpointError, match=r"has no validation\.parquet"):
        job.main(job.DriftArguments(checkpoint=older, audit_log="log", output=str(tmp_path)))


def test_the_measures_of_validation_images_are_those_that_answers_have() -> None:
    logits = np.array([[2.0, 0.0], [0.0, 1.0]], np.float32)
    calibration = Calibration(
        temperature=1.0,
        decision_threshold=0.5,
        out_of_distribution_threshold=0.1,
        out_of_distribution_score="distance",
        num_validation_images=2,
        num_validation_melanomas=1,
    )
    outputs = Outputs(
        logits=logits, distance=np.array([[0.3, 5], [0.4, 6]], np.float32), appearance=np.arange(14.0).reshape(2, 7)
    )
    table = tabulate_measures(outputs, calibration, [0])
    assert table.column_names == list(MEASURES)
    np.testing.assert_allclose(table.column("score").to_numpy(), [1 / (1 + np.exp(-2)), 1 / (1 + np.exp(1))], rtol=1e-5)
    np.testing.assert_allclose(table.column("out_of_distribution_score").to_numpy(), [0.3, 0.4], rtol=1e-6)
    assert table.column("edges").to_pylist() == [6.0, 13.0]
