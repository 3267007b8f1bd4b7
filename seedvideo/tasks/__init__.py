"""Prompts of the tasks and parsers of their answers: text in, text out, no tensors."""
