"""A journal on disk: its rows, the SQLite file that holds them, and the lock on that file.

`bigpipe.running.journal_recorder` decides what a run records; `bigpipe.journal` is for people who
read a journal.
"""
