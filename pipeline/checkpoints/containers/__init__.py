"""Opens checkpoint files of every container as inert data; nothing in a file is imported or executed."""
