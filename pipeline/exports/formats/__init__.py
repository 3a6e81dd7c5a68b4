"""The formats of ``dgan export``, one module each. ``table`` has their names; a new one is a line there."""
