"""Pixels of masks: reading PNG, drawing shapes, and fitting to the feature grid."""
