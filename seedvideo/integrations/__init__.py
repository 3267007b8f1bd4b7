"""Frames, plans and times in the forms that other libraries take; each module is for one."""
