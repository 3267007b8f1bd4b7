"""``python -m seedvideo``: the same as the ``seedvideo`` command."""

import sys

from seedvideo.cli import main

sys.exit(main())
