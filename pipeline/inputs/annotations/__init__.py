"""Annotations of any format, brought to the feature grid: masks of classes, or keypoints."""
