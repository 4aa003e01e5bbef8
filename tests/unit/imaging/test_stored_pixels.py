"""Ordinary 8-bit JPEG and PNG are decoded to the pixels of every earlier version: prepared datasets rely on it."""

from __future__ import annotations

import base64
import hashlib

import cv2
import numpy as np
import pytest

from melanoma_ray.config import ImageConfig
from melanoma_ray.imaging.decoding import decode_image
from tests.unit.imaging.files import encode

JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxOUlNSM"
    "j5aYVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT0"
    "//wAARCABgAIADASIAAhEBAxEB/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgEDAwIEAwUFBAQAAAF9AQIDAAQ"
    "RBRIhMUEGE1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RFRkdISUpTVFVWV1hZWmNkZWZnaGlqc3R1"
    "dnd4eXqDhIWGh4iJipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uHi4+Tl5ufo6erx8vP09fb3+Pn6/"
    "8QAHwEAAwEBAQEBAQEBAQAAAAAAAAECAwQFBgcICQoL/8QAtREAAgECBAQDBAcFBAQAAQJ3AAECAxEEBSExBhJBUQdhcRMiMoEIFEKRob"
    "HBCSMzUvAVYnLRChYkNOEl8RcYGRomJygpKjU2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6goOEhYaHiImKkpOUlZa"
    "XmJmaoqOkpaanqKmqsrO0tba3uLm6wsPExcbHyMnK0tPU1dbX2Nna4uPk5ebn6Onq8vP09fb3+Pn6/9oADAMBAAIRAxEAPwDzsJTwlSBK"
    "eEr1XIyhMjCU8JUgSnhKhyOmEyMJTwlSBKeEqHI6YTIglPCVKEp4Ss3I6oTIglPCVKEp4SocjphMiCU8JUoSnhKhyOmEyIJTwlShKeEqH"
    "I6YTIglPCVKEp4SocjphM5oJTwlShKeErucj81hMiCU8JUoSnhKhyOmEyIJTwlShKeErNyOmEyIJSMyqcYyadO235B1PWoKxnUeyOmMnY"
    "f5regpyzkHlQfpUVFZc8u5aqSXUvxFZBle3UVMErLRijhl6g1sW7LNEHXv1HoafOddGtzaPcQJTglShKeEqXI7oTIglPCVKEp4SocjphM"
    "5sJTglShKeErucj81hMiCU8JUoSnhKhyOmEyIJTwlShKeErNyOmEzImJMz59cUynzrtnkXGMMcCmVkektgooooGFaej5ZZV7Agj/P4VmV"
    "raFHnznK+gDY+uR/KlJ2RdN2kaISnhKlCU4JWLkd8JkYSnhKkCU8JUOR0wmc2Ep4SpQlPCV2uR+awmRBKeEqQJTwlQ5HTCZGEp4SpAlPC"
    "VDkdMJmRqdqR/pC9OAw/rWbXWeWGBDAEHgg96zbvRvMcvbMqZ6o3QfT/ChTXU9GhXVuWRi0VcOlXwGfIPXHDA/1qSLRb52wyLGMdWYf0z"
    "T5o9zq549ygiNJIqIMsxAA9TXVafZ/ZLZYyQWzliO5pdP0uGzXPEkufvkdPp6VfCVhUqX0Q4zVyIJTwlShKeErFyOmEyIJTwlShKeEqHI"
    "6YTOaCU8JUoSnhK7nI/NYTIglPCVKEp4Ss3I6YTIglPCVKEp4SocjphMiCU8JUoSnhKhyOmEyIJTwlSBKeEqHI6YTIwlPCVIEp4Socjph"
    "MjCU8JUgSnhKhyOmEyIJTwlShKeEqHI6oTObCU8JUgSnhK7XI/NITIwlOCVKEp4SocjphMiCU8JUoSnhKhyOqEyIJTwlShKeEqHI6YTIg"
    "lPCVKEp4SocjphMiCU8JUoSnhKhyOmEyIJTwlShKeEqHI6YTIglPCVKEpwSocjphM//2Q==f37247e5a2993746239be602e29e17dae8"
    "1c8d80af9217a6ec024b383d2a8ead"
)
"""The picture below, 128×96, quality 60; its bytes are kept because an encoder may change."""


def draw() -> np.ndarray:
    rows, columns = np.mgrid[0:96, 0:128]
    picture = np.stack([255 * columns / 128, 255 * rows / 96, np.full((96, 128), 90.0)], axis=2).astype(np.uint8)
    return cv2.circle(picture, (70, 40), 22, (90, 50, 40), -1)


WHOLE_PNG = "ebcdcfdb5f4f6ddc247527edffb292cd63ece974b2de36ed6b1fcddaa56521c9"
DIGESTS = [
    (JPEG, 32, "d8994969d99d0120ea034baead8e17cacf5d534c9af67d347071e99bda60a34b", "580e306189ce6268"),
    (JPEG, 64, "62c396325b724ea7562f1fd577d601370f4c73d90ff60fe49874b6b3716b8b25", "5454d02a755f3a2d"),
    (JPEG, 128, "f37247e5a2993746239be602e29e17dae81c8d80af9217a6ec024b383d2a8ead", "c9ebc421281952de"),
    (encode(draw(), "PNG"), 32, WHOLE_PNG, "82ed454a309af6d5"),
    (encode(draw(), "PNG"), 64, WHOLE_PNG, "8d37abb357c96df4"),
    (encode(draw(), "PNG"), 128, WHOLE_PNG, "6d31f4c45a2038d7"),
]
"""Side of the crop, content_sha256, and the first digits of the crop's own, as version 0.1 had them."""


@pytest.mark.parametrize(("encoded", "side", "content", "crop"), DIGESTS)
def test_ordinary_files_keep_their_digests(encoded: bytes, side: int, content: str, crop: str) -> None:
    image = decode_image(encoded, ImageConfig(side=side))
    assert image.content_sha256 == content
    assert hashlib.sha256(image.pixels.tobytes()).hexdigest().startswith(crop)
