"""Random reads of crops from Parquet, Arrow and Lance files, as the reason for the format of shards.

pip install pylance && python -m benchmarks.formats
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measuring import median, print_table, write_lesions
from melanoma_ray.config import ImageConfig
from melanoma_ray.imaging.decoding import decode_image

_NUM_IMAGES = 2_048
_BATCH = 32
_NUM_BATCHES = 40
_ROUNDS = 3


def main() -> None:
    """Write the same crops in each format and read the same random batches from each."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        files = sorted(write_lesions(folder / "images", num_images=256, width=600, height=450).glob("*/*.jpg"))
        crops = [decode_image(path.read_bytes(), ImageConfig(side=180)).pixels.tobytes() for path in files]
        table = pa.table({"pixels": pa.array([crops[i % len(crops)] for i in range(_NUM_IMAGES)], pa.binary())})
        readers = {f"Parquet, {size} rows a group": _write_parquet(table, folder, size) for size in (1, 8, 64)}
        readers |= {f"Arrow, a crop a batch, {codec}": _write_arrow(table, folder, codec) for codec in ("zstd", "lz4")}
        readers["Lance"] = _write_lance(table, folder)
        random = np.random.default_rng(0)
        wanted = [random.choice(_NUM_IMAGES, _BATCH, replace=False) for _ in range(_NUM_BATCHES)]
        times: dict[str, list[float]] = {kind: [] for kind in readers}
        for _ in range(_ROUNDS):
            for kind, (read, _) in readers.items():
                times[kind].append(_time(read, wanted))
        rows = [
            [kind, f"{_BATCH * _NUM_BATCHES / median(times[kind]):.0f}", f"{size / 2**20:.0f}"]
            for kind, (_, size) in readers.items()
        ]
        print_table(
            f"Random reads of {_BATCH} of {_NUM_IMAGES} crops of 180×180 (synthetic), files in the page cache",
            ["format", "crops/s", "MiB on disk"],
            rows,
        )


Reader = Callable[[np.ndarray], int]


def _time(read: Reader, wanted: list[np.ndarray]) -> float:
    started = time.perf_counter()
    for rows in wanted:
        read(rows)
    return time.perf_counter() - started


def _write_parquet(table: pa.Table, folder: Path, rows_per_group: int) -> tuple[Reader, int]:
    path = folder / f"{rows_per_group}.parquet"
    pq.write_table(table, path, compression="zstd", row_group_size=rows_per_group)

    def read(rows: np.ndarray) -> int:
        file = pq.ParquetFile(path)
        total = 0
        for group in np.unique(rows // rows_per_group):
            column = file.read_row_group(int(group)).column(0).combine_chunks()
            total += sum(
                len(column[int(row % rows_per_group)].as_py()) for row in rows[rows // rows_per_group == group]
            )
        return total

    return read, path.stat().st_size


def _write_arrow(table: pa.Table, folder: Path, codec: str) -> tuple[Reader, int]:
    path = folder / f"{codec}.arrow"
    with pa.ipc.new_file(path, table.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_table(table, max_chunksize=1)

    def read(rows: np.ndarray) -> int:
        with pa.OSFile(str(path)) as file:
            reader = pa.ipc.open_file(file)
            return sum(len(reader.get_batch(int(row)).column(0)[0].as_py()) for row in rows)

    return read, path.stat().st_size


def _write_lance(table: pa.Table, folder: Path) -> tuple[Reader, int]:
    path = folder / "crops.lance"
    dataset = lance.write_dataset(table, str(path))

    def read(rows: np.ndarray) -> int:
        return sum(map(len, dataset.take(rows.tolist()).column("pixels").to_pylist()))

    return read, sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


if __name__ == "__main__":
    main()
