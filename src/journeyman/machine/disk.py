"""Space on the disk: what is free, and what a folder takes."""

import os
import shutil
from pathlib import Path


def nearest_folder(path: Path) -> Path:
    """The folder itself if it exists, else the nearest one above it that does."""
    folder = path.absolute()
    return next(place for place in (folder, *folder.parents) if place.is_dir())


def free_bytes(folder: Path) -> int:
    """Free space on the disk where the folder is or will be."""
    return shutil.disk_usage(nearest_folder(folder)).free


def folder_bytes(folder: Path, most_files: int = 5000) -> int | None:
    """Disk space of all files below a folder, or None if there are more than `most_files`."""
    total = count = 0
    for place, _, names in os.walk(folder):
        count += len(names)
        if count > most_files:
            return None
        for name in names:
            try:
                total += (Path(place) / name).lstat().st_blocks * 512
            except OSError:
                continue
    return total
