"""Shares the tasks of a run among processes, of this machine or of a dask cluster.

It is the one room that knows the scheduler. It knows no stage and no store.
"""
