"""The outbox on a cluster: its job ends, its node is lost, and the node that gets the disk sends what waits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from melanoma_ray.alerts.outbox import Outbox
from melanoma_ray.alerts.settings import read_settings
from tests.cluster import running_cluster, wait_for
from tests.unit.alerts.samples import SECRET
from tests.unit.alerts.servers import serve_http

ROOT = Path(__file__).parents[2]
RESOURCE = {"outbox": 1.0}
NUM_ALERTS = 20
SETTINGS = """
outbox = "{folder}/outbox.db"
node_resource = "outbox"
[[rules]]
name = "melanoma"
sinks = ["hook"]
[[sinks]]
name = "hook"
kind = "webhook"
url = "{url}"
secret_file = "{folder}/secret"
retry_first_s = 0.2
retry_longest_s = 1.0
"""


@pytest.mark.slow
def test_the_node_with_the_outbox_is_lost_and_the_next_one_with_its_disk_sends_what_waits(tmp_path: Path) -> None:
    with serve_http() as receiver, running_cluster() as cluster:
        receiver.otherwise = 503
        file = tmp_path / "alerts.toml"
        file.write_text(SETTINGS.format(folder=tmp_path, url=receiver.url))
        (tmp_path / "secret").write_text(SECRET)
        cluster.add_worker("other", num_cpus=1)
        cluster.add_worker("first", num_cpus=1, resources=RESOURCE)
        job = subprocess.run(
            [sys.executable, "-m", "tests.e2e.alert_job", str(file), str(NUM_ALERTS)],
            cwd=ROOT,
            env=cluster.environment() | {"RAY_ADDRESS": cluster.address},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert f"waiting: {NUM_ALERTS}" in job.stdout, job.stderr[-3000:]
        wait_for(lambda: receiver.requests, 60, cluster)
        cluster.kill_raylet("first")
        receiver.otherwise = 200
        cluster.add_worker("second", num_cpus=1, resources=RESOURCE)
        with Outbox(read_settings(str(file)).outbox) as outbox:
            wait_for(lambda: outbox.count_deliveries() == {("hook", "delivered"): NUM_ALERTS}, 120, cluster)
