"""Confusion matrix and balanced accuracy: against hands, against scikit-learn, and as properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sklearn.metrics import balanced_accuracy_score
from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.multiclass import balanced_accuracy, confusion_matrix, estimate_balanced_accuracy

NUM_DIAGNOSES = 4


@st.composite
def diagnosed_images(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    num_images = draw(st.integers(1, 40))
    index = st.integers(0, NUM_DIAGNOSES - 1)
    return draw(npst.arrays(np.int64, num_images, elements=index)), draw(
        npst.arrays(np.int64, num_images, elements=index)
    )


def test_the_confusion_matrix_has_the_truth_in_rows() -> None:
    matrix = confusion_matrix(np.array([1, 1, 0]), np.array([0, 0, 0]), 2)
    assert matrix.tolist() == [[1, 2], [0, 0]]


@given(diagnosed_images())
def test_the_confusion_matrix_equals_scikit_learns(images: tuple[np.ndarray, np.ndarray]) -> None:
    predicted, target = images
    expected = sklearn_confusion_matrix(target, predicted, labels=range(NUM_DIAGNOSES))
    np.testing.assert_array_equal(confusion_matrix(predicted, target, NUM_DIAGNOSES), expected)


@given(diagnosed_images())
@pytest.mark.filterwarnings("ignore:y_pred contains classes:UserWarning", "ignore:A single label:UserWarning")
def test_balanced_accuracy_equals_scikit_learns_also_with_absent_diagnoses(
    images: tuple[np.ndarray, np.ndarray],
) -> None:
    predicted, target = images
    expected = balanced_accuracy_score(target, predicted)
    assert balanced_accuracy(predicted, target, NUM_DIAGNOSES) == pytest.approx(expected)


def test_calling_everything_nevus_is_not_good_however_common_nevus_is() -> None:
    target = np.array([0] * 98 + [1, 2])
    assert balanced_accuracy(np.zeros_like(target), target, 3) == pytest.approx(1 / 3)


@given(diagnosed_images(), st.data())
@settings(max_examples=50)
def test_the_interval_lies_in_0_to_1_holds_the_figure_and_has_a_width(
    images: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    predicted, target = images
    group = data.draw(npst.arrays(np.int64, target.size, elements=st.integers(0, 9)))
    estimate = estimate_balanced_accuracy(predicted, target, group, NUM_DIAGNOSES)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert estimate.low < estimate.high
    assert estimate.value == balanced_accuracy(predicted, target, NUM_DIAGNOSES)
    assert (estimate.numerator, estimate.denominator) == (None, target.size)


def test_the_interval_does_not_depend_on_the_order_of_the_images() -> None:
    rng = np.random.default_rng(0)
    target, predicted = rng.integers(0, 3, 90), rng.integers(0, 3, 90)
    group = np.array([f"lesion {i // 2}" for i in range(90)])
    order = rng.permutation(90)
    straight = estimate_balanced_accuracy(predicted, target, group, 3)
    shuffled = estimate_balanced_accuracy(predicted[order], target[order], group[order], 3)
    assert straight.to_dict() == pytest.approx(shuffled.to_dict())


def test_ten_copies_of_every_image_do_not_narrow_the_interval_when_they_share_a_lesion() -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(0, 3, 60)
    predicted = np.where(rng.random(60) < 0.7, target, 0)
    lesion = np.arange(60)
    single = estimate_balanced_accuracy(predicted, target, lesion, 3)
    predicted, target = np.repeat(predicted, 10), np.repeat(target, 10)
    copied = estimate_balanced_accuracy(predicted, target, np.repeat(lesion, 10), 3)
    as_if_apart = estimate_balanced_accuracy(predicted, target, np.arange(600), 3)
    assert (copied.low, copied.high) == pytest.approx((single.low, single.high))
    assert as_if_apart.high - as_if_apart.low < 0.5 * (single.high - single.low)


def test_with_many_lesions_the_interval_is_that_of_a_plain_bootstrap_over_lesions() -> None:
    rng = np.random.default_rng(3)
    target = np.repeat([0, 0, 0, 1, 1], 80)
    lesion = np.arange(400) // 2
    is_right = np.where(rng.random(200) < 0.75, 1, 0)[lesion] == (rng.random(400) < 0.8)
    predicted = np.where(is_right, target, 1 - target)
    values = []
    for _ in range(1500):
        chosen = [rng.choice(np.unique(lesion[target == d]), np.sum(target == d) // 2) for d in (0, 1)]
        images = np.concatenate([2 * np.concatenate(chosen), 2 * np.concatenate(chosen) + 1])
        values.append(balanced_accuracy(predicted[images], target[images], 2))
    estimate = estimate_balanced_accuracy(predicted, target, lesion, 2)
    assert (estimate.low, estimate.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=0.015)


def test_diagnoses_of_one_lesion_each_make_the_interval_wide_though_all_are_right() -> None:
    target = np.concatenate((np.zeros(100, dtype=np.int64), np.arange(1, 9)))
    estimate = estimate_balanced_accuracy(target, target, None, 9)
    assert estimate.value == 1.0
    assert estimate.low < 0.8
    assert estimate.is_sparse


def test_recalls_that_vary_together_within_patients_widen_the_interval() -> None:
    rng = np.random.default_rng(1)
    patient = np.repeat(np.arange(60), 4)
    target = np.tile([0, 0, 1, 1], 60)
    is_right = (rng.random(60) < 0.7)[patient]
    predicted = np.where(is_right, target, 1 - target)
    together = estimate_balanced_accuracy(predicted, target, patient, 2)
    apart = estimate_balanced_accuracy(predicted, target, patient + 60 * target, 2)
    assert together.high - together.low > 1.3 * (apart.high - apart.low)


@pytest.mark.parametrize("index", [-1, 3])
def test_an_index_that_names_no_diagnosis_is_refused(index: int) -> None:
    with pytest.raises(MetricError, match="expected 0 to 2"):
        confusion_matrix(np.array([0, index]), np.array([0, 1]), 3)


def test_no_images_and_unequal_lengths_are_refused() -> None:
    none = np.array([], dtype=np.int64)
    with pytest.raises(MetricError, match="no images"):
        balanced_accuracy(none, none, 3)
    with pytest.raises(MetricError, match="differ"):
        confusion_matrix(np.array([0]), np.array([0, 1]), 3)
    with pytest.raises(MetricError, match="differ"):
        estimate_balanced_accuracy(np.array([0]), np.array([0]), np.array([1, 2]), 3)
