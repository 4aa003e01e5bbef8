"""The winner beside the default: a difference is only called one when it is more than noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from melanoma_ray.tuning.confirmation import (
    CONFIRMATION,
    Over,
    PairedDifference,
    compare_paired,
    compare_unsearched,
    describe,
    recall,
)

WINNER, DEFAULT = [0.71, 0.74, 0.69, 0.73, 0.72], [0.70, 0.70, 0.70, 0.70, 0.70]


def test_over_seeds_it_is_the_paired_t_interval() -> None:
    found = compare_paired(WINNER, DEFAULT, over="seeds")
    expected = stats.ttest_rel(WINNER, DEFAULT).confidence_interval()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx(np.mean(WINNER) - np.mean(DEFAULT))


def test_over_folds_the_interval_is_wider_because_folds_share_their_images() -> None:
    seeds, folds = (compare_paired(WINNER, DEFAULT, over=over) for over in ("seeds", "folds"))
    assert folds.mean == seeds.mean
    ratio = (folds.high - folds.mean) / (seeds.high - seeds.mean)
    assert ratio == pytest.approx(np.sqrt((1 / 5 + 1 / 4) / (1 / 5)))


def test_two_equal_experiments_are_seldom_told_apart() -> None:
    random = np.random.default_rng(0)
    pairs = random.normal(0.7, 0.02, (2000, 2, 5))
    told = [not compare_paired(list(one), list(other), over="seeds").is_noise for one, other in pairs]
    assert 0.035 < np.mean(told) < 0.065


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        (PairedDifference(mean=0.02, low=-0.01, high=0.05), "within the noise"),
        (PairedDifference(mean=0.02, low=0.01, high=0.03), "is better than the default"),
        (PairedDifference(mean=-0.02, low=-0.03, high=-0.01), "is worse than the default"),
    ],
)
@pytest.mark.parametrize("over", ["folds", "seeds"])
def test_the_verdict_follows_from_the_interval(difference: PairedDifference, verdict: str, over: Over) -> None:
    unsearched = 0.5 * difference.mean if over == "folds" else None
    found, chosen, said = describe(difference, 5, over, "balanced accuracy", unsearched=unsearched)
    assert f"on 5 {over}" in found
    assert f"{difference.low:+.3f} to {difference.high:+.3f}" in found
    assert verdict in said
    if over == "folds":
        assert chosen.endswith(f"without it they differ by {0.5 * difference.mean:+.3f}.")
    else:
        assert chosen == "All of these runs are measured on the validation split by which the winner was chosen."
        assert "within the noise" in said or said.endswith("on this split.")


def test_the_fold_by_which_the_winner_was_chosen_doesn_t_make_it_better() -> None:
    winner, default = [0.99, 0.70, 0.69, 0.70, 0.69], DEFAULT
    unsearched = compare_unsearched(winner, default)
    assert unsearched == pytest.approx(-0.005)
    difference = PairedDifference(mean=0.054, low=0.01, high=0.1)
    *_, verdict = describe(difference, 5, "folds", "balanced accuracy", unsearched=unsearched)
    assert verdict == "Only the fold by which it was chosen makes the winner better: it isn't shown to be so elsewhere."


@pytest.mark.parametrize("content", ['{"trial": "01"}', "[]", '{"trial": "01", "sentences": 3}', '{"trial"', ""])
def test_a_comparison_that_was_damaged_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / CONFIRMATION).write_text(content)
    assert recall(str(tmp_path), "01") == []
    (tmp_path / CONFIRMATION).write_text('{"trial": "01", "sentences": ["It is better."]}')
    assert recall(str(tmp_path), "01") == ["It is better."]
    assert recall(str(tmp_path), "02") == []


def test_one_pair_has_no_interval() -> None:
    with pytest.raises(ValueError, match="1 pairs: expected 2 or more"):
        compare_paired([0.7], [0.6], over="seeds")
