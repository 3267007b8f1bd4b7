"""Read codes in pictures with an OCR program, in a separate environment; used by `flashbench.py`.

    python3 -m venv OCRENV
    OCRENV/bin/pip install rapidocr-onnxruntime==1.4.4
    OCRENV/bin/python benchmarks/_flash_read.py < NAMES

rapidocr requires an OpenCV build that conflicts with seedvideo's, hence the separate environment.
The input is one file name per line, the output one JSON list per line with the texts on that
picture.
"""

import json
import sys


def main() -> None:
    """Read pictures until the input ends."""
    try:
        from rapidocr_onnxruntime import RapidOCR
    except ImportError:
        return  # Run in an environment without it, as by `make bench`: nothing to do.
    read = RapidOCR(intra_op_num_threads=1)
    for name in sys.stdin:
        found, _ = read(name.strip())
        print(json.dumps([text for _, text, _ in found or []]), flush=True)


if __name__ == "__main__":
    main()
