"""What the operating system reports: control groups, processes, file systems.

Each module reads one kind of source and returns plain values. `bigpipe.measure` and
`bigpipe.tree_meter` interpret them.
"""
