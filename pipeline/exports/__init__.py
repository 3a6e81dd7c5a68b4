"""``dgan export``: from a store to files that other tools read. Each format is one module of ``formats``."""
