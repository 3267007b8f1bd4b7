"""OcrStats pictures with an OCR program, in an environment of its own; a child of `flashbench.py`.

    python3 -m venv OCRENV
    OCRENV/bin/pip install rapidocr-onnxruntime==1.4.4
    OCRENV/bin/python benchmarks/_flash_read.py < NAMES

rapidocr brings an OpenCV build that conflicts with the package's own, hence another
environment. One file name a line comes in, one JSON list of the texts on that picture goes out.
"""

import json
import sys


def main() -> None:
    """Read pictures until there are no more names."""
    try:
        from rapidocr_onnxruntime import RapidOCR
    except ImportError:
        return  # Run like the other scripts, in an environment without it: nothing to do.
    read = RapidOCR(intra_op_num_threads=1)
    for name in sys.stdin:
        found, _ = read(name.strip())
        print(json.dumps([text for _, text, _ in found or []]), flush=True)


if __name__ == "__main__":
    main()
