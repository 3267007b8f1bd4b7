"""seedvideo inside other programs; each module states what it needs."""
