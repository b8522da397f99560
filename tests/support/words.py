"""What the speaker of the tests says; apart from tests.support.app, which reads the environment."""

TEXT = "".join(f"word{n} " for n in range(80))
