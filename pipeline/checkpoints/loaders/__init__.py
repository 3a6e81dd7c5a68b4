"""Finds the generators in a file's content and builds them: one module for each way of naming tensors."""
