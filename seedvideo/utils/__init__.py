"""Exact time, text made safe to print, atomic files, child processes."""
