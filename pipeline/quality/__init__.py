"""Figures of labels against true ones, and of uncertainty against error, as pure functions; near-duplicates,
class frequencies and confused classes; the file of a calibration. Imports `pipeline.labelling` and the rooms
below.
"""
