"""The networks: the generators behind one protocol, and the interpreter. Imports torch and
numpy, and no other room.
"""
