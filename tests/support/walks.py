"""How much is tried by chance."""

import os

#: How many times as many examples and walks are tried as in `make test`; see `make chaos`.
TIMES = int(os.environ.get("TEST_WALKS", "1"))
#: Examples of a law.
EXAMPLES = 50 * TIMES
