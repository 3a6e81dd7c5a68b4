"""The pictures that were annotated: finding them, and comparing them with what the generator renders."""
