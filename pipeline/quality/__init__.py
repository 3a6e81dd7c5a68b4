"""Figures of labels against true ones, and of uncertainty against error, as pure functions; the file of a
calibration. Imports `pipeline.labelling` and the rooms below.
"""
