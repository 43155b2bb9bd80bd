"""Everything impure: the command line, run directories, pictures, benchmarks.

Rooms, each of which may use those before it: statistics, storage, configuration, drawing, runs, commands, benchmarks.
"""
