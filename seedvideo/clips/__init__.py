"""Clips of a video: the windows that its shots give, files of them, and tables that name them."""
