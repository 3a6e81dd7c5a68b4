"""Reads the formats of annotations: one module for each, and `detect`, which tells them apart."""
