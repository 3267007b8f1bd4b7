"""General utilities: files, child processes and their messages, text and times."""
