"""cluster.yaml and what it leans on, checked by Ray's own loader and against facts of ours."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]
EC2_SIZES = {
    "m6i.xlarge": {"CPU": 4},
    "m6i.4xlarge": {"CPU": 16},
    "g6.2xlarge": {"CPU": 8, "GPU": 1},
}
"""AWS's "Amazon EC2 instance types", vCPUs and GPUs."""
SECRET = re.compile(r"AKIA[0-9A-Z]{16}|-----BEGIN|aws_(secret|access)|password:|\b[0-9a-f]{32,}\b", re.IGNORECASE)


def load_cluster() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    return loaded


@pytest.fixture
def cluster() -> dict[str, Any]:
    return load_cluster()


@pytest.fixture
def workers(cluster: dict[str, Any]) -> dict[str, Any]:
    return {name: kind for name, kind in cluster["available_node_types"].items() if name != cluster["head_node_type"]}


@pytest.fixture
def head(cluster: dict[str, Any]) -> dict[str, Any]:
    kinds: dict[str, dict[str, Any]] = cluster["available_node_types"]
    return kinds[cluster["head_node_type"]]


def test_rays_launcher_accepts_the_file(cluster: dict[str, Any]) -> None:
    prepared = prepare_config(cluster)
    validate_config(prepared)
    assert prepared["worker_setup_commands"] == cluster["setup_commands"]


def test_every_worker_offers_exactly_what_its_machine_has(workers: dict[str, Any]) -> None:
    offered = {name: kind["resources"] for name, kind in workers.items()}
    assert offered == {name: EC2_SIZES[kind["node_config"]["InstanceType"]] for name, kind in workers.items()}


def test_the_head_takes_no_work_and_is_never_multiplied(head: dict[str, Any]) -> None:
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert head["max_workers"] == 0
    assert "GPU" not in EC2_SIZES[head["node_config"]["InstanceType"]]


def test_the_limits_of_the_node_types_add_up_to_the_limit_of_the_cluster(
    cluster: dict[str, Any], workers: dict[str, Any]
) -> None:
    assert sum(kind["max_workers"] for kind in workers.values()) == cluster["max_workers"]


def test_an_idle_cluster_shrinks_to_its_head(workers: dict[str, Any]) -> None:
    assert {kind["min_workers"] for kind in workers.values()} == {0}


def test_only_workers_whose_loss_ray_data_repairs_are_on_the_spot_market(
    workers: dict[str, Any], head: dict[str, Any]
) -> None:
    assert workers["cpu_worker"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "InstanceMarketOptions" not in workers["gpu_worker"]["node_config"]
    assert "InstanceMarketOptions" not in head["node_config"]


@pytest.mark.parametrize("commands", ["head_start_ray_commands", "worker_start_ray_commands"])
def test_a_node_starts_with_token_authentication_and_without_usage_statistics(
    cluster: dict[str, Any], commands: str
) -> None:
    start = cluster[commands][-1]
    settings, ray_start = start.split("ray start")
    assert "export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0;" in settings
    assert "--object-spilling-directory=/" in ray_start


def test_the_dashboard_listens_on_loopback_only(cluster: dict[str, Any]) -> None:
    assert "--dashboard-host=127.0.0.1" in cluster["head_start_ray_commands"][-1]


def test_every_node_gets_the_token_and_the_lock_file(cluster: dict[str, Any]) -> None:
    mounts = cluster["file_mounts"]
    assert mounts["~/.ray/auth_token"] == "~/.ray/auth_token"
    (lock,) = (local for remote, local in mounts.items() if remote.endswith(".lock"))
    assert (ROOT / lock).is_file()
    assert any(f"pip install --quiet -r ~/melanoma_ray/{lock}" in command for command in cluster["setup_commands"])


@pytest.mark.parametrize("name", ["cluster.yaml", "deploy/aws.yaml"])
def test_no_secret_is_written_in_the_file(name: str) -> None:
    assert SECRET.search((ROOT / name).read_text()) is None


def test_the_nodes_profiles_are_the_ones_that_deploy_makes(cluster: dict[str, Any]) -> None:
    resources = yaml.safe_load((ROOT / "deploy/aws.yaml").read_text())["Resources"].values()
    made = {
        resource["Properties"]["InstanceProfileName"]
        for resource in resources
        if resource["Type"] == "AWS::IAM::InstanceProfile"
    }
    kinds = cluster["available_node_types"].values()
    assert {kind["node_config"]["IamInstanceProfile"]["Name"] for kind in kinds} == made


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_file_pins_every_version_and_names_no_place(name: str) -> None:
    pins = [line for line in (ROOT / name).read_text().splitlines() if not line.startswith("#")]
    assert pins
    assert [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9_.\-]+==[0-9][0-9A-Za-z.]*", pin)] == []


def test_the_tests_run_on_the_versions_that_the_demo_runs_on() -> None:
    runtime, dev = (
        set((ROOT / name).read_text().splitlines()) for name in ("requirements.lock", "requirements-dev.lock")
    )
    assert runtime < dev
