"""What a checkpoint must do before it replaces another one, and what is remembered of the one before."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.deploy import DeployArguments
from melanoma_ray.errors import CheckpointError, ConfigError, DataError, ServiceError
from melanoma_ray.serving.arguments import ServiceArguments
from melanoma_ray.serving.rollout import RolloutCheck, check_candidate, go_back, succeed
from tests.checkpoints import break_weights, build_checkpoint


def write_images(folder: Path, number: int) -> str:
    folder.mkdir()
    for seed in range(number):
        buffer = io.BytesIO()
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (70, 80, 3), np.uint8)).save(buffer, "PNG")
        (folder / f"{seed}.png").write_bytes(buffer.getvalue())
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("no image either")
    return str(folder)


def change_manifest(checkpoint: str, **changed: object) -> None:
    file = Path(checkpoint) / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


@pytest.fixture
def checkpoints(tmp_path: Path) -> tuple[str, str]:
    return build_checkpoint(str(tmp_path / "old")), build_checkpoint(str(tmp_path / "new"), side=96)


def test_a_checkpoint_that_answers_is_served(checkpoints: tuple[str, str], tmp_path: Path) -> None:
    old, new = checkpoints
    assert check_candidate(new, old, RolloutCheck()) == []
    check_candidate(old, old, RolloutCheck(images=write_images(tmp_path / "images", 4), max_changed_fraction=0.0))


def test_one_without_finite_answers_isn_t(checkpoints: tuple[str, str], tmp_path: Path) -> None:
    old, new = checkpoints
    break_weights(new)
    with pytest.raises(CheckpointError, match="no finite answer for 8 of 8 drawn lesions"):
        check_candidate(new, old, RolloutCheck())
    told = r"no finite answer for 4 of 4 images of .* \(1 of 5 .* can't be read\)"
    with pytest.raises(CheckpointError, match=told):
        check_candidate(new, old, RolloutCheck(images=write_images(tmp_path / "images", 4)))


def test_one_with_other_diagnoses_isn_t(checkpoints: tuple[str, str]) -> None:
    old, new = checkpoints
    diagnoses = json.loads((Path(new) / "manifest.json").read_text())["diagnoses"]
    change_manifest(new, diagnoses=diagnoses[::-1])
    with pytest.raises(CheckpointError, match=r"diagnoses=.*as served; serve it apart, or stop") as raised:
        check_candidate(new, old, RolloutCheck())
    assert "\n" not in str(raised.value)


def test_one_that_decides_too_many_images_in_another_way_isn_t(checkpoints: tuple[str, str], tmp_path: Path) -> None:
    old, new = checkpoints
    manifest = json.loads((Path(new) / "manifest.json").read_text())
    change_manifest(new, calibration=manifest["calibration"] | {"decision_threshold": 1e-9})  # refers everything
    change_manifest(old, calibration=manifest["calibration"] | {"decision_threshold": 1.0})
    images = write_images(tmp_path / "images", 4)
    with pytest.raises(CheckpointError, match=r"decides 4 of 4 images .* at most 10% may change"):
        check_candidate(new, old, RolloutCheck(images=images))
    for number in range(40):  # as many as there may be: they say nothing of either model
        (Path(images) / f"broken {number}.jpg").write_bytes(b"no image")
    with pytest.raises(CheckpointError, match=r"decides 4 of 4 images .*41 of 45 .* can't be read"):
        check_candidate(new, old, RolloutCheck(images=images, max_changed_fraction=0.9))
    notes = check_candidate(new, old, RolloutCheck(images=images, max_changed_fraction=1.0))
    assert [note.removeprefix(f"{images}: ") for note in notes] == [
        "not checked with files ending in .txt, which are no images (1)",
        f"41 of 45 images of {images} can't be read, so they weren't compared",
    ]


def test_one_that_can_read_none_of_the_images_isn_t(checkpoints: tuple[str, str], tmp_path: Path) -> None:
    old, new = checkpoints
    images = write_images(tmp_path / "images", 0)
    with pytest.raises(DataError, match="can't read any of the 1 images"):
        check_candidate(new, old, RolloutCheck(images=images, max_changed_fraction=1.0))


def test_a_folder_without_images_is_told(checkpoints: tuple[str, str], tmp_path: Path) -> None:
    old, new = checkpoints
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images to check"):
        check_candidate(new, old, RolloutCheck(images=str(tmp_path / "empty")))


def test_a_served_checkpoint_that_is_gone_is_told_with_the_ways_out(
    checkpoints: tuple[str, str], tmp_path: Path
) -> None:
    _, new = checkpoints
    with pytest.raises(CheckpointError, match=r"can't be compared with what is served now, .* go back by --rollback"):
        check_candidate(new, str(tmp_path / "gone"), RolloutCheck())


def test_what_was_served_before_is_remembered_once_and_two_rollbacks_undo_each_other() -> None:
    first = ServiceArguments(checkpoint="first", num_threads=2)
    second = succeed(ServiceArguments(checkpoint="second", keys="keys.json"), first)
    third = succeed(ServiceArguments(checkpoint="third", keys="keys.json"), second)
    assert third.num_threads == 2
    back = go_back(third)
    assert (back.checkpoint, back.keys) == ("second", "keys.json")
    assert go_back(back).checkpoint == "third"
    assert go_back(second).keys == "keys.json"  # the first one had none, and the service isn't opened by going back
    assert third.previous is not None
    assert third.previous.previous is None
    again = succeed(ServiceArguments(checkpoint="third", keys="keys.json"), third)
    assert again == third  # the same command again leaves the way back as it was
    with pytest.raises(ServiceError, match="first is the first that this service has served"):
        go_back(first)


GUARDS = {"keys": "a", "oidc": "a", "audit_log": "a", "alerts": "a", "requests_per_minute": 600, "max_concurrent": 8}


@pytest.mark.parametrize("guard", GUARDS)
def test_a_rollout_doesn_t_take_away_what_guards_the_service(guard: str) -> None:
    """Serve keeps its address, so whoever could reach the old one can reach the new one."""
    guarded = ServiceArguments.model_validate({"checkpoint": "first", guard: GUARDS[guard]})
    with pytest.raises(ConfigError, match=rf"--{guard.replace('_', '-')} {GUARDS[guard]}[.0]*: give that again"):
        succeed(ServiceArguments(checkpoint="second"), guarded)
    second = succeed(ServiceArguments.model_validate({"checkpoint": "second", guard: "9"}), guarded)
    assert getattr(go_back(second), guard) == getattr(second, guard) != getattr(guarded, guard)


def test_a_service_behind_one_that_asks_for_certificates_goes_on_knowing_callers_by_them() -> None:
    first = ServiceArguments(checkpoint="first", takes_certificates=True)
    assert succeed(ServiceArguments(checkpoint="second"), first).takes_certificates


@pytest.mark.parametrize("name", ["rollback", "stop"])
def test_what_changes_a_service_that_runs_needs_a_cluster_and_no_checkpoint(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ConfigError, match=f"--{name} needs a service that runs: set RAY_ADDRESS"):
        DeployArguments(rollback=name == "rollback", stop=name == "stop")
    for settings in (dict[str, Any](), {"checkpoint": "a", name: True}, {"rollback": True, "stop": True}):
        with pytest.raises(ConfigError, match="give --checkpoint DIR, --rollback or --stop, one of them"):
            DeployArguments(**settings)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    assert DeployArguments(rollback=name == "rollback", stop=name == "stop").checkpoint is None


@pytest.mark.parametrize(
    ("setting", "flag"),
    [
        ({"port": 9000}, "--port"),
        ({"keys": "keys.json", "requests_per_minute": 60.0}, "--keys, --requests-per-minute"),
        ({"audit_log": "audit", "open_to_network": True}, "--audit-log, --open-to-network"),
    ],
)
def test_what_a_rollback_or_an_end_would_not_heed_is_refused(
    setting: dict[str, Any], flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    for alone in ("rollback", "stop"):
        with pytest.raises(ConfigError, match=f"leave out {flag}$"):
            DeployArguments(**{alone: True, **setting})
