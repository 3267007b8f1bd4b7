"""Memory and time of Seed-ViT for increasing numbers of frames, packed into one sequence.

Ours attends within each frame and builds no mask. The dense way computes one attention over the
packed length with a mask that separates frames: the results are equal, but memory and time grow
with the square of the number of frames. Each measurement runs in a process of its own.
"""

import json
import sys

from _common import best_s, in_child, peak_mib, print_machine, print_table

FRAMES = (8, 16, 32, 64, 128)
SIDE_PX = 112
"""Side of a frame: 8x8 patches, 16 visual tokens."""

WIDTH, DEPTH = 128, 2
"""Sizes of the encoder: small, so that the dense way takes less than a minute."""


def main() -> None:
    """Measure both ways and print them side by side."""
    rows = []
    first: dict[str, dict[str, float]] = {}
    for frames in FRAMES:
        ours = in_child(__file__, "ours", frames)
        dense = in_child(__file__, "dense", frames)
        first = first or {"ours": ours, "dense": dense}
        rows.append(
            (
                f"{frames}",
                f"{frames * SIDE_PX**2 // 14**2:,}",
                f"{ours['added_mib']:.0f} MiB",
                f"{dense['added_mib']:.0f} MiB",
                f"{1000 * ours['spent_s']:.0f} ms",
                f"{1000 * dense['spent_s']:.0f} ms",
                f"{dense['spent_s'] / ours['spent_s']:.1f}x",
            )
        )
    print_table(
        f"Seed-ViT of width {WIDTH} and {DEPTH} blocks, frames of {SIDE_PX}x{SIDE_PX} px: memory"
        " added at the peak, and time",
        ("frames", "patches", "ours", "dense mask", "ours", "dense mask", "ratio"),
        rows,
    )
    last = {"ours": ours, "dense": dense}
    grown = FRAMES[-1] / FRAMES[0]
    for way in ("ours", "dense"):
        slower = last[way]["spent_s"] / first[way]["spent_s"]
        print(f"\n  {way}: {grown:.0f}x the frames takes {slower:.1f}x the time", end="")
    print(f"\n  largest difference of the two results: {last['dense']['difference']:.1e}")
    print_machine("torch")


def measure(way: str, frames: int) -> dict[str, float]:
    """Encode frames in this process; one frame before warms up torch."""
    import torch
    from torch import Tensor, nn
    from torch.nn import functional

    from seedvideo.model.layers import rotate
    from seedvideo.model.vision_encoder import FrameAttention, Grid, SeedViT, VitBlock, VitConfig

    class DenseAttention(nn.Module):
        """One attention over all patches with the same weights and a mask that separates frames."""

        def __init__(self, ours: FrameAttention) -> None:
            super().__init__()
            self.ours = ours

        def forward(self, x: Tensor, angles: Tensor, grids: list[Grid]) -> Tensor:
            heads, width = self.ours.heads, x.shape[-1]
            q, k, v = self.ours.qkv(x).view(-1, 3, heads, width // heads).unbind(1)
            q, k = rotate(q, angles.unsqueeze(1)), rotate(k, angles.unsqueeze(1))
            sizes = torch.tensor([rows * columns for rows, columns in grids])
            frame = torch.arange(len(grids)).repeat_interleave(sizes)
            mask = frame[:, None] == frame[None, :]
            # (1, heads, patches, channels)
            q, k, v = (part.transpose(0, 1).unsqueeze(0) for part in (q, k, v))
            attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            out: Tensor = self.ours.out(attended.squeeze(0).transpose(0, 1).reshape(-1, width))
            return out

    torch.manual_seed(0)
    vit = SeedViT(VitConfig(width=WIDTH, depth=DEPTH, heads=2)).eval()
    blocks = [block for block in vit.blocks if isinstance(block, VitBlock)]
    ours = [block.attention for block in blocks]
    if way == "dense":
        for block in blocks:
            block.register_module("attention", DenseAttention(block.attention))
    with torch.inference_mode():
        pictures = list(torch.randint(0, 256, (frames, SIDE_PX, SIDE_PX, 3), dtype=torch.uint8))
        vit(pictures[:1])
        before_mib = peak_mib()
        result = vit(pictures)
        added_mib = peak_mib() - before_mib
        spent_s = best_s(lambda: vit(pictures), times=2)
        for block, attention in zip(blocks, ours, strict=True):
            block.register_module("attention", attention)
        difference = float((result - vit(pictures)).abs().max())
    return {"spent_s": spent_s, "added_mib": added_mib, "difference": difference}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
    else:
        main()
