"""Errors cross process borders."""

from __future__ import annotations

import pickle

from melanoma_ray.errors import DecodeError


def test_an_error_with_fields_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(DecodeError("truncated", "after 12 bytes")))
    assert (error.fault, error.detail, str(error)) == ("truncated", "after 12 bytes", "truncated: after 12 bytes")
