"""The parts of `bigpipe.scheduler`. Each decides one thing, and all are pure.

No module here has a clock, a process or a file; time and memory arrive as numbers::

    events                       what has happened, and what is to be done
    pending, roster              the tasks that wait; the workers that can take one
    admission, passes, charges   which task may start within the budget
    projection                   how much memory a task will take
    pace, deadlines, waits       how long tasks take, how long they may, how long workers wait
    losses, retries              what happens to tasks whose worker died, or that failed
"""
