"""Objects that several processes share, or send to one another.

The executors and `bigpipe.streaming` decide what is sent, and when::

    snapshot, buffers, pages    keywords, fresh for each file; large arrays are held once
    transport, segments         a link between two processes, through shared memory
    parcels, arrays, by_value   how an object is taken apart for sending
    polling                     one wait for several descriptors
"""
