"""What reaches a job's console, and what goes into its log: by the form of a line, not by its words."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from melanoma_ray.cluster.silence import Judge, pass_on

CPP = "[2026-11-25 21:57:57,393 {} 30266 30266] {}: text"
CHATTER = [
    "[W1126 03:03:13.396635050 socket.cpp:207] [c10d] The hostname of the client socket cannot be retrieved. err=-3",
    CPP.format("W", "gcs_client.cc:12"),
    CPP.format("I", "(raylet) node_manager.cc:12"),
    CPP.format("E", "core_worker.cc:2465"),
    CPP.format("E", "(gcs_server) gcs_actor_scheduler.cc:538: Failed to kill actor b540, return status: Invalid"),
    "2026-11-25 21:53:49,129\tWARNING authentication_token_setup.py:85 -- Token authentication is enabled",
    "INFO 2026-11-25 21:53:49,129 proxy 192.0.2.2 -- Proxy starting on node",
    "I0000 00:00:1732540000.123456    1234 fork_posix.cc:77] Other threads are currently calling into gRPC",
    "Progress bars disabled. To enable, set `ray.data.DataContext.get_current().enable_progress_bars = True`.",
    "Starting execution of Dataset plan_0354GBF_0. Full logs are in /tmp/ray/session/logs/ray-data",
    "Execution plan of Dataset plan_0354GBF_0: InputDataBuffer[Input] -> OutputSplitter[split(2, equal=True)]",
    "\u2714\ufe0f  Dataset plan_0354GBF_0 execution finished in 20.37 seconds",
    "Task ServeController.graceful_shutdown failed. There are infinite retries remaining, so it will be retried.",
    "/x/site-packages/torch/nn/modules.py:12: DeprecationWarning: old",
]
TOLD = [
    "Dataset prepared: 121 images",
    "Execution plan: none",
    "Starting execution of a training",
    "[E1126 03:03:13.396635050 ProcessGroupNCCL.cpp:607] [Rank 0] Watchdog caught collective operation timeout",
    CPP.format("E", "(raylet) node_manager.cc:3097"),
    CPP.format("E", "(gcs_server) gcs_node_manager.cc:12"),
    CPP.format("F", "core_worker.cc:1"),
    "2026-11-25 21:53:49,129\tERROR worker.py:85 -- Unhandled error",
    "ERROR 2026-11-25 21:53:49,129 controller 12 -- Exception in 'Service'",
    "Traceback (most recent call last):",
    "torch.OutOfMemoryError: CUDA out of memory.",
    "epoch 1/8  loss 4.454  accuracy 0.225",
    "Task _ScoringActor.__init__ failed. There are infinite retries remaining, so it will be retried.",
    "/somewhere/melanoma_ray/config.py:12: DeprecationWarning: ours",
]


@pytest.mark.parametrize("line", CHATTER)
def test_what_libraries_say_below_an_error_is_hidden(line: str) -> None:
    assert Judge().is_chatter(line)


@pytest.mark.parametrize("line", TOLD)
def test_errors_and_lines_of_no_known_form_are_shown(line: str) -> None:
    assert not Judge().is_chatter(line)


def test_what_is_indented_belongs_to_the_line_before_it() -> None:
    judge = Judge()
    lines = [CHATTER[-1], "  warnings.warn(text)", "Traceback (most recent call last):", '  File "a.py", line 1']
    assert [judge.is_chatter(line) for line in lines] == [True, True, False, False]


def test_a_helper_of_ray_on_which_nothing_depends_may_end_in_a_traceback() -> None:
    for helper in ("PlacementGroupCleaner", "_StatsActor"):
        assert Judge().is_chatter("Traceback (most recent call last):", actor=helper)
    assert not Judge().is_chatter("Traceback (most recent call last):", actor="RayTrainWorker")


def test_a_worker_that_ends_clumsily_is_hidden_and_a_job_that_does_so_is_not() -> None:
    dump = [
        "[mutex.cc : 2141] RAW: Check waitp != nullptr failed: UnlockSlow is confused",
        "*** SIGABRT received at time=1795847362 on cpu 0 ***",
        "PC: @     0x7fd9238a8eec  (unknown)  (unknown)",
        "Fatal Python error: Aborted",
        "",
        "Extension modules: msgpack._cmsgpack, google._upb._message",
    ]
    worker, job = Judge(of_worker=True), Judge()
    assert [worker.is_chatter(line) for line in dump] == [True] * len(dump)
    assert [job.is_chatter(line) for line in dump] == [False] * len(dump)
    assert [Judge(of_worker=True).is_chatter(line) for line in dump[1:]] == [False] * (len(dump) - 1)


def test_the_traceback_of_what_ray_tries_again_goes_with_it_and_no_other_one() -> None:
    traceback = ["Traceback (most recent call last):", '  File "a.py", line 1', "    ray.get(", "GetTimeoutError: late"]
    failed = "Failed to send resource request for train-1. If this only happens transiently during network partition"
    judge = Judge()
    shown = [line for line in [failed, *traceback, "epoch 1/3", *traceback] if not judge.is_chatter(line)]
    assert shown == ["epoch 1/3", *traceback]
    assert not Judge().is_chatter("Failed to send resource request to the server")


def test_lines_pass_in_their_order_and_none_is_lost() -> None:
    lines = [f"{line}\n".encode() for pair in zip(CHATTER, TOLD, strict=False) for line in pair]
    log, console = io.BytesIO(), io.BytesIO()
    pass_on(lines, log, console)
    assert log.getvalue().decode().splitlines() == CHATTER
    assert console.getvalue().decode().splitlines() == TOLD[: len(CHATTER)]


SCRIPT = """
import logging, os, sys, warnings
from melanoma_ray.cluster.silence import quiet_console
with quiet_console():
    logging.captureWarnings(True)
    os.write(2, {chatter!r}.encode() + b"\\n")
    os.write(2, b"abort: told by C\\n")
    logging.getLogger("httpx").warning("chatter of a library")
    logging.getLogger("ray.data").error("an error of a library")
    logging.getLogger("melanoma_ray.training").info("epoch 1/8")
    print("a result")
    {end}
"""


def run_quietly(end: str = "") -> subprocess.CompletedProcess[str]:
    script = SCRIPT.format(chatter=CHATTER[2], end=end)
    root = Path(__file__).parents[3]
    environment = os.environ | {"PYTHONPATH": str(root)}
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False, env=environment
    )


def test_the_last_line_names_the_log_of_what_was_hidden() -> None:
    done = run_quietly()
    assert done.returncode == 0
    assert done.stdout == "a result\n"
    *shown, last = done.stderr.splitlines()
    assert sorted(shown) == ["abort: told by C", "an error of a library", "epoch 1/8"]
    number, path = last.split(" lines of libraries' own messages: ")
    assert number == "2"
    assert sorted(Path(path).read_text().splitlines()) == ["WARNING httpx: chatter of a library", CHATTER[2]]
    Path(path).unlink()


def test_what_c_code_writes_last_is_shown_though_the_process_is_gone() -> None:
    done = run_quietly("os.write(2, b'fatal: the end\\n'); os.kill(os.getpid(), 9)")
    assert done.returncode == -9
    assert "fatal: the end" in done.stderr


def test_errors_still_end_a_process_with_a_traceback() -> None:
    done = run_quietly("raise RuntimeError('ours')")
    assert done.stderr.rstrip().endswith("RuntimeError: ours")
