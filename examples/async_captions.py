"""Caption videos without blocking the event loop.

Run it as ``python examples/async_captions.py clips/*.mp4``. Videos are decoded in parallel, the
model answers for one at a time, and a late video is cancelled.
"""

import asyncio
import sys

import seedvideo
from seedvideo import aio

LIMIT_S = 60


async def caption(path: str, model: seedvideo.Backend) -> str:
    """Return the caption of one video, or why there is none."""
    try:
        async with asyncio.timeout(LIMIT_S):
            record = await aio.caption(path, model=model, policy="uniform")
    except seedvideo.SeedVideoError as error:
        return f"{path}: {error}"
    except TimeoutError:
        return f"{path}: took longer than {LIMIT_S} s"
    return f"{path}: {record.text}"


async def main(paths: list[str]) -> None:
    """Print the captions in the order in which they are ready."""
    model = await asyncio.to_thread(seedvideo.load, "nano")
    for done in asyncio.as_completed([caption(path, model) for path in paths]):
        print(await done)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
