"""The stages, a folder each, and what a run costs. Imports every room below; the stages do not import one
another.
"""
