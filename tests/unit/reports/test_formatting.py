"""Numbers as a page writes them."""

from __future__ import annotations

import pytest

from melanoma_ray.reports.formatting import describe_share


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "0.0 %"), (0.0004, "< 0.1 %"), (0.6321, "63.2 %"), (0.9999, "> 99.9 %"), (1.0, "100.0 %")],
)
def test_only_none_and_all_are_written_as_0_and_100_percent(value, words):
    assert describe_share(value) == words
