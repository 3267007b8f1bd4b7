"""Adapters between seedvideo and other people's programs."""
