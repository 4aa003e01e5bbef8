"""Subgroups: every image in one level of each, gaps that are there are found, and others are seldom called gaps."""

from __future__ import annotations

import numpy as np
import pandas as pd

from melanoma_ray.evaluation.scored import Scored
from melanoma_ray.evaluation.subgroups import MOST_LEVELS, Subgroup, measure_subgroups
from melanoma_ray.inference.predictor import Predictions


def ask(
    images: pd.DataFrame, is_melanoma: np.ndarray, is_referred: np.ndarray, group: np.ndarray
) -> tuple[Subgroup, ...]:
    score = np.where(is_referred, 0.9, 0.1).astype(np.float32)
    predictions = Predictions(
        probability=np.stack([score, 1 - score], axis=1),
        melanoma_probability=score,
        diagnosis=(score < 0.5).astype(np.int64),
        decision=tuple("refer" if one else "routine" for one in is_referred),
    )
    truth = np.where(is_melanoma, "melanoma", "nevus").astype(object)
    scored = Scored(predictions=predictions, truth=truth, group=group, diagnoses=("melanoma", "nevus"))
    return measure_subgroups(scored, images)


def people(number: int, random: np.random.Generator) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "sex": random.choice(["female", "male"], number).astype(object),
            "age": random.integers(5, 95, number).astype(float),
            "site": random.choice(["torso", "head/neck", "lower extremity"], number).astype(object),
            "source": "/data/one",
            "attribution": None,
            "image_type": None,
            "ita_degrees": random.normal(35, 20, number),
        }
    )


def test_every_image_is_in_one_level_and_what_divides_nothing_is_left_out() -> None:
    random = np.random.default_rng(0)
    images = people(400, random)
    images.loc[:9, "age"] = np.nan
    images.loc[:4, "ita_degrees"] = np.nan
    found = {one.name: one for one in ask(images, random.random(400) < 0.3, random.random(400) < 0.5, np.arange(400))}
    assert set(found) == {"sex", "age", "site", "skin_tone"}
    assert all(sum(level.num_images for level in one.levels) == 400 for one in found.values())
    bands = {level.name: level.num_images for level in found["age"].levels}
    assert bands["unknown"] == 10
    assert bands["under 30"] == (images["age"] < 30).sum()
    assert bands["30 to 49"] == images["age"].between(30, 49.99).sum()
    assert bands["70 and over"] == (images["age"] >= 70).sum()
    assert [level.name for level in found["skin_tone"].levels][-1] == "unknown"


def test_a_gap_that_is_there_is_found_where_it_is() -> None:
    random = np.random.default_rng(1)
    images = people(2000, random)
    melanoma = random.random(2000) < 0.4
    worse = (images["site"] == "head/neck").to_numpy()
    referred = random.random(2000) < np.where(melanoma, np.where(worse, 0.65, 0.9), 0.2)
    levels = {level.name: level for one in ask(images, melanoma, referred, np.arange(2000)) for level in one.levels}
    assert levels["head/neck"].sensitivity_p is not None
    assert levels["head/neck"].sensitivity_p < 0.01
    assert levels["head/neck"].specificity_p is not None
    assert levels["head/neck"].specificity_p > 0.05
    assert levels["female"].sensitivity_p is not None
    assert levels["female"].sensitivity_p > 0.05


def test_where_there_is_no_gap_one_is_seldom_called_with_many_images_a_lesion_too() -> None:
    random = np.random.default_rng(2)
    false = 0
    for _ in range(60):
        group = np.repeat(np.arange(120), 4)
        images = people(120, random).iloc[group].reset_index(drop=True)
        melanoma = np.repeat(random.random(120) < 0.5, 4)
        hard = np.repeat(random.random(120), 4)
        referred = hard + 0.1 * random.random(480) < 0.8
        p_values = [
            p
            for one in ask(images, melanoma, referred, group)
            for level in one.levels
            for p in (level.sensitivity_p, level.specificity_p)
            if p is not None
        ]
        false += min(p_values) < 0.025  # two families
    assert false <= 8  # 3 expected, and 9 or more with a probability below 1 %


def test_few_melanomas_are_too_few_to_say_and_none_is_no_error() -> None:
    random = np.random.default_rng(3)
    images = people(100, random)
    few = ask(images, np.arange(100) < 5, np.ones(100, bool), np.arange(100))
    assert all(level.is_sparse for one in few for level in one.levels)
    none = ask(images, np.zeros(100, bool), np.zeros(100, bool), np.arange(100))
    assert all(level.sensitivity is None and level.sensitivity_p is None for one in none for level in one.levels)


def test_sources_of_equal_names_are_told_apart_by_their_folders() -> None:
    random = np.random.default_rng(2)
    images = people(300, random)
    images["source"] = np.array(["/data/first/images", "/data/second/images/", "s3://there/x"])[np.arange(300) % 3]
    found = {one.name: one for one in ask(images, random.random(300) < 0.3, random.random(300) < 0.5, np.arange(300))}
    levels = {level.name: level.num_images for level in found["source"].levels}
    assert levels == {"first/images": 100, "second/images": 100, "there/x": 100}


def test_free_text_of_many_values_has_its_rarest_ones_in_one_level() -> None:
    random = np.random.default_rng(3)
    images = people(3000, random)
    images["attribution"] = [f"photographer {number if number > 300 else number % 3}" for number in range(3000)]
    images.loc[:9, "attribution"] = None
    found = {
        one.name: one for one in ask(images, random.random(3000) < 0.3, random.random(3000) < 0.5, np.arange(3000))
    }
    levels = {level.name: level.num_images for level in found["attribution"].levels}
    assert len(levels) == MOST_LEVELS + 1
    assert sum(levels.values()) == 3000
    assert levels["unknown"] == 10
    assert levels[f"{3 + 2699 - MOST_LEVELS + 1:,} others"] == 2699 - (MOST_LEVELS - 4)
    assert len(found["sex"].levels) == 2
