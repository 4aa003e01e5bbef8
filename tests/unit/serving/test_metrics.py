"""What is summed up before Ray is told."""

from __future__ import annotations

from melanoma_ray.serving.metrics import HISTOGRAMS, Labels, cumulate

STAGE = ("stage", "decode")
NAME = "melanoma_stage_seconds_bucket"


def test_a_value_counts_in_its_bucket_and_in_all_above() -> None:
    sums: dict[tuple[str, Labels], float] = {(NAME, (STAGE, ("le", "0.25"))): 2.0, (NAME, (STAGE, ("le", "+Inf"))): 1.0}
    found = {dict(labels)["le"]: value for name, labels, value in cumulate(sums) if name == NAME}
    ends = [f"{end:g}" for end in HISTOGRAMS["melanoma_stage_seconds"][2]]
    assert found == {**dict.fromkeys(ends[ends.index("0.25") :], 2.0), "+Inf": 3.0}


def test_what_isn_t_a_bucket_is_told_as_it_is_and_nothing_of_zero() -> None:
    sums: dict[tuple[str, Labels], float] = {
        ("melanoma_requests", (("status", "200"),)): 3.0,
        ("melanoma_stage_seconds_sum", (STAGE,)): 0.0,
    }
    assert list(cumulate(sums)) == [("melanoma_requests", (("status", "200"),), 3.0)]
