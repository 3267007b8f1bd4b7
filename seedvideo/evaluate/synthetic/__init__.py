"""The synthetic benchmark: generated videos of coloured shapes, with exact ground truth."""
