import multiprocessing

import pytest

#: Where a fork is not safe, events are written by a thread (arkcli/intake/writer.py).
needs_forks = pytest.mark.skipif(multiprocessing.get_start_method() == "spawn", reason="ark does not fork here")
