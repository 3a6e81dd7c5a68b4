"""Readers of annotations, one module a file format; ``detect.open_source`` chooses among them."""
