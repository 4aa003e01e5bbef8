"""Which files of a folder have come to rest, so that none is read while it is still being written."""

from __future__ import annotations

from collections.abc import Sequence

from melanoma_ray import storage
from melanoma_ray.sources.containers import split_address
from melanoma_ray.sources.listing import list_source

_State = tuple[int, int]
"""Size in bytes and time of change in ns."""


class Arrivals:
    """Looks at a folder again and again: a file that hasn't changed for some seconds is at rest.

    The folder is listed, since network disks and s3:// tell nobody of what arrives. Its own clock isn't trusted: a file
    is at rest when size and time of change were the same for long enough by the clock of this process.
    """

    def __init__(self, images: str, tables: Sequence[str], settle_s: float) -> None:
        """Keep where to look.

        Args:
            images: Folder, local or s3://.
            tables: Tables beside it, such as those of ``--metadata``, that are looked at, too.
            settle_s: Time for which a file must not have changed, seconds.
        """
        self._images, self._tables, self._settle_s = images, tuple(tables), settle_s
        self._since: dict[str, tuple[_State, float]] = {}
        self._at_rest: dict[str, _State] = {}
        self.passed_over: dict[str, int] = {}
        """Number of files that aren't read, by reason, at the last look."""
        self.num_changing = 0
        """Number of files that weren't at rest at the last look: they are still being written."""

    def look(self, now: float) -> bool:
        """Look, and return whether other files are at rest than after the last look.

        Args:
            now: Time of a clock that never goes back, seconds.

        Raises:
            DataError: The folder isn't there.
            OSError: It can't be read.
        """
        listing = list_source(self._images, most_readings=1)
        infos = [*listing.images, *listing.containers, *listing.tables, *filter(None, map(storage.find, self._tables))]
        before, self._since = self._since, {}
        for info in infos:
            state = info.num_bytes, info.modified_ns
            earlier = before.get(info.path)
            self._since[info.path] = earlier if earlier is not None and earlier[0] == state else (state, now)
        rested = {path: state for path, (state, since) in self._since.items() if now - since >= self._settle_s}
        self.passed_over, self.num_changing = dict(listing.passed_over), len(self._since) - len(rested)
        is_changed = rested != self._at_rest
        self._at_rest = rested
        return is_changed

    def is_at_rest(self, path: str) -> bool:
        """Return whether the file of an image, or the container that it is in, is at rest."""
        return (split_address(path)[0] or path) in self._at_rest
