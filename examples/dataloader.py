"""Read videos as tensors in the workers of a DataLoader.

Run it as ``python examples/dataloader.py clips/*.mp4``. Each worker takes a part of the list, and a
video that fails becomes an item with its error.
"""

import sys

from torch.utils.data import DataLoader

from seedvideo.integrations.torch import IterableVideoDataset, VideoItem


def main() -> None:
    """Print the frames of each video, or why it failed."""
    videos = IterableVideoDataset(
        sys.argv[1:], geometry="qwen3-vl", budget_tokens=2_000, on_error="return"
    )
    loader: DataLoader[VideoItem] = DataLoader(videos, batch_size=None, num_workers=2)
    for item in loader:
        if item.error is not None:
            print(f"{item.video}: {item.error}")
            continue
        for group in item.groups:
            count, _, height_px, width_px = group.pixels.shape
            print(f"{item.video}: {count} frames of {width_px}x{height_px} px")


if __name__ == "__main__":
    main()
