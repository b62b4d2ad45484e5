"""Programs started as forks of one process that has imported already what they have in common.

A program of ours takes 0.4 s of a processor to import its libraries, and 30 MB to hold them. A lab of a
hundred nodes has three hundred: forked, they share both.
"""
