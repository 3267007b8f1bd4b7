"""What all tests share: how hypothesis draws its examples."""

from hypothesis import settings

# The same examples in every run, so that a green run stays green; no deadline, since a busy
# machine is slow without being wrong.
settings.register_profile("seedvideo", derandomize=True, deadline=None)
settings.load_profile("seedvideo")
