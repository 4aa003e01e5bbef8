"""Every example in a docstring gives what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import melanoma_ray

MODULES = ["melanoma_ray", *(found.name for found in pkgutil.walk_packages(melanoma_ray.__path__, "melanoma_ray."))]


def examples_of(module: str) -> list[doctest.DocTest]:
    found = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(module))
    return [test for test in found if test.examples]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of libraries that are imported for the first time
def test_every_example_in_a_docstring_gives_what_it_says() -> None:
    examples = [test for module in MODULES for test in examples_of(module)]
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    reports: list[str] = []
    for test in examples:
        runner.run(test, out=reports.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(reports)
    assert len(examples) >= 15
