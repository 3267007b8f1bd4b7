"""Utilities that know nothing of videos: child processes and the messages between them."""
