"""Checkpoints: complete, undamaged, of this format, or refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from melanoma_ray.errors import CheckpointError, ConfigError
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.model.checkpoint import find_checkpoint, read_manifest
from tests.checkpoints import build_checkpoint


def test_a_checkpoint_is_found_by_its_directory_its_run_and_a_sweep_s_best_json(tmp_path: Path) -> None:
    checkpoint = build_checkpoint(str(tmp_path / "run" / "best"))
    (tmp_path / "best.json").write_text(json.dumps({"checkpoint": checkpoint}))
    for name in (checkpoint, str(tmp_path / "run"), str(tmp_path / "best.json")):
        assert find_checkpoint(name) == checkpoint


def test_a_sweep_that_was_moved_has_its_own_checkpoint_and_not_that_of_another_one_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = build_checkpoint(str(tmp_path / "sweeps" / "first" / "best"))
    (tmp_path / "sweeps" / "first" / "best.json").write_text(json.dumps({"checkpoint": old}))
    (tmp_path / "sweeps" / "first").rename(tmp_path / "archive")
    build_checkpoint(str(tmp_path / "sweeps" / "first" / "best"))
    moved = tmp_path / "archive"
    assert find_checkpoint(str(moved / "best.json")) == str(moved / "best")
    monkeypatch.chdir(moved)
    assert find_checkpoint("best.json") == "best"


def test_a_missing_checkpoint_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not found; give a checkpoint directory"):
        Predictor.load(str(tmp_path / "none"))
    with pytest.raises(CheckpointError, match=r"has no manifest\.json"):
        Predictor.load(str(tmp_path))


def test_another_format_version_is_refused(tmp_path: Path) -> None:
    checkpoint = build_checkpoint(str(tmp_path / "c"))
    manifest = Path(checkpoint) / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format_version": 99}))
    with pytest.raises(CheckpointError, match=r"format version 99: this melanoma_ray .* reads 1"):
        Predictor.load(checkpoint)


def test_a_flipped_bit_is_found_by_its_sha256(tmp_path: Path) -> None:
    checkpoint = build_checkpoint(str(tmp_path / "c"))
    weights = Path(checkpoint) / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match="corrupted: its sha256 is"):
        Predictor.load(checkpoint)


def test_a_manifest_with_an_unknown_setting_is_refused(tmp_path: Path) -> None:
    checkpoint = build_checkpoint(str(tmp_path / "c"))
    manifest = Path(checkpoint) / "manifest.json"
    data = json.loads(manifest.read_text())
    data["experiment"]["optimizer"]["momentum"] = 0.9
    manifest.write_text(json.dumps(data))
    with pytest.raises(ConfigError, match=r"optimizer\.momentum"):
        read_manifest(checkpoint)
